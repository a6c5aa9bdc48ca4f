package archive_test

import (
	"errors"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

func status(t *testing.T, fsys archive.Reader) *archive.Status {
	t.Helper()
	s, err := archive.ReadStatus(bg, fsys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The status counts what is there by hour and table, and says what is sealed and what came later.
func TestStatus(t *testing.T) {
	store := archive.NewMemory()
	if s := status(t, store); !s.OK() || len(s.Hours)+len(s.Partitions) != 0 {
		t.Errorf("of an empty archive: %+v", s)
	}
	log := revisions(rand.New(rand.NewPCG(5, 5)), 60)
	if err := feed(store, log[:40], 7); err != nil {
		t.Fatal(err)
	}
	rows := func(s *archive.Status) (n int64) {
		for _, h := range s.Hours {
			for _, table := range h.Tables {
				n += table.Rows
			}
		}
		return n
	}
	s := status(t, store)
	if !s.OK() || len(s.Hours) != 2 || s.Hours[0].State != archive.StateOpen || rows(s) != 40 ||
		s.Partitions[0].Archived != 40 {
		t.Errorf("open: %+v", s)
	}
	if err := errors.Join(compactAll(store), feed(store, log, 7)); err != nil {
		t.Fatal(err)
	}
	s = status(t, store)
	h := s.Hours[0]
	raw := h.Tables[archive.TableRaw]
	if !s.OK() || h.State != archive.StateLate || h.Generation != 1 || raw.Files != raw.Late+1 || raw.Bytes == 0 {
		t.Errorf("with late files: %+v, raw %+v", s, raw)
	}
	if err := compactAll(store); err != nil {
		t.Fatal(err)
	}
	s = status(t, store)
	if h := s.Hours[0]; !s.OK() || h.State != archive.StateSealed || h.Generation != 2 ||
		h.Tables[archive.TableRaw].Files != 1 {
		t.Errorf("sealed: %+v", s)
	}
}

// What is missing is named: a file of a commit, a sealed file, offsets that retention deleted; and so is what nobody
// wrote.
func TestStatusOfHoles(t *testing.T) {
	opts := testOptions(100)
	opts.IntentsKept = 10
	store := archive.NewMemory()
	p := open(t, store, opts)
	add(t, p, reading(5, "s1", 1)) // behind a hole
	flush(t, p)
	add(t, p, reading(6, "s1", 2))
	flush(t, p)
	s := status(t, store)
	if s.OK() || !slices.Equal(s.Partitions[0].Holes, []archive.Hole{{From: 0, To: 5}}) || len(s.Lost) != 0 {
		t.Errorf("%+v", s)
	}
	var files []string
	for name, err := range archive.Walk(store, archive.TableRaw) {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	for n, name := range files {
		if err := store.Remove(name); err != nil {
			t.Fatal(err)
		}
		if s := status(t, store); len(s.Lost) != n+1 || !slices.Contains(s.Lost, name) {
			t.Errorf("without %s: %v", name, s.Lost)
		}
	}
	stray := path.Join(archive.HourDir(archive.TableRaw, hour9), "copy.parquet")
	if err := store.WriteFile(stray, nil); err != nil {
		t.Fatal(err)
	}
	if s := status(t, store); !slices.Equal(s.Strays, []string{stray}) {
		t.Errorf("strays %v", s.Strays)
	}

	sealed, _ := twoGenerations(t)
	if err := compactAll(sealed); err != nil {
		t.Fatal(err)
	}
	name := path.Join(archive.HourDir(archive.TableAggregates, hour8), "sealed-2026-11-24T08-00002.parquet")
	if err := sealed.Remove(name); err != nil {
		t.Fatal(err)
	}
	if s := status(t, sealed); s.OK() || !slices.Equal(s.Lost, []string{name}) {
		t.Errorf("without its sealed file: %v", s.Lost)
	}
}

// An hour is settled when all that was published until its last late reading is archived, of every partition; those
// without traffic hold nothing up.
func TestSettling(t *testing.T) {
	after := 73 * time.Minute
	until := hour9.Add(after)
	s := archive.Settling{
		After:   after,
		Now:     until.Add(-time.Second),
		Extents: []archive.Extent{{Partition: 0, End: 100}},
		Published: func(at time.Time) ([]int64, error) {
			if !at.Equal(until) {
				t.Errorf("asked for %v", at)
			}
			return []int64{100, 0}, nil
		},
	}
	check := func(want string) {
		t.Helper()
		got, err := s.Unsettled(hour8)
		if err != nil || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	check("late readings are expected until 2026-11-24T10:13:00Z")
	s.Now = until
	check("")
	s.Published = func(time.Time) ([]int64, error) { return []int64{100, 3}, nil }
	check("partition 1 is archived to offset 0 of the 3")
	broken := errors.New("broken")
	s.Published = func(time.Time) ([]int64, error) { return nil, broken }
	if _, err := s.Unsettled(hour8); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// Files that readers of the folders count twice, or that belong to no commit, are named: merged ones that were put back
// beside the file that holds their rows, sealed ones of no manifest, and files beyond the newest commit.
func TestStrays(t *testing.T) {
	store, log := twoGenerations(t)
	if err := compactAll(store); err != nil {
		t.Fatal(err)
	}
	dir := archive.HourDir(archive.TableRaw, hour8)
	for _, base := range []string{
		"p00000-00000000000000000000-00000000000000000009.parquet", // merged into generation 1
		"p00000-00000000000000009999-00000000000000010000.parquet",
		"p00007-00000000000000000000-00000000000000000009.parquet", // of a partition without intents
		"sealed-2026-11-24T08-00001.parquet",                       // merged into generation 2
		"sealed-2026-11-24T08-00003.parquet",
	} {
		name := path.Join(dir, base)
		if err := store.WriteFile(name, nil); err != nil {
			t.Fatal(err)
		}
		if s := status(t, store); s.OK() || !slices.Equal(s.Strays, []string{name}) {
			t.Errorf("strays %v, want %s", s.Strays, name)
		}
		if err := store.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkSealed(store, log); err != nil {
		t.Error(err)
	}
}

// before lets something happen before a call.
type before struct {
	archive.Reader
	op, prefix string
	meanwhile  func()
}

func (b *before) now(op, name string) {
	if b.op == op && strings.HasPrefix(name, b.prefix) && b.meanwhile != nil {
		meanwhile := b.meanwhile
		b.meanwhile = nil
		meanwhile()
	}
}

func (b *before) Exists(name string) (bool, error) {
	b.now("Exists", name)
	return b.Reader.Exists(name)
}

func (b *before) List(dir string) ([]archive.Entry, error) {
	b.now("List", dir)
	return b.Reader.List(dir)
}

// What is read while others work is neither lost nor nobody's. A commit is seen before its files have their names; when
// they are looked for, they have been moved, merged and deleted. And a file is listed that was committed and moved
// between the reading of the intents and the listing.
func TestReadArchivedMeanwhile(t *testing.T) {
	store := archive.NewMemory()
	crashing := &fstest.Faulty{FS: store, Decide: func(op, _ string) fstest.Fault {
		if op == "Rename" {
			return fstest.CrashBefore
		}
		return fstest.None
	}}
	p := open(t, crashing, testOptions(10))
	add(t, p, reading(0, "s1", 1))
	if _, err := p.Flush(bg); err == nil {
		t.Fatal("the files have their names")
	}
	slow := &before{Reader: store, op: "Exists", prefix: "_temporary", meanwhile: func() {
		if err := compactAll(store); err != nil {
			t.Error(err)
		}
	}}
	if s := status(t, slow); slow.meanwhile != nil || !s.OK() || len(s.Hours) != 1 || s.Hours[0].Generation != 1 {
		t.Errorf("merged meanwhile: %+v", s)
	}
	slow = &before{Reader: store, op: "List", prefix: "raw", meanwhile: func() {
		if err := feed(store, []archive.Record{reading(0, "s1", 1), reading(1, "s1", 2)}, 10); err != nil {
			t.Error(err)
		}
	}}
	if s := status(t, slow); slow.meanwhile != nil || !s.OK() || s.Partitions[0].Archived != 1 {
		t.Errorf("committed meanwhile: %+v", s)
	}
}
