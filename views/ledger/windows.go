package ledger

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// windows computes, from the readings and silences of one sensor in their order, every window record that there has to
// be: which window, which revision, why, and with what in it.
//
// What a window record counts is not what stands before it on the partition: the window stage follows the log at its own
// pace, and readings that it has not seen yet may stand before what it publishes. So the record that a reading or a
// silence makes due is computed where that stands, and the record is looked for from there on.
type windows struct {
	watermark int64 // the highest event time, valid where seen
	seen      bool
	provable  int64 // windows that begin before this time have readings that expired

	open      []*openWindow // remembered, by start
	due       []due         // not yet found in the log
	found     map[windowKey]uint32
	numbered  bool  // the ordinals of due records are known
	ordinal   int64 // of the last due record
	lastFound int64 // offset of the last record that was due, -1 before the first
}

// windowKey is the identity of a window record of one sensor.
type windowKey struct {
	start    int64
	revision int32
}

// due is a window record that must follow in the log.
type due struct {
	window  codecs.WindowAggregate
	scale   float64 // of the speeds that it was computed from
	ordinal int64   // 0 where unknown
	trigger int64   // offset of the reading or silence that made it due

	// The records of the sensor's windows around the place where it should stand: after is the last one before it, -1
	// where it would be the first; before is a later one that was found without it, 0 where there is none.
	after, before int64
}

// publication is a window record of the log.
type publication struct {
	window  codecs.WindowAggregate
	ordinal int64 // 0 where the record does not say
	digest  uint32
	offset  int64
}

func newWindows() windows { return windows{found: make(map[windowKey]uint32), lastFound: -1} }

// count adds a reading to its window, and makes due what it publishes: the next revision of its window, if that was
// published, and every window that the watermark now closes. It is false where the window was forgotten.
func (w *windows) count(r *counted, offset int64, o *Options) bool {
	length := o.Length.Milliseconds()
	start := floor(r.timestamp, length)
	if w.seen && w.watermark-start > o.Retention.Milliseconds() {
		return false
	}
	if start >= w.provable {
		open := w.at(start)
		open.add(r)
		if open.revision > 0 {
			w.publish(open, codecs.CloseLate, offset, o)
		}
	}
	if !w.seen || r.timestamp > w.watermark {
		w.watermark, w.seen = r.timestamp, true
	}
	w.close(w.watermark, codecs.CloseWatermark, offset, o)
	w.open = slices.DeleteFunc(w.open, func(x *openWindow) bool {
		return w.watermark-x.start > o.Retention.Milliseconds()
	})
	return true
}

// silence closes what was over at the detector's time, if the sensor has sent nothing since the detector looked.
func (w *windows) silence(s *codecs.SensorSilence, offset int64, o *Options) {
	if w.seen && s.Watermark == w.watermark {
		w.close(s.AsOf, codecs.CloseSilence, offset, o)
	}
}

// close makes due every unpublished window whose end and grace have passed at a time.
func (w *windows) close(at int64, why codecs.CloseReason, offset int64, o *Options) {
	for _, open := range w.open {
		if open.revision == 0 && open.start+o.Length.Milliseconds()+o.Grace.Milliseconds() <= at {
			w.publish(open, why, offset, o)
		}
	}
}

// publish makes the next revision of a window due.
func (w *windows) publish(open *openWindow, why codecs.CloseReason, offset int64, o *Options) {
	open.revision++
	d := due{window: open.aggregate(o), scale: open.scale(), trigger: offset, after: w.lastFound}
	d.window.CloseReason = why
	if w.ordinal++; w.numbered {
		d.ordinal = w.ordinal
	}
	w.due = append(w.due, d)
}

// at returns the window with this start, and makes it where there is none.
func (w *windows) at(start int64) *openWindow {
	i, ok := slices.BinarySearchFunc(w.open, start, func(x *openWindow, start int64) int { return cmp.Compare(x.start, start) })
	if !ok {
		w.open = slices.Insert(w.open, i, &openWindow{start: start})
	}
	return w.open[i]
}

// floor rounds down to a multiple, for times before 1970 too.
func floor(ms, length int64) int64 {
	rest := ms % length
	if rest < 0 {
		rest += length
	}
	return ms - rest
}

// window checks what can be said of a window record alone, and queues it behind the readings of its sensor.
func (l *Ledger) window(s *sensor, r *kgo.Record, at codecs.Source, w *codecs.WindowAggregate) {
	if length := l.o.Length.Milliseconds(); floor(w.WindowStart, length) != w.WindowStart ||
		w.WindowEnd != w.WindowStart+length {
		l.except(KindWindowDiffers, at, s.id, "window %s to %s is not aligned to %v", codecs.FormatTime(w.WindowStart),
			codecs.FormatTime(w.WindowEnd), l.o.Length)
	}
	var ordinal int64
	if text, ok := header(r, codecs.HeaderOrdinal); ok {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			l.except(KindMalformed, at, s.id, "the header %s is %.32q, not a number from 1", codecs.HeaderOrdinal, text)
		}
		ordinal = n
	}
	p := &publication{window: *w, ordinal: ordinal, digest: l.content(r), offset: r.Offset}
	p.window.SensorID = s.id
	l.offer(s, event{offset: r.Offset, window: p})
}

// publish accounts for a window record.
func (l *Ledger) publish(s *sensor, p *publication) {
	w := &s.windows
	at := l.eventPlace(s, p.offset)
	name := windowName(&p.window)
	key := windowKey{p.window.WindowStart, p.window.Revision}
	if digest, repeat := w.found[key]; repeat {
		if digest == p.digest {
			l.totals.Repeats++
		} else {
			l.except(KindUnequalRepeat, at, s.id, "%s came before with other content", name)
		}
		return
	}
	w.found[key] = p.digest
	l.countWindow(&p.window)
	i := slices.IndexFunc(w.due, func(d due) bool {
		return d.window.WindowStart == key.start && d.window.Revision == key.revision
	})
	switch {
	case i >= 0:
		l.match(s, w.due[i], p, at)
		for j := range i {
			if w.due[j].before == 0 {
				w.due[j].before = p.offset
			}
		}
		w.due = slices.Delete(w.due, i, i+1)
		w.lastFound = p.offset
	case key.start < w.provable:
		l.totals.WindowsUnproved++
	default:
		l.except(KindWindowUnexpected, at, s.id, "%s: no reading or silence before it makes it due", name)
	}
}

// match compares a window record with the one that was due.
func (l *Ledger) match(s *sensor, want due, got *publication, at codecs.Source) {
	differ := diffWindows(&want.window, &got.window, want.scale)
	if want.ordinal > 0 && got.ordinal > 0 && want.ordinal != got.ordinal && s.windows.numbered {
		differ = append(differ, field(codecs.HeaderOrdinal, got.ordinal, want.ordinal))
		s.windows.numbered = false // it would differ in all that follow
	}
	if len(differ) > 0 {
		l.except(KindWindowDiffers, at, s.id, "%s: %s", windowName(&got.window), strings.Join(differ, ", "))
	}
}

func (l *Ledger) countWindow(w *codecs.WindowAggregate) {
	if w.Revision == 1 {
		l.totals.Windows++
	} else {
		l.totals.Revisions++
	}
}

func windowName(w *codecs.WindowAggregate) string {
	return "window " + codecs.FormatTime(w.WindowStart) + " revision " + strconv.Itoa(int(w.Revision))
}
