package archive_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"

	"gantry/codecs"
	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

func open(t *testing.T, fsys archive.FS, opts archive.Options) *archive.Partition {
	t.Helper()
	p, err := archive.OpenPartition(bg, fsys, 0, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func add(t *testing.T, p *archive.Partition, records ...archive.Record) {
	t.Helper()
	for _, r := range records {
		if _, err := p.Add(r); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t *testing.T, p *archive.Partition) archive.Committed {
	t.Helper()
	c, err := p.Flush(bg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rows(c archive.Committed) int64 {
	return c.Tables[archive.TableRaw].Rows + c.Tables[archive.TableAggregates].Rows
}

// The micro-batch of 30 seconds: counted from the first row that waits, and again from the first one after a flush.
func TestFlushInterval(t *testing.T) {
	opts := archive.DefaultOptions()
	now := time.UnixMilli(epoch)
	opts.Now = func() time.Time { return now }
	p := open(t, archive.NewMemory(), opts)
	due := func(want bool) {
		t.Helper()
		if got := p.Due(now); got != want {
			t.Fatalf("%v after the start: due is %v, want %v", now.Sub(time.UnixMilli(epoch)), got, want)
		}
	}
	due(false)
	now = now.Add(time.Hour)
	due(false) // an idle partition is never due
	add(t, p, reading(0, "s1", 1))
	now = now.Add(10 * time.Second)
	add(t, p, reading(1, "s1", 2)) // does not start the interval again
	now = now.Add(20*time.Second - time.Nanosecond)
	due(false)
	now = now.Add(time.Nanosecond)
	due(true)
	if c := flush(t, p); c.End != 2 || rows(c) != 2 {
		t.Fatalf("committed %+v", c)
	}
	due(false)
	add(t, p, reading(2, "s1", 3))
	if at, ok := p.NextDue(); !ok || !at.Equal(now.Add(30*time.Second)) {
		t.Fatalf("next due at %v, %v", at, ok)
	}
}

// A batch never holds more than FlushRows rows, whatever the file system does, and nothing of it is lost meanwhile.
func TestFullBatchWaits(t *testing.T) {
	store := archive.NewMemory()
	away := false
	fsys := &fstest.Faulty{FS: store, Decide: func(string, string) fstest.Fault {
		if away {
			return fstest.FailBefore
		}
		return fstest.None
	}}
	p := open(t, fsys, testOptions(2))
	add(t, p, reading(0, "s1", 1))
	away = true
	full, err := p.Add(reading(1, "s1", 2))
	if err != nil || !full || !p.Due(time.UnixMilli(epoch)) {
		t.Fatalf("the second row: full %v, due %v, error %v", full, p.Due(time.UnixMilli(epoch)), err)
	}
	for range 3 {
		if _, err := p.Flush(bg); !errors.Is(err, fstest.ErrFault) {
			t.Fatalf("flush: %v", err)
		}
		if full, err := p.Add(reading(2, "s1", 3)); !full || !errors.Is(err, archive.ErrFull) {
			t.Fatalf("a row beyond the limit: full %v, error %v", full, err)
		}
	}
	away = false
	if c := flush(t, p); rows(c) != 2 || p.NextOffset() != 2 {
		t.Fatalf("committed %+v, next offset %d", c, p.NextOffset())
	}
	add(t, p, reading(2, "s1", 3))
}

// Silences and repeats move the resume offset only now and then, by an intent without files. Until then a restart reads
// them again; without it retention could delete them, and a hole would be reported where nothing is missing.
func TestProgressWithoutRows(t *testing.T) {
	store := archive.NewMemory()
	opts := archive.DefaultOptions()
	now := time.UnixMilli(epoch)
	opts.Now = func() time.Time { return now }
	p := open(t, store, opts)
	add(t, p, reading(0, "s1", 1))
	flush(t, p)
	add(t, p, silence(1, "s1"), reading(2, "s1", 1))
	now = now.Add(opts.ProgressInterval - 1)
	if p.Due(now) || flush(t, p) != (archive.Committed{}) || p.NextOffset() != 1 {
		t.Fatal("a batch without rows was flushed early")
	}
	now = now.Add(1)
	if !p.Due(now) {
		t.Fatal("a batch without rows is never due")
	}
	if c := flush(t, p); rows(c) != 0 || c.End != 3 {
		t.Fatalf("committed %+v", c)
	}
	p = open(t, store, opts)
	if p.NextOffset() != 3 {
		t.Fatalf("resumes at %d", p.NextOffset())
	}
	add(t, p, reading(3, "s1", 1), reading(4, "s1", 2)) // what tells repeats came along
	if c := flush(t, p); rows(c) != 1 {
		t.Fatalf("committed %+v", c)
	}
}

// Offsets that are archived are passed over, as a feed that lags behind another writer gives them; offsets that were
// added and are not archived are a defect of the feed.
func TestOffsetOrder(t *testing.T) {
	p := open(t, archive.NewMemory(), testOptions(10))
	if p.NextOffset() != -1 || p.Position() != 0 {
		t.Fatalf("an empty archive resumes at %d, position %d", p.NextOffset(), p.Position())
	}
	add(t, p, reading(0, "s1", 1))
	flush(t, p)
	add(t, p, reading(0, "s1", 1), reading(1, "s1", 2), reading(5, "s1", 3))
	if _, err := p.Add(reading(5, "s1", 4)); !errors.Is(err, archive.ErrOffsetOrder) {
		t.Fatalf("the same offset again: %v", err)
	}
	if c := flush(t, p); c.Start != 1 || c.End != 6 || rows(c) != 2 {
		t.Fatalf("committed %+v", c)
	}
}

// A number that cannot be judged is refused, not dropped.
func TestAddRefusesUnnumbered(t *testing.T) {
	p := open(t, archive.NewMemory(), testOptions(10))
	if _, err := p.Add(reading(0, "s1", 0)); err == nil || !strings.Contains(err.Error(), "sequence 0") {
		t.Errorf("reading: %v", err)
	}
	if _, err := p.Add(window(0, "s1", 0)); err == nil || !strings.Contains(err.Error(), codecs.HeaderOrdinal) {
		t.Errorf("window: %v", err)
	}
}

// An event's strings alias a buffer that the feed uses again; rows keep copies.
func TestStringsAreCopied(t *testing.T) {
	store := archive.NewMemory()
	p := open(t, store, testOptions(10))
	buf := []byte("s1I-10N")
	r := reading(0, unsafe.String(&buf[0], 2), 1)
	r.Event.Reading.Freeway = codecs.Some(unsafe.String(&buf[2], 4))
	r.Event.Reading.Direction = codecs.Some(unsafe.String(&buf[6], 1))
	add(t, p, r)
	copy(buf, "xxxxxxx")
	flush(t, p)
	for name, err := range archive.Walk(store, archive.TableRaw) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := archive.ReadRaw(store, name)
		if err != nil || got[0].SensorID != "s1" || *got[0].Freeway != "I-10" || *got[0].Direction != "N" {
			t.Fatalf("row %+v, %v", got, err)
		}
	}
}

func gather(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "stream_processor_archive_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// An archive that begins in the middle of a log takes the first number of each sensor as its beginning, and says what
// it missed. In an archive that begins at offset 0 the same numbers are a gap, which will be filled.
func TestBeginsInTheMiddle(t *testing.T) {
	reg := prometheus.NewRegistry()
	opts := testOptions(10)
	opts.Metrics = archive.NewMetrics(reg, opts.Now)
	p := open(t, archive.NewMemory(), opts)
	add(t, p, reading(700, "s1", 41), reading(701, "s1", 43), window(702, "s1", 9), reading(703, "s1", 42))
	if c := flush(t, p); rows(c) != 3 || c.Start != 0 || c.End != 704 {
		t.Errorf("committed %+v", c)
	}
	if want := []archive.Hole{{From: 0, To: 700}}; !slices.Equal(p.Holes(), want) {
		t.Errorf("holes %v, want %v", p.Holes(), want)
	}
	for name, want := range map[string]float64{"holes_total": 1, "hole_offsets_total": 700, "gaps_total": 1} {
		if got := gather(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	q := open(t, archive.NewMemory(), testOptions(10))
	add(t, q, silence(0, "s1"), reading(1, "s1", 41), reading(2, "s1", 1))
	if c := flush(t, q); rows(c) != 1 {
		t.Errorf("from offset 0: committed %+v", c)
	}
}

// Behind a hole in the middle what is missing never comes: each sensor goes on from its first number above the last,
// once, and repeats are still told, also after a restart.
func TestHoleInTheMiddle(t *testing.T) {
	store := archive.NewMemory()
	p := open(t, store, testOptions(10))
	add(t, p, reading(0, "s1", 1), reading(1, "s2", 1))
	flush(t, p)
	p.NoteHole(1, 1) // nothing
	p.NoteHole(0, 50)
	add(t, p, reading(50, "s1", 1), reading(51, "s1", 7), reading(52, "s1", 9))
	if c := flush(t, p); rows(c) != 1 {
		t.Fatalf("behind the hole: committed %+v", c)
	}
	p = open(t, store, testOptions(10))
	add(t, p, reading(53, "s1", 9), reading(54, "s1", 8), reading(55, "s2", 3), reading(56, "s2", 5))
	if c := flush(t, p); rows(c) != 2 {
		t.Fatalf("after a restart: committed %+v", c)
	}
	if want := []archive.Hole{{From: 2, To: 50}}; !slices.Equal(p.Holes(), want) {
		t.Errorf("holes %v, want %v", p.Holes(), want)
	}
}

// The loser of a race keeps what lies beyond the winner's end, judged by the winner's memory, with holes between.
func TestLoserKeepsTheRest(t *testing.T) {
	store := archive.NewMemory()
	log := []archive.Record{reading(0, "s1", 1), reading(1, "s1", 2), reading(2, "s1", 3), window(3, "s1", 1)}
	a, b := open(t, store, testOptions(10)), open(t, store, testOptions(10))
	add(t, a, log[:2]...)
	add(t, b, log...)
	b.NoteHole(4, 9)
	add(t, b, reading(9, "s1", 8))
	flush(t, a)
	if c := flush(t, b); c != (archive.Committed{}) || b.NextOffset() != 2 || b.Position() != 10 {
		t.Fatalf("the loser committed %+v, next offset %d, position %d", c, b.NextOffset(), b.Position())
	}
	if c := flush(t, b); c.Start != 2 || c.End != 10 || rows(c) != 3 {
		t.Fatalf("the rest: committed %+v", c)
	}
	if want := []archive.Hole{{From: 4, To: 9}}; !slices.Equal(b.Holes(), want) {
		t.Errorf("holes %v, want %v", b.Holes(), want)
	}
	if err := checkOnce(store, append(log, reading(9, "s1", 8))); err != nil {
		t.Error(err)
	}
	// The winner, which is behind now, passes over what the other has archived.
	add(t, a, log[2])
	if flush(t, a) != (archive.Committed{}) || a.NextOffset() != 10 {
		t.Errorf("the first goes on from %d", a.NextOffset())
	}
	add(t, a, log[3], reading(10, "s1", 9))
	if c := flush(t, a); rows(c) != 1 {
		t.Errorf("the first committed %+v", c)
	}
}

// Retention overtook one of two writers. What it left out behind the hole cannot be judged again by the memory of the
// other, which saw the records, so it must begin again.
func TestOtherHoles(t *testing.T) {
	store := archive.NewMemory()
	a, b := open(t, store, testOptions(10)), open(t, store, testOptions(10))
	add(t, a, reading(0, "s1", 1), reading(1, "s1", 2), reading(2, "s1", 3))
	add(t, b, reading(0, "s1", 1))
	b.NoteHole(1, 2)
	add(t, b, reading(2, "s1", 3), reading(3, "s1", 4))
	flush(t, a)
	if _, err := b.Flush(bg); !errors.Is(err, archive.ErrReopen) {
		t.Fatalf("flush: %v", err)
	}
	if _, err := b.Add(reading(4, "s1", 5)); !errors.Is(err, archive.ErrReopen) {
		t.Fatalf("add: %v", err)
	}
	b = open(t, store, testOptions(10))
	add(t, b, reading(3, "s1", 4))
	flush(t, b)
	if err := checkOnce(store, []archive.Record{
		reading(0, "s1", 1), reading(1, "s1", 2), reading(2, "s1", 3), reading(3, "s1", 4),
	}); err != nil {
		t.Error(err)
	}
}

// The protocol on a real folder, in several processes' worth of restarts.
func TestLocalArchive(t *testing.T) {
	fsys, err := archive.NewLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := eventLog(rand.New(rand.NewPCG(9, 9)), 60)
	for _, n := range []int{10, 40, len(log), len(log)} {
		if err := feed(fsys, log[:n], 7); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkOnce(fsys, log); err != nil {
		t.Error(err)
	}
	if left, err := leftovers(fsys); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// An intent that cannot be read is never taken for a leftover: whether its files are in place is unknown.
func TestDamagedIntent(t *testing.T) {
	store := archive.NewMemory()
	p := open(t, store, testOptions(10))
	add(t, p, reading(0, "s1", 1))
	flush(t, p)
	const name = "_intents/00000-00000000000000000000"
	data, err := store.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(data) {
		damaged := store.Clone()
		if err := errors.Join(damaged.Remove(name), damaged.WriteFile(name, data[:n])); err != nil {
			t.Fatal(err)
		}
		_, err := archive.OpenPartition(bg, damaged, 0, testOptions(10))
		if !errors.Is(err, archive.ErrIntentCorrupt) || !strings.Contains(err.Error(), name) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
}

// Intents that are all gone while a writer lives are not an empty archive: it must not begin again at offset 0.
func TestIntentsGone(t *testing.T) {
	store := archive.NewMemory()
	fault := fstest.None
	p := open(t, &fstest.Faulty{FS: store, Decide: func(op, _ string) fstest.Fault {
		if op == "CreateExclusive" {
			return fault
		}
		return fstest.None
	}}, testOptions(10))
	add(t, p, reading(0, "s1", 1))
	flush(t, p)
	add(t, p, reading(1, "s1", 2))
	fault = fstest.FailBefore
	if _, err := p.Flush(bg); !errors.Is(err, fstest.ErrFault) {
		t.Fatal(err)
	}
	if err := store.Remove("_intents/00000-00000000000000000000"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Flush(bg); err == nil || !strings.Contains(err.Error(), "gone from _intents") {
		t.Fatalf("flush: %v", err)
	}
}

// The intent was created and the answer was lost. The next flush finds that out: it writes nothing again, says what was
// committed, and counts it once.
func TestLostAnswer(t *testing.T) {
	reg := prometheus.NewRegistry()
	opts := testOptions(10)
	opts.Metrics = archive.NewMetrics(reg, opts.Now)
	store := archive.NewMemory()
	writes, lose := 0, true
	p := open(t, &fstest.Faulty{FS: store, Decide: func(op, _ string) fstest.Fault {
		switch {
		case op == "WriteFile":
			writes++
		case op == "CreateExclusive" && lose:
			lose = false
			return fstest.FailAfter
		}
		return fstest.None
	}}, opts)
	add(t, p, reading(0, "s1", 1))
	if c, err := p.Flush(bg); !errors.Is(err, fstest.ErrFault) || c != (archive.Committed{}) {
		t.Fatalf("committed %+v, %v", c, err)
	}
	if c := flush(t, p); c.End != 1 || rows(c) != 1 || writes != 1 {
		t.Fatalf("committed %+v with %d files written", c, writes)
	}
	if flush(t, p) != (archive.Committed{}) || gather(t, reg, "rows_total") != 1 ||
		gather(t, reg, "races_lost_total") != 0 {
		t.Error("the commit was not counted once")
	}
}

// A file system that fails again and again while files are written does not fill up with temporary files.
func TestFailedFlushLeavesNothing(t *testing.T) {
	store := archive.NewMemory()
	writes := 0
	p := open(t, &fstest.Faulty{FS: store, Decide: func(op, _ string) fstest.Fault {
		if op == "WriteFile" {
			if writes++; writes%2 == 0 {
				return fstest.FailBefore
			}
		}
		return fstest.None
	}}, testOptions(10))
	add(t, p, reading(0, "s1", 1), window(1, "s1", 1))
	for range 3 {
		if _, err := p.Flush(bg); !errors.Is(err, fstest.ErrFault) {
			t.Fatal(err)
		}
	}
	if left, err := leftovers(store); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// Leftovers are swept once their start offset is settled; those of the next commit, and of other partitions, may belong
// to a writer that is only slow.
func TestSweep(t *testing.T) {
	store := archive.NewMemory()
	p := open(t, store, testOptions(10))
	old := []string{
		"_temporary/p00000-00000000000000000000-aa-0.tmp", "_intents/.00000-00000000000000000000.AA",
	}
	next := []string{
		"_temporary/p00000-00000000000000000001-aa-0.tmp", "_temporary/p00001-00000000000000000000-aa-0.tmp",
		"_intents/.00000-00000000000000000001.AA", "_temporary/other",
	}
	for _, name := range append(slices.Clone(old), next...) {
		if err := store.WriteFile(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	add(t, p, reading(0, "s1", 1))
	flush(t, p)
	for _, name := range old {
		if there, _ := store.Exists(name); there {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range next {
		if there, _ := store.Exists(name); !there {
			t.Errorf("%s was removed", name)
		}
	}
}

// A writer that slept until the intent that it would contend for was pruned finds its name free. It must see that the
// archive has moved on.
func TestSleeper(t *testing.T) {
	store := archive.NewMemory()
	log := []archive.Record{reading(0, "s1", 1), reading(1, "s1", 2), reading(2, "s1", 3), reading(3, "s1", 4)}
	sleeper, other := open(t, store, testOptions(10)), open(t, store, testOptions(10))
	add(t, sleeper, log[0], log[1])
	for _, r := range log[:3] {
		add(t, other, r)
		flush(t, other)
	}
	if flush(t, sleeper) != (archive.Committed{}) || sleeper.NextOffset() != 3 {
		t.Errorf("the sleeper goes on from %d", sleeper.NextOffset())
	}
	add(t, sleeper, log[2:]...)
	flush(t, sleeper)
	if err := checkOnce(store, log); err != nil {
		t.Error(err)
	}
}

// Walk passes over what is not data, as other readers do.
func TestWalk(t *testing.T) {
	store := archive.NewMemory()
	if err := store.MkdirAll("raw/_old"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"raw/b.parquet", "raw/_a.parquet", "raw/.c.parquet", "raw/d.tmp", "raw/_old/e.parquet"} {
		if err := store.WriteFile(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for name, err := range archive.Walk(store, archive.TableRaw) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if !slices.Equal(names, []string{"raw/b.parquet"}) {
		t.Errorf("walked %q", names)
	}
}

// Old intents go, the newest of each partition stay.
func TestPrune(t *testing.T) {
	store := archive.NewMemory()
	opts := testOptions(10)
	opts.IntentsKept = 3
	p := open(t, store, opts)
	for n := range int64(10) {
		add(t, p, reading(n, "s1", n+1))
		flush(t, p)
	}
	entries, err := store.List("_intents")
	if err != nil || len(entries) != 3 || !strings.HasSuffix(entries[2].Name, "09") {
		t.Errorf("intents %v, %v", entries, err)
	}
}

// What happened is counted once, and the age of what waits follows the clock.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	now := time.UnixMilli(epoch)
	opts := testOptions(10)
	opts.Now = func() time.Time { return now }
	opts.Metrics = archive.NewMetrics(reg, opts.Now)
	p := open(t, archive.NewMemory(), opts)
	add(t, p, reading(0, "s1", 1), reading(1, "s1", 1), window(2, "s1", 1))
	now = now.Add(42 * time.Second)
	if age := gather(t, reg, "oldest_unarchived_seconds"); age != 42 {
		t.Errorf("age %v, want 42", age)
	}
	c := flush(t, p)
	for name, want := range map[string]float64{
		"rows_total": 2, "files_total": 2, "repeats_total": 1, "oldest_unarchived_seconds": 0,
		"bytes_total": float64(c.Tables[archive.TableRaw].Bytes + c.Tables[archive.TableAggregates].Bytes),
	} {
		if got := gather(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestOptionsValidate(t *testing.T) {
	opts := archive.DefaultOptions()
	if err := opts.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	opts.FlushInterval, opts.FlushRows = 0, 0
	err := opts.Validate()
	for _, want := range []string{"archive.flushInterval is 0s", "100ms to 1h", "archive.flushRows is 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
}
