package processors

import (
	"context"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestBound: a partition waits for the lowest position among the others that have a backlog, for ever for one without
// a position, and never for one that has none of what must come first.
func TestBound(t *testing.T) {
	const step = int64(alignStep / time.Millisecond)
	ends := map[int32]int64{0: 100, 1: 100, 2: 100}
	for _, c := range []struct {
		what string
		a, b progress
		want int64
	}{
		{"no backlog", progress{next: 100}, progress{next: 150, time: 1, known: true}, math.MaxInt64},
		{"one", progress{next: 99, time: 7, known: true}, progress{next: 100}, 7 + step},
		{"the lowest", progress{next: 99, time: 7, known: true}, progress{next: 0, time: 6, known: true}, 6 + step},
		{"no position", progress{next: 99}, progress{next: 0, time: 6, known: true}, math.MinInt64},
		{"no position, no backlog", progress{next: 100}, progress{next: 0, time: 6, known: true}, 6 + step},
	} {
		// Its own position, the lowest of all, holds nobody back.
		all := map[int32]progress{0: {time: -9, known: true}, 1: c.a, 2: c.b}
		if got := bound(0, all, ends); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// TestInStep: limits are inclusive, a record below end has the first limit and others the second, and a time beyond
// now counts as now.
func TestInStep(t *testing.T) {
	records := func(times ...int64) (rs []*kgo.Record) {
		for i, ms := range times {
			rs = append(rs, &kgo.Record{Offset: int64(i), Timestamp: time.UnixMilli(ms)})
		}
		return rs
	}
	for _, c := range []struct {
		what                  string
		records               []*kgo.Record
		end, first, then, now int64
		want                  int
	}{
		{"none", nil, 9, 0, 0, 99, 0},
		{"up to the limit", records(1, 2, 3, 4), 9, 3, 0, 99, 3},
		{"a later one does not pass before", records(1, 9, 2), 9, 3, 0, 99, 1},
		{"behind end", records(1, 2, 3, 4), 2, 9, 3, 99, 3},
		{"beyond now", records(50, 50), 9, 3, 3, 3, 2},
		{"not even now", records(50, 50), 9, 3, 3, 4, 0},
		{"nothing passes", records(-1), 9, math.MinInt64, math.MinInt64, 99, 0},
	} {
		if got := inStep(c.records, c.end, c.first, c.then, c.now); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// testAlignment owns partition 0 of two; partition 1 is another member's.
func testAlignment(t *testing.T, all map[int32]progress) *Alignment {
	a := NewAlignment(Kafka{}, "group", "raw", func(*kgo.Record) bool { return false }, logger(t))
	a.now = func() time.Time { return time.UnixMilli(1 << 40) }
	a.begin([]int32{0})
	a.learn(a.session, all)
	return a
}

func batchOf(first int64, minutes ...int64) *Batch {
	var rs []*kgo.Record
	for i, m := range minutes {
		rs = append(rs, &kgo.Record{Offset: first + int64(i), Timestamp: time.UnixMilli(m * 60_000)})
	}
	return NewBatch("raw", 0, rs)
}

// TestAlignmentLeap: record times leap by hours in both partitions, with a backlog in each. Members tell what comes
// next and not what was last, so that the one with the earlier leap goes on; otherwise both would wait for ever.
func TestAlignmentLeap(t *testing.T) {
	minutes := func(m int64) int64 { return m * 60_000 }
	a := testAlignment(t, map[int32]progress{
		0: {next: 10, end: 20}, 1: {next: 5, end: 20, time: minutes(100), known: true},
	})
	if got := a.metadata(0, 10); got != "" {
		t.Errorf("a position before the scan: %q", got)
	}
	a.scanned(0, 20)
	b := batchOf(10, 104, 105, 400)
	n, ok := a.pass(b)
	if n != 2 || !ok {
		t.Fatalf("%d records pass, want 2", n)
	}
	head, rest := b.cut(n)
	if got, want := a.metadata(0, 10), "record_time_ms=6240000"; got != want { // minute 104: nothing is committed
		t.Errorf("metadata %q, want %q", got, want)
	}
	a.routed(head)
	if got, want := a.metadata(0, 12), "record_time_ms=24000000"; got != want { // minute 400
		t.Errorf("metadata %q, want %q", got, want)
	}
	if _, ok := a.pass(rest); ok {
		t.Error("minute 400 passes while another partition is at minute 100")
	}
	changed := a.Changed()
	a.learn(a.session, map[int32]progress{
		0: {next: 12, end: 20}, 1: {next: 6, end: 20, time: minutes(500), known: true},
	})
	<-changed
	if n, ok := a.pass(rest); n != 1 || !ok {
		t.Error("minute 400 waits for minute 500")
	}
}

// TestAlignmentSlowClock: a producer with a slow clock keeps its partition hours behind by record time, and never quite
// empty. Others wait for what was there when their records were, and not for ever.
func TestAlignmentSlowClock(t *testing.T) {
	at := func(next, end int64) map[int32]progress {
		return map[int32]progress{0: {next: 0, end: 1}, 1: {next: next, end: end, time: 0, known: true}}
	}
	a := testAlignment(t, at(5, 10))
	a.scanned(0, 1)
	b := batchOf(0, 100)
	if _, ok := a.pass(b); ok {
		t.Fatal("passes before what was there")
	}
	a.learn(a.session, at(10, 15))
	if _, ok := a.pass(b); !ok {
		t.Error("waits for what came later")
	}
}

// TestAlignmentSession: an answer that was asked for before a rebalance says nothing about the session behind it.
func TestAlignmentSession(t *testing.T) {
	a := testAlignment(t, map[int32]progress{0: {next: 0, end: 1}})
	before := a.session
	a.begin([]int32{0})
	a.learn(before, map[int32]progress{0: {next: 1, end: 1}})
	if _, ok := a.base(0); ok {
		t.Error("an old answer was taken")
	}
}

// TestUnscanned: the whole backlog is scanned first; after that a partition is scanned on while it is behind what lay
// in it at the answer before the last, and not while it keeps up.
func TestUnscanned(t *testing.T) {
	a := testAlignment(t, map[int32]progress{0: {next: 3, end: 10}})
	want := func(what string, wantFrom, wantTo int64, wantOK bool) {
		t.Helper()
		if from, to, ok := a.unscanned(0); ok != wantOK || ok && (from != wantFrom || to != wantTo) {
			t.Errorf("%s: %d..%d %v, want %d..%d %v", what, from, to, ok, wantFrom, wantTo, wantOK)
		}
	}
	want("the backlog", 3, 10, true)
	a.scanned(0, 10)
	want("scanned", 0, 0, false)
	a.learn(a.session, map[int32]progress{0: {next: 3, end: 14}})
	want("held", 10, 14, true)
	a.scanned(0, 14)
	b := batchOf(3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	if n, ok := a.pass(b); n != 11 || !ok {
		t.Fatalf("%d records pass", n)
	}
	a.learn(a.session, map[int32]progress{0: {next: 14, end: 20}})
	want("keeps up", 0, 0, false)
	a.learn(a.session, map[int32]progress{0: {next: 14, end: 21}})
	want("has fallen behind", 14, 21, true)
}

// TestTransactions: a partition that ends in the marker of a transaction, committed or aborted, is done like any other.
func TestTransactions(t *testing.T) {
	k := broker(t)
	cl, err := kgo.NewClient(append(k.Options(), kgo.TransactionalID("tx"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: "in", Key: []byte("key"), Partition: PartitionOf("key", 5), Value: []byte("v")}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := countingStage(t, k, t.TempDir())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	verifyOut(t, k, 1, 2) // the aborted one does not count
	p := PartitionOf("key", 5)
	ends, err := listed(kadm.NewClient(cl).ListCommittedOffsets(t.Context(), "in"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the marker is done", func() bool {
		next, ok := s.Marked("in", p)
		return ok && next == ends["in"][p]
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestUncommitted: an aligned partition is committed again at the same offset when its position has changed. Were it
// not, the others would see the position of what was routed last, and where record times leap all would wait.
func TestUncommitted(t *testing.T) {
	a := testAlignment(t, map[int32]progress{0: {next: 10, end: 20}, 1: {next: 20, end: 20}})
	s := &session{
		g: &Group{align: a}, parts: map[string][]int32{"raw": {0}}, marks: map[topicPartition]int64{{"loop", 0}: 4},
		committed: make(map[topicPartition]commitment),
	}
	step := func(what string, want map[topicPartition]commitment) {
		t.Helper()
		got := s.uncommitted()
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		maps.Copy(s.committed, got)
	}
	raw := topicPartition{"raw", 0}
	step("before the scan", map[topicPartition]commitment{raw: {10, ""}, {"loop", 0}: {next: 4}})
	step("the same again", map[topicPartition]commitment{})
	a.scanned(0, 20)
	b := batchOf(10, 1)
	a.pass(b)
	step("the first position", map[topicPartition]commitment{raw: {10, "record_time_ms=60000"}})
	s.mark(raw, 11)
	step("routed", map[topicPartition]commitment{raw: {11, "record_time_ms=60000"}})
	a.tracks[0].wait(120_000)
	step("what is next", map[topicPartition]commitment{raw: {11, "record_time_ms=120000"}})
}
