package ledger

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// sealedDay is the archive of a day whose hours are sealed, the cluster that has its topics, and how to compare them.
func sealedDay(t *testing.T) (*world, *cluster, *archive.Memory, func(archive.Reader) *ArchiveReport) {
	t.Helper()
	w, mem := day(), archive.NewMemory()
	c := startCluster(t, w)
	fill(t, w, mem, inTwo)
	fstest.Seal(t, mem)
	return w, c, mem, func(fsys archive.Reader) *ArchiveReport {
		t.Helper()
		r, err := VerifyArchive(t.Context(), c.o, fsys)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

func sealedFile(t *testing.T, fsys archive.Reader, table archive.Table) *archive.SealedFile {
	t.Helper()
	manifests, err := archive.Manifests(fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		if f := m.Tables[table]; f != nil && f.Rows > 1 {
			return f
		}
	}
	t.Fatalf("no hour of table %s is sealed", table)
	return nil
}

// A sealed hour is proved by the topic, but for the revisions that are superseded; and by its manifest where retention
// has deleted the records since.
func TestVerifySealed(t *testing.T) {
	w, c, mem, verify := sealedDay(t)
	readings, windows := w.rows()
	r := verify(mem)
	only(t, r, nil)
	if n := r.Totals; n.Superseded == 0 || n.Proved+n.Superseded != readings+windows || n.Windows != windows-n.Superseded ||
		n.Sealed == 0 || n.Files != 2*n.Sealed {
		t.Errorf("totals %+v of %d readings and %d windows", n, readings, windows)
	}
	var all []int64
	for _, records := range w.events {
		all = append(all, int64(len(records)))
	}
	c.truncate(w.o.EventsTopic, all...)
	r = verify(mem)
	only(t, r, nil)
	if n := r.Totals; n.Proved != 0 || n.ProvedByManifest != n.Readings+n.Windows || n.Expired != 0 {
		t.Errorf("totals of an expired topic %+v", n)
	}
	var text strings.Builder
	r.writeText(&text)
	if !strings.Contains(text.String(), "rows proved by manifest alone") {
		t.Errorf("the report does not say it:\n%s", &text)
	}
}

// What is done to a sealed file is found, and the file named, with the topic and without it.
func TestVerifySealedAltered(t *testing.T) {
	w, c, mem, verify := sealedDay(t)
	raw, aggregates := sealedFile(t, mem, archive.TableRaw), sealedFile(t, mem, archive.TableAggregates)
	replace := func(fsys *archive.Memory, name string, data []byte) {
		t.Helper()
		if err := fsys.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := fsys.WriteFile(name, data); err != nil {
			t.Fatal(err)
		}
	}
	content := func(name string) []byte {
		t.Helper()
		data, err := mem.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for round, topic := range []string{"retained", "expired"} {
		if round == 1 {
			var all []int64
			for _, records := range w.events {
				all = append(all, int64(len(records)))
			}
			c.truncate(w.o.EventsTopic, all...)
		}
		for _, f := range []*archive.SealedFile{raw, aggregates} {
			flipped := mem.Clone()
			data := content(f.File)
			data[len(data)/2] ^= 4
			replace(flipped, f.File, data)
			r := verify(flipped)
			if r.ExceptionsByKind[KindSealBroken] != 1 || r.Totals.ProvedByManifest > raw.Rows+aggregates.Rows-f.Rows {
				t.Errorf("%s: a flipped byte: %v, %+v", topic, r.ExceptionsByKind, r.Totals)
			}
			if !slices.ContainsFunc(r.Exceptions, func(x ArchiveException) bool {
				return x.Kind == KindSealBroken && x.File == f.File
			}) {
				t.Errorf("%s: the file is not named: %v", topic, r.Exceptions)
			}
			missing := mem.Clone()
			if err := missing.Remove(f.File); err != nil {
				t.Fatal(err)
			}
			r = verify(missing)
			if r.ExceptionsByKind[KindFileMissing] != 1 || r.Exceptions[len(r.Exceptions)-1].File != f.File ||
				round == 0 && r.Totals.Missing != f.Rows {
				t.Errorf("%s: a missing file: %v, %+v", topic, r.ExceptionsByKind, r.Totals)
			}
		}
		cut := mem.Clone()
		rows, err := archive.ReadAggregates(mem, aggregates.File)
		if err != nil {
			t.Fatal(err)
		}
		var without bytes.Buffer
		if err := parquet.Write(&without, rows[1:]); err != nil {
			t.Fatal(err)
		}
		replace(cut, aggregates.File, without.Bytes())
		want := map[Kind]int64{KindSealBroken: 1, KindRowMissing: 1}
		if round == 1 {
			delete(want, KindRowMissing)
		}
		only(t, verify(cut), want)
	}
}

// A superseded revision that a sealed hour holds after all would be counted by readers that trust the seal.
func TestVerifySuperseded(t *testing.T) {
	w, mem := day(), archive.NewMemory()
	fill(t, w, mem, inTwo)
	a := load(t, w, mem)
	fstest.Seal(t, mem)
	manifests, err := archive.Manifests(mem)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewArchive(w.o.EventsTopic, a.spans, manifests)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Concat(w.events...) {
		v.Event(r)
	}
	for _, m := range manifests {
		f := m.Tables[archive.TableAggregates]
		if f == nil {
			continue
		}
		v.Seal(f.File, f, f.Bytes, [32]byte{})
		for name, rows := range a.windows { // with every revision
			if strings.HasPrefix(name, archive.HourDir(archive.TableAggregates, m.Hour)) {
				v.Aggregates(f.File, rows)
			}
		}
	}
	if r := v.Close(); r.ExceptionsByKind[KindRowSuperseded] == 0 {
		t.Errorf("%v", r.ExceptionsByKind)
	}
}

// merging compacts an archive when a file of it is read for the n-th time.
type merging struct {
	*archive.Memory
	reads   int
	compact func()
}

func (m *merging) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, ".parquet") {
		if m.reads--; m.reads == 0 {
			m.compact()
		}
	}
	return m.Memory.ReadFile(name)
}

// Files that are merged while they are compared are not lost: the comparison begins again.
func TestVerifyWhileMerging(t *testing.T) {
	w, mem := day(), archive.NewMemory()
	c := startCluster(t, w)
	fill(t, w, mem, inTwo)
	fsys := &merging{Memory: mem, reads: 2, compact: func() { fstest.Seal(t, mem) }}
	r, err := VerifyArchive(t.Context(), c.o, fsys)
	if err != nil {
		t.Fatal(err)
	}
	only(t, r, nil)
	if r.Totals.Sealed == 0 {
		t.Error("nothing was merged")
	}
}

// An archive in which nothing was ever archived may be so before the first flush; later it is the wrong one, or nobody
// writes it.
func TestVerifyEmptyArchive(t *testing.T) {
	w := day()
	c := startCluster(t, w)
	for _, round := range []struct {
		due   time.Duration
		kinds map[Kind]int64
	}{{10 * 365 * 24 * time.Hour, nil}, {time.Minute, map[Kind]int64{KindArchiveEmpty: 1}}} {
		c.o.ArchiveDue = round.due
		c.o.Now = func() time.Time { return time.Now().Add(time.Hour) }
		r, err := VerifyArchive(t.Context(), c.o, archive.NewMemory())
		if err != nil {
			t.Fatal(err)
		}
		only(t, r, round.kinds)
		if r.Totals.Pending == 0 {
			t.Errorf("totals %+v", r.Totals)
		}
	}
}

// A merged file that somebody has put back beside the sealed one, from a trash or a copy, doubles its rows for all who
// read the folder: the seal's own proof must not hide that.
func TestVerifyPutBack(t *testing.T) {
	w, mem := day(), archive.NewMemory()
	c := startCluster(t, w)
	fill(t, w, mem, inTwo)
	copied := mem.Clone()
	fstest.Seal(t, mem)
	for name, err := range archive.Walk(copied, archive.TableRaw) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := copied.ReadFile(name)
		if err == nil {
			err = mem.WriteFile(name, data)
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := VerifyArchive(t.Context(), c.o, mem)
		if err != nil {
			t.Fatal(err)
		}
		if r.ExceptionsByKind[KindFileStray] != 1 || !slices.ContainsFunc(r.Exceptions, func(e ArchiveException) bool {
			return e.Kind == KindFileStray && e.File == name
		}) {
			t.Errorf("with %s: %v", name, r.Exceptions)
		}
		return
	}
}
