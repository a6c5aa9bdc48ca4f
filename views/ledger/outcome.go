package ledger

import (
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// reasons are those of the contract, in its order; index 0 is none.
var reasons = [...]string{
	"", "undecodable", "missing_field", "misrouted", "unknown_sensor", "speed_range", "volume_range", "occupancy_range",
	"out_of_bounds", "too_old", "in_future", "late", "duplicate", "conflict",
}

// outcomePartition is what is remembered of a partition of traffic-events or traffic-rejects.
type outcomePartition struct {
	next    int64 // the offset that a record without a hole before it would have
	control bool  // transactions were written here: their markers and what they aborted are no records
	absent  []absence
	holes   int64
}

// absence is a run of offsets without a record: [from, to).
type absence struct{ from, to int64 }

// follow notes the next offset of a partition, and a hole before it.
func (p *outcomePartition) follow(r *kgo.Record) {
	p.control = p.control || r.Attrs.IsControl()
	p.reach(r.Offset)
	p.next = r.Offset + 1
}

func (p *outcomePartition) reach(offset int64) {
	if offset > p.next {
		p.holes += offset - p.next
		if len(p.absent) < exceptionsKept {
			p.absent = append(p.absent, absence{p.next, offset})
		}
		p.next = offset
	}
}

// earlyOutcome is an outcome that came before its raw record: a reading, or a reject where reading is nil.
type earlyOutcome struct {
	at      codecs.Source
	reading *codecs.Reading
	bytes   uint32 // of a reject
	part    *part  // of a reject that is not whole
}

// source finds the raw record that an outcome names. It is nil where none exists, which is an exception.
func (l *Ledger) source(r *kgo.Record, at codecs.Source, sensor string) (source codecs.Source, s *slot) {
	text, _ := header(r, codecs.HeaderSource)
	source, err := codecs.ParseSource(text)
	if err != nil {
		l.except(KindMalformed, at, sensor, "header %s: %v", codecs.HeaderSource, err)
		return source, nil
	}
	if source.Topic != l.o.RawTopic || int(source.Partition) >= len(l.raw) ||
		source.Offset >= l.x.Raw[source.Partition].End {
		l.except(KindNoSource, at, sensor, "its source %s does not exist", text)
		return source, nil
	}
	return source, l.raw[source.Partition].slots.at(source.Offset)
}

// enter records an outcome in the slot of its source, and tells whether it is the first one.
func (l *Ledger) enter(s *slot, outcome slotState, content uint32, source, at codecs.Source, sensor string) bool {
	had := s.state & (slotAccepted | slotRejected)
	s.state |= outcome
	switch {
	case had == 0:
		s.content = content
		return true
	case had&outcome == 0:
		l.except(KindTwoOutcomes, at, sensor, "its source %v is both accepted and rejected", source)
	case s.content == content:
		l.totals.Repeats++
	default:
		l.except(KindUnequalRepeat, at, sensor, "another outcome of its source %v came before, with other content", source)
	}
	return false
}

// judge compares a first outcome with its raw record, or keeps it until that comes. Where the raw record has expired
// there is nothing to compare it with.
func (l *Ledger) judge(s *slot, source codecs.Source, o earlyOutcome) {
	switch {
	case s.state&slotSeen != 0:
		l.compare(s, source, o)
	case source.Offset < l.x.Raw[source.Partition].Start:
		l.totals.RawExpired++
		if o.reading != nil {
			l.checkDerived(o.reading, o.at)
		}
	default:
		if o.reading != nil {
			o.reading = cloneReading(o.reading)
		}
		l.early[source] = append(l.early[source], o)
	}
}

// settle judges the outcomes that came before their raw record.
func (l *Ledger) settle(r *kgo.Record, s *slot) {
	if len(l.early) == 0 {
		return
	}
	source := l.place(l.o.RawTopic, r)
	for _, o := range l.early[source] {
		l.compare(s, source, o)
	}
	delete(l.early, source)
}

func (l *Ledger) compare(s *slot, source codecs.Source, o earlyOutcome) {
	switch {
	case o.reading == nil:
		if s.state&slotMetadata != 0 {
			l.except(KindUnfitOutcome, o.at, l.names[s.sensor], "its source %v is metadata of a sensor, well-formed", source)
		} else if o.bytes != s.bytes && !(o.part != nil && o.part.beginning(l.large[source])) {
			l.except(KindUnfitOutcome, o.at, l.names[s.sensor],
				"its key, its value or its %s differs from that of its source %v", codecs.HeaderReceivedAt, source)
		}
	case s.state&slotMisrouted != 0:
		l.except(KindUnfitOutcome, o.at, o.reading.SensorID,
			"its source %v has another key, or is not on the partition of its sensor", source)
	case l.hash.fields(o.reading, s.state) != s.fields:
		l.except(KindUnfitOutcome, o.at, o.reading.SensorID, "its sensor, time, values, coordinates, road or received_at "+
			"differs from its source %v and the metadata before that", source)
	default:
		l.checkDerived(o.reading, o.at)
	}
}

func cloneReading(r *codecs.Reading) *codecs.Reading {
	c := *r
	c.SensorID = strings.Clone(r.SensorID)
	c.Freeway.V, c.Direction.V = strings.Clone(r.Freeway.V), strings.Clone(r.Direction.V)
	c.LevelOfService.V = strings.Clone(r.LevelOfService.V)
	return &c
}

// Reject takes a record of traffic-rejects.
func (l *Ledger) Reject(r *kgo.Record) {
	if int(r.Partition) >= len(l.rejects) || !l.x.Rejects[r.Partition].contains(r.Offset) {
		return
	}
	l.rejects[r.Partition].follow(r)
	if r.Attrs.IsControl() {
		return
	}
	at := l.place(l.o.RejectsTopic, r)
	receivedAt, err := headerMillis(r, codecs.HeaderReceivedAt)
	if err != nil {
		l.except(KindMalformed, at, "", "%v", err)
		return
	}
	reason, _ := header(r, codecs.HeaderReason)
	number := slices.Index(reasons[1:], reason) + 1
	if number == 0 {
		l.except(KindMalformed, at, "", "header %s: %.64q is no reason", codecs.HeaderReason, reason)
		return
	}
	source, s := l.source(r, at, "")
	if s == nil {
		return
	}
	detail, _ := header(r, codecs.HeaderDetail)
	bytes := l.hash.rejected(r.Key, r.Value, receivedAt)
	content := l.hash.content(r.Key, r.Value, strconv.FormatInt(receivedAt, 10), reason, detail)
	if l.enter(s, slotRejected, content, source, at, l.names[s.sensor]) {
		s.reason = uint8(number)
		l.judge(s, source, earlyOutcome{at: at, bytes: bytes, part: l.partOf(r, receivedAt)})
	}
}
