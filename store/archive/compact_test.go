package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gantry/codecs"
	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

var (
	hour8 = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	hour9 = hour8.Add(time.Hour)
)

// revisions makes a log of n readings, and windows with revisions, of several sensors in the hours 8 and 9.
func revisions(rnd *rand.Rand, n int) []archive.Record {
	var log []archive.Record
	type counts struct {
		reading, window int64
		revisions       map[int64]int32
	}
	sensors := make(map[string]*counts)
	for range n {
		id := fmt.Sprintf("sensor-with-a-long-name-%d", rnd.IntN(4))
		c := sensors[id]
		if c == nil {
			c = &counts{revisions: make(map[int64]int32)}
			sensors[id] = c
		}
		var r archive.Record
		if rnd.IntN(3) > 0 {
			c.reading++
			r = reading(int64(len(log)), id, c.reading)
			r.Event.Reading.Timestamp = hour8.UnixMilli() + rnd.Int64N(2*3600_000) // late readings fall into any hour
		} else {
			c.window++
			start := hour8.UnixMilli() + rnd.Int64N(24)*300_000
			c.revisions[start]++
			r = window(int64(len(log)), id, c.window)
			w := &r.Event.Window
			w.WindowStart, w.WindowEnd, w.Revision = start, start+300_000, c.revisions[start]
			if rnd.IntN(2) == 0 {
				w.FlagCounts[rnd.IntN(len(w.FlagCounts))] = 3
				w.FlagCounts[rnd.IntN(len(w.FlagCounts))] = 5
			}
		}
		log = append(log, r)
	}
	c := sensors["sensor-with-a-long-name-0"]
	if c == nil {
		return revisions(rnd, n)
	}
	return append(log, reading(int64(len(log)), "sensor-with-a-long-name-0", c.reading+1))
}

func compactOptions() archive.CompactOptions {
	o := archive.DefaultCompactOptions()
	o.Now = func() time.Time { return hour9.Add(24 * time.Hour) }
	o.FanIn = 3 // so that a few files make several passes
	return o
}

// compactAll is what a process does that compacts: every hour, once.
func compactAll(fsys archive.FS) error {
	c, err := archive.NewCompactor(bg, fsys, compactOptions())
	if err != nil {
		return err
	}
	a, err := archive.ReadArchived(fsys)
	if err != nil {
		return err
	}
	for _, hour := range a.Unsealed() {
		if _, _, err := c.Compact(bg, hour); err != nil && !errors.Is(err, archive.ErrRaced) {
			return err
		}
	}
	return nil
}

// content are the identities of an archive's rows, and how often each is there.
type content map[string]int

func (c content) add(fsys archive.Reader, t archive.Table, name string) error {
	if t == archive.TableRaw {
		rows, err := archive.ReadRaw(fsys, name)
		for _, r := range rows {
			c[fmt.Sprintf("%s reading %d of %d", r.SensorID, r.Sequence, r.SourceOffset)]++
		}
		return err
	}
	rows, err := archive.ReadAggregates(fsys, name)
	for _, w := range rows {
		c[fmt.Sprintf("%s window %d revision %d", w.SensorID, w.WindowStart, w.Revision)]++
	}
	return err
}

