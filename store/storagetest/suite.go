// Package storagetest is the contract of goka's storage.Storage as a test suite. It holds a storage to the words of the
// interface; where goka's own storages do not keep them, or each other's company, the caller names the part and says
// why.
package storagetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/lovoo/goka/storage"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// Subject is a kind of storage under test.
type Subject struct {
	// New returns a storage in the folder, not opened yet. A second call with the same folder is a restart.
	New func(t *testing.T, dir string) storage.Storage
	// Value returns a value that the storage takes, made from text. A later value replaces an earlier one.
	Value func(text string) []byte
	// Volatile: nothing is kept over a restart.
	Volatile bool
	// Skip holds, by the name of a part, why the storage does not keep it.
	Skip map[string]string
}

// Run holds the subject to the contract, a sub-test for each part. It fails for a name in Skip that is no part, so that
// a list of exceptions cannot outlive its reason unseen.
func Run(t *testing.T, s Subject) {
	parts := []struct {
		name string
		test func(t *testing.T, s Subject)
	}{
		{"values", values},
		{"empty key", emptyKey},
		{"any bytes", anyBytes},
		{"offset key", offsetKey},
		{"offset", offset},
		{"offset zero", offsetZero},
		{"iterate all", iterateAll},
		{"iterate nothing", iterateNothing},
		{"iterator is a snapshot", snapshot},
		{"ranges", ranges},
		{"range without a limit", unlimited},
		{"range with an empty limit", emptyLimit},
		{"range without ends", endless},
		{"prefixes", prefixes},
		{"seek", seek},
		{"seek in a range", seekInRange},
		{"readers beside a writer", concurrent},
		{"reopen", reopen},
		{"reopen before recovery", reopenEarly},
	}
	known := make(map[string]bool)
	for _, p := range parts {
		known[p.name] = true
		t.Run(p.name, func(t *testing.T) {
			if why, ok := s.Skip[p.name]; ok {
				t.Skip(why)
			}
			p.test(t, s)
		})
	}
	for name := range s.Skip {
		if !known[name] {
			t.Errorf("no part %q to skip", name)
		}
	}
}

// fixture is an open storage.
type fixture struct {
	storage.Storage
	t *testing.T
	s Subject
}

func open(t *testing.T, s Subject) *fixture {
	t.Helper()
	f := openIn(t, s, t.TempDir())
	t.Cleanup(f.close)
	return f
}

func openIn(t *testing.T, s Subject, dir string) *fixture {
	t.Helper()
	f := &fixture{s.New(t, dir), t, s}
	f.must(f.Open())
	return f
}

func (f *fixture) close() { f.must(f.Close()) }

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// put stores a value under each key and returns them.
func (f *fixture) put(keys ...string) map[string][]byte {
	f.t.Helper()
	stored := make(map[string][]byte)
	for _, k := range keys {
		stored[k] = f.s.Value("value of " + k)
		f.must(f.Set(k, stored[k]))
	}
	return stored
}

// holds checks Get and Has; want nil is an absent key.
func (f *fixture) holds(key string, want []byte) {
	f.t.Helper()
	got, err := f.Get(key)
	f.must(err)
	if !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		f.t.Fatalf("Get(%q) = %q, want %q", key, got, want)
	}
	has, err := f.Has(key)
	f.must(err)
	if has != (want != nil) {
		f.t.Fatalf("Has(%q) = %t", key, has)
	}
}

// yields checks what an iterator gives from here on, and releases it.
func (f *fixture) yields(it storage.Iterator, stored map[string][]byte, want ...string) {
	f.t.Helper()
	defer it.Release()
	var got []string
	for it.Next() {
		k := string(it.Key())
		v, err := it.Value()
		f.must(err)
		if !bytes.Equal(v, stored[k]) {
			f.t.Fatalf("value of %q is %q, want %q", k, v, stored[k])
		}
		got = append(got, k)
	}
	f.must(it.Err())
	if !slices.Equal(got, want) {
		f.t.Fatalf("keys %q, want %q", got, want)
	}
}

func (f *fixture) rangeOf(start, limit []byte) storage.Iterator {
	f.t.Helper()
	it, err := f.IteratorWithRange(start, limit)
	f.must(err)
	return it
}

func (f *fixture) all() storage.Iterator {
	f.t.Helper()
	it, err := f.Iterator()
	f.must(err)
	return it
}

func (f *fixture) offsetIs(want int64) {
	f.t.Helper()
	const def = -7
	got, err := f.GetOffset(def)
	f.must(err)
	if got != want {
		f.t.Fatalf("offset %d, want %d", got, want)
	}
}

// A key has the value that was set last, none before it was set and none after it was deleted.
func values(t *testing.T, s Subject) {
	f := open(t, s)
	f.holds("k", nil)
	first := s.Value("first")
	f.must(f.Set("k", first))
	f.holds("k", first)
	second := s.Value("second")
	f.must(f.Set("k", second))
	f.holds("k", second)
	f.holds("kk", nil)
	f.must(f.Delete("k"))
	f.holds("k", nil)
	f.must(f.Delete("never set"))
	third := s.Value("third")
	f.must(f.Set("k", third))
	f.holds("k", third)
}

