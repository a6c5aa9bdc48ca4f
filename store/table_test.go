package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	lstorage "github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// newTable returns a table in dir that is flushed by hand.
func newTable(t *testing.T, dir string) *Table {
	return OpenTable(dir, time.Hour, nil, func(err error) { t.Error(err) })
}

func openTable(t *testing.T, dir string) *Table {
	t.Helper()
	tab := newTable(t, dir)
	must(t, tab.Open())
	t.Cleanup(func() { must(t, tab.Close()) })
	return tab
}

// appliedOf returns how much the table's value of a key has applied, notApplied where there is none.
func appliedOf(t *testing.T, tab *Table, key string) int64 {
	t.Helper()
	v, err := tab.Get(key)
	must(t, err)
	if v == nil {
		return notApplied
	}
	applied, _, err := SplitValue(v)
	must(t, err)
	return applied
}

func offsetOf(t *testing.T, tab *Table) int64 {
	t.Helper()
	o, err := tab.GetOffset(noOffset)
	must(t, err)
	return o
}

// changelog is what a table is fed with: record o is a value of key o%keys that has applied o.
const changelogKeys = 3

func changelogKey(o int64) string { return fmt.Sprintf("k%d", o%changelogKeys) }

func feed(t *testing.T, tab *Table, from, to int64, state string) {
	t.Helper()
	for o := from; o < to; o++ {
		must(t, tab.Set(changelogKey(o), appendValue(nil, o, raw(state))))
		must(t, tab.SetOffset(o))
	}
}

// holdsUpTo checks that the table has everything of the changelog up to its offset.
func holdsUpTo(t *testing.T, tab *Table, offset int64) {
	t.Helper()
	for o := max(0, offset-changelogKeys+1); o <= offset; o++ {
		if got := appliedOf(t, tab, changelogKey(o)); got < o {
			t.Fatalf("offset %d is stored, but %s has applied only %d", offset, changelogKey(o), got)
		}
	}
}

// killed copies the folder of an open table as kill -9 leaves it, the journal changed by damage.
func killed(t *testing.T, dir string, damage func(journal []byte) []byte) string {
	t.Helper()
	to := t.TempDir()
	must(t, os.CopyFS(to, os.DirFS(dir)))
	names, err := filepath.Glob(filepath.Join(to, "*.log"))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("journals: %v", names)
	}
	data, err := os.ReadFile(names[0])
	must(t, err)
	must(t, os.WriteFile(names[0], damage(data), 0o644))
	return to
}

// TestFlushIsAtomic: wherever a kill cuts the journal, a restart finds the values and the offset of one flush together.
func TestFlushIsAtomic(t *testing.T) {
	dir := t.TempDir()
	tab := openTable(t, dir)
	ends := map[int64]bool{noOffset: true}
	for o := range int64(12) {
		feed(t, tab, o, o+1, strings.Repeat("s", int(o)))
		if o%4 == 3 {
			must(t, tab.Flush())
			ends[o] = true
		}
	}
	size := 0
	killed(t, dir, func(j []byte) []byte { size = len(j); return j })
	found := make(map[int64]bool)
	for cut := 0; cut <= size; cut += 5 {
		after := openTable(t, killed(t, dir, func(j []byte) []byte { return j[:min(cut, len(j))] }))
		got := offsetOf(t, after)
		if !ends[got] {
			t.Fatalf("cut at %d: offset %d is no flush's", cut, got)
		}
		for o := max(0, got-changelogKeys+1); o <= got; o++ {
			if a := appliedOf(t, after, changelogKey(o)); a != o {
				t.Fatalf("cut at %d: offset %d with %s at %d", cut, got, changelogKey(o), a)
			}
		}
		found[got] = true
	}
	if len(found) < 3 {
		t.Fatalf("the cuts met only the flushes %v", found)
	}
}

