package ledger

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteText writes the report for people: the range and the fates of each partition, the sum, the exceptions, and the
// verdict in the last line.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	r.writeRanges(&b)
	r.writeSums(&b)
	r.writeExceptions(&b)
	if r.Archive != nil {
		r.Archive.writeText(&b)
	}
	if r.Copied {
		b.WriteString("no consumer group has committed here: taken for a copy of the topics, and proved to their ends\n")
	}
	fmt.Fprintf(&b, "verdict: %s\n", r.Verdict)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r *Report) writeRanges(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\tproved from\tto\trecords\taccepted\trejected\tmetadata\tpending\texpired\tmissing\tholes\t\n", r.Topic)
	for _, p := range r.Ranges {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", p.Partition, p.From, p.To, p.Records, p.Accepted,
			p.Rejected, p.Metadata, p.Pending, p.Expired, p.Missing, p.Holes)
	}
	t.Flush() // into memory
}

func (r *Report) writeSums(b *strings.Builder) {
	t := &r.Totals
	relation := "="
	if !t.Balanced() {
		relation = "≠"
	}
	fmt.Fprintf(b, "\n%d records %s %d accepted + %d rejected + %d metadata + %d pending + %d expired + %d missing\n",
		t.Records, relation, t.Accepted, t.Rejected, t.Metadata, t.Pending, t.Expired, t.Missing)
	for _, reason := range reasons {
		if n := t.RejectedBy[reason]; n > 0 {
			fmt.Fprintf(b, "  rejected, %s: %d\n", reason, n)
		}
	}
	fmt.Fprintf(b, "%d windows, %d revisions (%d unproved, %d more pending), %d silences, %d equal repeats\n", t.Windows,
		t.Revisions, t.WindowsUnproved, t.WindowsPending, t.Silences, t.Repeats)
	r.writeRedrives(b)
	if t.DeletedUnread > 0 {
		fmt.Fprintf(b, "%d offsets were deleted before they were read\n", t.DeletedUnread)
	}
	if t.RawExpired > 0 {
		fmt.Fprintf(b, "%d outcomes of raw records that have expired\n", t.RawExpired)
	}
}

func (r *Report) writeExceptions(b *strings.Builder) {
	var total int64
	for _, kind := range slices.Sorted(maps.Keys(r.ExceptionsByKind)) {
		n := r.ExceptionsByKind[kind]
		total += n
		fmt.Fprintf(b, "exceptions, %s: %d\n", kind, n)
	}
	for _, x := range r.Exceptions {
		fmt.Fprintf(b, "  %v\n", x)
	}
	if more := total - int64(len(r.Exceptions)); more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}
