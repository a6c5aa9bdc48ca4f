package processors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// BatchBytesMaxDefault is what a compressed batch may unpack to where nobody says otherwise: a batch of readings of the
// size that brokers take by default, a MiB, stays below it unless it is compressed to a fiftieth.
const BatchBytesMaxDefault = 64 << 20

// ErrBatchTooLarge: a compressed batch would take more memory than Kafka.BatchBytesMax when it is unpacked. Nobody can
// say what is in it, so it is neither passed over nor rejected: whoever reads the partition waits before it.
var ErrBatchTooLarge = errors.New("a compressed batch unpacks to more than kafka.batchBytesMax; raise that, " +
	"or delete the records up to its end from the partition (kafka-delete-records)")

// errUnpackLater: a batch fits, but not beside the others that were fetched with it. The next fetch begins with it.
var errUnpackLater = errors.New("a compressed batch waits for those before it")

// FetchErr returns the first error of the fetches that is one: a batch that comes with the next fetch is none.
func FetchErr(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, errUnpackLater) {
			return fmt.Errorf("%s/%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	return nil
}

// What kgo makes of a record beside its bytes, and of a header.
const (
	recordOverhead = int(unsafe.Sizeof(kgo.Record{}) + unsafe.Sizeof((*kgo.Record)(nil)))
	headerOverhead = int(unsafe.Sizeof(kgo.RecordHeader{}))
	recordBytesMin = 6 // attributes, two deltas, three lengths, in the form that brokers have written since 0.11
)

// unpacker unpacks the batches of one client within bounds. A MiB that a producer sends can unpack to gigabytes, and a
// fetch can hold hundreds of batches, all of which kgo unpacks at once. Two things are bounded: a batch, for good
// (ErrBatchTooLarge), and what one fetch unpacks to, for now (errUnpackLater): where some batches of a partition fit,
// kgo hands those on and asks for the others again. What counts is the memory that comes of it. An empty record is
// 7 bytes long and takes 30 times that as a kgo.Record, so records and headers are counted too.
//
// That each fetch gets a fresh allowance relies on kgo having one fetch under way per broker, the next one only when the
// last has been polled: between two answers with fetched records of one broker lies a poll. So a client holds at most
// the allowance for each broker, and what its user has polled and not dropped yet.
type unpacker struct {
	unpack kgo.Decompressor
	max    int
	left   atomic.Int64 // of the fetch that was read last
}

var (
	_ kgo.Decompressor   = (*unpacker)(nil)
	_ kgo.HookBrokerRead = (*unpacker)(nil)
)

func newUnpacker(limit int) *unpacker {
	// kgo's own decompressor has the bound for the bytes of a batch, and only a client makes one that has. This client
	// connects to nothing.
	client, err := kgo.NewClient(kgo.MaxDecompressBatchBytes(limit))
	if err != nil {
		panic(fmt.Sprintf("kafka.batchBytesMax is %d: %v", limit, err)) // the range of the key lies within kgo's
	}
	defer client.Close()
	u := &unpacker{unpack: client.OptValue(kgo.WithDecompressor).(kgo.Decompressor), max: limit}
	u.left.Store(int64(limit))
	return u
}

// OnBrokerRead begins the allowance of a fetch. The batches of an answer are unpacked after it is read.
func (u *unpacker) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Fetch) {
		u.left.Store(int64(u.max))
	}
}

func (u *unpacker) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	switch {
	case len(src) > u.max:
		return nil, ErrBatchTooLarge
	case u.left.Load() < int64(len(src)):
		return nil, errUnpackLater
	}
	b, err := u.unpack.Decompress(src, codec)
	if errors.Is(err, kgo.ErrMaxDecompress) {
		// Not wrapped: kgo would give the partition up for good, and it is to be tried again.
		return nil, ErrBatchTooLarge
	}
	if err != nil {
		return nil, err
	}
	memory := unpackedMemory(b)
	switch {
	case memory > u.max:
		return nil, ErrBatchTooLarge
	case u.left.Add(-int64(memory)) < 0:
		return nil, errUnpackLater
	}
	return b, nil
}

// unpackedMemory returns how much memory the records of an unpacked batch will take. A batch is attacked where its
// records are the smallest, so every length is followed; it costs a few nanoseconds a record. Older message formats
// begin with an offset, which is no length of a record: their bytes alone are counted, of which each message has many.
func unpackedMemory(b []byte) int {
	memory := len(b)
	for len(b) > 0 {
		length, n := binary.Varint(b)
		if n <= 0 || length < recordBytesMin || length > int64(len(b)-n) {
			return memory
		}
		record := b[n : n+int(length)]
		memory += recordOverhead + headerOverhead*headerCount(record)
		b = b[n+int(length):]
	}
	return memory
}

// headerCount returns how many headers a record says it has, at most one for each byte.
func headerCount(record []byte) int {
	rest := record[1:] // attributes
	for range 2 {      // deltas of timestamp and offset
		_, n := binary.Varint(rest)
		if n <= 0 {
			return 0
		}
		rest = rest[n:]
	}
	for range 2 { // key and value; -1 is null
		length, n := binary.Varint(rest)
		if n <= 0 || length > int64(len(rest)-n) {
			return 0
		}
		rest = rest[n+int(max(0, length)):]
	}
	count, n := binary.Varint(rest)
	if n <= 0 || count < 0 {
		return 0
	}
	return int(min(count, int64(len(rest))))
}

// recordsMemory returns how much memory records hold on to.
func recordsMemory(records []*kgo.Record) (n int) {
	for _, r := range records {
		n += recordMemory(r)
	}
	return n
}

// recordMemory returns how much memory a record holds on to.
func recordMemory(r *kgo.Record) int {
	n := recordOverhead + headerOverhead*len(r.Headers) + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// Gantry writes its tables and traffic-events in small batches without compression. goka's clients read nothing else,
// so for them the default is a bound that nothing honest meets; the library has it as a variable of the process.
func init() { sarama.MaxDecompressedBatchSize = BatchBytesMaxDefault }