// TestLostBatch: LevelDB's journal is not synced, and LevelDB passes over what is damaged in it. A batch that a power
// cut has taken from its middle takes the offset back to where everything is there.
func TestLostBatch(t *testing.T) {
	dir := t.TempDir()
	tab := openTable(t, dir)
	const flushes, journalBlock = 5, 32 << 10
	for n := range int64(flushes) { // each batch fills several blocks, so that one can be lost alone
		feed(t, tab, n, n+1, string(incompressible(3*journalBlock)))
		must(t, tab.Flush())
	}
	size := 0
	killed(t, dir, func(j []byte) []byte { size = len(j); return j })
	lower := 0
	for at := journalBlock / 2; at < size; at += journalBlock {
		after := openTable(t, killed(t, dir, func(j []byte) []byte { j[at] ^= 1; return j }))
		got := offsetOf(t, after)
		holdsUpTo(t, after, got)
		if got < flushes-1 {
			lower++
		}
		// Reading on from there, the merge makes it whole; the flush after it leaves one offset.
		feed(t, after, got+1, flushes, "s")
		must(t, after.Flush())
		keys, lowest, err := readOffsets(after.db)
		must(t, err)
		if len(keys) != 1 || lowest != flushes-1 {
			t.Fatalf("damage at %d: offsets %x afterwards", at, keys)
		}
		holdsUpTo(t, after, flushes-1)
	}
	if lower < flushes {
		t.Fatalf("damage was met %d times only", lower)
	}
}

func incompressible(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// TestSetMerges: whatever the order of a log, the value that has applied most stands; of equals, which are equal, the
// last; a tombstone removes.
func TestSetMerges(t *testing.T) {
	tab := openTable(t, t.TempDir())
	set := func(applied int64) { must(t, tab.Set("k", appendValue(nil, applied, raw("s")))) }
	want := func(applied int64, behind ...string) {
		t.Helper()
		if got := appliedOf(t, tab, "k"); got != applied {
			t.Fatalf("applied %d, want %d", got, applied)
		}
		if got := tab.overtaken(); len(got) != len(behind) {
			t.Fatalf("behind: %q, want %q", got, behind)
		}
	}
	set(5)
	want(5)
	set(3) // a paused owner's
	want(5, "k")
	must(t, tab.Flush())
	set(4)
	want(5, "k")
	set(5) // written again
	want(5)
	set(9)
	want(9)
	must(t, tab.Delete("k"))
	want(notApplied)
	must(t, tab.Flush())
	want(notApplied)
	set(1)
	want(1)
	if err := tab.Set("k", []byte("not framed")); !errors.Is(err, errValue) {
		t.Fatalf("got %v", err)
	}
	want(1)
}

// TestSetKeepsNoBuffer: goka hands out memory of the fetch; the table copies.
func TestSetKeepsNoBuffer(t *testing.T) {
	tab := openTable(t, t.TempDir())
	v := appendValue(nil, 1, raw("state"))
	must(t, tab.Set("k", v))
	clear(v)
	if got := appliedOf(t, tab, "k"); got != 1 {
		t.Fatalf("applied %d", got)
	}
}

// TestRepairOutlivesCrash: a record that recovery has passed over for its old value is read again after a restart until
// its key has been written again, or nobody would know that the log ends with an old value.
func TestRepairOutlivesCrash(t *testing.T) {
	dir := t.TempDir()
	tab := newTable(t, dir)
	must(t, tab.Open())
	feed(t, tab, 0, 5, "s")
	must(t, tab.Set("k0", appendValue(nil, 0, raw("s")))) // record 5, of k0, which has applied 3
	must(t, tab.SetOffset(5))
	feed(t, tab, 7, 9, "s") // k1 and k2
	must(t, tab.MarkRecovered())
	must(t, tab.Close())

	tab = openTable(t, dir)
	if got := offsetOf(t, tab); got != 4 {
		t.Fatalf("stored offset %d", got)
	}
	holdsUpTo(t, tab, 4)
	must(t, tab.Set("k0", appendValue(nil, 0, raw("s"))))
	must(t, tab.SetOffset(8))
	must(t, tab.MarkRecovered())
	must(t, tab.acked("k0", appendValue(nil, 3, raw("s")), 9))
	must(t, tab.Flush())
	if _, lowest, err := readOffsets(tab.db); err != nil || lowest != 9 {
		t.Fatalf("stored offset %d after the repair, %v", lowest, err)
	}
}

// TestAckedIsContiguous: an acknowledged offset that is not the next one means that somebody else has written; neither
// value nor offset is taken.
func TestAckedIsContiguous(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after int64 // recovered up to
		acked int64
		ok    bool
	}{
		{"first of an empty log", noOffset, 0, true},
		{"not the first of an empty log", noOffset, 1, false},
		{"next", 7, 8, true},
		{"one between", 7, 9, false},
		{"again", 7, 7, false},
		{"before", 7, 3, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab := openTable(t, t.TempDir())
			if tc.after != noOffset {
				must(t, tab.SetOffset(tc.after))
			}
			must(t, tab.MarkRecovered())
			err := tab.acked("k", appendValue(nil, 1, raw("s")), tc.acked)
			want := tc.after
			if tc.ok {
				must(t, err)
				want = tc.acked
			} else if !errors.Is(err, ErrOvertaken) {
				t.Fatalf("got %v", err)
			}
			if got := offsetOf(t, tab); got != want {
				t.Fatalf("offset %d, want %d", got, want)
			}
			if has, err := tab.Has("k"); err != nil || has != tc.ok {
				t.Fatalf("taken: %t, %v", has, err)
			}
		})
	}
}

