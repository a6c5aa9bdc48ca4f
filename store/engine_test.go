package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func oneKey(int64) string { return "k" }

// TestRoundsCloseByLinger: nobody has to ask for it: what was handled is soon in outputs, changelog, LevelDB and marks.
func TestRoundsCloseByLinger(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), nil)
	must(t, p.handle(0, 3, oneKey))
	until(t, "marked", func() bool { return p.marks() == 3 })
	if got := p.u.logOf(topicOut); len(got) != 3 || got[2].value != "3 3" {
		t.Fatalf("outputs %v", got)
	}
	if got := p.u.logOf(topicTable); len(got) == 0 {
		t.Fatal("nothing in the changelog")
	}
	must(t, p.table.Close())
	p.mustHold(map[string]counter{"k": {3, 3}})
}

// mustHold compares the folder of the closed table.
func (p *process) mustHold(want map[string]counter) {
	p.t.Helper()
	tab := newTable(p.t, p.table.dir)
	must(p.t, tab.Open())
	defer tab.Close()
	for k, c := range want {
		v, err := tab.Get(k)
		must(p.t, err)
		_, enc, err := SplitValue(v)
		must(p.t, err)
		s, err := decodeCounter(enc)
		must(p.t, err)
		if *s.(*counter) != c {
			p.t.Fatalf("%s is %v, want %v", k, s, c)
		}
	}
	if got, want := offsetOf(p.t, tab), int64(len(p.u.logOf(topicTable))-1); got != want {
		p.t.Fatalf("stored offset %d, want %d", got, want)
	}
}

// draining tells that Close has begun to wait.
func (p *process) draining() bool {
	p.lane.q.mu.Lock()
	defer p.lane.q.mu.Unlock()
	return p.lane.q.drained != nil
}

func (p *process) closeTable() chan error {
	closed := make(chan error, 1)
	go func() { closed <- p.table.Close() }()
	return closed
}

// TestDrainWaits: closing a partition closes its round and waits until all of it is acknowledged, flushed and marked.
func TestDrainWaits(t *testing.T) {
	for _, topic := range []string{topicOut, topicTable} {
		t.Run(topic, func(t *testing.T) {
			p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) {
				o.Linger, o.FlushInterval, o.DrainTimeout = time.Hour, time.Hour, time.Hour
			})
			p.u.set(func() { p.u.held[topic] = true })
			must(t, p.handle(0, 4, oneKey))
			closed := p.closeTable()
			until(t, "draining", func() bool {
				if len(closed) > 0 {
					t.Fatal("closed without waiting")
				}
				return p.draining()
			})
			if p.marks() != 0 {
				t.Fatal("marked before the acknowledgement")
			}
			p.u.set(func() { p.u.held[topic] = false })
			must(t, <-closed)
			if p.marks() != 4 {
				t.Fatalf("marked %d", p.marks())
			}
			p.mustHold(map[string]counter{"k": {4, 6}})
			if _, err := p.e.Lane(0); err == nil {
				t.Fatal("a closed partition has a lane")
			}
		})
	}
}

// TestDrainTimesOut: a stop does not wait for ever. What is acknowledged after it marks nothing, since the partition
// may be somebody else's, and touches no table.
func TestDrainTimesOut(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) { o.DrainTimeout = 1 })
	p.u.set(func() { p.u.held[topicTable] = true })
	must(t, p.handle(0, 1, oneKey))
	until(t, "table record sent", func() bool { return p.u.sent() == 2 })
	must(t, <-p.closeTable())
	p.u.set(func() { p.u.held[topicTable] = false })
	until(t, "late acknowledgement", func() bool { return len(p.u.logOf(topicTable)) == 1 })
	p.e.Close() // waits for the acknowledgement's callback
	if p.marks() != 0 {
		t.Fatalf("marked %d after the end", p.marks())
	}
	if got := offsetOf(t, p.table); got != noOffset {
		t.Fatalf("the closed table took offset %d", got)
	}
}

// TestFailWakesDrain: an engine that stops ends the wait for acknowledgements that will not come.
func TestFailWakesDrain(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) { o.DrainTimeout = time.Hour })
	p.u.set(func() { p.u.held[topicOut] = true })
	must(t, p.handle(0, 1, oneKey))
	closed := p.closeTable()
	until(t, "draining", p.draining)
	p.e.Fail(errDisk)
	must(t, <-closed)
	if !errors.Is(p.e.Err(), errDisk) || p.marks() != 0 {
		t.Fatalf("error %v, marked %d", p.e.Err(), p.marks())
	}
}

