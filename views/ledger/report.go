package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"gantry/codecs"
)

// Totals count what the ledger saw. A record is counted once, whatever is wrong with it.
type Totals struct {
	Records  int64 `json:"records"`  // of traffic-raw
	Accepted int64 `json:"accepted"` // records with a reading
	Rejected int64 `json:"rejected"` // records with a reject, and no reading
	Metadata int64 `json:"metadata"` // records that are metadata of a sensor
	Pending  int64 `json:"pending"`  // no outcome yet, not committed either
	Expired  int64 `json:"expired"`  // no outcome; retention may have deleted it
	Missing  int64 `json:"missing"`  // no outcome, and there must be one
	Holes    int64 `json:"holes"`    // offsets without a record: markers and aborted records of transactions

	DeletedUnread int64 `json:"deleted_unread"` // offsets of traffic-raw and traffic-events, gone before they were read

	RejectedBy map[string]int64 `json:"rejected_by"` // Rejected by reason

	Repeats         int64 `json:"repeats"`          // equal repeats of readings, rejects and windows
	RawExpired      int64 `json:"raw_expired"`      // outcomes whose raw record retention has deleted
	Windows         int64 `json:"windows"`          // first revisions
	Revisions       int64 `json:"revisions"`        // later revisions
	WindowsUnproved int64 `json:"windows_unproved"` // of both: their readings may have expired
	WindowsPending  int64 `json:"windows_pending"`  // due, and the window group has not come so far
	Silences        int64 `json:"silences"`

	Redriven         int64 `json:"redriven"` // Records that send a reject again; what became of them:
	RedrivenAccepted int64 `json:"redriven_accepted"`
	RedrivenRejected int64 `json:"redriven_rejected"`
}

// Balanced tells whether each record of traffic-raw is counted as exactly one of its fates.
func (t *Totals) Balanced() bool {
	return t.Records == t.Accepted+t.Rejected+t.Metadata+t.Pending+t.Expired+t.Missing
}

// Range is what was proved of one partition of traffic-raw: each record of [From, To) has its outcome, or is an
// exception. What lies before From may have expired outcomes, what lies from To on is not committed.
type Range struct {
	Partition int32 `json:"partition"`
	Start     int64 `json:"start"` // first retained offset
	From      int64 `json:"from"`
	To        int64 `json:"to"`
	End       int64 `json:"end"` // one beyond the last offset that was read

	Records  int64 `json:"records"` // these seven count all of [Start, End), as in Totals
	Accepted int64 `json:"accepted"`
	Rejected int64 `json:"rejected"`
	Metadata int64 `json:"metadata"`
	Pending  int64 `json:"pending"`
	Expired  int64 `json:"expired"`
	Missing  int64 `json:"missing"`
	Holes    int64 `json:"holes"`
}

// Report is what a ledger says in the end.
type Report struct {
	Topic            string         `json:"topic"` // of the raw records
	Verdict          string         `json:"verdict"`
	Copied           bool           `json:"copied"` // no group has committed here: proved to the ends, as a copy
	Ranges           []Range        `json:"ranges"`
	Totals           Totals         `json:"totals"`
	Redrives         []Redrive      `json:"redrives"`           // the first 1000, by place
	ExceptionsByKind map[Kind]int64 `json:"exceptions_by_kind"` // all of them
	Exceptions       []Exception    `json:"exceptions"`         // the first 1000, by place

	Archive *ArchiveReport `json:"archive,omitempty"` // nil where no archive was compared
}

// Verdicts.
const (
	VerdictClean      = "every reading is accounted for exactly once"
	VerdictNothing    = "there is nothing to prove: no record of the topic is committed and has outcomes that are retained"
	VerdictExceptions = "there are exceptions"
)

// OK tells whether there was no exception.
func (r *Report) OK() bool {
	return len(r.ExceptionsByKind) == 0 && (r.Archive == nil || r.Archive.OK())
}

// AddArchive adds what the comparison with the archive says.
func (r *Report) AddArchive(a *ArchiveReport) {
	r.Archive = a
	r.Verdict = r.verdict()
}