// TestRecoveryProvesTheEnd: recovery has ended when all was read that the changelog held at its beginning, no sooner and
// no later; state that is ahead of its changelog is refused.
func TestRecoveryProvesTheEnd(t *testing.T) {
	unreachable := errors.New("no broker")
	for _, tc := range []struct {
		name   string
		stored int64
		read   int64 // up to which recovery reads
		end    int64
		err    error // of end
		want   error
		says   string
	}{
		{"empty log", noOffset, noOffset, 0, nil, nil, ""},
		{"nothing to read", 9, 9, 10, nil, nil, ""},
		{"last record read", 3, 9, 10, nil, nil, ""},
		{"records that came during the recovery are read too", 3, 11, 10, nil, nil, ""},
		{"one record missing", noOffset, 8, 10, nil, errUnrecovered, "stopped at offset 8 of 9"},
		{"nothing read", noOffset, noOffset, 1, nil, errUnrecovered, "stopped at offset -1 of 0"},
		{"ahead by one", 10, 10, 10, nil, ErrAhead, "delete the folder"},
		{"log created again", 10, 10, 0, nil, ErrAhead, "ends at 0"},
		{"end unknown", 9, 9, 10, unreachable, unreachable, "end of the changelog"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			before := newTable(t, dir)
			must(t, before.Open())
			if tc.stored != noOffset {
				must(t, before.SetOffset(tc.stored))
			}
			must(t, before.Close())

			tab := newTable(t, dir)
			end := tc.end
			tab.end = func() (int64, error) { return end, tc.err }
			started := false
			tab.recovered = func(*Table) error { started = true; return nil }
			err := tab.Open()
			defer tab.Close()
			if err == nil {
				end += 100 // a paused instance writes, and it is not waited for
				if tc.read != noOffset {
					must(t, tab.SetOffset(tc.read))
				}
				err = tab.MarkRecovered()
			}
			if !errors.Is(err, tc.want) || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v, want %v with %q", err, tc.want, tc.says)
			}
			if started != (err == nil) {
				t.Fatalf("lane started: %t, error %v", started, err)
			}
		})
	}
}

// TestMarkRecoveredAfterClose: goka gives up a recovery without waiting for MarkRecovered; one that comes after Close must
// not start a lane, which nobody would end.
func TestMarkRecoveredAfterClose(t *testing.T) {
	tab := newTable(t, t.TempDir())
	tab.recovered = func(*Table) error { t.Error("lane started"); return nil }
	must(t, tab.Open())
	must(t, tab.Close())
	must(t, tab.Close())
	if err := tab.MarkRecovered(); !errors.Is(err, errTableClosed) {
		t.Fatalf("got %v", err)
	}
}