// TestStuckSender: a broker that takes nothing more blocks the lane's sender. That must not keep goka from closing the
// partition, nor the engine from closing.
func TestStuckSender(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) { o.DrainTimeout = 1 })
	p.u.set(func() { p.u.full[topicTable] = true })
	must(t, p.handle(0, 1, oneKey))
	until(t, "sender blocked", func() bool { return p.u.sent() == 2 })
	must(t, <-p.closeTable())
	p.e.Close() // goleak sees a sender that stays
}

// TestStuckCallback: a callback that is blocked in Emit holds the lane's lock. Fail frees it, from any goroutine, and
// takes no lock for that.
func TestStuckCallback(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), nil)
	p.u.set(func() { p.u.full[topicOut] = true })
	handled := make(chan error)
	go func() { handled <- p.handle(0, 5, oneKey) }()
	until(t, "callback blocked", func() bool { return p.u.sent() == 1 })
	p.e.Fail(errDisk)
	must(t, <-handled)
	if p.u.sent() != 1 {
		t.Fatalf("%d sent after the failure", p.u.sent()-1)
	}
	must(t, p.table.Close())
	if p.marks() != 0 {
		t.Fatalf("marked %d", p.marks())
	}
}

// TestNothingAfterFailure: behind a record that fails for good nothing is sent, and neither state nor offset of its
// round or a later one leaves.
func TestNothingAfterFailure(t *testing.T) {
	for _, topic := range []string{topicOut, topicTable} {
		t.Run(topic, func(t *testing.T) {
			p := newProcess(t, t.TempDir(), newUnreliable(t), nil)
			must(t, p.handle(0, 2, oneKey))
			until(t, "marked", func() bool { return p.marks() == 2 })
			records := len(p.u.logOf(topicTable))
			p.u.set(func() { p.u.fails[topic] = errDisk })
			must(t, p.handle(2, 1, oneKey))
			<-p.e.Ended()
			if err := p.handle(3, 1, oneKey); !errors.Is(err, errDisk) {
				t.Fatalf("Begin: %v", err)
			}
			sent := p.u.sent()
			p.lane.mu.Lock() // a callback that was under way when the engine stopped
			p.lane.Emit(p.lane.Output(topicOut, 0))
			p.lane.mu.Unlock()
			must(t, p.table.Close())
			p.e.Close()
			if p.u.sent() != sent {
				t.Fatalf("%d records sent after the failure", p.u.sent()-sent)
			}
			if got := len(p.u.logOf(topicTable)); got != records {
				t.Fatalf("%d table records after the failure", got-records)
			}
			if p.marks() != 2 {
				t.Fatalf("marked %d", p.marks())
			}
			p.mustHold(map[string]counter{"k": {2, 1}})
		})
	}
}

// TestTooLarge: a record that the broker would refuse is refused before it is sent, when nothing behind it is in flight
// yet; the error says how large it was and where it would have gone.
func TestTooLarge(t *testing.T) {
	for name, fill := range map[string]func(o *Output, b []byte){
		"value":  func(o *Output, b []byte) { o.Value = b },
		"key":    func(o *Output, b []byte) { o.Key = b },
		"header": func(o *Output, b []byte) { o.AddHeader("h", b) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) { o.RecordBytesMax = 1000 })
			must(t, p.lane.Begin())
			o := p.lane.Output(topicOut, 0)
			fill(o, make([]byte, 1001))
			p.lane.Emit(o)
			p.lane.End()
			err := p.e.Err()
			if err == nil || !strings.Contains(err.Error(), "for out is larger than 1000 bytes") {
				t.Fatalf("got %v", err)
			}
			if p.u.sent() != 0 {
				t.Fatal("sent")
			}
		})
	}
}

