package ledger

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/store/archive"
)

// archived is an archive whose rows a test changes before they are compared.
type archived struct {
	t       *testing.T
	w       *world
	spans   []ArchiveSpan
	raw     map[string][]archive.RawRow
	windows map[string][]archive.AggregateRow
}

// fill archives the first records of each partition of a world's traffic-events, in batches that end as the list says.
func fill(t *testing.T, w *world, fsys archive.FS, until func(end int64) []int64) {
	t.Helper()
	for p, records := range w.events {
		o := archive.DefaultOptions()
		part, err := archive.OpenPartition(t.Context(), fsys, int32(p), o)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, end := range until(int64(len(records))) {
			for ; n < len(records) && records[n].Offset < end; n++ {
				if _, err := part.Add(archiveRecord(t, records[n])); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := part.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		part.Close()
	}
}

func archiveRecord(t *testing.T, r *kgo.Record) archive.Record {
	t.Helper()
	e := new(codecs.Event)
	if err := codecs.DecodeEvent(r.Value, e); err != nil {
		t.Fatal(err)
	}
	rec := archive.Record{Offset: r.Offset, Event: e}
	if text, ok := header(r, codecs.HeaderSource); ok {
		var err error
		if rec.Source, err = codecs.ParseSource(text); err != nil {
			t.Fatal(err)
		}
	}
	if text, ok := header(r, codecs.HeaderOrdinal); ok {
		for _, c := range text {
			rec.Ordinal = 10*rec.Ordinal + int64(c-'0')
		}
	}
	return rec
}

func inTwo(end int64) []int64 { return []int64{end / 2, end} }

// load reads an archive, and which part of the world it should hold.
func load(t *testing.T, w *world, fsys archive.Reader) *archived {
	t.Helper()
	a := &archived{t: t, w: w, raw: make(map[string][]archive.RawRow), windows: make(map[string][]archive.AggregateRow)}
	for _, s := range w.extent().Events {
		a.spans = append(a.spans, ArchiveSpan{Start: s.Start, End: s.End})
	}
	now, err := archive.ReadArchived(fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range now.Extents {
		a.spans[x.Partition].Archived, a.spans[x.Partition].Holes = x.End, x.Holes
	}
	for _, f := range now.Files {
		if f.Table == archive.TableRaw {
			a.raw[f.Name], err = archive.ReadRaw(fsys, f.Path)
		} else {
			a.windows[f.Name], err = archive.ReadAggregates(fsys, f.Path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *archived) verify() *ArchiveReport {
	a.t.Helper()
	v, err := NewArchive(a.w.o.EventsTopic, a.spans, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, r := range slices.Concat(a.w.events...) {
		v.Event(r)
	}
	for name, rows := range a.raw {
		v.Raw(name, rows)
	}
	for name, rows := range a.windows {
		v.Aggregates(name, rows)
	}
	return v.Close()
}

// rows is how many readings and windows the world has, each once.
func (w *world) rows() (readings, windows int64) {
	for _, r := range slices.Concat(w.events...) {
		switch kind, _ := header(r, codecs.HeaderKind); codecs.Kind(kind) {
		case codecs.KindReading:
			readings++
		case codecs.KindWindow:
			windows++
		}
	}
	return readings, windows
}

func newArchived(t *testing.T) *archived {
	t.Helper()
	w, mem := day(), archive.NewMemory()
	fill(t, w, mem, inTwo)
	return load(t, w, mem)
}

// first is the first file of a table, with at least two rows.
func first[T any](t *testing.T, files map[string][]T) string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if len(files[name]) >= 2 {
			return name
		}
	}
	t.Fatal("no file has two rows")
	return ""
}

// only fails where there is an exception of another kind, or none of these.
func only(t *testing.T, r *ArchiveReport, kinds map[Kind]int64) {
	t.Helper()
	if !maps.Equal(r.ExceptionsByKind, kinds) || r.OK() != (len(kinds) == 0) {
		t.Errorf("exceptions %v, not %v: %v", r.ExceptionsByKind, kinds, r.Exceptions)
	}
}

// An archive that its writer made of a day has each reading and window of the day, and nothing else.
func TestArchiveClean(t *testing.T) {
	a := newArchived(t)
	r := a.verify()
	only(t, r, nil)
	readings, windows := a.w.rows()
	if n := r.Totals; n.Readings != readings || n.Windows != windows || n.Proved != readings+windows || n.Pending != 0 ||
		n.Missing+n.Expired+n.Lost != 0 || n.Files != int64(len(a.raw)+len(a.windows)) || readings == 0 || windows == 0 {
		t.Errorf("totals %+v of %d readings and %d windows", n, readings, windows)
	}
}

// Repeats on the topic, and readings that stand beyond a gap before they come again, ask for one row.
func TestArchiveOfRepeats(t *testing.T) {
	w, mem := day(), archive.NewMemory()
	p := w.event(codecs.KindReading, "100", 9).Partition
	records := w.events[p]
	w.events[p] = slices.Concat(records[:len(records)/2], records[2:])
	// A gap: the first pass loses a reading, which the second pass brings, with those of its sensor that stood beyond it.
	gap := slices.IndexFunc(w.events[p][4:], func(r *kgo.Record) bool {
		kind, _ := header(r, codecs.HeaderKind)
		return kind == string(codecs.KindReading)
	})
	w.events[p] = slices.Delete(w.events[p], 4+gap, 5+gap)
	for i, r := range w.events[p] {
		c := *r
		c.Offset = int64(i)
		w.events[p][i] = &c
	}
	pass := int64(len(records)/2 - 1)
	fill(t, w, mem, func(int64) []int64 { return []int64{pass} }) // what stands beyond the gap has no row yet
	only(t, load(t, w, mem).verify(), nil)
	fill(t, w, mem, func(end int64) []int64 { return []int64{end} })
	r := load(t, w, mem).verify()
	only(t, r, nil)
	if n := r.Totals; n.Proved != n.Readings+n.Windows || n.Proved == 0 {
		t.Errorf("%d rows, and %d are asked for", n.Readings+n.Windows, n.Proved)
	}
}

// Where a sensor's very first records failed and those behind them did not, what stands there first is beyond a gap:
// the archive leaves it out, and takes it when it comes again. On a topic that retention has not touched no row is
// missing then.
func TestArchiveBeginsBehindGap(t *testing.T) {
	w, mem := day(), archive.NewMemory()
	for _, kind := range []codecs.Kind{codecs.KindReading, codecs.KindWindow} {
		early := *w.event(kind, "100", 2)
		p := early.Partition
		w.events[p] = slices.Concat([]*kgo.Record{&early}, w.events[p])
	}
	for _, records := range w.events {
		for i, r := range records {
			c := *r
			c.Offset = int64(i)
			records[i] = &c
		}
	}
	fill(t, w, mem, func(int64) []int64 { return []int64{4} })
	only(t, load(t, w, mem).verify(), nil)
	fill(t, w, mem, inTwo)
	only(t, load(t, w, mem).verify(), nil)
}

// Each alteration of the archive is an exception that names its file and row, or the record whose row is missing.
func TestArchiveAltered(t *testing.T) {
	for _, tt := range []struct {
		name  string
		alter func(a *archived) (file string)
		want  map[Kind]int64
	}{
		{"a reading removed", func(a *archived) string {
			f := first(a.t, a.raw)
			a.raw[f] = a.raw[f][1:]
			return ""
		}, map[Kind]int64{KindRowMissing: 1}},
		{"a window removed", func(a *archived) string {
			f := first(a.t, a.windows)
			a.windows[f] = a.windows[f][1:]
			return ""
		}, map[Kind]int64{KindRowMissing: 1}},
		{"a reading doubled", func(a *archived) string {
			f := first(a.t, a.raw)
			a.raw[f] = append(a.raw[f][:1:1], a.raw[f]...)
			return f
		}, map[Kind]int64{KindRowDoubled: 1}},
		{"a file doubled", func(a *archived) string {
			f := first(a.t, a.windows)
			copied := path.Join(path.Dir(f), "copy.parquet")
			a.windows[copied] = a.windows[f]
			return ""
		}, nil},
		{"two rows exchanged", func(a *archived) string {
			f := first(a.t, a.raw)
			a.raw[f][0], a.raw[f][1] = a.raw[f][1], a.raw[f][0]
			return f
		}, map[Kind]int64{KindRowUnsorted: 1}},
		{"two windows exchanged", func(a *archived) string {
			f := first(a.t, a.windows)
			a.windows[f][0], a.windows[f][1] = a.windows[f][1], a.windows[f][0]
			return f
		}, map[Kind]int64{KindRowUnsorted: 1}},
		{"a reading that nobody sent", func(a *archived) string {
			f := first(a.t, a.raw)
			r := a.raw[f][len(a.raw[f])-1]
			r.Sequence = 1_000_000
			a.raw[f] = append(a.raw[f], r)
			return f
		}, map[Kind]int64{KindRowUnexpected: 1}},
		{"a file in another folder", func(a *archived) string {
			f := first(a.t, a.raw)
			moved := strings.Replace(f, "hour=", "hour=1", 1)
			a.raw[moved] = a.raw[f][:1]
			a.raw[f] = a.raw[f][1:]
			return moved
		}, map[Kind]int64{KindWrongFolder: 1}},
	} {
		a := newArchived(t)
		file := tt.alter(a)
		r := a.verify()
		if tt.want == nil {
			if r.OK() || r.ExceptionsByKind[KindRowDoubled] == 0 {
				t.Errorf("%s: %v", tt.name, r.ExceptionsByKind)
			}
			continue
		}
		if !maps.Equal(r.ExceptionsByKind, tt.want) || len(r.Exceptions) != 1 || r.Exceptions[0].File != file ||
			r.Exceptions[0].Row == "" {
			t.Errorf("%s: %v", tt.name, r.Exceptions)
		}
		if tt.want[KindRowMissing] > 0 && !strings.HasPrefix(r.Exceptions[0].Row, a.w.o.EventsTopic+"/") {
			t.Errorf("%s: the record is not named: %v", tt.name, r.Exceptions[0])
		}
	}
}

// Each column counts, null or not.
func TestArchiveColumns(t *testing.T) {
	other := func(v *float64) *float64 {
		if v == nil {
			return new(float64)
		}
		return nil
	}
	name := func(v *string) *string {
		if v == nil {
			return new(string)
		}
		return nil
	}
	count := func(v *int32) *int32 {
		if v == nil {
			return new(int32)
		}
		return nil
	}
	for i, alter := range []func(*archive.RawRow){
		func(r *archive.RawRow) { r.SpeedMPH = other(r.SpeedMPH) },
		func(r *archive.RawRow) { r.VolumeVPH = count(r.VolumeVPH) },
		func(r *archive.RawRow) { r.OccupancyPercent = other(r.OccupancyPercent) },
		func(r *archive.RawRow) { r.Timestamp++ },
		func(r *archive.RawRow) { r.Latitude++ },
		func(r *archive.RawRow) { r.Longitude++ },
		func(r *archive.RawRow) { r.ReceivedAt++ },
		func(r *archive.RawRow) { r.Flags ^= 1 },
		func(r *archive.RawRow) { r.Freeway = name(r.Freeway) },
		func(r *archive.RawRow) { r.Direction = name(r.Direction) },
		func(r *archive.RawRow) { r.Lanes = count(r.Lanes) },
		func(r *archive.RawRow) { r.SourcePartition++ },
		func(r *archive.RawRow) { r.SourceOffset++ },
	} {
		a := newArchived(t)
		f := first(t, a.raw)
		alter(&a.raw[f][0])
		if r := a.verify(); r.ExceptionsByKind[KindRowDiffers] != 1 {
			t.Errorf("column %d of a reading: %v", i, r.ExceptionsByKind)
		}
	}
	for i, alter := range []func(*archive.AggregateRow){
		func(r *archive.AggregateRow) { r.WindowEnd++ },
		func(r *archive.AggregateRow) { r.AvgSpeed = other(r.AvgSpeed) },
		func(r *archive.AggregateRow) { r.AvgVolume = other(r.AvgVolume) },
		func(r *archive.AggregateRow) { r.AvgOccupancy = other(r.AvgOccupancy) },
		func(r *archive.AggregateRow) { r.SpeedVariance = other(r.SpeedVariance) },
		func(r *archive.AggregateRow) { r.MessageCount++ },
		func(r *archive.AggregateRow) { r.MinSpeed = other(r.MinSpeed) },
		func(r *archive.AggregateRow) { r.MaxSpeed = other(r.MaxSpeed) },
		func(r *archive.AggregateRow) { r.FlowWeightedSpeed = other(r.FlowWeightedSpeed) },
		func(r *archive.AggregateRow) { r.HarmonicSpeed = other(r.HarmonicSpeed) },
		func(r *archive.AggregateRow) { r.ExpectedCount++ },
		func(r *archive.AggregateRow) { r.Completeness /= 2 },
		func(r *archive.AggregateRow) { r.FlagCounts = map[string]int32{"stuck": 77} },
		func(r *archive.AggregateRow) {
			r.FlagCounts = maps.Clone(r.FlagCounts)
			if r.FlagCounts == nil {
				r.FlagCounts = make(map[string]int32)
			}
			r.FlagCounts["no flag"] = 1
		},
		func(r *archive.AggregateRow) { r.CloseReason += "x" },
		func(r *archive.AggregateRow) { r.Latitude++ },
		func(r *archive.AggregateRow) { r.Longitude++ },
	} {
		a := newArchived(t)
		f := first(t, a.windows)
		alter(&a.windows[f][0])
		if r := a.verify(); r.ExceptionsByKind[KindRowDiffers] != 1 {
			t.Errorf("column %d of a window: %v", i, r.ExceptionsByKind)
		}
	}
}

// What is not archived yet is pending, and files that were committed after the extents were noted are not looked at.
func TestArchivePending(t *testing.T) {
	a := newArchived(t)
	var pending int64
	for p := range a.spans {
		s := &a.spans[p]
		s.Archived /= 2 // the end of the first batch
		pending += s.End - s.Archived
	}
	r := a.verify()
	only(t, r, nil)
	if r.Totals.Pending != pending || r.Totals.Proved == 0 {
		t.Errorf("totals %+v, %d pending", r.Totals, pending)
	}
	a = newArchived(t)
	for p := range a.spans {
		a.spans[p].Archived = 0
	}
	if r := a.verify(); !r.OK() || r.Totals.Proved+r.Totals.Files != 0 {
		t.Errorf("an archive that was never written: %+v", r.Totals)
	}
}

// Rows whose records retention has deleted since are not proved, and no exception; what the archive never had because
// retention was faster is named.
func TestArchiveExpired(t *testing.T) {
	a := newArchived(t)
	for p := range a.spans {
		a.spans[p].Start = a.spans[p].End / 2
	}
	r := a.verify()
	only(t, r, nil)
	if r.Totals.Expired == 0 || r.Totals.Proved == 0 || r.Totals.Lost != 0 {
		t.Errorf("totals %+v", r.Totals)
	}
	f := first(t, a.raw) // of the second batch or the first, by its name
	for name := range a.raw {
		if _, start, _, _ := archive.FileRange(name); start > 0 && len(a.raw[name]) > 0 {
			f = name
		}
	}
	x := a.raw[f][len(a.raw[f])-1]
	x.Sequence = 1_000_000
	a.raw[f] = append(a.raw[f], x)
	only(t, a.verify(), map[Kind]int64{KindRowUnexpected: 1})

	a = newArchived(t)
	a.spans[0].Holes = []archive.Hole{{From: 3, To: 7}}
	r = a.verify()
	if r.Totals.Lost != 4 || !slices.Equal(r.Ranges[0].Expired, []Hole{{From: 3, To: 7}}) {
		t.Errorf("a hole: %+v", r)
	}
	var text strings.Builder
	r.writeText(&text)
	if !strings.Contains(text.String(), "/0: offsets 3 to 6 are gone") {
		t.Errorf("the hole is not named:\n%s", &text)
	}
}

// An archive that is ahead of its topic belongs to another one.
func TestArchiveAhead(t *testing.T) {
	a := newArchived(t)
	a.spans[0].End--
	if r := a.verify(); r.ExceptionsByKind[KindArchiveAhead] != 1 {
		t.Errorf("%v", r.ExceptionsByKind)
	}
}

// VerifyArchive compares what is in the file system with what is on the topic, with the files of a commit that were not
// moved yet; a file that is missing or damaged is found.
func TestVerifyArchive(t *testing.T) {
	w, mem := day(), archive.NewMemory()
	c := startCluster(t, w)
	fill(t, w, mem, inTwo)
	verify := func(fsys archive.Reader) *ArchiveReport {
		t.Helper()
		r, err := VerifyArchive(t.Context(), c.o, fsys)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	readings, windows := w.rows()
	if r := verify(mem); !r.OK() || r.Totals.Proved != readings+windows || r.Totals.Pending != 0 {
		t.Errorf("totals %+v, %v", r.Totals, r.Exceptions)
	}
	extents, err := archive.Extents(mem)
	if err != nil {
		t.Fatal(err)
	}
	m := extents[0].Files[0]
	crashed := mem.Clone()
	if err := crashed.Rename(m.Final, m.Temp); err != nil {
		t.Fatal(err)
	}
	only(t, verify(crashed), nil)

	missing := mem.Clone()
	if err := missing.Remove(m.Final); err != nil {
		t.Fatal(err)
	}
	if r := verify(missing); r.OK() || r.Totals.Missing == 0 || r.ExceptionsByKind[KindRowMissing] != r.Totals.Missing {
		t.Errorf("a missing file: %v", r.ExceptionsByKind)
	}
	if err := missing.WriteFile(m.Final, []byte("PAR1 no Parquet PAR1")); err != nil {
		t.Fatal(err)
	}
	r := verify(missing)
	if r.ExceptionsByKind[KindFileUnreadable] != 1 || r.Exceptions[len(r.Exceptions)-1].File != m.Final {
		t.Errorf("a damaged file: %v", r.Exceptions)
	}

	report := c.verify()
	report.AddArchive(r)
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if report.OK() || report.Verdict != VerdictExceptions || !strings.Contains(text.String(), m.Final) {
		t.Errorf("the report does not say it:\n%s", &text)
	}
	c.addMore(w)
	if r := verify(mem); !r.OK() || r.Totals.Pending != 1 {
		t.Errorf("with one more record: %+v", r.Totals)
	}
}

// addMore writes a record that is not archived.
func (c *cluster) addMore(w *world) {
	c.t.Helper()
	again := double(w.events, w.event(codecs.KindReading, "100", 5))
	c.produce(again)
}
