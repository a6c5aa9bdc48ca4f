package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/lovoo/goka/storage"
	"github.com/syndtr/goleveldb/leveldb"
	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// ErrAhead: the local state has read further than the changelog reaches, so the two do not belong together.
var ErrAhead = errors.New("the local state is ahead of the changelog")

// noOffset is the stored offset of a table that has read nothing.
const noOffset = -1

// In LevelDB a value's key is its own behind a byte, so that no key of a user can meet the offset's.
const prefixValue = 'v'

var offsetKey = []byte{'o'}

// Table is a partition of a group's table: a goka storage on LevelDB that is written in atomic batches of values and
// changelog offset, and only with what the changelog holds. Reads see acknowledged values at once.
//
// Set merges: a value that has applied less than the stored one changes nothing. Recovery, standby and views go through
// Set, so all of them merge. The stored offset follows the log during recovery and standby, with gaps where the log was
// compacted; after that it follows the acknowledgements of this process's own writes, and only without a gap.
type Table struct {
	dir    string
	end    func() (int64, error) // end offset of the changelog partition; nil where nobody knows
	flushD time.Duration
	fail   func(error)
	omit   omit
	open   func() (*leveldb.DB, error)
	// recovered is called by MarkRecovered, closing by Close before the last flush. Either may be nil.
	recovered func(*Table) error
	closing   func()

	db   *leveldb.DB
	stop chan struct{}
	wg   sync.WaitGroup

	mu       sync.RWMutex
	dirty    map[string][]byte // acknowledged or recovered, not yet handed to LevelDB; nil = deleted
	flushing map[string][]byte // handed to LevelDB, not yet there
	offset   int64
	moved    bool // offset differs from the stored one
	live     bool // recovered
	closed   bool
	behind   map[string]struct{} // keys whose last changelog record is an older value than the stored one

	flushMu sync.Mutex
}

// OpenTable returns a table in a folder of its own. end may be nil. A flush that fails is reported to fail.
func OpenTable(dir string, flushEvery time.Duration, end func() (int64, error), fail func(error)) *Table {
	return &Table{
		dir: dir, end: end, flushD: flushEvery, fail: fail, offset: noOffset,
		open:  func() (*leveldb.DB, error) { return openLevelDB(dir) },
		dirty: make(map[string][]byte), behind: make(map[string]struct{}), stop: make(chan struct{}),
	}
}

// openLevelDB opens the database of a partition. State is a copy of the changelog, so a folder that LevelDB finds
// damaged is emptied, to be recovered.
func openLevelDB(dir string) (*leveldb.DB, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	o := &opt.Options{
		WriteBuffer:            4 << 20,
		BlockCacheCapacity:     4 << 20,
		OpenFilesCacheCapacity: 64,
		Compression:            opt.SnappyCompression,
	}
	db, err := leveldb.OpenFile(dir, o)
	if lerrors.IsCorrupted(err) {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("damaged state in %s: %w", dir, err)
		}
		db, err = leveldb.OpenFile(dir, o)
	}
	if err != nil {
		return nil, fmt.Errorf("open state in %s (is another process using it?): %w", dir, err)
	}
	return db, nil
}

var _ storage.Storage = (*Table)(nil)

// Open opens LevelDB and reads the stored offset.
func (t *Table) Open() error {
	db, err := t.open()
	if err != nil {
		return err
	}
	b, err := db.Get(offsetKey, nil)
	switch {
	case err == nil && len(b) == 8:
		t.offset = int64(binary.BigEndian.Uint64(b))
	case err == nil || errors.Is(err, leveldb.ErrNotFound):
	default:
		_ = db.Close()
		return fmt.Errorf("read the offset of the state in %s: %w", t.dir, err)
	}
	t.db = db
	t.wg.Add(1)
	go t.flushLoop()
	return nil
}

func (t *Table) flushLoop() {
	defer t.wg.Done()
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
	values, offset := t.dirty, t.offset
	t.dirty, t.flushing, t.moved = make(map[string][]byte, len(values)), values, false
	t.mu.Unlock()

	batch := new(leveldb.Batch)
	var key []byte
	for k, v := range values {
		key = append(append(key[:0], prefixValue), k...)
		if v == nil {
			batch.Delete(key)
		} else {
			batch.Put(key, v)
		}
	}
	if offset != noOffset {
		batch.Put(offsetKey, binary.BigEndian.AppendUint64(nil, uint64(offset)))
	}
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
		return fmt.Errorf("write state in %s: %w", t.dir, err)
	}
	return nil
}