// TestEviction: memory holds about CellsMax states. One whose value is not stored yet is never dropped, so whatever the
// order of use, every record is counted once, and outputs are those of an engine that keeps everything.
// Acknowledgements that stop and go make pinned cells; the restart in the middle reads what was evicted from LevelDB
// and the changelog.
func TestEviction(t *testing.T) {
	const keys, records, cellsMax = 200, 6000, 20
	rng := rand.New(rand.NewPCG(1, 2))
	key := make([]string, records)
	for o := range key {
		key[o] = fmt.Sprintf("k%d", min(rng.IntN(keys), rng.IntN(keys)))
	}
	of := func(o int64) string { return key[o] }
	dir, u := t.TempDir(), newUnreliable(t)
	p := newProcess(t, dir, u, func(o *Options) { o.CellsMax, o.DrainTimeout = cellsMax, time.Hour })
	for o := int64(0); o < records; o += 20 {
		if o == records/2 {
			must(t, p.table.Close())
			p.e.Close()
			again := newUnreliable(t)
			again.log = u.log
			u = again
			p = newProcess(t, dir, u, func(o *Options) { o.CellsMax, o.DrainTimeout = cellsMax, time.Hour })
		}
		u.set(func() { u.held[topicTable] = rng.IntN(3) == 0 })
		must(t, p.handle(o, 20, of))
		if rng.IntN(4) == 0 {
			u.set(func() { u.held[topicTable] = false })
			until(t, "marked", func() bool { return p.marks() == o+20 })
		}
	}
	u.set(func() { u.held[topicTable] = false })
	until(t, "marked", func() bool { return p.marks() == records })
	until(t, "evicted", func() bool {
		p.lane.mu.Lock()
		defer p.lane.mu.Unlock()
		return len(p.lane.cells) <= cellsMax && len(p.lane.hand) == len(p.lane.cells)
	})
	must(t, p.table.Close())
	want := make(map[string]counter)
	for o, k := range key {
		c := want[k]
		want[k] = counter{c.seq + 1, c.sum + int64(o)}
		if got := u.logOf(topicOut)[o]; got.key != k || got.value != fmt.Sprintf("%d %d", want[k].seq, want[k].sum) {
			t.Fatalf("output %d is %v, want %s %v", o, got, k, want[k])
		}
	}
	p.mustHold(want)
}

// TestEvictionKeepsUnfinished: a state is dropped only when the table can give it back: not while it is in the open
// round, nor in a closed one that is not complete.
func TestEvictionKeepsUnfinished(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) { o.Linger, o.CellsMax = time.Hour, 0 })
	held := func() int {
		p.lane.mu.Lock()
		defer p.lane.mu.Unlock()
		p.lane.evict() // the first pass of the hand
		p.lane.evict()
		return len(p.lane.cells)
	}
	p.u.set(func() { p.u.held[topicTable] = true })
	must(t, p.handle(0, 10, func(o int64) string { return fmt.Sprint(o) }))
	if held() != 10 {
		t.Fatal("dropped from the open round")
	}
	p.lane.mu.Lock()
	p.lane.close()
	p.lane.mu.Unlock()
	until(t, "table records sent", func() bool { return p.u.sent() == 20 })
	if held() != 10 {
		t.Fatal("dropped before its value was acknowledged")
	}
	p.u.set(func() { p.u.held[topicTable] = false })
	until(t, "marked", func() bool { return p.marks() == 10 })
	if held() != 0 {
		t.Fatal("not dropped")
	}
}

// TestNoMarkAfterEnd: an acknowledgement that was under way when the lane ended completes its round and marks nothing.
func TestNoMarkAfterEnd(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), nil)
	must(t, p.table.Close())
	r := &round{lane: p.lane, next: []int64{5}}
	r.pend.Store(1)
	p.lane.q.order = []*round{r}
	r.tableAcked()
	if p.marks() != 0 {
		t.Fatalf("marked %d", p.marks())
	}
}

// TestFreshCell: a cell of a key that the table does not hold is kept only once something was applied to it; then it
// has a key of its own, although it was asked for by one in a buffer that is used again.
func TestFreshCell(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), nil)
	buf := []byte("k")
	key := unsafe.String(&buf[0], len(buf))
	must(t, p.lane.Begin())
	first, err := p.lane.Cell(key)
	must(t, err)
	second, err := p.lane.Cell(key)
	must(t, err)
	if first == second || len(p.lane.cells) != 0 {
		t.Fatal("a cell was kept that holds nothing")
	}
	p.lane.Applied(second, 0)
	p.lane.Handled(0, 0)
	buf[0] = 'x'
	third, err := p.lane.Cell("k")
	must(t, err)
	if third != second || third.Applied() != 0 || third.Key() != "k" {
		t.Fatal("the cell was not kept under its key")
	}
	p.lane.End()
	until(t, "marked", func() bool { return p.marks() == 1 })
	if got := p.u.logOf(topicTable); len(got) != 1 || got[0].key != "k" {
		t.Fatalf("changelog %v", got)
	}
}

