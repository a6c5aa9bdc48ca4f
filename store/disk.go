package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/syndtr/goleveldb/leveldb"
	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/opt"
	lstorage "github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// What stands in LevelDB: the value of a key behind prefixValue, so that no key of a user can meet an offset's; and
// behind prefixOffset, as a key without a value, the changelog offset (big-endian).
//
// Each batch deletes the offset that the last one wrote. LevelDB's journal is not synced, and after a power cut it may
// have lost a batch in the middle and not those behind it; LevelDB skips what is damaged and goes on. Then the offset
// before the lost batch is still there, beside the newest one. The lowest is therefore the one to believe: what follows
// it in the changelog is read again, and the merge drops what the table has.
const (
	prefixValue  = 'v'
	prefixOffset = 'o'
)

func valueKey(b []byte, key string) []byte { return append(append(b, prefixValue), key...) }

func offsetKey(offset int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixOffset}, uint64(offset))
}

// openLevelDB opens the database of a partition.
func openLevelDB(dir string) (*leveldb.DB, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	db, err := leveldb.OpenFile(dir, &opt.Options{
		WriteBuffer:            512 << 10,
		BlockCacheCapacity:     2 << 20,
		OpenFilesCacheCapacity: 64,
		Compression:            opt.SnappyCompression,
	})
	if err != nil {
		return nil, fmt.Errorf("open state in %s (is another process using it?): %w", dir, err)
	}
	return db, nil
}

// readOffsets returns the keys of the offsets in the database and the lowest offset, noOffset if there is none.
func readOffsets(db *leveldb.DB) (keys [][]byte, lowest int64, err error) {
	it := db.NewIterator(util.BytesPrefix([]byte{prefixOffset}), nil)
	defer it.Release()
	lowest = noOffset
	for it.Next() {
		k := append([]byte(nil), it.Key()...)
		if len(keys) == 0 && len(k) == 9 {
			lowest = int64(binary.BigEndian.Uint64(k[1:]))
		}
		keys = append(keys, k)
	}
	return keys, lowest, it.Error()
}

// Open opens LevelDB and reads the stored offset, which must not lie beyond the changelog (ErrAhead). State is a copy of
// the changelog, so a folder that LevelDB finds damaged is emptied, to be recovered.
func (t *Table) Open() error {
	if t.end != nil {
		end, err := t.end()
		if err != nil {
			return fmt.Errorf("end of the changelog: %w", err)
		}
		t.due = end
	}
	err := t.openDB()
	if isDamage(err) {
		if err := os.RemoveAll(t.dir); err != nil {
			return fmt.Errorf("damaged state in %s: %w", t.dir, err)
		}
		err = t.openDB()
	}
	if err != nil {
		return err
	}
	t.loop.Go(t.flushLoop)
	return nil
}

func (t *Table) openDB() error {
	db, err := t.open()
	if err != nil {
		return err
	}
	keys, offset, err := readOffsets(db)
	if err != nil {
		_ = db.Close()
		return fmt.Errorf("read the offset of the state in %s: %w", t.dir, err)
	}
	if t.end != nil && offset >= t.due {
		_ = db.Close()
		return fmt.Errorf("state in %s holds changelog offset %d, the changelog ends at %d: %w; the brokers have lost its "+
			"end, or the folder is of another cluster: stop the process and delete the folder", t.dir, offset, t.due, ErrAhead)
	}
	t.db, t.storedAt, t.offset = db, keys, offset
	return nil
}

// isDamage tells whether an error is LevelDB's finding that its files are damaged.
func isDamage(err error) bool {
	var table *lerrors.ErrCorrupted
	var file *lstorage.ErrCorrupted
	return errors.As(err, &table) || errors.As(err, &file)
}