// Close waits for the lane's acknowledgements, writes what they brought and closes LevelDB. Closing twice is harmless.
func (t *Table) Close() error {
	t.mu.Lock()
	if t.closed || t.db == nil {
		t.closed = true
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	if t.closing != nil {
		t.closing()
	}
	close(t.stop)
	t.wg.Wait()
	return errors.Join(t.Flush(), t.db.Close())
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
	v, err := t.db.Get(append([]byte{prefixValue}, key...), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil
	}
	return v, err
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
		t.behind[key] = struct{}{}
		return nil
	}
	delete(t.behind, key)
	t.dirty[key] = append([]byte(nil), value...)
	return nil
}

// Delete removes a key. Gantry writes no tombstones; one in the changelog is somebody's decision.
func (t *Table) Delete(key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty[key] = nil
	delete(t.behind, key)
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

// MarkRecovered ends recovery. goka takes a closed consumer for a finished one, so the end is proved here: the last
// record of the changelog has been read.
func (t *Table) MarkRecovered() error {
	if t.end != nil {
		end, err := t.end()
		if err != nil {
			return fmt.Errorf("end of the changelog: %w", err)
		}
		have, _ := t.GetOffset(noOffset)
		switch {
		case have >= end:
			return fmt.Errorf("state in %s holds changelog offset %d, the changelog ends at %d: %w; "+
				"if its topic was re-created, delete the folder", t.dir, have, end, ErrAhead)
		case have < end-1:
			return fmt.Errorf("recovery of %s ended at offset %d of %d", t.dir, have, end-1)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t.mu.Lock()
	t.live = true
	t.mu.Unlock()
	if t.recovered != nil {
		return t.recovered(t)
	}
	return nil
}

// overtaken returns the keys whose last changelog record is an older value than the stored one.
func (t *Table) overtaken() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	keys := make([]string, 0, len(t.behind))
	for k := range t.behind {
		keys = append(keys, k)
	}
	return keys
}

// Iterator iterates over all values, by key.
func (t *Table) Iterator() (storage.Iterator, error) { return t.IteratorWithRange(nil, nil) }

// IteratorWithRange iterates over the keys from start (inclusive) to limit (exclusive); nil is unbounded.
func (t *Table) IteratorWithRange(start, limit []byte) (storage.Iterator, error) {
	if err := t.Flush(); err != nil {
		return nil, err
	}
	r := &util.Range{Start: append([]byte{prefixValue}, start...), Limit: []byte{prefixValue + 1}}
	if limit != nil {
		r.Limit = append([]byte{prefixValue}, limit...)
	}
	snap, err := t.db.GetSnapshot()
	if err != nil {
		return nil, err
	}
	return &iterator{snap: snap, rng: r}, nil
}

// iterator follows goka's contract: Next moves to the next pair, Seek to just before the first pair at or behind a key.
type iterator struct {
	snap *leveldb.Snapshot
	rng  *util.Range
	it   interface {
		Next() bool
		Key() []byte
		Value() []byte
		Error() error
		Release()
	}
}

func (i *iterator) open() {
	if i.it == nil {
		i.it = i.snap.NewIterator(i.rng, &opt.ReadOptions{DontFillCache: true})
	}
}

func (i *iterator) Next() bool {
	i.open()
	return i.it.Next()
}

func (i *iterator) Err() error {
	if i.it == nil {
		return nil
	}
	return i.it.Error()
}

func (i *iterator) Key() []byte {
	i.open()
	if k := i.it.Key(); len(k) > 0 {
		return k[1:]
	}
	return nil
}

func (i *iterator) Value() ([]byte, error) {
	i.open()
	return i.it.Value(), i.it.Error()
}

func (i *iterator) Seek(key []byte) bool {
	if i.it != nil {
		i.it.Release()
	}
	from := append([]byte{prefixValue}, key...)
	if string(from) < string(i.rng.Start) {
		from = i.rng.Start
	}
	i.it = i.snap.NewIterator(&util.Range{Start: from, Limit: i.rng.Limit}, &opt.ReadOptions{DontFillCache: true})
	probe := i.snap.NewIterator(&util.Range{Start: from, Limit: i.rng.Limit}, nil)
	defer probe.Release()
	return probe.Next()
}

func (i *iterator) Release() {
	if i.it != nil {
		i.it.Release()
	}
	i.snap.Release()
}

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
		end = func() (int64, error) { return e.opts.TableEnd(partition) }
	}
	dir := filepath.Join(e.opts.Dir, strconv.Itoa(int(partition)))
	t := OpenTable(dir, e.opts.FlushInterval, end, e.Fail)
	t.omit = e.omit
	if e.opts.openDB != nil {
		t.open = func() (*leveldb.DB, error) { return e.opts.openDB(partition) }
	}
	t.recovered = func(t *Table) error { return e.startLane(partition, t) }
	t.closing = func() { e.stopLane(partition, t) }
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
		l.shut()
	}
}