// The empty key is a key.
func emptyKey(t *testing.T, s Subject) {
	f := open(t, s)
	f.holds("", nil)
	stored := f.put("a", "")
	f.holds("", stored[""])
	f.yields(f.all(), stored, "", "a")
	f.must(f.Delete(""))
	f.holds("", nil)
	f.yields(f.all(), stored, "a")
}

// Keys are bytes: any are allowed, and their order is bytewise.
func anyBytes(t *testing.T, s Subject) {
	f := open(t, s)
	keys := []string{"\xff\xff", "\x00", "o", "\xff", "v", "\x00\x00", "é", "a/b\n", "vv"}
	stored := f.put(keys...)
	for _, k := range keys {
		f.holds(k, stored[k])
	}
	f.yields(f.all(), stored, slices.Sorted(slices.Values(keys))...)
}

// A key of the user is never taken for the storage's own: goka's LevelDB keeps the offset under "__offset".
func offsetKey(t *testing.T, s Subject) {
	f := open(t, s)
	f.must(f.SetOffset(41))
	stored := f.put("__offset", "__offset2", "__offse")
	f.must(f.MarkRecovered())
	f.must(f.SetOffset(42))
	f.offsetIs(42)
	f.holds("__offset", stored["__offset"])
	f.yields(f.all(), stored, "__offse", "__offset", "__offset2")
	f.must(f.Delete("__offset"))
	f.offsetIs(42)
}

// The offset is the default's until one is set, and then the last one set, during recovery and after it.
func offset(t *testing.T, s Subject) {
	f := open(t, s)
	f.offsetIs(-7)
	f.put("k")
	f.offsetIs(-7)
	f.must(f.SetOffset(5))
	f.offsetIs(5)
	f.must(f.MarkRecovered())
	f.offsetIs(5)
	f.must(f.SetOffset(1 << 40))
	f.offsetIs(1 << 40)
}

// 0 is an offset like any other: the first record of a log has it.
func offsetZero(t *testing.T, s Subject) {
	f := open(t, s)
	f.must(f.SetOffset(0))
	f.offsetIs(0)
}

// An iterator gives all pairs, by key, and not the offset.
func iterateAll(t *testing.T, s Subject) {
	f := open(t, s)
	f.must(f.SetOffset(3))
	stored := f.put("c", "a", "b")
	f.must(f.Delete("b"))
	f.must(f.MarkRecovered())
	f.yields(f.all(), stored, "a", "c")
}

// An empty storage has nothing to iterate over, also when it has an offset.
func iterateNothing(t *testing.T, s Subject) {
	f := open(t, s)
	f.yields(f.all(), nil)
	f.must(f.MarkRecovered())
	f.must(f.SetOffset(3))
	f.yields(f.all(), nil)
}

// An iterator does not see what is written after it was made.
func snapshot(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("a", "c")
	it := f.all()
	f.must(f.Set("a", s.Value("later")))
	f.put("b")
	f.must(f.Delete("c"))
	f.yields(it, stored, "a", "c")
}

// A range holds its start and not its limit.
func ranges(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("a", "b", "ba", "c", "d")
	b := func(s string) []byte { return []byte(s) }
	f.yields(f.rangeOf(b("b"), b("d")), stored, "b", "ba", "c")
	f.yields(f.rangeOf(b("aa"), b("bb")), stored, "b", "ba")
	f.yields(f.rangeOf(b("b"), b("b")), stored)
	f.yields(f.rangeOf(b("d"), b("b")), stored)
	f.yields(f.rangeOf(b("e"), b("f")), stored)
	f.yields(f.rangeOf(nil, b("b")), stored, "a")
	f.yields(f.rangeOf(b(""), b("b")), stored, "a")
}

// A nil limit is no limit.
func unlimited(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("a", "b", "c", "\xff\xff")
	f.yields(f.rangeOf([]byte("b"), nil), stored, "b", "c", "\xff\xff")
}

// An empty limit is a limit: no key is below it.
func emptyLimit(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("", "a")
	f.yields(f.rangeOf([]byte(""), []byte{}), stored)
}

// A range without ends is everything.
func endless(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("", "a", "\xff")
	f.yields(f.rangeOf(nil, nil), stored, "", "a", "\xff")
}

