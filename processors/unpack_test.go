package processors

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var codecs = map[string]kgo.CompressionCodec{
	"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(),
	"zstd": kgo.ZstdCompression(),
}

func compress(t *testing.T, codec kgo.CompressionCodec, b []byte) ([]byte, kgo.CompressionCodecType) {
	t.Helper()
	c, err := kgo.DefaultCompressor(codec)
	if err != nil {
		t.Fatal(err)
	}
	packed, used := c.Compress(new(bytes.Buffer), b)
	return slices.Clone(packed), used
}

// record appends a record as it stands in a batch.
func record(b, key, value []byte, headers int) []byte {
	var r []byte
	r = append(r, 0, 0, 0)
	for _, part := range [][]byte{key, value} {
		r = append(binary.AppendVarint(r, int64(len(part))), part...)
	}
	r = binary.AppendVarint(r, int64(headers))
	for range headers {
		r = append(r, 0, 0)
	}
	return append(binary.AppendVarint(b, int64(len(r))), r...)
}

// What an unpacked batch takes is never less than what kgo makes of it.
func TestUnpackedMemory(t *testing.T) {
	var b []byte
	var want int
	for i := range 1000 {
		key, value, headers := make([]byte, i%7), make([]byte, i%131), i%5
		b = record(b, key, value, headers)
		want += recordOverhead + headers*headerOverhead
	}
	if got := unpackedMemory(b); got != want+len(b) {
		t.Errorf("memory %d, want %d", got, want+len(b))
	}
	// A record that claims more headers than it has bytes would make kgo allocate one for each byte.
	lying := append(binary.AppendVarint(nil, 6+100), append([]byte{0, 0, 0, 0, 0, 0x7e}, make([]byte, 100)...)...)
	if got, least := unpackedMemory(lying), recordOverhead+63*headerOverhead; got < least {
		t.Errorf("memory %d, want at least %d", got, least)
	}
}

// Whatever the bytes are, the walk ends, and counts them all.
func FuzzUnpackedMemory(f *testing.F) {
	f.Add(record(record(nil, []byte("k"), []byte("v"), 2), nil, nil, 0))
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := unpackedMemory(b); n < len(b) || n > len(b)*(recordOverhead+headerOverhead) {
			t.Errorf("%d bytes take %d", len(b), n)
		}
	})
}

