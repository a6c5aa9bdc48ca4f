package store

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// unreliable is a transport to a log in memory. It acknowledges on a goroutine of its own, in order within a topic, and
// does to single topics what brokers do: it holds acknowledgements, fails records, blocks Send. A record that changes
// between Send and its acknowledgement is reported: the log would hold something else than what was sent.
type unreliable struct {
	t *testing.T

	mu     sync.Mutex
	moved  *sync.Cond
	held   map[string]bool
	fails  map[string]error // the next record of the topic
	full   map[string]bool  // Send of the topic blocks
	queue  []sending
	log    map[string][]logged
	sends  int
	stuck  int // Sends that are blocked
	closed bool
	wg     sync.WaitGroup
}

type sending struct {
	rec   *kgo.Record
	key   []byte
	value []byte
	acked func(*kgo.Record, error)
}

func newUnreliable(t *testing.T) *unreliable {
	u := &unreliable{
		t: t, held: make(map[string]bool), fails: make(map[string]error), full: make(map[string]bool),
		log: make(map[string][]logged),
	}
	u.moved = sync.NewCond(&u.mu)
	u.wg.Go(u.run)
	return u
}

var errGone = errors.New("the transport is closed")

func (u *unreliable) Send(r *kgo.Record, acked func(*kgo.Record, error)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sends++
	u.stuck++
	for u.full[r.Topic] && !u.closed {
		u.moved.Wait()
	}
	u.stuck--
	u.queue = append(u.queue, sending{r, bytes.Clone(r.Key), bytes.Clone(r.Value), acked})
	u.moved.Broadcast()
}

func (u *unreliable) Close() {
	u.mu.Lock()
	if u.closed {
		u.t.Error("transport closed twice")
	}
	u.closed = true
	u.moved.Broadcast()
	u.mu.Unlock()
	u.wg.Wait()
}

// run delivers the oldest record whose topic is not held.
func (u *unreliable) run() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		at := 0
		for at < len(u.queue) && u.held[u.queue[at].rec.Topic] && !u.closed {
			at++
		}
		if at == len(u.queue) {
			if u.closed && u.stuck == 0 {
				return
			}
			u.moved.Wait()
			continue
		}
		s := u.queue[at]
		u.queue = append(u.queue[:at:at], u.queue[at+1:]...)
		topic := s.rec.Topic
		if !bytes.Equal(s.rec.Key, s.key) || !bytes.Equal(s.rec.Value, s.value) {
			u.t.Errorf("%s: record changed in flight: %q %q became %q %q", topic, s.key, s.value, s.rec.Key, s.rec.Value)
		}
		err := u.fails[topic]
		delete(u.fails, topic)
		if u.closed {
			err = errGone
		}
		if err == nil {
			s.rec.Offset = int64(len(u.log[topic]))
			u.log[topic] = append(u.log[topic], logged{string(s.key), string(s.value)})
		}
		u.mu.Unlock()
		s.acked(s.rec, err)
		u.mu.Lock()
	}
}

// set changes what the transport does.
func (u *unreliable) set(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
	u.moved.Broadcast()
}

func (u *unreliable) logOf(topic string) []logged {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.log[topic]
}

func (u *unreliable) sent() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sends
}

// until lets other goroutines run until ok. What never becomes so is shown by the timeout of the test binary.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	t.Log("until", what)
	for !ok() {
		runtime.Gosched()
	}
}

// process is an engine with one open partition, and what it has marked.
type process struct {
	t      *testing.T
	u      *unreliable
	e      *Engine
	table  *Table
	lane   *Lane
	mu     sync.Mutex
	marked int64
}

func newProcess(t *testing.T, dir string, u *unreliable, change func(*Options)) *process {
	t.Helper()
	p := &process{t: t, u: u}
	opts := DefaultOptions()
	opts.Group, opts.Table, opts.Dir = "group", topicTable, dir
	opts.New = func() State { return new(counter) }
	opts.Decode = decodeCounter
	opts.Linger, opts.FlushInterval = 500_000, 500_000 // rounds and flushes run all the time
	opts.TableEnd = func(int32) (int64, error) { return int64(len(u.logOf(topicTable))), nil }
	opts.Mark = func(_ int, _ int32, next int64) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if next <= p.marked {
			t.Errorf("marked %d after %d", next, p.marked)
		}
		p.marked = next
	}
	if change != nil {
		change(&opts)
	}
	p.e = NewEngine(opts, u)
	st, err := p.e.StorageBuilder()(topicTable, 0)
	must(t, err)
	p.table = st.(*Table)
	must(t, p.table.Open())
	from := offsetOf(t, p.table)
	for o := from + 1; o < int64(len(u.logOf(topicTable))); o++ {
		r := u.logOf(topicTable)[o]
		must(t, p.table.Set(r.key, []byte(r.value)))
		must(t, p.table.SetOffset(o))
	}
	must(t, p.table.MarkRecovered())
	p.lane, err = p.e.Lane(0)
	must(t, err)
	t.Cleanup(p.e.Close)
	return p
}

func (p *process) marks() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.marked
}

// handle counts records offset..offset+n-1, keyed by key(offset).
func (p *process) handle(offset, n int64, key func(offset int64) string) error {
	if err := p.lane.Begin(); err != nil {
		return err
	}
	defer p.lane.End()
	for o := offset; o < offset+n; o++ {
		c, err := p.lane.Cell(key(o))
		if err != nil {
			return err
		}
		if o <= c.Applied() {
			continue
		}
		s := c.State.(*counter)
		s.seq, s.sum = s.seq+1, s.sum+o
		out := p.lane.Output(topicOut, 0)
		out.SetKeyString(c.Key())
		b := fmt.Appendf(out.Buffer(), "%d %d", s.seq, s.sum)
		out.Own(b)
		out.Value = b
		p.lane.Emit(out)
		p.lane.Applied(c, o)
	}
	p.lane.Handled(0, offset+n-1)
	return nil
}
