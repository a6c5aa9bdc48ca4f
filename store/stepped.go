package store

import (
	"fmt"
	"maps"
	"slices"

	"github.com/syndtr/goleveldb/leveldb"
)

// Stepped is an engine whose steps somebody else takes, so that a simulation chooses their order: no goroutine closes
// rounds, sends what they release, or flushes. All else is the engine's own code.
//
// A partition is opened as goka opens it: Table, Open, Set and SetOffset for what the changelog holds, MarkRecovered.
// From then on Lane returns its lane. Close of the table gives it back, as at a clean end; Abandon is kill -9.
type Stepped struct{ *Engine }

// NewStepped returns an engine whose tables are in the databases that openDB gives, which is closed by Close and not by
// Abandon. The transport's Close must not wait for anything. Without takes out one of Mechanisms, "" none.
func NewStepped(opts Options, t Transport, openDB func(int32) (*leveldb.DB, error), without string) (*Stepped, error) {
	opts.manual, opts.openDB = true, openDB
	s := &Stepped{NewEngine(opts, t)}
	if without != "" {
		m, ok := mechanisms[without]
		if !ok {
			return nil, fmt.Errorf("the engine has no mechanism %q: it has %q", without, Mechanisms())
		}
		s.omit = m
	}
	return s, nil
}

// Mechanisms names what the engine's guarantees rest on. A simulation that takes one out must see a guarantee broken.
func Mechanisms() []string { return slices.Sorted(maps.Keys(mechanisms)) }

var mechanisms = map[string]omit{
	"barrier":                     omitBarrier,
	"contiguous changelog offset": omitContiguous,
	"hold of the stored offset":   omitHold,
	"merge by applied":            omitMerge,
	"ordered commit":              omitOrder,
	"rewrite of overwritten keys": omitRewrite,
	"stop at the first error":     omitStop,
}

// Table returns the table of a partition, still to be opened.
func (s *Stepped) Table(partition int32) *Table { return s.openTable(partition) }

// CloseRound closes the open round of a partition and drops cells that were not used for a while, as each linger does.
// It reports whether there was anything to close.
func (s *Stepped) CloseRound(partition int32) (bool, error) {
	l, err := s.Lane(partition)
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	closed := l.close()
	l.evict()
	return closed, nil
}

// SendReleased sends the table records of the rounds whose outputs are acknowledged.
func (s *Stepped) SendReleased(partition int32) error {
	l, err := s.Lane(partition)
	if err == nil {
		l.sendReleased()
	}
	return err
}

// Abandon ends a table as the end of its process does: what is in LevelDB stays, and nothing more is written.
func (t *Table) Abandon() {
	t.life.Lock()
	defer t.life.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	close(t.stop)
	t.loop.Wait()
}