// TestRecordsAreReused: after its acknowledgement a record comes back without anything of its last use. (That none
// comes back before is checked by the transport of every test here.)
func TestRecordsAreReused(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), nil)
	for n := range int64(2000) {
		must(t, p.lane.Begin())
		o := p.lane.Output(topicOut, int32(n))
		if o.Key != nil || o.Value != nil || len(o.Headers) != 0 || o.Offset != 0 || o.round != nil || o.cell != nil {
			t.Fatalf("not empty: %+v", o.Record)
		}
		o.SetKeyString(fmt.Sprint("key", n))
		b := fmt.Append(o.Buffer(), "value", n)
		o.Own(b)
		o.Value = b
		for h := range n % 12 { // more than fit
			o.AddHeader(fmt.Sprint("h", h), b)
		}
		p.lane.Emit(o)
		p.lane.Handled(0, n)
		p.lane.End()
	}
	until(t, "marked", func() bool { return p.marks() == 2000 })
	for n, r := range p.u.logOf(topicOut) {
		if r.key != fmt.Sprint("key", n) || r.value != fmt.Sprint("value", n) {
			t.Fatalf("record %d is %v", n, r)
		}
	}
}

// TestGokaCannotEmit: an output that goes past the rounds would have no order; the processor ends at the first.
func TestGokaCannotEmit(t *testing.T) {
	p := newProcess(t, t.TempDir(), newUnreliable(t), nil)
	producer, err := p.e.ProducerBuilder()(nil, "client", nil)
	must(t, err)
	var got error
	producer.Emit(topicOut, "k", nil).Then(func(err error) { got = err })
	if !errors.Is(got, errGokaEmit) {
		t.Fatalf("Emit: %v", got)
	}
	got = nil
	producer.EmitWithHeaders(topicOut, "k", nil, nil).Then(func(err error) { got = err })
	if !errors.Is(got, errGokaEmit) {
		t.Fatalf("EmitWithHeaders: %v", got)
	}
	must(t, producer.Close())
	if p.u.sent() != 0 {
		t.Fatal("sent")
	}
	if _, err := p.e.StorageBuilder()("other-table", 0); err == nil {
		t.Fatal("a table that is not the group's was built")
	}
}

// TestClosePartitionsLeftOpen: Close gives up what goka has not closed, leaves nothing running and no folder locked. It
// may be called again.
func TestClosePartitionsLeftOpen(t *testing.T) {
	dir := t.TempDir()
	p := newProcess(t, dir, newUnreliable(t), nil)
	p.u.set(func() { p.u.held[topicOut] = true })
	must(t, p.handle(0, 3, oneKey))
	p.e.Close()
	p.e.Close()
	if err := p.lane.Begin(); !errors.Is(err, ErrClosed) {
		t.Fatalf("Begin: %v", err)
	}
	if p.marks() != 0 {
		t.Fatalf("marked %d", p.marks())
	}
	newProcess(t, dir, newUnreliable(t), nil)
}

// TestOpenFails: a partition whose folder cannot be opened leaves nothing behind, and goka closes it all the same.
func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	newProcess(t, dir, newUnreliable(t), nil)
	u := newUnreliable(t)
	opts := DefaultOptions()
	opts.Table, opts.Dir = topicTable, dir
	e := NewEngine(opts, u)
	defer e.Close()
	st, err := e.StorageBuilder()(topicTable, 0)
	must(t, err)
	if st.Open() == nil {
		t.Fatal("opened a folder that is in use")
	}
	must(t, st.Close())
	if _, err := e.Lane(0); err == nil {
		t.Fatal("a lane without a table")
	}
}

// TestOvertakenStops: an acknowledgement at an offset that is not the next tells that another instance has written; the
// engine ends, nothing more is marked, and recovery reads what the other one wrote.
func TestOvertakenStops(t *testing.T) {
	dir, u := t.TempDir(), newUnreliable(t)
	p := newProcess(t, dir, u, nil)
	must(t, p.handle(0, 1, oneKey))
	until(t, "marked", func() bool { return p.marks() == 1 })
	stranger := logged{"other", string(appendValue(nil, 7, &counter{1, 7}))}
	u.set(func() { u.log[topicTable] = append(u.log[topicTable], stranger) })
	must(t, p.handle(1, 1, oneKey))
	<-p.e.Ended()
	if !errors.Is(p.e.Err(), ErrOvertaken) || p.marks() != 1 {
		t.Fatalf("error %v, marked %d", p.e.Err(), p.marks())
	}
	must(t, p.table.Close())
	again := newUnreliable(t)
	again.log = u.log
	p = newProcess(t, dir, again, nil)
	must(t, p.handle(1, 1, oneKey)) // read again: its value was in the changelog
	until(t, "marked", func() bool { return p.marks() == 2 })
	must(t, p.table.Close())
	p.mustHold(map[string]counter{"k": {2, 1}, "other": {1, 7}})
}
