package ledger

import (
	"cmp"
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
// It is given the records first, those of one partition in the order of their offsets, then the files. No record and no
// row is kept: 17 bytes remain of each record with a row, and two numbers of each sensor.
type Archive struct {
	topic  string
	spans  []ArchiveSpan
	hash   digester
	last   map[string]*taken
	parts  []archivePart
	sorted bool
	report ArchiveReport
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
	// place is the record's offset behind the span's start, with the highest bit set where the archive need not hold it:
	// for a record that is a repeat, or stands beyond a gap.
	place uint32
}

const spareRow = 1 << 31

// NewArchive returns the comparison of an archive with these partitions of the topic.
func NewArchive(topic string, spans []ArchiveSpan) (*Archive, error) {
	a := &Archive{
		topic: topic, spans: spans, hash: newDigester(), last: make(map[string]*taken),
		parts: make([]archivePart, len(spans)), report: newArchiveReport(topic),
	}
	for p := range spans {
		s := &spans[p]
		read := s.read()
		switch {
		case s.Start < 0 || s.End < s.Start || s.Archived < 0:
			return nil, fmt.Errorf("%s partition %d: %+v is not a span", topic, p, *s)
		case read.End-read.Start >= spareRow:
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
		a.want(r, a.rawIdentity(&row), a.rawContent(&row), next(&a.sensor(row.SensorID).reading, e.Reading.Sequence))
	case codecs.KindWindow:
		text, _ := header(r, codecs.HeaderOrdinal)
		ordinal, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ordinal < 1 {
			return
		}
		row := aggregateRow(&e.Window)
		a.want(r, a.windowIdentity(&row), a.windowContent(&row), next(&a.sensor(row.SensorID).window, ordinal))
	}
}

func (s *ArchiveSpan) contains(offset int64) bool { return s.read().contains(offset) }

// next tells whether number n is the one that follows the last. The first one that is retained is a beginning.
func next(last *int64, n int64) bool {
	if *last != 0 && n != *last+1 {
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

// Raw takes a data file of the table raw, by its name below the archive's root.
func (a *Archive) Raw(file string, rows []archive.RawRow) {
	if !a.begin(file, archive.TableRaw, int64(len(rows))) {
		return
	}
	for i := range rows {
		r := &rows[i]
		name := func() string { return fmt.Sprintf("sensor %.64q sequence %d", r.SensorID, r.Sequence) }
		a.row(file, archive.TableRaw, r.Timestamp, a.rawIdentity(r), a.rawContent(r), name)
		if i > 0 && rawOrder(&rows[i-1], r) > 0 {
			a.except(KindRowUnsorted, file, name(), "it stands behind a row that it should precede")
		}
	}
}

// Aggregates takes a data file of the table aggregates.
func (a *Archive) Aggregates(file string, rows []archive.AggregateRow) {
	if !a.begin(file, archive.TableAggregates, int64(len(rows))) {
		return
	}
	for i := range rows {
		r := &rows[i]
		name := func() string {
			return fmt.Sprintf("sensor %.64q window %s revision %d", r.SensorID,
				time.UnixMilli(r.WindowStart).UTC().Format(time.RFC3339), r.Revision)
		}
		a.row(file, archive.TableAggregates, r.WindowStart, a.windowIdentity(r), a.windowContent(r), name)
		if i > 0 && aggregateOrder(&rows[i-1], r) > 0 {
			a.except(KindRowUnsorted, file, name(), "it stands behind a row that it should precede")
		}
	}
}

// Unreadable takes note of a data file that cannot be read as one.
func (a *Archive) Unreadable(file string, err error) {
	a.except(KindFileUnreadable, file, "", "%v", err)
}

// begin sorts the rows that are asked for, and passes over files that were committed since the extents were noted.
func (a *Archive) begin(file string, t archive.Table, rows int64) bool {
	if !a.sorted {
		a.sort()
	}
	if p, start, _, ok := archive.FileRange(file); ok && int(p) < len(a.spans) && start >= a.spans[p].Archived {
		return false
	}
	a.report.Totals.Files++
	if t == archive.TableRaw {
		a.report.Totals.Readings += rows
	} else {
		a.report.Totals.Windows += rows
	}
	return true
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
		case p.rows[n].content != content:
			a.except(KindRowDiffers, file, name(), "its columns are not those of %s", a.place(i, n))
		}
		p.seen[n] = true
		return
	}
	if a.expired(file) {
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

// place names the record that asks for a row.
func (a *Archive) place(partition, row int) string {
	offset := a.spans[partition].Start + int64(a.parts[partition].rows[row].place&^uint32(spareRow))
	return codecs.Source{Topic: a.topic, Partition: int32(partition), Offset: offset}.String()
}

// Close ends the comparison: rows that were not seen are missing.
func (a *Archive) Close() *ArchiveReport {
	if !a.sorted {
		a.sort()
	}
	for i := range a.parts {
		p := &a.parts[i]
		for n := range p.rows {
			switch {
			case p.rows[n].place&spareRow != 0:
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
