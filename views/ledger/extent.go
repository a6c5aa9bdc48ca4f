package ledger

import (
	"errors"
	"fmt"
)

// Span is what a ledger reads of one partition.
type Span struct {
	Start     int64 // the first retained offset
	End       int64 // one beyond the last offset that is read
	Committed int64 // the next offset of the group that consumes the partition; below it everything is done

	Unread []Unread // what was deleted before that group read it
}

// Unread is a range of offsets From ≤ offset < To that were deleted before they were read, and when that was noticed, in
// epoch milliseconds.
type Unread struct{ From, To, NoticedAt int64 }

// Extent is what a ledger reads, noted before it begins to read.
//
// The order in which it is noted matters on a log that grows: first the commits, then the ends of traffic-events and
// traffic-rejects, then the end of traffic-raw. A commit follows its outputs, and an outcome follows its raw record, so
// that each outcome that a commit promises, and each source that an outcome names, lies within the ends.
type Extent struct {
	Raw     []Span // by partition; committed by the dedup group (with raw.keyed false: by its routers)
	Events  []Span // by partition; committed by the window group
	Rejects []Span // by partition; Committed is not used

	// ExpiredUntil bounds what retention has taken from traffic-events and traffic-rejects: outcomes of raw records
	// that arrived at this time or before, in epoch milliseconds, may be gone. An outcome is written after its raw
	// record has arrived, and what was deleted was written before what is still there: so the timestamp of the first
	// retained record, the highest of all partitions that do not begin at offset 0, is such a bound. Zero where nothing
	// was deleted.
	ExpiredUntil int64

	// Copied says that no group has committed anything, so that the ends were taken for what is committed.
	Copied bool
}

// Validate reports spans that are not in order.
func (e *Extent) Validate() error {
	if len(e.Raw) == 0 || len(e.Events) == 0 || len(e.Rejects) == 0 {
		return fmt.Errorf("a ledger needs partitions of each topic, not %d, %d and %d", len(e.Raw), len(e.Events),
			len(e.Rejects))
	}
	var errs []error
	for name, spans := range map[string][]Span{"raw": e.Raw, "events": e.Events, "rejects": e.Rejects} {
		for p, s := range spans {
			if s.Start < 0 || s.End < s.Start {
				errs = append(errs, fmt.Errorf("%s partition %d: offsets %d to %d are not a span", name, p, s.Start, s.End))
			}
		}
	}
	return errors.Join(errs...)
}

// contains tells whether the span holds an offset.
func (s Span) contains(offset int64) bool { return s.Start <= offset && offset < s.End }
