package real

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
	"gantry/test/harness"
)

// hostileMemoryMax is what a process may take at most while hostile messages are all that it gets. The bounds that add
// up to it: what a fetch unpacks to and its copy, what a group queues, and as much again until the collector has run.
const hostileMemoryMax = 768 << 20

// Hostile messages on traffic-raw cannot make the process use more than a fixed amount of memory: batches that unpack to
// as much as they may and those that do to far more, records of nothing, thousands of headers, the deepest JSON, Avro
// that promises gigabytes, keys of a MiB. Each becomes a reject; the batch that cannot be unpacked is waited before.
func TestHostileMemory(t *testing.T) {
	adm := secureAdmin(t)
	freshSecureCluster(t, adm)
	grant(t, adm, secureUser, leastAccess()...)
	hostile := newHostile(t)
	p := launchSecure(t, secureEnv(t, "SCRAM-SHA-512"), "--roles", "dedup,window,serve")

	for i := range 20 {
		hostile.batch(t, 1, &kgo.Record{Key: key(i), Value: make([]byte, 40<<20)}) // fits, unpacked
		hostile.batch(t, 20_000, &kgo.Record{})
		hostile.batch(t, 1, &kgo.Record{Key: key(i), Headers: make([]kgo.RecordHeader, 100_000)})
		hostile.batch(t, 1, &kgo.Record{Key: bytes.Repeat(key(i), 100_000)})
		hostile.batch(t, 1, &kgo.Record{Key: key(i), Value: bytes.Repeat([]byte("["), 10<<20)})
		avro := append([]byte{0, 0, 0, 0, 1}, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
		hostile.batch(t, 1000, &kgo.Record{Key: key(i), Value: avro})
	}
	judged := func(what string, except int32) {
		t.Helper()
		harness.Await(t, what, func() bool {
			committed, err := adm.FetchOffsets(t.Context(), string(processors.DedupGroup))
			ends, endsErr := adm.ListEndOffsets(t.Context(), harness.RawTopic)
			return err == nil && endsErr == nil && reached(committed, ends, except)
		})
	}
	judged("everything to be judged", -1)
	bomb := processors.PartitionOf(string(key(0)), 5)
	hostile.batch(t, 1, &kgo.Record{Key: key(0), Value: make([]byte, 512<<20)})
	for i := range 100 {
		hostile.batch(t, 10, &kgo.Record{Key: key(i)})
	}
	judged("all partitions but one to go on", bomb)
	peak := peakMemory(t, p.Cmd.Process.Pid)
	t.Logf("peak memory %d MiB", peak>>20)
	if peak > hostileMemoryMax {
		t.Errorf("the process took %d MiB", peak>>20)
	}
	p.Stop(t)
	if want := fmt.Sprintf("traffic-raw/%d waits at offset", bomb); !strings.Contains(p.Log.String(), want) {
		t.Errorf("the log does not say: %s", want)
	}
}

func key(i int) []byte { return fmt.Appendf(nil, "hostile-%d", i) }

// reached tells whether every partition but one is done.
func reached(committed kadm.OffsetResponses, ends kadm.ListedOffsets, except int32) bool {
	all := true
	ends.Each(func(o kadm.ListedOffset) {
		c, ok := committed.Lookup(o.Topic, o.Partition)
		if o.Partition != except && o.Offset > 0 && (!ok || c.At < o.Offset) {
			all = false
		}
	})
	return all
}

// hostile produces compressed batches.
type hostile struct{ client *kgo.Client }

func newHostile(t *testing.T) hostile {
	t.Helper()
	k := secureKafka(t)
	k.SASL = processors.SASL{Mechanism: "PLAIN", User: adminUser, Password: adminSecret}
	k.BatchBytesMax = 1 << 30
	client, err := kgo.NewClient(append(k.Options(), kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.ProducerBatchMaxBytes(600<<20), kgo.MaxBufferedBytes(1<<30), kgo.BrokerMaxWriteBytes(1<<30),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Minute),
		kgo.MaxBufferedRecords(1<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return hostile{client}
}

// batch produces copies of a record as one batch, on the partition of its key.
func (h hostile) batch(t *testing.T, copies int, r *kgo.Record) {
	t.Helper()
	for range copies {
		c := *r
		c.Topic, c.Partition = harness.RawTopic, processors.PartitionOf(string(r.Key), 5)
		h.client.Produce(context.Background(), &c, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := h.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// peakMemory is the most that a process has had resident, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
