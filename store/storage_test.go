package store

import (
	"encoding/binary"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lovoo/goka/storage"
	"github.com/syndtr/goleveldb/leveldb"

	"gantry/store/storagetest"
)

// raw is a state that is its own encoding.
type raw string

func (r raw) AppendTo(b []byte) []byte { return append(b, r...) }

func plain(text string) []byte { return []byte(text) }

// rising returns values that have applied more each time, as a log holds them.
func rising() func(text string) []byte {
	var applied atomic.Int64
	return func(text string) []byte { return appendValue(nil, applied.Add(1), raw(text)) }
}

// TestTableIsAStorage: the table keeps the whole contract, also while its flushes run.
func TestTableIsAStorage(t *testing.T) {
	for name, every := range map[string]time.Duration{"flushed at the end": time.Hour, "flushed all the time": 50_000} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, storagetest.Subject{
				New: func(t *testing.T, dir string) storage.Storage {
					return OpenTable(dir, every, nil, func(err error) { t.Error(err) })
				},
				Value: rising(),
			})
		})
	}
}

// TestGokaStorages: the suite describes goka's own storages too, but for what is named here. Each entry is a deviation
// from the words of the interface that the table does not share.
func TestGokaStorages(t *testing.T) {
	t.Run("LevelDB", func(t *testing.T) {
		storagetest.Run(t, storagetest.Subject{
			New: func(t *testing.T, dir string) storage.Storage {
				db, err := leveldb.OpenFile(filepath.Join(dir, "db"), nil)
				must(t, err)
				s, err := storage.New(db)
				must(t, err)
				return s
			},
			Value: plain,
			Skip: map[string]string{
				"offset key":                "the offset stands among the values, under __offset",
				"offset zero":               "0 is taken for no offset until recovery has ended",
				"range without a limit":     "no limit means the keys with the prefix start",
				"range with an empty limit": "an empty limit is taken for none",
				"seek":                      "Seek moves onto the first pair, so that Next passes over it",
				"seek in a range":           "as seek",
			},
		})
	})
	t.Run("memory", func(t *testing.T) {
		storagetest.Run(t, storagetest.Subject{
			New:      func(*testing.T, string) storage.Storage { return storage.NewMemory() },
			Value:    plain,
			Volatile: true,
			Skip: map[string]string{
				"offset key":                "iterators pass over __offset, although it is a value's",
				"ranges":                    "the limit belongs to the range",
				"range without a limit":     "no limit means the keys with the prefix start, and the limit of that",
				"range with an empty limit": "an empty limit is taken for none",
				"range without ends":        "gives at most the empty key",
				"prefixes":                  "the limit belongs to the range, and a prefix of 0xff gives nothing",
				"seek":                      "finds keys with the prefix, not those behind it, and Next passes over the first",
				"seek in a range":           "as seek",
			},
		})
	})
}

// FuzzSplitValue: no input makes it panic; what it accepts is what appendValue writes, and the state is the rest of the
// value and not a copy.
func FuzzSplitValue(f *testing.F) {
	for _, v := range [][]byte{
		nil,
		{},
		{valueVersion},
		{0, 0},
		{valueVersion + 1, 1},
		{valueVersion, 0}, // nothing applied, empty state
		appendValue(nil, 0, raw("s")),
		appendValue(nil, 1<<62, raw("state")),
		appendValue(nil, 1<<63-2, raw("")), // the highest offset
		binary.AppendUvarint([]byte{valueVersion}, 1<<63),   // one above
		binary.AppendUvarint([]byte{valueVersion}, 1<<63+5), // negative as an offset
		{valueVersion, 0x80}, // varint cut off
		{valueVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 's'}, // varint too long
		{valueVersion, 0x81, 0x00, 's'}, // varint longer than needed
	} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		applied, state, err := SplitValue(value)
		if err != nil {
			return
		}
		if applied < notApplied {
			t.Fatalf("applied %d", applied)
		}
		if len(state) > 0 && &state[len(state)-1] != &value[len(value)-1] {
			t.Fatal("the state is not the end of the value")
		}
		again, same, err := SplitValue(appendValue(nil, applied, raw(state)))
		if err != nil || again != applied || string(same) != string(state) {
			t.Fatalf("%d %q came back as %d %q, %v", applied, state, again, same, err)
		}
	})
}
