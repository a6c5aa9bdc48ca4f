package ledger

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/store/archive"
)

// ArchiveSpan is what an archive is compared with of one partition of traffic-events.
type ArchiveSpan struct {
	Start    int64          // the first retained offset
	End      int64          // one beyond the last offset of the topic
	Archived int64          // the archive says that it holds all offsets below
	Holes    []archive.Hole // of them, those that retention deleted before they were archived
}

// read is what there is to compare of a span: what is retained and archived.
func (s *ArchiveSpan) read() Span {
	return Span{Start: s.Start, End: max(s.Start, min(s.Archived, s.End))}
}

// Archive proves that an archive holds each reading and each revision of a window of traffic-events exactly once, with
// all its columns, in the folder of its hour, and nothing else.
//
// A sealed hour holds the highest revision of each window alone; those that its manifest covers and that a higher
// covered one follows must be gone. Its file must be what its manifest says: then rows whose records have expired are
// proved by it.
//
// It is given the records first, those of one partition in the order of their offsets, then the files. No record and no
// row is kept: 17 bytes remain of each record with a row, two numbers of each sensor, and about 40 bytes of each window
// of a sealed hour.
type Archive struct {
	topic   string
	spans   []ArchiveSpan
	seals   map[time.Time]*archive.Manifest
	hash    digester
	last    map[string]*taken
	highest map[uint64]revision // of the windows of sealed hours
	parts   []archivePart
	sorted  bool
	file    openFile
	report  ArchiveReport
}

// revision is the highest one of a window that is sealed, and the place of its row in its part.
type revision struct {
	number int32
	row    int
}

// openFile is the file whose rows come now.
type openFile struct {
	name       string
	skip       bool // it was committed since the extents were noted
	sealed     *archive.SealedFile
	broken     bool // it is not what its manifest says
	rows       int64
	lastRaw    archive.RawRow
	lastWindow archive.AggregateRow
}

// taken are the numbers of a sensor's reading and window that the archive took last.
type taken struct{ reading, window int64 }

// archivePart holds the rows that one partition asks for.
type archivePart struct {
	rows []archiveRow // by identity, once all records are read
	seen []bool       // by row
}

// archiveRow is a row that a record asks for: 16 bytes. Identities of 64 bits do not meet by chance among the rows of
// an archive; digests of 32 bits overlook one alteration in four billion.
type archiveRow struct {
	identity uint64
	content  uint32
	// place is the record's offset behind the span's start, with one of the highest bits set where the archive need not
	// hold it.
	place uint32
}

const (
	spareRow   = 1 << 31 // the record is a repeat, or stands beyond a gap
	droppedRow = 1 << 30 // a sealed hour has a higher revision instead
	placeMask  = droppedRow - 1
)

// NewArchive returns the comparison of an archive, whose sealed hours have these manifests, with these partitions of
// the topic.
func NewArchive(topic string, spans []ArchiveSpan, seals map[time.Time]*archive.Manifest) (*Archive, error) {
	a := &Archive{
		topic: topic, spans: spans, seals: seals, hash: newDigester(), last: make(map[string]*taken),
		highest: make(map[uint64]revision), parts: make([]archivePart, len(spans)), report: newArchiveReport(topic),
	}
	a.report.Totals.Sealed = int64(len(seals))
	for p := range spans {
		s := &spans[p]
		read := s.read()
		switch {
		case s.Start < 0 || s.End < s.Start || s.Archived < 0:
			return nil, fmt.Errorf("%s partition %d: %+v is not a span", topic, p, *s)
		case read.End-read.Start > placeMask:
			return nil, fmt.Errorf("%s partition %d: %d records are more than can be compared", topic, p, read.End-read.Start)
		case s.Archived > s.End:
			a.except(KindArchiveAhead, "", fmt.Sprintf("%s/%d/%d", topic, p, s.End), "the topic ends here, and the archive "+
				"says that it holds the offsets up to %d", s.Archived)
		}
		a.report.addRange(int32(p), s)
	}
	return a, nil
}