// The keys with a prefix are a range, also where the prefix ends in the highest byte.
func prefixes(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("a", "a\xff", "a\xff\xff", "a\xffz", "b", "\xff", "\xff\xff", "\xff\xffa")
	for prefix, want := range map[string][]string{
		"a":            {"a", "a\xff", "a\xffz", "a\xff\xff"},
		"a\xff":        {"a\xff", "a\xffz", "a\xff\xff"},
		"a\xff\xff":    {"a\xff\xff"},
		"\xff":         {"\xff", "\xff\xff", "\xff\xffa"},
		"\xff\xff":     {"\xff\xff", "\xff\xffa"},
		"\xff\xff\xff": nil,
		"c":            nil,
	} {
		r := util.BytesPrefix([]byte(prefix))
		f.yields(f.rangeOf(r.Start, r.Limit), stored, want...)
	}
}

// Seek moves to just before the first pair at or behind a key, forwards and backwards, and tells whether there is one.
func seek(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("a", "c", "e")
	for key, want := range map[string][]string{
		"": {"a", "c", "e"}, "a": {"a", "c", "e"}, "b": {"c", "e"}, "c": {"c", "e"}, "e": {"e"}, "f": nil,
	} {
		it := f.all()
		if it.Seek([]byte(key)) != (want != nil) {
			t.Fatalf("Seek(%q) is %t", key, want == nil)
		}
		f.yields(it, stored, want...)
	}
	it := f.all()
	for it.Next() { // to the end, and back
	}
	if !it.Seek([]byte("b")) {
		t.Fatal("Seek back found nothing")
	}
	f.yields(it, stored, "c", "e")
}

// Seek does not leave the range.
func seekInRange(t *testing.T, s Subject) {
	f := open(t, s)
	stored := f.put("a", "c", "e", "g")
	for key, want := range map[string][]string{"a": {"c", "e"}, "d": {"e"}, "f": nil, "g": nil, "h": nil} {
		it := f.rangeOf([]byte("b"), []byte("f"))
		if it.Seek([]byte(key)) != (want != nil) {
			t.Fatalf("Seek(%q) is %t", key, want == nil)
		}
		f.yields(it, stored, want...)
	}
}

// Any number of readers may read beside one writer; each sees a value that was set, and no key twice or out of order.
// Run it with the race detector.
func concurrent(t *testing.T, s Subject) {
	f := open(t, s)
	const rounds, keys, readers = 200, 8, 3
	key := func(n int) string { return fmt.Sprintf("k%d", n%keys) }
	var mu sync.Mutex
	written := map[string]bool{"": true}
	next := func(n int) []byte {
		v := s.Value(fmt.Sprint(n))
		mu.Lock()
		defer mu.Unlock()
		written[string(v)] = true
		return v
	}
	known := func(v []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		return written[string(v)]
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for n := r; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if err := readOnce(f, key(n), known); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	f.must(f.MarkRecovered())
	for n := range rounds {
		f.must(f.Set(key(n), next(n)))
		f.must(f.SetOffset(int64(n + 1)))
		if n%7 == 0 {
			f.must(f.Delete(key(n)))
		}
	}
	close(done)
	wg.Wait()
}

func readOnce(f *fixture, key string, known func([]byte) bool) error {
	v, err := f.Get(key)
	if err != nil || !known(v) {
		return fmt.Errorf("Get(%q) = %q, %w", key, v, err)
	}
	if _, err := f.Has(key); err != nil {
		return err
	}
	if _, err := f.GetOffset(0); err != nil {
		return err
	}
	it, err := f.Iterator()
	if err != nil {
		return err
	}
	defer it.Release()
	last := ""
	for it.Next() {
		v, err := it.Value()
		if err != nil || !known(v) {
			return fmt.Errorf("iterator: %q = %q, %w", it.Key(), v, err)
		}
		if string(it.Key()) <= last {
			return fmt.Errorf("iterator: %q after %q", it.Key(), last)
		}
		last = string(it.Key())
	}
	return it.Err()
}

// Values, deletions and offset outlive a restart.
func reopen(t *testing.T, s Subject) {
	if s.Volatile {
		t.Skip("keeps nothing over a restart")
	}
	dir := t.TempDir()
	f := openIn(t, s, dir)
	stored := f.put("a", "b", "")
	f.must(f.SetOffset(7))
	f.must(f.MarkRecovered())
	f.must(f.Delete("b"))
	f.must(f.SetOffset(8))
	f.close()

	f = openIn(t, s, dir)
	f.offsetIs(8)
	f.holds("b", nil)
	f.yields(f.all(), stored, "", "a")
	stored["b"] = s.Value("again")
	f.must(f.Set("b", stored["b"]))
	f.close()

	f = openIn(t, s, dir)
	defer f.close()
	f.offsetIs(8)
	f.yields(f.all(), stored, "", "a", "b")
}

// What was recovered before a stop need not be recovered again.
func reopenEarly(t *testing.T, s Subject) {
	if s.Volatile {
		t.Skip("keeps nothing over a restart")
	}
	dir := t.TempDir()
	f := openIn(t, s, dir)
	stored := f.put("a")
	f.must(f.SetOffset(4))
	f.close()

	f = openIn(t, s, dir)
	defer f.close()
	f.offsetIs(4)
	f.holds("a", stored["a"])
}
