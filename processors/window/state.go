package window

import (
	"slices"
	"sync"

	"gantry/codecs"
)

// State is what the window stage knows of one sensor. The zero value knows nothing. It is not safe for concurrent use.
//
// The number of remembered windows is at most retention / length + 1: after every reading all of them start between
// watermark − retention and the watermark.
type State struct {
	sequence   int64 // of the last applied reading; 0 = none yet
	watermark  int64
	receivedAt int64 // of the last applied reading

	// A silence holds for the watermark that it names, until the next reading is applied.
	silent     bool
	silentAsOf int64

	ordinal int64 // of the last published window record

	// length is that of the remembered windows, in milliseconds. It is kept with them because the configuration can
	// change: accumulators of one length must never be read as windows of another.
	length  int64
	windows []accumulator // by start

	latitude, longitude float64 // of the last applied reading
}

// Outcome says what became of a reading.
type Outcome uint8

// The outcomes of a reading.
const (
	Applied Outcome = iota // counted in its window
	Repeat                 // its sequence is not above the last: it was applied before; nothing changed
	Gap                    // its sequence is beyond the next: it comes again after the missing ones; nothing changed
	Late                   // the next in sequence, but its window is no longer remembered: counted in no window
)

var outcomeNames = [...]string{Applied: "applied", Repeat: "repeat", Gap: "gap", Late: "late"}

func (o Outcome) String() string { return outcomeNames[o] }

// Publish receives a window to publish. The ordinal counts the sensor's published windows, over all windows and
// revisions: 1, 2, 3 …. w holds only during the call and its SensorID is that of the event; the state must not be
// touched.
type Publish func(w *codecs.WindowAggregate, ordinal int64)

// ApplyReading takes the next reading of the sensor. It publishes, in this order: the next revision of the reading's
// window where that was published before; then, with the watermark raised, the first revision of each window whose
// end + grace the watermark has reached, by start. A late reading of a remembered time that had no reading so far makes
// a window that is over at once: its revision 1.
func (s *State) ApplyReading(r *codecs.Reading, o *Options, publish Publish) Outcome {
	if r.Sequence <= s.sequence {
		return Repeat
	}
	if r.Sequence-s.sequence > 1 {
		return Gap
	}
	out := publication{sensorID: r.SensorID, o: o, publish: publish}
	s.setLength(o.Length.Milliseconds(), out)

	outcome := Late
	retention := o.Retention.Milliseconds()
	start := floor(r.Timestamp, s.length)
	if s.sequence == 0 || s.watermark-start <= retention {
		outcome = Applied
		w := s.window(start)
		w.add(r)
		if w.revision > 0 {
			s.revise(w, closeLate, out)
		}
	}

	if s.sequence == 0 || r.Timestamp > s.watermark {
		s.watermark = r.Timestamp
	}
	s.sequence = r.Sequence
	s.receivedAt = r.ReceivedAt
	s.silent, s.silentAsOf = false, 0
	s.latitude, s.longitude = r.Latitude, r.Longitude

	s.closeUntil(s.watermark, closeWatermark, out)
	s.forget(retention)
	return outcome
}

// SkipTo makes the reading with this sequence the next that is taken: those before it are gone for good.
func (s *State) SkipTo(sequence int64) { s.sequence = sequence - 1 }

// ApplySilence takes the news that the sensor has sent nothing for the idle timeout. It publishes the first revision of
// each window with end + grace ≤ x.AsOf, by start, and reports true; it does nothing and reports false where the
// watermark is not the one that the detector saw, since the sensor has moved meanwhile.
func (s *State) ApplySilence(x *codecs.SensorSilence, o *Options, publish Publish) bool {
	if s.sequence == 0 || x.Watermark != s.watermark {
		return false
	}
	s.closeUntil(x.AsOf, closeSilence, publication{sensorID: x.SensorID, o: o, publish: publish})
	if !s.silent {
		s.silent, s.silentAsOf = true, x.AsOf
	}
	s.silentAsOf = max(s.silentAsOf, x.AsOf)
	return true
}

// setLength makes the state's windows be of this length. Where the configuration has changed it, what is open is
// published as it stands, under the length it was counted with, and the memory begins anew.
func (s *State) setLength(length int64, out publication) {
	if s.length == length {
		return
	}
	for i := range s.windows {
		if w := &s.windows[i]; w.revision == 0 {
			s.revise(w, closeWatermark, out)
		}
	}
	s.windows = s.windows[:0]
	s.length = length
}

// window returns the window with this start, a new one where there is none.
func (s *State) window(start int64) *accumulator {
	i := len(s.windows)
	for i > 0 && s.windows[i-1].start > start { // most readings belong to the newest window
		i--
	}
	if i > 0 && s.windows[i-1].start == start {
		return &s.windows[i-1]
	}
	s.windows = slices.Insert(s.windows, i, accumulator{start: start})
	return &s.windows[i]
}

// closeUntil publishes the unpublished windows with end + grace ≤ ms, by start.
func (s *State) closeUntil(ms int64, reason closeReason, out publication) {
	last := ms - s.length - out.o.Grace.Milliseconds() // the last start that is over
	for i := range s.windows {
		w := &s.windows[i]
		if w.start > last {
			return
		}
		if w.revision == 0 {
			s.revise(w, reason, out)
		}
	}
}

// forget drops the windows that are no longer remembered. All of them are published: their start is more than the
// retention behind the watermark, and the retention is at least length + grace.
func (s *State) forget(retention int64) {
	n := 0
	for n < len(s.windows) && s.watermark-s.windows[n].start > retention {
		n++
	}
	s.windows = slices.Delete(s.windows, 0, n)
}

// publication is where a window goes, for the time of one event.
type publication struct {
	sensorID string
	o        *Options
	publish  Publish
}

// scratch lends the aggregate that a publish sees, so that publishing allocates nothing.
var scratch = sync.Pool{New: func() any { return new(codecs.WindowAggregate) }}

// revise publishes the next revision of a window.
func (s *State) revise(w *accumulator, reason closeReason, out publication) {
	w.revision++
	w.reason = reason
	s.ordinal++
	agg := scratch.Get().(*codecs.WindowAggregate)
	w.aggregate(agg, out.sensorID, s.length, out.o.DefaultInterval.Milliseconds())
	out.publish(agg, s.ordinal)
	*agg = codecs.WindowAggregate{} // the sensor's id aliases a message that must not be kept alive
	scratch.Put(agg)
}

// floor returns the start of the window that holds t; for times before the epoch too.
func floor(t, length int64) int64 {
	rest := t % length
	if rest < 0 {
		rest += length
	}
	return t - rest
}
