package processors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"gantry/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// sarama registers metrics with a library that keeps one ticker for the life of the process.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		// A closed LevelDB leaves this one for a second.
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// counting is a stage that numbers the records of each key.
type counting struct{ delay time.Duration }

type countState struct{ n int64 }

func (c *countState) AppendTo(b []byte) []byte { return binary.AppendVarint(b, c.n) }

func (counting) New() store.State { return new(countState) }

func (counting) Decode(b []byte) (store.State, error) {
	n, l := binary.Varint(b)
	if l <= 0 {
		return nil, errors.New("short")
	}
	return &countState{n}, nil
}

func (h counting) Handle(ctx context.Context, l *store.Lane, input int, b *Batch) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(h.delay):
	}
	if err := l.Begin(); err != nil {
		return err
	}
	defer l.End()
	for _, r := range b.Records {
		c, err := l.Cell(string(r.Key))
		if err != nil {
			return err
		}
		if r.Offset > c.Applied() {
			st := c.State.(*countState)
			st.n++
			o := l.Output("out", b.Partition)
			o.Key = r.Key
			o.Value = fmt.Appendf(nil, "%d %s", st.n, r.Value)
			l.Emit(o)
			l.Applied(c, r.Offset)
		}
	}
	l.Handled(input, b.Last())
	return nil
}

// broker starts an embedded Kafka with the topics of a counting stage.
func broker(t *testing.T) Kafka {
	t.Helper()
	k, _ := brokerCluster(t)
	return k
}

func brokerCluster(t *testing.T) (Kafka, *kfake.Cluster) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k := Kafka{Brokers: c.ListenAddrs(), Version: sarama.V4_0_0_0, ClientID: "test"}
	adm, err := k.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	specs := []TopicSpec{
		{Name: "in", Partitions: 5},
		{Name: "out", Partitions: 5},
		{Name: "count-table", Partitions: 5, Configs: map[string]string{"cleanup.policy": "compact"}},
	}
	for range 2 { // a second process finds everything there
		if _, err := EnsureTopics(t.Context(), adm, specs); err != nil {
			t.Fatal(err)
		}
	}
	return k, c
}