// A batch beyond the limit is refused whatever it is packed with, by its bytes as by its records; one that only has no
// room beside others is asked for again, with the next fetch.
func TestUnpackIsBounded(t *testing.T) {
	const limit = 1 << 20
	large := record(nil, nil, make([]byte, 8<<20), 0)
	many := bytes.Repeat(record(nil, nil, nil, 0), limit/100)
	headers := record(nil, nil, nil, limit/30)
	fits := record(nil, nil, make([]byte, 600<<10), 0)
	for name, codec := range codecs {
		for what, b := range map[string][]byte{"large": large, "many": many, "headers": headers} {
			u := newUnpacker(limit)
			packed, used := compress(t, codec, b)
			if _, err := u.Decompress(packed, used); !errors.Is(err, ErrBatchTooLarge) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		u := newUnpacker(limit)
		packed, used := compress(t, codec, fits)
		for fetch := range 3 {
			if got, err := u.Decompress(packed, used); err != nil || !bytes.Equal(got, fits) {
				t.Fatalf("%s, fetch %d: %v", name, fetch, err)
			}
			if _, err := u.Decompress(packed, used); !errors.Is(err, errUnpackLater) {
				t.Fatalf("%s, fetch %d: a second batch beyond the allowance: %v", name, fetch, err)
			}
			u.OnBrokerRead(kgo.BrokerMetadata{}, int16(kmsg.Metadata), 0, 0, 0, nil)
			if _, err := u.Decompress(packed, used); !errors.Is(err, errUnpackLater) {
				t.Fatalf("%s, fetch %d: another answer is no fetch: %v", name, fetch, err)
			}
			u.OnBrokerRead(kgo.BrokerMetadata{}, int16(kmsg.Fetch), 0, 0, 0, nil)
		}
	}
	packed, used := compress(t, kgo.ZstdCompression(), []byte("no batch"))
	if _, err := newUnpacker(limit).Decompress(packed[:len(packed)-2], used); err == nil ||
		errors.Is(err, ErrBatchTooLarge) || errors.Is(err, errUnpackLater) {
		t.Errorf("a torn batch: %v", err)
	}
}

// packed produces each record in a compressed batch of its own.
func packed(t *testing.T, k Kafka, records ...*kgo.Record) {
	t.Helper()
	for _, r := range records {
		packedTogether(t, k, []*kgo.Record{r})
	}
}

// packedTogether produces records of one partition in one compressed batch.
func packedTogether(t *testing.T, k Kafka, records []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(append(k.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(64<<20), kgo.ProducerLinger(time.Minute),
		kgo.MaxBufferedRecords(len(records)+1))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	// A client that does not know the topic yet keeps records elsewhere, and sends what it has while it moves them: the batch
	// would come in parts. It knows the topic when it has refused a partition.
	unknown := kgo.Record{Topic: records[0].Topic, Partition: 1 << 20}
	if err := cl.ProduceSync(t.Context(), &unknown).FirstErr(); err == nil {
		t.Fatal("there is no such partition")
	}
	for _, r := range records {
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A fetch whose batches do not all fit at once comes in parts, in order and complete, of every partition.
func TestFetchComesInParts(t *testing.T) {
	k := broker(t)
	k.BatchBytesMax = 1 << 20
	const each = 20
	for p := range int32(5) {
		for i := range each {
			packed(t, k, &kgo.Record{Topic: "in", Partition: p, Key: fmt.Append(nil, i), Value: make([]byte, 300<<10)})
		}
	}
	cl, err := kgo.NewClient(append(k.Options(), kgo.ConsumeTopics("in"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	next := make(map[int32]int64)
	for n := 0; n < 5*each; {
		fetches := cl.PollFetches(t.Context())
		if err := FetchErr(fetches); err != nil {
			t.Fatal(err)
		}
		var unpacked int
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				t.Fatalf("%d/%d came, want %d", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition]++
			unpacked += len(r.Value)
			n++
		})
		if unpacked > k.BatchBytesMax {
			t.Errorf("one poll holds %d bytes", unpacked)
		}
	}
}

// A partition that begins with a batch beyond the limit waits there and says so; the others go on. Nothing of it is
// passed over: with a higher limit, everything comes.
func TestStageWaitsBeforeHugeBatch(t *testing.T) {
	k := broker(t)
	const hostile = "hostile"
	partition := PartitionOf(hostile, 5)
	crowd := make([]*kgo.Record, 20_000)
	for i := range crowd {
		crowd[i] = &kgo.Record{Topic: "in", Partition: partition, Key: []byte(hostile)}
	}
	packed(t, k, &kgo.Record{Topic: "in", Partition: partition, Key: []byte(hostile)})
	packedTogether(t, k, crowd)
	produce(t, k, 0, 100, 20)
	adm, err := k.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	ends, err := adm.ListEndOffsets(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	start := func(batchBytesMax int) (s *Stage, stop func()) {
		k := k
		k.BatchBytesMax = batchBytesMax
		s = countingStage(t, k, t.TempDir())
		s.Metrics = prometheus.NewRegistry()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return s, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	reached := func(s *Stage, p int32, want int64) bool {
		next, ok := s.Marked("in", p)
		return ok && next == want
	}

	s, stop := start(1 << 20)
	eventually(t, "the others are done, and what lies before the batch", func() bool {
		for p := range int32(5) {
			end, _ := ends.Lookup("in", p)
			if p == partition {
				end.Offset = 1
			}
			if end.Offset > 0 && !reached(s, p, end.Offset) {
				return false
			}
		}
		var m dto.Metric
		return Errors(s.Metrics).WithLabelValues(ErrorBatch).Write(&m) == nil && m.GetCounter().GetValue() > 0
	})
	stop()

	s, stop = start(0)
	defer stop()
	end, _ := ends.Lookup("in", partition)
	eventually(t, "the batch and what lies behind it are done", func() bool {
		return reached(s, partition, end.Offset)
	})
}
