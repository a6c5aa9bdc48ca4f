package store

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Cell is a key of the table with its newest state, held in memory. It may be touched only between Begin and End of its
// lane.
type Cell struct {
	State State

	key     string
	applied int64
	listed  *round // the open round that has it in its list, nil if none has
	pins    int    // unfinished rounds that carry a value of it; guarded by the lane's q
	recent  bool   // used since the eviction hand last passed
}

// Key returns the key. Once Applied was called it may be kept; before, it is the caller's own.
func (c *Cell) Key() string { return c.key }

// Applied returns the offset of the last input record that changed the state, -1 if none has.
func (c *Cell) Applied() int64 { return c.applied }

// round is a run of input records of one partition between two closings, with everything that they wrote.
type round struct {
	lane  *Lane
	outs  atomic.Int64 // unacknowledged outputs, plus one token while the round is open
	cells []*Cell      // written in it, each once
	recs  []*record    // their values, from the closing on
	next  []int64      // by input: the offset behind the last record handled, from the closing on
	pend  atomic.Int64 // unacknowledged table records, plus one token until all are sent
	began int64        // when the first record came into it, Unix nanoseconds, from the closing on
	done  bool         // complete; guarded by the lane's q
}

func newRound(l *Lane, cells int) *round {
	r := &round{lane: l, cells: make([]*Cell, 0, cells)}
	r.outs.Store(1)
	return r
}

// queue orders the closed rounds of a lane. Its lock is the only one that an acknowledgement takes: a blocked Send may
// hold the lane's lock, and its end needs the acknowledgement.
type queue struct {
	mu       sync.Mutex
	waiting  []*round      // closed, outputs in flight, oldest first
	released []*round      // outputs acknowledged, table records to be sent
	order    []*round      // closed and not complete, oldest first
	drained  chan struct{} // closed when order is empty; nil while nobody waits for it
	ended    bool          // the lane is given up: rounds that complete later mark nothing
	wake     chan struct{} // tells the sender of released rounds
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// close takes the newest value of each cell written in the open round, and opens the next. The caller holds l.mu.
// It reports whether there was anything to close.
func (l *Lane) close() bool {
	r := l.cur
	moved := false
	for i, next := range l.next {
		moved = moved || next != l.closed[i]
	}
	if !moved && len(r.cells) == 0 && r.outs.Load() == 1 {
		return false
	}
	copy(l.closed, l.next)
	r.next = slices.Clone(l.next)

	// One buffer holds all values of the round; it lives until the last of them is in LevelDB.
	buf := l.encodeBuf[:0]
	ends := l.encodeEnds[:0]
	for _, c := range r.cells {
		buf = appendValue(buf, c.applied, c.State)
		ends = append(ends, len(buf))
		c.listed = nil
	}
	l.encodeBuf, l.encodeEnds = buf, ends
	values := slices.Clone(buf)
	r.recs = make([]*record, 0, len(r.cells))
	start := 0
	for i, c := range r.cells {
		rec := l.e.newRecord(l.e.opts.Table, l.part)
		rec.SetKeyString(c.key)
		rec.Value = values[start:ends[i]:ends[i]]
		rec.round, rec.cell = r, c
		r.recs = append(r.recs, rec)
		start = ends[i]
	}

	l.cur = newRound(l, len(r.cells)) // the next one is likely as large
	q := l.q
	q.mu.Lock()
	for _, c := range r.cells {
		c.pins++
	}
	r.began = l.began.Swap(0)
	q.waiting = append(q.waiting, r)
	q.order = append(q.order, r)
	q.mu.Unlock()
	r.outputAcked() // the token of the open round
	return true
}

// outputAcked counts one output of the round as acknowledged, and releases the rounds at the head of the queue that
// have none left. Only the head: an output of an earlier round, still in flight, may carry what a later value builds
// on.
func (r *round) outputAcked() {
	if r.outs.Add(-1) != 0 && !r.lane.e.omit.has(omitBarrier) {
		return
	}
	q := r.lane.q
	q.mu.Lock()
	n := 0
	for len(q.waiting) > 0 && (q.waiting[0].outs.Load() <= 0 || r.lane.e.omit.has(omitBarrier)) {
		head := q.waiting[0]
		q.waiting = q.waiting[1:]
		head.pend.Store(int64(len(head.recs)) + 1)
		q.released = append(q.released, head)
		n++
	}
	q.mu.Unlock()
	if n > 0 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// sendReleased sends the table records of released rounds until the lane ends. It may block on the transport, so it
// runs on a goroutine of the lane's own and never on one that delivers acknowledgements.
func (l *Lane) sendReleased() {
	for {
		q := l.q
		q.mu.Lock()
		if len(q.released) == 0 {
			q.mu.Unlock()
			return
		}
		r := q.released[0]
		q.released = q.released[1:]
		q.mu.Unlock()
		for _, rec := range r.recs {
			if l.hasEnded() {
				return
			}
			l.e.send(rec)
		}
		r.recs = nil
		r.tableAcked() // the token
	}
}

// tableAcked counts one table record of the round as acknowledged. Rounds without table records complete at once, maybe
// before an earlier one, so offsets are marked in order and not as rounds complete.
func (r *round) tableAcked() {
	if r.pend.Add(-1) != 0 {
		return
	}
	l := r.lane
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	r.done = true
	for _, c := range r.cells {
		c.pins--
	}
	r.cells = nil
	if l.e.omit.has(omitOrder) {
		l.markDone(r)
	}
	var last *round
	for len(q.order) > 0 && q.order[0].done {
		last = q.order[0]
		q.order = q.order[1:]
	}
	if last != nil {
		l.markDone(last)
	}
	if len(q.order) == 0 && q.drained != nil {
		close(q.drained)
		q.drained = nil
	}
}

// markDone tells the group how far its inputs are done. Called with q locked, so that marks leave in order, and none
// after the lane's end: it would meet a session in which the partition may be another member's.
func (l *Lane) markDone(r *round) {
	if l.q.ended {
		return
	}
	for i, next := range r.next {
		if next > l.marked[i] {
			l.marked[i] = next
			l.e.opts.Mark(i, l.part, next)
		}
	}
}