// Event takes a record of traffic-events. The archive takes readings and windows by their numbers, each sensor's one
// after the other, so that repeats, and what stands beyond a gap and comes again behind what is missing, has no row.
func (a *Archive) Event(r *kgo.Record) {
	if int(r.Partition) >= len(a.spans) || !a.spans[r.Partition].contains(r.Offset) || r.Attrs.IsControl() {
		return
	}
	var e codecs.Event
	if decodeEvent(r, &e) != nil {
		return // the ledger of the topics reports it
	}
	switch e.Kind {
	case codecs.KindReading:
		text, _ := header(r, codecs.HeaderSource)
		source, err := codecs.ParseSource(text)
		if err != nil || e.Reading.Sequence < 1 {
			return
		}
		row := rawRow(&e.Reading, source)
		a.want(r, a.rawIdentity(&row), a.rawContent(&row),
			a.next(r, &a.sensor(row.SensorID).reading, e.Reading.Sequence))
	case codecs.KindWindow:
		text, _ := header(r, codecs.HeaderOrdinal)
		ordinal, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ordinal < 1 {
			return
		}
		row := aggregateRow(&e.Window)
		required := a.next(r, &a.sensor(row.SensorID).window, ordinal)
		a.want(r, a.windowIdentity(&row), a.windowContent(&row), required)
		if required {
			a.supersede(r, &row)
		}
	}
}

// supersede notes which revision of a window a sealed hour must hold: the highest of those that its manifest covers.
func (a *Archive) supersede(r *kgo.Record, row *archive.AggregateRow) {
	m := a.seals[time.UnixMilli(row.WindowStart).UTC().Truncate(time.Hour)]
	if m == nil || m.Tables[archive.TableAggregates] == nil ||
		!m.Tables[archive.TableAggregates].Covers(r.Partition, r.Offset) {
		return
	}
	rows := a.parts[r.Partition].rows
	window := a.identity(archive.TableAggregates, row.SensorID, row.WindowStart)
	this := revision{number: row.Revision, row: len(rows) - 1}
	lower := this
	if known, ok := a.highest[window]; !ok {
		a.highest[window] = this
		return
	} else if known.number < this.number {
		a.highest[window], lower = this, known
	}
	rows[lower.row].place |= droppedRow
}

func (s *ArchiveSpan) contains(offset int64) bool { return s.read().contains(offset) }

// next tells whether number n, of a record, is the one that follows the last. Where retention has deleted what was
// before, the first one that is retained is a beginning; elsewhere it may stand beyond a gap, where those before it
// failed.
func (a *Archive) next(r *kgo.Record, last *int64, n int64) bool {
	begins := *last == 0 && a.spans[r.Partition].Start > 0
	if n != *last+1 && !begins {
		return false
	}
	*last = n
	return true
}

func (a *Archive) sensor(id string) *taken {
	t := a.last[id]
	if t == nil {
		t = new(taken)
		a.last[strings.Clone(id)] = t
	}
	return t
}

func (a *Archive) want(r *kgo.Record, identity uint64, content uint32, required bool) {
	row := archiveRow{identity: identity, content: content, place: uint32(r.Offset - a.spans[r.Partition].Start)}
	if !required {
		row.place |= spareRow
	}
	a.parts[r.Partition].rows = append(a.parts[r.Partition].rows, row)
}

// Raw takes rows of a data file of the table raw, by its name below the archive's root. The rows of a large file may
// come in several calls, in their order.
func (a *Archive) Raw(file string, rows []archive.RawRow) {
	if !a.begin(file) {
		return
	}
	a.report.Totals.Readings += int64(len(rows))
	for i := range rows {
		r := &rows[i]
		name := func() string { return fmt.Sprintf("sensor %.64q sequence %d", r.SensorID, r.Sequence) }
		a.row(file, archive.TableRaw, r.Timestamp, a.rawIdentity(r), a.rawContent(r), name)
		if a.file.rows > 0 && rawOrder(&a.file.lastRaw, r) > 0 {
			a.except(KindRowUnsorted, file, name(), "it stands behind a row that it should precede")
		}
		a.file.lastRaw = *r
		a.file.rows++
	}
}

