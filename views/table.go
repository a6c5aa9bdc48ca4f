package views

import (
	"fmt"
	"sync"

	"github.com/lovoo/goka/storage"

	"gantry/store"
)

// tableView is the storage of a view partition: it hands each newer value on and remembers only how much each key has
// applied, and how far the log was read. goka reads no values through it.
type tableView struct {
	partition int32
	update    func(key string, state []byte) error // state is nil where the key was deleted

	mu      sync.Mutex
	applied map[string]int64
	offset  int64
	read    bool
}

var _ storage.Storage = (*tableView)(nil)

func newTableView(partition int32, update func(key string, state []byte) error) *tableView {
	return &tableView{partition: partition, update: update, applied: make(map[string]int64)}
}

func (v *tableView) Open() error  { return nil }
func (v *tableView) Close() error { return nil }

// Set takes a value, unless one that has applied more is held.
func (v *tableView) Set(key string, value []byte) error {
	applied, state, err := store.SplitValue(value)
	if err != nil {
		return fmt.Errorf("value of %q in partition %d: %w", key, v.partition, err)
	}
	v.mu.Lock()
	have, ok := v.applied[key]
	if ok && applied < have {
		v.mu.Unlock()
		return nil
	}
	v.applied[key] = applied
	v.mu.Unlock()
	return v.update(key, state)
}

func (v *tableView) Delete(key string) error {
	v.mu.Lock()
	delete(v.applied, key)
	v.mu.Unlock()
	return v.update(key, nil)
}

func (v *tableView) GetOffset(def int64) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.read {
		return def, nil
	}
	return v.offset, nil
}

func (v *tableView) SetOffset(offset int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.offset, v.read = offset, true
	return nil
}

// next returns the next offset that the view will read.
func (v *tableView) next() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.read {
		return 0
	}
	return v.offset + 1
}

func (v *tableView) MarkRecovered() error { return nil }

// Has, Get and the iterators are part of goka's interface; the directory answers, not the storage.
func (v *tableView) Has(key string) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.applied[key]
	return ok, nil
}

func (v *tableView) Get(string) ([]byte, error) { return nil, nil }

func (v *tableView) Iterator() (storage.Iterator, error) { return storage.NewMultiIterator(nil), nil }

func (v *tableView) IteratorWithRange(_, _ []byte) (storage.Iterator, error) {
	return storage.NewMultiIterator(nil), nil
}