// Close ends the ledger: everything that was still waited for is now missing or pending.
func (l *Ledger) Close() *Report {
	if l.x.Copied {
		l.boundByOutcomes()
	}
	l.closeOutcomes(l.o.EventsTopic, l.events, l.x.Events)
	l.closeOutcomes(l.o.RejectsTopic, l.rejects, l.x.Rejects)
	for _, id := range slices.Sorted(maps.Keys(l.sensors)) {
		l.closeSensor(l.sensors[id])
	}
	for _, outcomes := range l.early {
		for _, o := range outcomes {
			sensor := ""
			if o.reading != nil {
				sensor = o.reading.SensorID
			}
			l.except(KindNoSource, o.at, sensor, "its source is not in %s", l.o.RawTopic)
		}
	}
	report := &Report{Topic: l.o.RawTopic, Copied: l.x.Copied, ExceptionsByKind: l.byKind}
	l.totals.RejectedBy = make(map[string]int64)
	for p := range l.raw {
		report.Ranges = append(report.Ranges, l.closeRaw(int32(p)))
	}
	report.Redrives = l.closeRedrives()
	l.closeUnread(l.o.RawTopic, l.x.Raw)
	l.closeUnread(l.o.EventsTopic, l.x.Events)
	report.Totals = l.totals
	report.Exceptions = append([]Exception{}, l.exceptions...) // [] in JSON where there is none
	slices.SortStableFunc(report.Exceptions, func(a, b Exception) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	report.Verdict = report.verdict()
	return report
}

func (r *Report) verdict() string {
	switch {
	case !r.OK():
		return VerdictExceptions
	case !slices.ContainsFunc(r.Ranges, func(p Range) bool { return p.From < p.To }):
		return VerdictNothing
	}
	return VerdictClean
}

// closeOutcomes reports absent offsets of an outcome topic. Gantry writes no transactions there, so that each offset
// holds a record; where somebody else's copy of the topic was written in transactions, their markers take offsets, and a
// hole says nothing.
func (l *Ledger) closeOutcomes(topic string, partitions []outcomePartition, spans []Span) {
	for i := range partitions {
		p := &partitions[i]
		p.reach(spans[i].End)
		if p.control {
			continue
		}
		for _, a := range p.absent {
			l.except(KindAbsentOffset, codecs.Source{Topic: topic, Partition: int32(i), Offset: a.from}, "",
				"%s absent from the partition", numbers("offset", a.from, a.to-1))
		}
	}
}

// closeUnread reports what was deleted before it was read. Like the outcomes of old records it expires: it is no
// exception any more when outcomes of what arrived at that time may be gone.
func (l *Ledger) closeUnread(topic string, spans []Span) {
	for p, s := range spans {
		for _, u := range s.Unread {
			l.totals.DeletedUnread += u.To - u.From
			if u.NoticedAt > l.x.ExpiredUntil {
				l.except(KindDeletedUnread, codecs.Source{Topic: topic, Partition: int32(p), Offset: u.From}, "",
					"%s gone: deleted before they were read", numbers("offset", u.From, u.To-1))
			}
		}
	}
}

// closeSensor decides what the sensor's records still waited for.
func (l *Ledger) closeSensor(s *sensor) {
	for len(s.held) > 0 {
		if l.pending(s.held[0].reading.source) {
			break // it came too early and will come again, behind what is missing now
		}
		l.skip(s)
	}
	for _, d := range s.windows.due {
		if d.trigger >= l.x.Events[s.partition].Committed {
			l.totals.WindowsPending++
			continue
		}
		l.exceptMissing(s, &d)
	}
}

func (l *Ledger) exceptMissing(s *sensor, d *due) {
	at := l.eventPlace(s, d.trigger)
	text := windowName(&d.window)
	if d.ordinal > 0 {
		text += fmt.Sprintf(" (ordinal %d)", d.ordinal)
	}
	text += ", due by " + at.String() + ", is missing"
	if d.after >= 0 {
		text += " behind " + l.eventPlace(s, d.after).String()
	}
	if d.before > 0 {
		text += " and before " + l.eventPlace(s, d.before).String()
	}
	l.except(KindWindowMissing, at, s.id, "%s", text)
}

// pending tells whether the outcome of a raw record may still be to come.
func (l *Ledger) pending(source codecs.Source) bool {
	return source.Offset >= l.x.Raw[source.Partition].Committed ||
		l.raw[source.Partition].slots.get(source.Offset).state&slotOnLoop != 0
}

// boundByOutcomes takes what stands before the last outcome of each partition for committed, since the dedup group goes
// in order. What follows may not have been judged yet.
func (l *Ledger) boundByOutcomes() {
	for p := range l.raw {
		span := &l.x.Raw[p]
		for span.Committed > span.Start &&
			l.raw[p].slots.get(span.Committed-1).state&(slotAccepted|slotRejected) == 0 {
			span.Committed--
		}
	}
}

// closeRaw counts the fates of the records of a raw partition, and reports those without one.
func (l *Ledger) closeRaw(partition int32) Range {
	p, span := &l.raw[partition], l.x.Raw[partition]
	r := Range{Partition: partition, Start: span.Start, End: span.End, Records: p.records}
	r.To = min(max(span.Committed, span.Start), span.End)
	r.From = min(p.provable, r.To)
	for offset := span.Start; offset < span.End; offset++ {
		s := p.slots.get(offset)
		at := codecs.Source{Topic: l.o.RawTopic, Partition: partition, Offset: offset}
		switch {
		case s.state&slotSeen == 0:
			r.Holes++
		case s.state&slotAccepted != 0:
			r.Accepted++
		case s.state&slotRejected != 0:
			r.Rejected++
			l.totals.RejectedBy[reasons[s.reason]]++
		case l.pending(at):
			r.Pending++
		case s.state&slotMetadata != 0:
			r.Metadata++
		case offset < r.From:
			r.Expired++
		default:
			r.Missing++
			l.except(KindMissingOutcome, at, l.names[s.sensor], "it has neither a reading nor a reject")
		}
	}
	t := &l.totals
	t.Records += r.Records
	t.Accepted += r.Accepted
	t.Rejected += r.Rejected
	t.Metadata += r.Metadata
	t.Pending += r.Pending
	t.Expired += r.Expired
	t.Missing += r.Missing
	t.Holes += r.Holes
	return r
}
