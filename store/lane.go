package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Lane is a partition of a group while this process owns it: its table in memory, its open round, its queue of closed
// ones. A callback works between Begin and End, which hold the lane's lock, so that a round never splits a batch that
// was handed to End as a whole.
type Lane struct {
	e     *Engine
	part  int32
	table *Table

	mu     sync.Mutex
	cells  map[string]*Cell
	hand   []*Cell // the cells in insertion order, for eviction
	cur    *round
	next   []int64 // by input: the offset behind the last record handled
	closed []int64 // the same at the last closing

	began atomic.Int64 // when the open round's first record came, Unix nanoseconds; 0 while it is empty

	encodeBuf  []byte
	encodeEnds []int

	q      *queue
	marked []int64 // by input; guarded by q.mu

	stop   chan struct{}
	ticker sync.WaitGroup
}

func newLane(e *Engine, part int32, t *Table) *Lane {
	l := &Lane{
		e: e, part: part, table: t,
		cells:  make(map[string]*Cell),
		next:   make([]int64, e.opts.Inputs),
		closed: make([]int64, e.opts.Inputs),
		marked: make([]int64, e.opts.Inputs),
		q:      newQueue(),
		stop:   make(chan struct{}),
	}
	l.cur = newRound(l, 0)
	return l
}

// start runs the lane's two goroutines: one closes rounds, one sends what they release.
func (l *Lane) start() {
	l.ticker.Go(func() {
		tick := time.NewTicker(l.e.opts.Linger)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				l.mu.Lock()
				l.close()
				l.evict()
				l.mu.Unlock()
			}
		}
	})
	l.e.work.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			case <-l.q.wake:
				l.sendReleased()
			}
		}
	})
}

// Begin locks the lane for a callback. It fails once the engine has stopped; the callback then must not go on.
func (l *Lane) Begin() error {
	l.mu.Lock()
	if err := l.e.Err(); err != nil {
		l.mu.Unlock()
		return err
	}
	return nil
}

// End unlocks the lane.
func (l *Lane) End() { l.mu.Unlock() }

// Cell returns the cell of a key, good until End. A key that the table does not hold gets a cell with a fresh state,
// which is kept only if Applied is called on it; until then a second call returns another one, so hold one at a time.
// The key may alias a buffer that lives until Applied or End.
func (l *Lane) Cell(key string) (*Cell, error) {
	if c := l.cells[key]; c != nil {
		c.recent = true
		return c, nil
	}
	value, err := l.table.get(key)
	if err != nil {
		return nil, fmt.Errorf("read %q of partition %d: %w", key, l.part, err)
	}
	if value == nil {
		return &Cell{State: l.e.opts.New(), key: key, applied: notApplied}, nil
	}
	applied, enc, err := SplitValue(value)
	if err != nil {
		return nil, fmt.Errorf("value of %q in partition %d: %w", key, l.part, err)
	}
	state, err := l.e.opts.Decode(enc)
	if err != nil {
		return nil, fmt.Errorf("value of %q in partition %d: %w", key, l.part, err)
	}
	c := &Cell{State: state, key: strings.Clone(key), applied: applied}
	l.keep(c)
	return c, nil
}

func (l *Lane) keep(c *Cell) {
	c.recent = true
	l.cells[c.key] = c
	l.hand = append(l.hand, c)
}

// Applied notes that the record at offset has changed the cell's state. The state leaves for the changelog when the
// round closes.
func (l *Lane) Applied(c *Cell, offset int64) {
	if c.applied == notApplied && l.cells[c.key] == nil {
		c.key = strings.Clone(c.key)
		l.keep(c)
	}
	c.applied = offset
	l.begun()
	if c.listed != l.cur {
		c.listed = l.cur
		l.cur.cells = append(l.cur.cells, c)
	}
}

// rewrite lists a cell again although no record has changed it, so that its value is written to the changelog once
// more.
func (l *Lane) rewrite(key string) error {
	c, err := l.Cell(key)
	if err == nil && c.applied != notApplied {
		l.Applied(c, c.applied)
	}
	return err
}

// Output returns a record to fill for Emit: key, value and headers, which it keeps for reuse after the
// acknowledgement.
func (l *Lane) Output(topic string, partition int32) *Output {
	return l.e.newRecord(topic, partition)
}

// RecordBytesMax is the size of the largest record that Emit takes.
func (l *Lane) RecordBytesMax() int { return l.e.opts.RecordBytesMax }

// Emit sends an output of the open round. Once the engine has stopped it sends nothing; Begin reports it.
func (l *Lane) Emit(o *Output) {
	l.begun()
	o.round = l.cur
	l.cur.outs.Add(1)
	l.e.send(o)
}

// Handled notes that everything of the input up to and including offset has been handled.
func (l *Lane) Handled(input int, offset int64) {
	if offset+1 > l.next[input] {
		l.begun()
		l.next[input] = offset + 1
	}
}

// evict drops cells that were not used for a while once there are too many: those in no unfinished round, which the
// table can give back. The caller holds l.mu.
func (l *Lane) evict() {
	if len(l.cells) <= l.e.opts.CellsMax {
		return
	}
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	kept := l.hand[:0]
	for _, c := range l.hand {
		if len(l.cells) > l.e.opts.CellsMax*9/10 && !c.recent && c.listed == nil && c.pins == 0 {
			delete(l.cells, c.key)
			continue
		}
		c.recent = false
		kept = append(kept, c)
	}
	clear(l.hand[len(kept):])
	l.hand = kept
}

var errDrain = errors.New("not everything was acknowledged in time; it will be read again")

// drain closes the open round and waits until every round is complete, so that what is done gets committed. It gives up
// after the timeout or when the engine stops: nothing is lost then, the records are read again.
func (l *Lane) drain(timeout time.Duration) error {
	l.mu.Lock()
	l.close()
	l.mu.Unlock()

	l.q.mu.Lock()
	if len(l.q.order) == 0 {
		l.q.mu.Unlock()
		return nil
	}
	drained := make(chan struct{})
	l.q.drained = drained
	l.q.mu.Unlock()

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-drained:
		return nil
	case <-l.e.ended:
		return l.e.Err()
	case <-timer.C:
		return fmt.Errorf("partition %d: %w", l.part, errDrain)
	}
}

// shut ends the lane. It does not wait for its sender, which may be blocked on a transport that is stuck, while goka
// waits here before it gives other partitions back: the engine's Close waits for it, once the transport is closed.
func (l *Lane) shut() {
	l.q.mu.Lock()
	l.q.ended = true
	l.q.mu.Unlock()
	close(l.stop)
	l.ticker.Wait()
}

func (l *Lane) hasEnded() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}
