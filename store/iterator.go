package store

import (
	"github.com/lovoo/goka/storage"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// Iterator iterates over all values, by key.
func (t *Table) Iterator() (storage.Iterator, error) { return t.IteratorWithRange(nil, nil) }

// IteratorWithRange iterates over the keys from start (inclusive) to limit (exclusive); nil is unbounded.
func (t *Table) IteratorWithRange(start, limit []byte) (storage.Iterator, error) {
	if err := t.Flush(); err != nil {
		return nil, err
	}
	r := &util.Range{Start: valueKey(nil, string(start)), Limit: []byte{prefixValue + 1}}
	if limit != nil {
		r.Limit = valueKey(nil, string(limit))
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
	from := valueKey(nil, string(key))
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
