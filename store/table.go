package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lovoo/goka/storage"
	"github.com/syndtr/goleveldb/leveldb"
)

// ErrAhead: the local state has read further than the changelog reaches, so the two do not belong together.
var ErrAhead = errors.New("the local state is ahead of the changelog")

// errUnrecovered: goka says that the changelog is read, and it is not.
var errUnrecovered = errors.New("the changelog was not read to its end")

var errTableClosed = errors.New("the table is closed")

// noOffset is the stored offset of a table that has read nothing.
const noOffset = -1

// Table is a partition of a group's table: a goka storage on LevelDB that is written in atomic batches of values and
// changelog offset, and only with what the changelog holds. Reads see acknowledged values at once.
//
// Set merges: a value that has applied less than the stored one changes nothing. Recovery, standby and views go through
// Set, so all of them merge. The stored offset follows the log during recovery and standby, with gaps where the log was
// compacted; after that it follows the acknowledgements of this process's own writes, and only without a gap.
type Table struct {
	dir    string
	end    func() (int64, error) // end offset of the changelog partition; nil where nobody knows
	due    int64                 // the end when the table was opened, up to which recovery has to read
	flushD time.Duration
	fail   func(error)
	omit   omit
	open   func() (*leveldb.DB, error)
	// recovered is called by MarkRecovered, closing by Close before the last flush. Either may be nil.
	recovered func(*Table) error
	closing   func()

	// life keeps Close and the end of MarkRecovered apart: goka does not wait for a MarkRecovered that it has given up,
	// and a lane that starts on a closed table would never be ended.
	life   sync.Mutex
	closed bool

	db      *leveldb.DB
	stop    chan struct{}
	loop    sync.WaitGroup
	damaged atomic.Bool // LevelDB has found damage: Close empties the folder, and the next Open recovers

	mu       sync.RWMutex
	dirty    map[string][]byte // acknowledged or recovered, not yet handed to LevelDB; nil = deleted
	flushing map[string][]byte // handed to LevelDB, not yet there
	offset   int64             // of the last changelog record that dirty, flushing and LevelDB hold together
	moved    bool              // offset is not handed to LevelDB
	behind   map[string]struct{}
	held     int64 // the offset before the oldest record of behind

	flushMu  sync.Mutex
	storedAt [][]byte // keys of the offsets in LevelDB
}

// OpenTable returns a table in a folder of its own, still to be opened. end returns the end offset of the changelog
// partition and may be nil. A flush that fails is reported to fail; what it should have written is kept and stays
// readable.
func OpenTable(dir string, flushEvery time.Duration, end func() (int64, error), fail func(error)) *Table {
	return &Table{
		dir: dir, end: end, flushD: flushEvery, fail: fail, offset: noOffset,
		open:  func() (*leveldb.DB, error) { return openLevelDB(dir) },
		dirty: make(map[string][]byte), behind: make(map[string]struct{}), stop: make(chan struct{}),
	}
}

var _ storage.Storage = (*Table)(nil)

func (t *Table) flushLoop() {
	tick := time.NewTicker(t.flushD)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
			if err := t.Flush(); err != nil {
				t.fail(err)
				return
			}
		}
	}
}