// frail is a LevelDB storage whose writes fail on demand, or wait.
type frail struct {
	lstorage.Storage
	broken atomic.Bool
	gate   atomic.Pointer[gate]
}

// gate holds up a write: it tells that one is there, and lets it pass.
type gate struct{ reached, open chan struct{} }

var errDisk = errors.New("no space left on device")

func (f *frail) Create(fd lstorage.FileDesc) (lstorage.Writer, error) {
	w, err := f.Storage.Create(fd)
	return frailWriter{w, f}, err
}

type frailWriter struct {
	lstorage.Writer
	f *frail
}

func (w frailWriter) Write(b []byte) (int, error) {
	if g := w.f.gate.Swap(nil); g != nil {
		close(g.reached)
		<-g.open
	}
	if w.f.broken.Load() {
		return 0, errDisk
	}
	return w.Writer.Write(b)
}

// TestFailedFlush: a flush that fails is reported once, by the loop; what it should have written stays readable, a
// newer value of a key wins over it, and nothing of it is stored without the rest.
func TestFailedFlush(t *testing.T) {
	disk := &frail{Storage: lstorage.NewMemStorage()}
	reported := make(chan error, 2)
	tab := OpenTable(t.TempDir(), time.Millisecond, nil, func(err error) { reported <- err })
	tab.open = func() (*leveldb.DB, error) { return leveldb.Open(disk, nil) }
	must(t, tab.Open())
	feed(t, tab, 0, 3, "s")
	must(t, tab.Flush())
	disk.broken.Store(true)
	feed(t, tab, 3, 5, "s")
	if err := <-reported; !errors.Is(err, errDisk) {
		t.Fatalf("got %v", err)
	}
	holdsUpTo(t, tab, 4)
	feed(t, tab, 5, 7, "s") // k2, and k0 again
	if err := tab.Flush(); !errors.Is(err, errDisk) {
		t.Fatalf("got %v", err)
	}
	holdsUpTo(t, tab, 6)
	if got := offsetOf(t, tab); got != 6 {
		t.Fatalf("offset %d", got)
	}
	if err := tab.Close(); !errors.Is(err, errDisk) {
		t.Fatalf("close: %v", err)
	}
	select {
	case err := <-reported:
		t.Fatalf("reported again: %v", err)
	default:
	}
	disk.broken.Store(false)
	after := newTable(t, t.TempDir())
	after.open = tab.open
	must(t, after.Open())
	defer after.Close()
	if got := offsetOf(t, after); got != 2 {
		t.Fatalf("stored offset %d", got)
	}
	holdsUpTo(t, after, 2)
}

// TestReadsDuringOneFlush: while a flush is under way its values are read from memory; a newer value that comes
// meanwhile is the one that stays, whether the flush succeeds or fails.
func TestReadsDuringOneFlush(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails=", fails), func(t *testing.T) {
			disk := &frail{Storage: lstorage.NewMemStorage()}
			tab := newTable(t, t.TempDir())
			tab.open = func() (*leveldb.DB, error) { return leveldb.Open(disk, nil) }
			must(t, tab.Open())
			defer tab.Close()
			feed(t, tab, 0, 3, "s")
			g := &gate{make(chan struct{}), make(chan struct{})}
			disk.gate.Store(g)
			flushed := make(chan error)
			go func() { flushed <- tab.Flush() }()
			<-g.reached
			holdsUpTo(t, tab, 2)
			feed(t, tab, 3, 4, "s") // k0 again
			holdsUpTo(t, tab, 3)
			disk.broken.Store(fails)
			close(g.open)
			if err := <-flushed; fails != errors.Is(err, errDisk) {
				t.Fatalf("flush: %v", err)
			}
			holdsUpTo(t, tab, 3)
		})
	}
}