// Aggregates is Raw for the table aggregates.
func (a *Archive) Aggregates(file string, rows []archive.AggregateRow) {
	if !a.begin(file) {
		return
	}
	a.report.Totals.Windows += int64(len(rows))
	for i := range rows {
		r := &rows[i]
		name := func() string {
			return fmt.Sprintf("sensor %.64q window %s revision %d", r.SensorID,
				time.UnixMilli(r.WindowStart).UTC().Format(time.RFC3339), r.Revision)
		}
		a.row(file, archive.TableAggregates, r.WindowStart, a.windowIdentity(r), a.windowContent(r), name)
		if a.file.rows > 0 && aggregateOrder(&a.file.lastWindow, r) > 0 {
			a.except(KindRowUnsorted, file, name(), "it stands behind a row that it should precede")
		}
		a.file.lastWindow = *r
		a.file.rows++
	}
}

// Seal takes the sealed file whose rows come next, and what its content really is. The rows are compared all the same.
func (a *Archive) Seal(file string, sealed *archive.SealedFile, bytes int64, sum [sha256.Size]byte) {
	a.endFile()
	a.report.Totals.Files++
	a.file = openFile{name: file, sealed: sealed}
	switch {
	case bytes != sealed.Bytes:
		a.breakSeal("it has %d bytes, its manifest says %d", bytes, sealed.Bytes)
	case hex.EncodeToString(sum[:]) != sealed.SHA256:
		a.breakSeal("its SHA-256 is not that of its manifest: it was changed since the hour was sealed")
	}
}

func (a *Archive) breakSeal(format string, args ...any) {
	a.file.broken = true
	a.except(KindSealBroken, a.file.name, "", format, args...)
}

// endFile compares the file whose rows have come with its manifest.
func (a *Archive) endFile() {
	if s := a.file.sealed; s != nil && !a.file.broken && a.file.rows != s.Rows {
		a.breakSeal("it has %d rows, its manifest says %d", a.file.rows, s.Rows)
	}
	a.file = openFile{}
}

// Unreadable takes note of a data file that cannot be read as one.
func (a *Archive) Unreadable(file string, err error) {
	a.except(KindFileUnreadable, file, "", "%v", err)
	if a.file.name == file {
		a.file = openFile{}
	}
}

// Lost takes note of a file that is not there.
func (a *Archive) Lost(file string) {
	a.except(KindFileMissing, file, "", "a manifest, or the newest commit of its partition, names it, and it is not there")
}

// Stray takes note of a data file that no commit accounts for: readers of the folder take its rows for the archive's.
func (a *Archive) Stray(file string) {
	a.except(KindFileStray, file, "", "no commit of this archive accounts for it, and readers of the folder count its "+
		"rows: move it out")
}

// begin sorts the rows that are asked for, and passes over files that were committed since the extents were noted.
func (a *Archive) begin(file string) bool {
	if !a.sorted {
		a.sort()
	}
	if a.file.name != file {
		a.endFile()
		a.file.name = file
		p, start, _, ok := archive.FileRange(file)
		a.file.skip = ok && int(p) < len(a.spans) && start >= a.spans[p].Archived
		if !a.file.skip {
			a.report.Totals.Files++
		}
	}
	return !a.file.skip
}

func (a *Archive) sort() {
	for i := range a.parts {
		p := &a.parts[i]
		slices.SortFunc(p.rows, func(x, y archiveRow) int {
			// The record that the archive takes stands first, so that it is the one which is found.
			return cmp.Or(cmp.Compare(x.identity, y.identity), cmp.Compare(x.place, y.place))
		})
		p.seen = make([]bool, len(p.rows))
	}
	a.sorted = true
}