// globbed is what a reader of Parquet files sees, which knows no manifest.
func globbed(fsys archive.Reader) (content, error) {
	c := make(content)
	for _, t := range archive.Tables {
		for name, err := range archive.Walk(fsys, t) {
			if err != nil {
				return nil, err
			}
			if err := c.add(fsys, t, name); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// committed is what the archive's commits say.
func committed(fsys archive.Reader) (content, error) {
	a, err := archive.ReadArchived(fsys)
	if err != nil {
		return nil, err
	}
	if len(a.Strays) > 0 {
		return nil, fmt.Errorf("strays: %v", a.Strays)
	}
	c := make(content)
	for _, f := range a.Files {
		if f.Lost {
			return nil, fmt.Errorf("lost: %s", f.Name)
		}
		if err := c.add(fsys, f.Table, f.Path); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// check compares content with the first records of a log: each reading once, each window's highest revision once, and
// nothing twice. Lower revisions are there once or, if sealed, not at all.
func (c content) check(log []archive.Record, sealed bool) error {
	want, lower := make(map[string]bool), make(map[string]bool)
	newest := make(map[string]archive.Record)
	for _, r := range log {
		want[identity(r)] = true
		if r.Event.Kind == codecs.KindWindow {
			key := fmt.Sprint(r.Event.SensorID(), r.Event.Window.WindowStart)
			if old, ok := newest[key]; ok {
				lower[identity(old)] = true
			}
			newest[key] = r
		}
	}
	for id, n := range c {
		switch {
		case n > 1:
			return fmt.Errorf("%d times: %s", n, id)
		case !want[id]:
			return fmt.Errorf("unexpected: %s", id)
		case sealed && lower[id]:
			return fmt.Errorf("superseded: %s", id)
		}
	}
	for id := range want {
		if c[id] == 0 && !lower[id] {
			return fmt.Errorf("lost: %s", id)
		}
	}
	return nil
}

func checkSealed(fsys archive.Reader, log []archive.Record) error {
	for _, read := range []func(archive.Reader) (content, error){globbed, committed} {
		c, err := read(fsys)
		if err == nil {
			err = c.check(log, true)
		}
		if err != nil {
			return err
		}
	}
	for _, t := range archive.Tables {
		for _, hour := range []time.Time{hour8, hour9} {
			entries, err := fsys.List(archive.HourDir(t, hour))
			if err != nil || len(entries) > 1 {
				return fmt.Errorf("a sealed hour has the files %v, %v", entries, err)
			}
		}
	}
	return nil
}

// An hour's files become one of each table, sorted, with the highest revision of each window; the manifest says what is
// in it. What comes later stands beside it until the next compaction, which merges it in. Nothing new, nothing done.
func TestCompact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	log := revisions(rnd, 400)
	for _, open := range []func() archive.FS{
		func() archive.FS { return archive.NewMemory() },
		func() archive.FS {
			fsys, err := archive.NewLocal(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return fsys
		},
	} {
		fsys := open()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(feed(fsys, log[:250], 20))
		must(compactAll(fsys))
		must(checkSealed(fsys, log[:250]))
		must(feed(fsys, log, 20))
		late, err := globbed(fsys)
		must(err)
		must(late.check(log, false))
		must(compactAll(fsys))
		must(checkSealed(fsys, log))

		manifests, err := archive.Manifests(fsys)
		must(err)
		if len(manifests) != 2 || manifests[hour8].Generation != 2 || manifests[hour9].Generation != 2 {
			t.Fatalf("%+v", manifests)
		}
		must(compactAll(fsys))
		again, err := archive.Manifests(fsys)
		must(err)
		if again[hour8].Generation != 2 {
			t.Error("an hour without anything new was sealed again")
		}
		checkManifest(t, fsys, log, manifests[hour8])
	}
}

func checkManifest(t *testing.T, fsys archive.Reader, log []archive.Record, m *archive.Manifest) {
	t.Helper()
	var readings, windows int64
	for _, r := range log {
		switch e := r.Event; {
		case e.Kind == codecs.KindReading && e.Reading.Timestamp < hour9.UnixMilli():
			readings++
		case e.Kind == codecs.KindWindow && e.Window.WindowStart < hour9.UnixMilli():
			windows++
		}
	}
	raw, aggregates := m.Tables[archive.TableRaw], m.Tables[archive.TableAggregates]
	if raw.Rows != readings || raw.DroppedRevisions != 0 {
		t.Errorf("raw: %+v, want %d rows", raw, readings)
	}
	if aggregates.Rows+aggregates.DroppedRevisions != windows || aggregates.DroppedRevisions == 0 {
		t.Errorf("aggregates: %+v, want %d rows and dropped revisions", aggregates, windows)
	}
	rows, err := archive.ReadRaw(fsys, raw.File)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(rows, func(a, b archive.RawRow) int {
		return slices.Compare([]string{a.SensorID, fmt.Sprintf("%020d", a.Timestamp)},
			[]string{b.SensorID, fmt.Sprintf("%020d", b.Timestamp)})
	}) {
		t.Error("the merged file is not sorted")
	}
	if len(raw.Sources) != 1 || raw.Sources[0].Partition != 3 || raw.Sources[0].Rows != readings {
		t.Errorf("sources: %+v", raw.Sources)
	}
	if raw.MinTime.Before(hour8) || !raw.MaxTime.Before(hour9) {
		t.Errorf("times from %v to %v", raw.MinTime, raw.MaxTime)
	}
	for _, offset := range []int64{0, int64(len(log)) - 1} {
		if !raw.Covers(0, offset) {
			t.Errorf("offset %d is not covered by %v", offset, raw.Events)
		}
	}
	if raw.Covers(0, int64(len(log))) || raw.Covers(1, 0) {
		t.Errorf("%v covers what was never written", raw.Events)
	}
}

// twoGenerations is an archive with sealed hours, and files that came later.
func twoGenerations(t *testing.T) (*archive.Memory, []archive.Record) {
	t.Helper()
	log := revisions(rand.New(rand.NewPCG(2, 2)), 36)
	store := archive.NewMemory()
	if err := errors.Join(feed(store, log[:20], 9), compactAll(store), feed(store, log, 9)); err != nil {
		t.Fatal(err)
	}
	return store, log
}

// reads tells whether a call leaves the file system as it is.
func reads(op string) bool {
	return slices.Contains([]string{"List", "ReadFile", "CopyTo", "Exists"}, op)
}

// At no moment of a compaction does a reader of Parquet files see a row twice, and the commits always say that each is
// there once.
func TestCompactNeverDoubles(t *testing.T) {
	store, log := twoGenerations(t)
	watched := &fstest.Faulty{FS: store, Decide: func(op, name string) fstest.Fault {
		if !reads(op) {
			if err := neverTwice(store, log); err != nil {
				t.Errorf("before %s of %s: %v", op, name, err)
			}
		}
		return fstest.None
	}}
	if err := errors.Join(compactAll(watched), checkSealed(store, log)); err != nil {
		t.Fatal(err)
	}
}

// Whatever call of a compaction fails, loses its answer, or is the last one of the process: nothing is there twice
// then, and the next compaction finishes.
func TestCompactCrashAtEachStep(t *testing.T) {
	skipExhaustive(t)
	first, log := twoGenerations(t)
	for _, fault := range fstest.Faults {
		for step := 0; ; step++ {
			store := first.Clone()
			reached := false
			at := atStep(step, fault, &reached)
			_ = compactAll(&fstest.Faulty{FS: store, Decide: func(op, name string) fstest.Fault {
				if reads(op) && fault != fstest.FailBefore && fault != fstest.CrashBefore {
					return fstest.None // to a call that only reads, all faults are these two
				}
				return at(op, name)
			}})
			if err := errors.Join(neverTwice(store, log), compactAll(store), checkSealed(store, log)); err != nil {
				t.Fatalf("%s at step %d: %v", fault, step, err)
			}
			if left, err := leftovers(store); err != nil || len(left) > 0 {
				t.Fatalf("%s at step %d: left under temporary names: %v, %v", fault, step, left, err)
			}
			if !reached {
				break
			}
		}
	}
}

// neverTwice is what holds at every moment of a compaction.
func neverTwice(fsys archive.Reader, log []archive.Record) error {
	c, err := globbed(fsys)
	if err != nil {
		return err
	}
	for id, n := range c {
		if n > 1 {
			return fmt.Errorf("%d times: %s", n, id)
		}
	}
	if c, err = committed(fsys); err != nil {
		return err
	}
	return c.check(log, false)
}

// What is not Gantry's stays where it is, and its hour is left alone.
func TestCompactForeignFile(t *testing.T) {
	store := archive.NewMemory()
	if err := feed(store, revisions(rand.New(rand.NewPCG(3, 3)), 30), 10); err != nil {
		t.Fatal(err)
	}
	stray := path.Join(archive.HourDir(archive.TableRaw, hour8), "copy.parquet")
	if err := store.WriteFile(stray, nil); err != nil {
		t.Fatal(err)
	}
	if err := compactAll(store); !errors.Is(err, archive.ErrForeignFile) {
		t.Fatalf("got %v", err)
	}
	if _, err := store.ReadFile(stray); errors.Is(err, fs.ErrNotExist) {
		t.Error("it was removed")
	}
}

// A sealed file that was damaged is not merged into the next generation, which would prove it.
func TestCompactDamaged(t *testing.T) {
	store, _ := twoGenerations(t)
	manifests, err := archive.Manifests(store)
	if err != nil {
		t.Fatal(err)
	}
	name := manifests[hour8].Tables[archive.TableRaw].File
	data, err := store.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := errors.Join(store.Remove(name), store.WriteFile(name, data)); err != nil {
		t.Fatal(err)
	}
	if err := compactAll(store); !errors.Is(err, archive.ErrSealedFileDamaged) || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
}

// A sealed file that is gone is not left out of the next generation, whose manifest would prove that it is complete; also
// where the last generation kept the file as it was, and had no reason to look for it.
func TestCompactLost(t *testing.T) {
	store := archive.NewMemory()
	log := []archive.Record{reading(0, "s1", 1)}
	for revision := range int64(3) {
		r := window(revision+1, "s1", revision+1)
		w := &r.Event.Window
		w.WindowStart, w.WindowEnd, w.Revision = hour8.UnixMilli(), hour8.UnixMilli()+300_000, int32(revision+1)
		log = append(log, r)
	}
	err := errors.Join(feed(store, log[:2], 9), compactAll(store), feed(store, log[:3], 9), compactAll(store),
		feed(store, log, 9))
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := archive.Manifests(store)
	if err != nil {
		t.Fatal(err)
	}
	m := manifests[hour8]
	raw := m.Tables[archive.TableRaw]
	if m.Generation != 2 || raw.Temporary != "" {
		t.Fatalf("generation %d has not kept %+v", m.Generation, raw)
	}
	if err := store.Remove(raw.File); err != nil {
		t.Fatal(err)
	}
	if err := compactAll(store); !errors.Is(err, archive.ErrSealedFileLost) {
		t.Errorf("got %v", err)
	}
}

// What a compaction that died in the creation of its manifest has left beside it goes with the next one, and not before
// that has come as far.
func TestCompactSweepsManifests(t *testing.T) {
	store, log := twoGenerations(t) // generation 1 is there
	for _, generation := range []string{"00001", "00002", "00003"} {
		if err := store.WriteFile("_manifests/.2026-11-24T08-"+generation+".json.random", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(compactAll(store), checkSealed(store, log)); err != nil {
		t.Fatal(err)
	}
	entries, err := store.List("_manifests")
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e archive.Entry) bool { return !strings.HasPrefix(e.Name, ".") })
	if len(entries) != 1 || entries[0].Name != ".2026-11-24T08-00003.json.random" {
		t.Errorf("left: %v", entries)
	}
}

// A manifest that was damaged is no manifest: nothing of its hour is touched.
func TestManifestDamaged(t *testing.T) {
	store, _ := twoGenerations(t)
	const name = "_manifests/2026-11-24T08-00001.json"
	data, err := store.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(`"rows": `)) + len(`"rows": `)
	data[at] ^= 1 // another digit: JSON all the same
	if err := errors.Join(store.Remove(name), store.WriteFile(name, data)); err != nil {
		t.Fatal(err)
	}
	if err := compactAll(store); !errors.Is(err, archive.ErrManifestCorrupt) {
		t.Errorf("got %v", err)
	}
}

// An archiver that is started again repeats the moves of its newest commit. Where its files were merged since, nothing
// is lost, and nothing comes back.
func TestArchiverAfterCompaction(t *testing.T) {
	store := archive.NewMemory()
	log := revisions(rand.New(rand.NewPCG(4, 4)), 30)
	if err := errors.Join(feed(store, log, 100), compactAll(store)); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	opts := testOptions(10)
	opts.Metrics = archive.NewMetrics(reg, opts.Now)
	open(t, store, opts)
	if n := gather(t, reg, "files_missing_total"); n != 0 {
		t.Errorf("%v files are taken for lost", n)
	}
	if err := checkSealed(store, log); err != nil {
		t.Error(err)
	}
	manifests, err := archive.Manifests(store)
	if err != nil {
		t.Fatal(err)
	}
	for hour, m := range manifests {
		name := fmt.Sprintf("_manifests/%s-%05d.json", hour.Format("2006-01-02T15"), m.Generation)
		if err := store.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	open(t, store, opts)
	if n := gather(t, reg, "files_missing_total"); n != 4 {
		t.Errorf("%v files of 4 are taken for lost", n)
	}
}