// TestDamagedFolder: state is a copy of the changelog. A folder whose files are damaged is emptied, and the changelog
// is read from its start.
func TestDamagedFolder(t *testing.T) {
	for _, file := range []string{"CURRENT", "MANIFEST-*"} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			tab := newTable(t, dir)
			must(t, tab.Open())
			feed(t, tab, 0, 3, "s")
			must(t, tab.Close())
			damage(t, dir, file, 0)
			tab = openTable(t, dir)
			if got := offsetOf(t, tab); got != noOffset {
				t.Fatalf("offset %d", got)
			}
			if got := appliedOf(t, tab, "k0"); got != notApplied {
				t.Fatalf("applied %d", got)
			}
			feed(t, tab, 0, 3, "s")
			holdsUpTo(t, tab, 2)
		})
	}
}

// TestDamageFoundByRead: damage that only a read finds fails that read; the folder is emptied on Close, so that the
// next start does not meet it again.
func TestDamageFoundByRead(t *testing.T) {
	dir := t.TempDir()
	tab := newTable(t, dir)
	must(t, tab.Open())
	const keys = 300 // many blocks, the damaged one not among those that Open reads
	key := func(n int) string { return fmt.Sprintf("k%03d", n) }
	for n := range keys {
		must(t, tab.Set(key(n), appendValue(nil, 1, raw(incompressible(100)))))
	}
	must(t, tab.SetOffset(keys))
	must(t, tab.Flush())
	must(t, tab.db.CompactRange(util.Range{})) // to a file with checksums
	must(t, tab.Close())
	damage(t, dir, "*.ldb", 2)

	tab = newTable(t, dir)
	must(t, tab.Open())
	var err error
	for n := 0; err == nil && n < keys; n++ {
		_, err = tab.Get(key(n))
	}
	if !isDamage(err) {
		t.Fatalf("got %v", err)
	}
	_ = tab.Close()
	tab = openTable(t, dir)
	if got := offsetOf(t, tab); got != noOffset {
		t.Fatalf("offset %d of a damaged folder", got)
	}
	feed(t, tab, 0, 3, "s")
	must(t, tab.Flush())
	holdsUpTo(t, tab, 2)
}

// damage flips bits of a file, from its start (part 0) or a part of its length on (1/part).
func damage(t *testing.T, dir, pattern string, part int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	if len(names) == 0 {
		t.Fatalf("no %s", pattern)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		must(t, err)
		from := 0
		if part > 0 {
			from = len(data) / part
		}
		for i := range min(len(data)-from, 64) {
			data[from+i] ^= 0x55
		}
		must(t, os.WriteFile(name, data, 0o644))
	}
}

// TestLockedFolder: a folder that another process uses is left alone, and the error says so.
func TestLockedFolder(t *testing.T) {
	dir := t.TempDir()
	first := openTable(t, dir)
	feed(t, first, 0, 3, "s")
	second := newTable(t, dir)
	err := second.Open()
	if err == nil || !strings.Contains(err.Error(), "another process") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v", err)
	}
	must(t, second.Close()) // as goka does after a failed Open
	must(t, first.Flush())
	holdsUpTo(t, first, 2)
}

// TestReadsDuringFlushes: a value is seen from its acknowledgement on, through its flush and after it, and never an
// older one again.
func TestReadsDuringFlushes(t *testing.T) {
	tab := OpenTable(t.TempDir(), 20*time.Microsecond, nil, func(err error) { t.Error(err) })
	must(t, tab.Open())
	defer tab.Close()
	must(t, tab.MarkRecovered())
	const records = 3000
	var last [changelogKeys]atomic.Int64 // acknowledged
	for k := range last {
		last[k].Store(notApplied)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for n := 0; last[0].Load() < records-changelogKeys; n++ {
				k := int64(n % changelogKeys)
				atLeast := last[k].Load()
				v, err := tab.Get(changelogKey(k))
				got := int64(notApplied)
				if err == nil && v != nil {
					got, _, err = SplitValue(v)
				}
				if err != nil || got < atLeast {
					t.Errorf("%s: %d after %d, %v", changelogKey(k), got, atLeast, err)
					return
				}
			}
		})
	}
	for o := range int64(records) {
		must(t, tab.acked(changelogKey(o), appendValue(nil, o, raw("s")), o))
		last[o%changelogKeys].Store(o)
	}
	wg.Wait()
}