// row compares a row with the record that asks for it.
func (a *Archive) row(file string, t archive.Table, ms int64, identity uint64, content uint32, name func() string) {
	if dir := path.Join(t.Dir(), hourFolder(ms)); path.Dir(file) != dir {
		a.except(KindWrongFolder, file, name(), "it belongs in %s", dir)
	}
	for i := range a.parts {
		p := &a.parts[i]
		n, ok := slices.BinarySearchFunc(p.rows, identity, func(r archiveRow, id uint64) int {
			return cmp.Compare(r.identity, id)
		})
		if !ok {
			continue
		}
		switch {
		case p.seen[n]:
			a.except(KindRowDoubled, file, name(), "it is in the archive more than once")
		case p.rows[n].place&droppedRow != 0 && a.file.sealed != nil:
			a.except(KindRowSuperseded, file, name(), "the sealed hour has a higher revision of the window")
		case p.rows[n].content != content:
			a.except(KindRowDiffers, file, name(), "its columns are not those of %s", a.place(i, n))
		}
		p.seen[n] = true
		return
	}
	switch {
	case a.file.sealed != nil && a.expiredSeal():
		if !a.file.broken {
			a.report.Totals.ProvedByManifest++
			return
		}
		a.report.Totals.Expired++
		return
	case a.file.sealed == nil && a.expired(file):
		a.report.Totals.Expired++
		return
	}
	a.except(KindRowUnexpected, file, name(), "no record of %s asks for it", a.topic)
}

// hourFolder is the folder of an hour of event time in UTC, as Hive names it.
func hourFolder(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("year=2006/month=01/day=02/hour=15")
}

// expired tells whether the records of a file's rows may be gone from the topic. A file that does not say where its
// rows come from may hold expired ones once anything has expired.
func (a *Archive) expired(file string) bool {
	if p, start, _, ok := archive.FileRange(file); ok {
		return int(p) < len(a.spans) && start < a.spans[p].Start
	}
	return slices.ContainsFunc(a.spans, func(s ArchiveSpan) bool { return s.Start > 0 })
}

// expiredSeal tells whether records of a sealed file may be gone from the topic.
func (a *Archive) expiredSeal() bool {
	return slices.ContainsFunc(a.file.sealed.Events, func(r archive.OffsetRange) bool {
		return int(r.Partition) < len(a.spans) && r.From < a.spans[r.Partition].Start
	})
}

// place names the record that asks for a row.
func (a *Archive) place(partition, row int) string {
	offset := a.spans[partition].Start + int64(a.parts[partition].rows[row].place&placeMask)
	return codecs.Source{Topic: a.topic, Partition: int32(partition), Offset: offset}.String()
}

// Close ends the comparison: rows that were not seen are missing.
func (a *Archive) Close() *ArchiveReport {
	if !a.sorted {
		a.sort()
	}
	a.endFile()
	for i := range a.parts {
		p := &a.parts[i]
		for n := range p.rows {
			switch {
			case p.rows[n].place&spareRow != 0:
			case p.rows[n].place&droppedRow != 0:
				a.report.Totals.Superseded++
			case n > 0 && p.rows[n-1].identity == p.rows[n].identity: // the record before asks for the same row
			case p.seen[n]:
				a.report.Totals.Proved++
			default:
				a.report.Totals.Missing++
				a.except(KindRowMissing, "", a.place(i, n), "no file holds its row")
			}
		}
	}
	a.report.finish()
	return &a.report
}

func (a *Archive) identity(table archive.Table, sensor string, numbers ...int64) uint64 {
	a.hash.begin()
	a.hash.long(int64(table))
	a.hash.string(sensor)
	for _, n := range numbers {
		a.hash.long(n)
	}
	return maphash.Bytes(a.hash.seed, a.hash.buf)
}

func (a *Archive) rawIdentity(r *archive.RawRow) uint64 {
	return a.identity(archive.TableRaw, r.SensorID, r.Sequence)
}

func (a *Archive) windowIdentity(r *archive.AggregateRow) uint64 {
	return a.identity(archive.TableAggregates, r.SensorID, r.WindowStart, int64(r.Revision))
}
