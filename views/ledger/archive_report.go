package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// The kinds of exceptions of an archive.
const (
	KindRowMissing     Kind = "row_missing"     // a record that is archived has no row
	KindRowUnexpected  Kind = "row_unexpected"  // a row has no record
	KindRowDoubled     Kind = "row_doubled"     // a row is there more than once
	KindRowDiffers     Kind = "row_differs"     // a row's columns are not those of its record
	KindRowUnsorted    Kind = "row_unsorted"    // a row does not stand in the order of its file
	KindWrongFolder    Kind = "wrong_folder"    // a row is not in the folder of its hour
	KindFileUnreadable Kind = "file_unreadable" // a data file cannot be read
	KindRowSuperseded  Kind = "row_superseded"  // a sealed hour holds a revision that a higher one has superseded
	KindSealBroken     Kind = "seal_broken"     // a sealed file is not what its manifest says
	KindFileMissing    Kind = "file_missing"    // a file that a manifest or a newest commit names is not there
	KindFileStray      Kind = "file_stray"      // a data file that no commit accounts for
	KindArchiveEmpty   Kind = "archive_empty"   // nothing was ever archived, and something should have been
	KindArchiveAhead   Kind = "archive_ahead"   // the archive says that it holds more than the topic ever had
)

// ArchiveException is something of an archive that does not fit, and where.
type ArchiveException struct {
	Kind Kind   `json:"kind"`
	File string `json:"file,omitempty"` // empty where no file has it
	Row  string `json:"row,omitempty"`  // what the row is of; TOPIC/PARTITION/OFFSET of its record where it is missing
	Text string `json:"text"`
}

// String begins with the place.
func (x ArchiveException) String() string {
	return strings.TrimSpace(x.File+" "+x.Row) + " " + string(x.Kind) + ": " + x.Text
}

// ArchiveTotals count what the comparison saw.
type ArchiveTotals struct {
	Files    int64 `json:"files"`
	Readings int64 `json:"readings"` // rows of the table raw
	Windows  int64 `json:"windows"`  // rows of the table aggregates
	Proved   int64 `json:"proved"`   // records whose row is there
	Missing  int64 `json:"missing"`  // records whose row is not
	Expired  int64 `json:"expired"`  // rows whose records retention has deleted since: not proved
	Sealed   int64 `json:"sealed"`   // hours with a manifest

	Superseded       int64 `json:"superseded"`         // revisions that sealed hours need not hold any more
	ProvedByManifest int64 `json:"proved_by_manifest"` // rows of expired records, in files that are as they were sealed

	Lost    int64 `json:"lost"`    // offsets that retention deleted before they were archived
	Pending int64 `json:"pending"` // offsets that are not archived yet
}

// ArchiveRange is what was compared of one partition of traffic-events: each reading and window of [From, To) has its
// row, or is an exception.
type ArchiveRange struct {
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Pending   int64  `json:"pending"` // offsets from To to the end of the topic
	Expired   []Hole `json:"expired"` // never archived, because retention was faster
}

// Hole is a range of offsets From ≤ offset < To.
type Hole struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// ArchiveReport is what the comparison says in the end.
type ArchiveReport struct {
	Topic            string             `json:"topic"`
	Ranges           []ArchiveRange     `json:"ranges"`
	Totals           ArchiveTotals      `json:"totals"`
	ExceptionsByKind map[Kind]int64     `json:"exceptions_by_kind"` // all of them
	Exceptions       []ArchiveException `json:"exceptions"`         // the first 1000
}

func newArchiveReport(topic string) ArchiveReport {
	return ArchiveReport{Topic: topic, ExceptionsByKind: make(map[Kind]int64), Exceptions: []ArchiveException{}}
}

// OK tells whether there was no exception.
func (r *ArchiveReport) OK() bool { return len(r.ExceptionsByKind) == 0 }

func (r *ArchiveReport) addRange(partition int32, s *ArchiveSpan) {
	read := s.read()
	x := ArchiveRange{Partition: partition, From: read.Start, To: read.End, Pending: s.End - read.End}
	for _, h := range s.Holes {
		x.Expired = append(x.Expired, Hole{From: h.From, To: h.To})
	}
	if s.Archived < s.Start { // gone before the archive came so far, which it will find out
		x.Expired = append(x.Expired, Hole{From: s.Archived, To: s.Start})
	}
	for _, h := range x.Expired {
		r.Totals.Lost += h.To - h.From
	}
	r.Totals.Pending += x.Pending
	r.Ranges = append(r.Ranges, x)
}

func (a *Archive) except(kind Kind, file, row, format string, args ...any) {
	r := &a.report
	r.ExceptionsByKind[kind]++
	if len(r.Exceptions) < exceptionsKept {
		r.Exceptions = append(r.Exceptions,
			ArchiveException{Kind: kind, File: file, Row: row, Text: fmt.Sprintf(format, args...)})
	}
}

func (r *ArchiveReport) finish() {
	slices.SortStableFunc(r.Exceptions, func(a, b ArchiveException) int { return strings.Compare(a.File, b.File) })
}

func (r *ArchiveReport) writeText(b *strings.Builder) {
	b.WriteByte('\n')
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "archive of %s\tproved from\tto\tpending\tholes\t\n", r.Topic)
	for _, p := range r.Ranges {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t\n", p.Partition, p.From, p.To, p.Pending, len(p.Expired))
	}
	t.Flush() // into memory
	for _, p := range r.Ranges {
		for _, h := range p.Expired {
			fmt.Fprintf(b, "  %s/%d: %s gone: retention deleted before archiving\n", r.Topic, p.Partition,
				numbers("offset", h.From, h.To-1))
		}
	}
	n := &r.Totals
	fmt.Fprintf(b, "\n%d files, %d readings, %d windows: %d proved, %d missing, %d expired on %s, %d offsets pending\n",
		n.Files, n.Readings, n.Windows, n.Proved, n.Missing, n.Expired, r.Topic, n.Pending)
	if n.Sealed > 0 {
		fmt.Fprintf(b, "%d sealed hours: %d rows proved by manifest alone, %d superseded revisions dropped\n",
			n.Sealed, n.ProvedByManifest, n.Superseded)
	}
	var total int64
	for _, kind := range slices.Sorted(maps.Keys(r.ExceptionsByKind)) {
		total += r.ExceptionsByKind[kind]
		fmt.Fprintf(b, "exceptions, %s: %d\n", kind, r.ExceptionsByKind[kind])
	}
	for _, x := range r.Exceptions {
		fmt.Fprintf(b, "  %v\n", x)
	}
	if more := total - int64(len(r.Exceptions)); more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}
