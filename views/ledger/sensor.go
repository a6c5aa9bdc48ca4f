package ledger

import (
	"fmt"
	"math"
	"strings"

	"gantry/codecs"
)

// sensor follows one sensor through its partition of traffic-events, as its reader does: it takes the next sequence and
// skips the rest.
type sensor struct {
	id        string
	partition int32

	last       int64 // sequence of the last reading taken
	lastOffset int64 // where it stands, -1 before the first
	base       int64 // sequence of the first reading that is retained: what is below it was there and has expired
	lastSource codecs.Source
	stuck      run

	held []event // from a reading beyond last + 1 on, until it is known whether that was a gap

	windows windows
}

// event is a record of a sensor, in the order of the partition; it holds one of reading, window and silence.
type event struct {
	offset  int64
	first   bool // the first record of its reading
	reading *counted
	window  *publication
	silence *codecs.SensorSilence
}

// counted is what is needed of a reading once it is accounted for.
type counted struct {
	sequence   int64
	timestamp  int64
	receivedAt int64
	source     codecs.Source
	speed      codecs.Null[float64]
	volume     codecs.Null[int32]
	occupancy  codecs.Null[float64]
	flags      codecs.Flags
	latitude   float64
	longitude  float64
	intervalS  codecs.Null[int32]
}

func count(r *codecs.Reading, source codecs.Source) *counted {
	return &counted{
		sequence: r.Sequence, timestamp: r.Timestamp, receivedAt: r.ReceivedAt, source: source, speed: r.SpeedMPH,
		volume: r.VolumeVPH, occupancy: r.Occupancy, flags: r.Flags, latitude: r.Latitude, longitude: r.Longitude,
		intervalS: r.IntervalS,
	}
}

// sensor returns the state of a sensor, and makes it at its first record.
func (l *Ledger) sensor(id string, partition int32) *sensor {
	s := l.sensors[id]
	if s == nil {
		s = &sensor{id: strings.Clone(id), partition: partition, lastOffset: -1, base: 1, windows: newWindows()}
		if l.x.Events[partition].Start > 0 {
			// Until its first retained reading is seen, nothing is known of the sensor.
			s.base = 0
			s.windows.provable = math.MaxInt64
		} else {
			s.complete()
		}
		l.sensors[s.id] = s
	}
	return s
}

func (l *Ledger) eventPlace(s *sensor, offset int64) codecs.Source {
	return codecs.Source{Topic: l.o.EventsTopic, Partition: s.partition, Offset: offset}
}

// heldMax bounds how many records of a sensor wait for a missing sequence.
const heldMax = 128

// offer gives a sensor its next record.
//
// A sequence beyond last + 1 is not yet a gap. A producer that stops at its first error may have delivered later
// records behind the one that failed; after its restart they come again, with the missing one before them, and readers
// have skipped them the first time. So what follows waits, in its order: if the missing sequence comes, the held
// readings are dropped, as their readers did; if not, within heldMax records or by the end, it is missing.
func (l *Ledger) offer(s *sensor, e event) {
	if e.reading != nil && s.base == 0 {
		s.base, s.last = e.reading.sequence, e.reading.sequence-1
		s.begin(e.reading, &l.o)
	}
	switch {
	case e.reading != nil && e.reading.sequence == s.last+1:
		s.heal(l)
		l.take(s, e)
	case e.reading != nil && e.reading.sequence <= s.last:
		if e.first && e.reading.sequence >= s.base {
			l.except(KindSequenceReused, l.eventPlace(s, e.offset), s.id,
				"sequence %d is not the next one, %d, and no repeat", e.reading.sequence, s.last+1)
		}
	case e.reading != nil || len(s.held) > 0:
		if s.held = append(s.held, e); len(s.held) > heldMax {
			l.skip(s)
		}
	default:
		l.follow(s, e)
	}
}

// begin starts a sensor in the middle of its history. What arrived before its first retained reading was at most
// MaxAhead beyond its arrival: windows that begin later have all their readings in the log.
func (s *sensor) begin(first *counted, o *Options) {
	if first.sequence == 1 {
		s.complete()
		return
	}
	s.windows.provable = first.receivedAt + o.MaxAhead.Milliseconds()
}

// complete says that the log holds the sensor's whole history.
func (s *sensor) complete() {
	s.stuck.known = true
	s.windows.provable = math.MinInt64
	s.windows.numbered = true
}

// heal drops the held readings, since the sequence that they waited for is there and they will come again.
func (s *sensor) heal(l *Ledger) {
	held := s.held
	s.held = nil
	for _, e := range held {
		if e.reading == nil {
			l.follow(s, e)
		}
	}
}

// skip gives up the sequences before the lowest held reading, and goes on behind them.
func (l *Ledger) skip(s *sensor) {
	held := s.held
	s.held = nil
	next := held[0] // a reading: nothing is held before one
	for _, e := range held {
		if e.reading != nil && e.reading.sequence < next.reading.sequence {
			next = e
		}
	}
	after := "the beginning"
	if s.lastOffset >= 0 {
		after = l.eventPlace(s, s.lastOffset).String()
	}
	at := l.eventPlace(s, next.offset)
	l.except(KindSequenceGap, at, s.id, "%s missing between %s and %v%s",
		numbers("sequence", s.last+1, next.reading.sequence-1), after, at,
		l.absentBetween(s.partition, s.lastOffset, next.offset))
	s.last = next.reading.sequence - 1
	s.stuck = run{}
	s.windows.numbered = false // a missing reading may have published something
	for _, e := range held {
		l.offer(s, e)
	}
}

// numbers names a run of numbers, from and to included.
func numbers(what string, from, to int64) string {
	if from == to {
		return fmt.Sprintf("%s %d is", what, from)
	}
	return fmt.Sprintf("%ss %d to %d are", what, from, to)
}

// absentBetween names the offsets of a partition of traffic-events between two others that hold no record.
func (l *Ledger) absentBetween(partition int32, after, before int64) string {
	var b strings.Builder
	for _, a := range l.events[partition].absent {
		if a.from > after && a.to <= before {
			fmt.Fprintf(&b, "; %s absent there", numbers("offset", a.from, a.to-1))
		}
	}
	return b.String()
}

// take counts the next reading of a sensor.
func (l *Ledger) take(s *sensor, e event) {
	r := e.reading
	at := l.eventPlace(s, e.offset)
	if l.o.Keyed && s.lastOffset >= 0 && r.source.Offset <= s.lastSource.Offset {
		l.except(KindOutOfOrder, at, s.id, "its source %v is not behind %v, that of the sequence before", r.source,
			s.lastSource)
	}
	s.last, s.lastOffset, s.lastSource = r.sequence, e.offset, r.source
	if stuck := s.stuck.follow(r); s.stuck.known && stuck != (r.flags&codecs.FlagStuck != 0) {
		l.except(KindUnfitOutcome, at, s.id, "the flag stuck is %t, and the reading is number %d of a run of identical ones",
			!stuck, s.stuck.length)
	}
	if !s.windows.count(r, e.offset, &l.o) {
		l.except(KindLateAccepted, at, s.id, "its time %s is in a window that the watermark %s has made forgotten",
			codecs.FormatTime(r.timestamp), codecs.FormatTime(s.windows.watermark))
	}
}

// follow handles a window or a silence of a sensor whose readings before it are taken.
func (l *Ledger) follow(s *sensor, e event) {
	if e.silence != nil {
		s.windows.silence(e.silence, e.offset, &l.o)
		return
	}
	l.publish(s, e.window)
}
