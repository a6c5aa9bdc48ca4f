package store

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/lovoo/goka/storage"
	"github.com/syndtr/goleveldb/leveldb"
)

// StorageBuilder gives goka the tables of the engine's partitions. A partition's lane begins when its table is
// recovered, and ends when goka closes the table: with everything that was done acknowledged, flushed and marked.
func (e *Engine) StorageBuilder() storage.Builder {
	return func(topic string, partition int32) (storage.Storage, error) {
		if topic != e.opts.Table {
			return nil, fmt.Errorf("no table %s in the group %s", topic, e.opts.Group)
		}
		return e.openTable(partition), nil
	}
}

func (e *Engine) openTable(partition int32) *Table {
	var end func() (int64, error)
	if e.opts.TableEnd != nil {
		end = func() (int64, error) {
			n, err := e.opts.TableEnd(partition)
			if err != nil {
				e.Fail(fmt.Errorf("end of partition %d of %s: %w", partition, e.opts.Table, err)) // goka makes a text of it
			}
			return n, err
		}
	}
	t := e.newTable(partition, end, e.Fail)
	t.recovered = func(t *Table) error { return e.startLane(partition, t) }
	t.closing = func() { e.stopLane(partition, t) }
	return t
}

// newTable returns the table of a partition, in its folder, without a lane.
func (e *Engine) newTable(partition int32, end func() (int64, error), fail func(error)) *Table {
	dir := filepath.Join(e.opts.Dir, strconv.Itoa(int(partition)))
	t := OpenTable(dir, e.opts.FlushInterval, end, fail)
	t.omit = e.omit
	if e.opts.openDB != nil {
		t.open = func() (*leveldb.DB, error) { return e.opts.openDB(partition) }
	}
	open := t.open
	t.open = func() (*leveldb.DB, error) {
		db, err := open()
		if err != nil && !isDamage(err) {
			fail(noteSpace(dir, err)) // goka makes a text of it
		}
		return db, err
	}
	return t
}

func (e *Engine) startLane(partition int32, t *Table) error {
	l := newLane(e, partition, t)
	keys := t.overtaken()
	if len(keys) > 0 {
		e.log.Warn("a paused instance had overwritten newer values in the changelog; they are written again",
			"partition", partition, "keys", len(keys))
		e.metrics.rewritten.Add(float64(len(keys)))
	}
	for _, k := range keys {
		if e.omit.has(omitRewrite) {
			break
		}
		if err := l.rewrite(k); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.lanes[partition] = l
	e.mu.Unlock()
	if !e.opts.manual {
		l.start()
	}
	return nil
}

func (e *Engine) stopLane(partition int32, t *Table) {
	e.mu.Lock()
	l := e.lanes[partition]
	if l != nil && l.table == t {
		delete(e.lanes, partition)
	}
	e.mu.Unlock()
	if l == nil || l.table != t {
		return
	}
	if !e.opts.manual {
		if err := l.drain(e.opts.DrainTimeout); err != nil {
			e.log.Warn("stopped before everything was acknowledged", "error", err)
		}
	}
	l.shut()
}
