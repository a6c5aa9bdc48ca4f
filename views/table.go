package views

import (
	"fmt"
	"sync"

	"github.com/lovoo/goka/storage"

	"gantry/store"
)

// position is the part of a view's storage that goka needs to follow a log: how far it was read. Values are kept by
// whoever embeds it, and answered from there, never through goka.
type position struct {
	mu     sync.Mutex
	offset int64 // of the last record read
	read   bool  // there is one
}

var _ storage.Storage = (*position)(nil)

func (v *position) GetOffset(def int64) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.read {
		return def, nil
	}
	return v.offset, nil
}

func (v *position) SetOffset(offset int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.offset, v.read = offset, true
	return nil
}

// next returns the next offset that the view will read.
func (v *position) next() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.read {
		return 0
	}
	return v.offset + 1
}

func (v *position) Open() error                { return nil }
func (v *position) Close() error               { return nil }
func (v *position) MarkRecovered() error       { return nil }
func (v *position) Has(string) (bool, error)   { return false, nil }
func (v *position) Get(string) ([]byte, error) { return nil, nil }
func (v *position) Set(string, []byte) error   { return nil }
func (v *position) Delete(string) error        { return nil }
func (v *position) Iterator() (storage.Iterator, error) {
	return storage.NewMultiIterator(nil), nil
}

func (v *position) IteratorWithRange(_, _ []byte) (storage.Iterator, error) { return v.Iterator() }

// tableView is the storage of a view of a group's table: it hands each newer value on and remembers how much each key
// has applied.
type tableView struct {
	position
	partition int32
	update    func(key string, state []byte) error // state is nil where the key was deleted
	applied   map[string]int64                     // written by the view's one goroutine alone
}

func newTableView(partition int32, update func(key string, state []byte) error) *tableView {
	return &tableView{partition: partition, update: update, applied: make(map[string]int64)}
}

// Set takes a value, unless one that has applied more is held.
func (v *tableView) Set(key string, value []byte) error {
	applied, state, err := store.SplitValue(value)
	if err != nil {
		return fmt.Errorf("value of %q in partition %d: %w", key, v.partition, err)
	}
	if have, ok := v.applied[key]; ok && applied < have {
		return nil
	}
	v.applied[key] = applied
	return v.update(key, state)
}

// Delete forgets a key.
func (v *tableView) Delete(key string) error {
	delete(v.applied, key)
	return v.update(key, nil)
}