func logger(t *testing.T) *slog.Logger {
	if os.Getenv("GANTRY_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func countingStage(t *testing.T, k Kafka, dir string) *Stage {
	return &Stage{
		Group: "count", Inputs: []goka.Stream{"in"}, Outputs: []goka.Stream{"out"}, Handler: counting{},
		Kafka: k, StateDir: dir, Logger: logger(t),
	}
}

func produce(t *testing.T, k Kafka, from, to, keys int) {
	t.Helper()
	cl, err := kgo.NewClient(append(k.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for n := from; n < to; n++ {
		key := fmt.Sprintf("key-%d", n%keys)
		cl.Produce(context.Background(), &kgo.Record{
			Topic: "in", Key: []byte(key), Value: fmt.Append(nil, n), Partition: PartitionOf(key, 5),
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// verifyOut reads the output until every key has counted to n, dropping repeats, and fails at a gap or at a repeat with
// other content.
func verifyOut(t *testing.T, k Kafka, keys, n int) (repeats int) {
	t.Helper()
	cl, err := kgo.NewClient(append(k.Options(), kgo.ConsumeTopics("out"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	seen := make(map[string][]string)
	complete := 0
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for complete < keys {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d keys are complete", complete, keys)
		}
		f.EachRecord(func(r *kgo.Record) {
			key := string(r.Key)
			var seq, v int
			fmt.Sscanf(string(r.Value), "%d %d", &seq, &v)
			switch got := seen[key]; {
			case seq == len(got)+1:
				seen[key] = append(got, string(r.Value))
				if seq == n {
					complete++
				}
			case seq <= len(got) && got[seq-1] == string(r.Value):
				repeats++
			default:
				t.Errorf("%s: %q after %d", key, r.Value, len(got))
			}
		})
	}
	return repeats
}

// TestRestarts: a processor that is stopped and started again, on its disk or an empty one, loses and doubles nothing.
func TestRestarts(t *testing.T) {
	k := broker(t)
	const keys, each = 50, 200
	dir := t.TempDir()
	for round := range 4 {
		produce(t, k, round*keys*each/4, (round+1)*keys*each/4, keys)
		if round == 2 {
			dir = t.TempDir()
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- countingStage(t, k, dir).Run(ctx) }()
		if round < 3 {
			time.AfterFunc(time.Duration(300+round*200)*time.Millisecond, cancel)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			continue
		}
		verifyOut(t, k, keys, each)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestMembers: three processors share a group; one is stopped and another added while records arrive.
func TestMembers(t *testing.T) {
	k := broker(t)
	const keys, each = 40, 400
	var wg sync.WaitGroup
	start := func() (s *Stage, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		s = countingStage(t, k, t.TempDir())
		s.Handler = counting{delay: 2 * time.Millisecond}
		done := make(chan struct{})
		wg.Go(func() {
			defer close(done)
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		return s, func() { cancel(); <-done }
	}
	var stages []*Stage
	var stops []func()
	for range 3 {
		s, stop := start()
		stages, stops = append(stages, s), append(stops, stop)
	}
	for part := range 8 {
		produce(t, k, part*keys*each/8, (part+1)*keys*each/8, keys)
		switch part {
		case 1:
			eventually(t, "each of three has partitions", func() bool { return shared(stages) })
		case 3:
			stops[0]()
			stages = stages[1:]
			eventually(t, "the two left have all partitions", func() bool { return shared(stages) })
		case 5:
			s, stop := start()
			stages, stops = append(stages, s), append(stops, stop)
			eventually(t, "the new one has partitions", func() bool { return shared(stages) })
		}
	}
	verifyOut(t, k, keys, each)
	for _, stop := range stops {
		stop()
	}
	wg.Wait()
}

// shared tells whether the stages have all partitions among them, and none is without.
func shared(stages []*Stage) bool {
	n := 0
	for _, s := range stages {
		if len(s.Owned()) == 0 {
			return false
		}
		n += len(s.Owned())
	}
	return n == 5
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not so after 20 s: %s", what)
}

// TestMurmur2: keys fall on the partitions on which the Java client's default partitioner puts them. The sums are those
// of the Kafka project's own test.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(Murmur2(key)); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
		h := NewHasher()
		h.Write([]byte(key))
		if got := int32(h.Sum32()) % 5; got != PartitionOf(key, 5) {
			t.Errorf("%q: goka's partition %d, want %d", key, got, PartitionOf(key, 5))
		}
	}
}

// waiting waits in the first batch of a partition until its session ends, as for a registry that is away, and has no
// trouble with the others.
type waiting struct {
	counting
	began chan int32 // partition
}

func (h waiting) Handle(ctx context.Context, l *store.Lane, input int, b *Batch) error {
	if b.Records[0].Offset == 0 {
		h.began <- b.Partition
		<-ctx.Done()
		return ctx.Err()
	}
	if err := l.Begin(); err != nil {
		return err
	}
	defer l.End()
	l.Handled(input, b.Last())
	return nil
}

// TestGivenUpBatch: behind a batch that was given up at the end of a session nothing is handled, although goka calls
// for what it has queued, about every other time. The offset of a later batch would be committed, and the first lost.
func TestGivenUpBatch(t *testing.T) {
	k := broker(t)
	const partitions = 5
	produce(t, k, 0, partitions*4*batchRecordsMax, 100)
	adm, err := k.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	for range 3 {
		h := waiting{began: make(chan int32, partitions)}
		s := countingStage(t, k, t.TempDir())
		s.Handler = h
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for range partitions {
			<-h.began
		}
		for p := range int32(partitions) {
			eventually(t, "batches wait behind", func() bool { return s.group.Load().queued("in", p) >= 2 })
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		offsets, err := committedOffsets(t.Context(), adm, string(s.Group))
		if err != nil {
			t.Fatal(err)
		}
		for p := range int32(partitions) {
			if c, ok := offsets.Lookup("in", p); ok && c.At > 0 {
				t.Fatalf("partition %d is committed up to %d, and its first batch was given up", p, c.At)
			}
		}
	}
}

// queued tells how many batches goka has been handed that it has not taken.
func (g *Group) queued(topic string, partition int32) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.session.claims[topicPartition{topic, partition}]
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.handed)
}

// TestUnread: what is deleted before it was read is counted, and the commit that passes it keeps its offsets, also over
// the next session. What was deleted after it was read is nothing.
func TestUnread(t *testing.T) {
	k := broker(t)
	adm, err := k.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	const key = "key-0"
	partition := PartitionOf(key, 5)
	reg := prometheus.NewRegistry()
	handle := func(upTo int64) (holes []Hole) {
		s := countingStage(t, k, t.TempDir())
		s.Metrics = reg
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		eventually(t, "all is committed", func() bool {
			offsets, err := committedOffsets(t.Context(), adm, string(s.Group))
			if err != nil {
				t.Fatal(err)
			}
			c, _ := offsets.Lookup("in", partition)
			holes = ParseHoles(c.Metadata)
			return c.At == upTo
		})
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return holes
	}
	deleteBefore := func(offset int64) {
		var o kadm.Offsets
		o.AddOffset("in", partition, offset, -1)
		if resp, err := adm.DeleteRecords(t.Context(), o); err != nil || resp.Error() != nil {
			t.Fatal(err, resp.Error())
		}
	}
	produce(t, k, 0, 10, 1)
	deleteBefore(3) // nobody has read: the group begins where the log does
	if holes := handle(10); holes != nil {
		t.Errorf("holes before any: %v", holes)
	}
	deleteBefore(7)
	produce(t, k, 10, 20, 1)
	if holes := handle(20); holes != nil {
		t.Errorf("what was read is taken for a hole: %v", holes)
	}
	produce(t, k, 20, 30, 1)
	deleteBefore(25)
	for end := int64(30); end <= 31; end++ {
		if holes := handle(end); len(holes) != 1 || holes[0].From != 20 || holes[0].To != 25 {
			t.Errorf("holes %v, want 20 to 25", holes)
		}
		produce(t, k, int(end), int(end)+1, 1)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "stream_processor_records_lost_total" {
			if n := f.GetMetric()[0].GetCounter().GetValue(); n != 5 {
				t.Errorf("%v records are counted as lost, not 5", n)
			}
		}
	}
}