// Flush writes what is known to be in the changelog, and the offset up to which it is, in one atomic batch.
func (t *Table) Flush() error {
	t.flushMu.Lock()
	defer t.flushMu.Unlock()
	t.mu.Lock()
	if len(t.dirty) == 0 && !t.moved {
		t.mu.Unlock()
		return nil
	}
	// Values and offset are taken under one lock: an offset never precedes its values.
	values, offset := t.dirty, t.durable()
	t.dirty, t.flushing, t.moved = make(map[string][]byte, len(values)), values, false
	t.mu.Unlock()

	batch, storedAt := t.batch(values, offset)
	err := t.db.Write(batch, nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flushing = nil
	if err != nil {
		for k, v := range values { // still not on disk: newer ones win
			if _, ok := t.dirty[k]; !ok {
				t.dirty[k] = v
			}
		}
		t.moved = true
		return fmt.Errorf("write state in %s: %w", t.dir, noteSpace(t.dir, t.note(err)))
	}
	t.storedAt = storedAt
	return nil
}

// batch returns what takes LevelDB to these values and this offset, and the keys of the offsets that it then holds.
func (t *Table) batch(values map[string][]byte, offset int64) (batch *leveldb.Batch, storedAt [][]byte) {
	batch = new(leveldb.Batch)
	var key []byte
	for k, v := range values {
		key = valueKey(key[:0], k)
		if v == nil {
			batch.Delete(key)
		} else {
			batch.Put(key, v)
		}
	}
	if offset == noOffset {
		return batch, t.storedAt
	}
	for _, k := range t.storedAt {
		batch.Delete(k)
	}
	k := offsetKey(offset)
	batch.Put(k, nil)
	return batch, [][]byte{k}
}

// durable returns the offset that may be stored: not behind a record that recovery has passed over for its old value,
// until the key is written again. If it were, and this process died first, the next one would not read that record and
// not know that it has to be mended. The caller holds t.mu.
func (t *Table) durable() int64 {
	if len(t.behind) > 0 && !t.omit.has(omitHold) {
		return t.held
	}
	return t.offset
}

// mended notes that the last changelog record of a key is its newest value. The caller holds t.mu.
func (t *Table) mended(key string) { delete(t.behind, key) }

// note remembers that LevelDB has found damage.
func (t *Table) note(err error) error {
	if isDamage(err) {
		t.damaged.Store(true)
	}
	return err
}

// Close waits for the lane's acknowledgements, writes what they brought and closes LevelDB. Closing twice is harmless.
func (t *Table) Close() error {
	t.life.Lock()
	defer t.life.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	if t.db == nil {
		return nil
	}
	if t.closing != nil {
		t.closing()
	}
	close(t.stop)
	t.loop.Wait()
	err := errors.Join(t.Flush(), t.db.Close())
	if t.damaged.Load() {
		err = errors.Join(err, os.RemoveAll(t.dir))
	}
	return err
}

// acked notes that the value of a key stands in the changelog at offset, written by this process.
func (t *Table) acked(key string, value []byte, offset int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if offset != t.offset+1 && !t.omit.has(omitContiguous) {
		return fmt.Errorf("offset %d acknowledged, %d expected: %w", offset, t.offset+1, ErrOvertaken)
	}
	t.dirty[key] = value
	t.offset, t.moved = offset, true
	t.mended(key)
	return nil
}

func (t *Table) get(key string) ([]byte, error) {
	t.mu.RLock()
	v, ok := t.dirty[key]
	if !ok {
		v, ok = t.flushing[key]
	}
	t.mu.RUnlock()
	if ok {
		return v, nil
	}
	// A value that left flushing since then is in LevelDB.
	v, err := t.db.Get(valueKey(nil, key), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil
	}
	return v, t.note(err)
}

// Has tells whether the key has a value.
func (t *Table) Has(key string) (bool, error) {
	v, err := t.get(key)
	return v != nil, err
}

// Get returns the value of a key, nil where there is none.
func (t *Table) Get(key string) ([]byte, error) { return t.get(key) }

// Set takes a value from the changelog, unless the stored one has applied more.
func (t *Table) Set(key string, value []byte) error {
	stored, err := t.get(key)
	if err != nil {
		return err
	}
	take, err := newer(stored, value)
	if err != nil {
		return fmt.Errorf("value of %q: %w", key, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !take && !t.omit.has(omitMerge) {
		if len(t.behind) == 0 {
			t.held = t.offset
		}
		t.behind[key] = struct{}{}
		return nil
	}
	t.mended(key)
	t.dirty[key] = slices.Clone(value)
	return nil
}

// Delete removes a key. Gantry writes no tombstones; one in the changelog is somebody's decision.
func (t *Table) Delete(key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty[key] = nil
	t.mended(key)
	return nil
}

// GetOffset returns the offset of the last changelog record that the table holds.
func (t *Table) GetOffset(def int64) (int64, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.offset == noOffset {
		return def, nil
	}
	return t.offset, nil
}

// SetOffset notes that everything of the changelog up to offset was handed to Set.
func (t *Table) SetOffset(offset int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offset, t.moved = offset, true
	return nil
}

// MarkRecovered ends recovery. goka takes a closed consumer for a finished one, so it is proved here that everything was
// read that the changelog held when the table was opened. What was appended since is not asked for: a paused instance
// that writes meanwhile would make each recovery fail for as long as it writes. Its records lie behind what is stored, so
// the first one that this process writes is not contiguous (ErrOvertaken), and where it writes none, the next recovery
// begins with them.
func (t *Table) MarkRecovered() error {
	t.mu.RLock()
	have := t.offset
	t.mu.RUnlock()
	if have < t.due-1 {
		return fmt.Errorf("recovery of %s stopped at offset %d of %d: %w", t.dir, have, t.due-1, errUnrecovered)
	}
	t.life.Lock()
	defer t.life.Unlock()
	if t.closed {
		return fmt.Errorf("recovery of %s: %w", t.dir, errTableClosed)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if t.recovered != nil {
		return t.recovered(t)
	}
	return nil
}

// overtaken returns the keys whose last changelog record is an older value than the stored one, in order: what a process
// writes is a function of what it has read.
func (t *Table) overtaken() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.behind))
}
