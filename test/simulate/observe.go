package simulate

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors/window"
	"gantry/store"
)

// observer reads every record when it is stored, and every commit when it is made, and knows at once when one breaks a
// guarantee.
type observer struct {
	w        *world
	sensors  map[string]*observed
	contents map[string]string        // by identity: what may be repeated, with equal content
	outcomes map[codecs.Source]string // identity of the outcome of a raw record
	applied  [archiveRole]map[string]int64
	taken    [partitions]map[int64]string // by offset of traffic-events: the sensor whose next reading stands there
}

// observed is a sensor as a reader of traffic-events sees it, who takes the next number and skips the rest.
type observed struct {
	readings  []codecs.Reading
	watermark int64
	counts    map[int64]int32                  // readings by start of their window
	windows   map[int64]codecs.WindowAggregate // the highest revision
	state     window.State                     // a fold of what was taken, without an engine
}

func newObserver(w *world) *observer {
	o := &observer{
		w: w, sensors: make(map[string]*observed), contents: make(map[string]string),
		outcomes: make(map[codecs.Source]string),
	}
	for i := range o.applied {
		o.applied[i] = make(map[string]int64)
	}
	for i := range o.taken {
		o.taken[i] = make(map[int64]string)
	}
	return o
}

func (o *observer) sensor(id string) *observed {
	s := o.sensors[id]
	if s == nil {
		s = &observed{counts: make(map[int64]int32), windows: make(map[int64]codecs.WindowAggregate)}
		o.sensors[id] = s
	}
	return s
}

// same fails where an identity comes again with another content.
func (o *observer) same(identity, content string) {
	if was, ok := o.contents[identity]; ok && was != content {
		o.w.fail("%s was written with two contents", identity)
	}
	o.contents[identity] = content
}

// outcome fails where a raw record has a second outcome.
func (o *observer) outcome(r *kgo.Record, identity string) {
	source, err := codecs.ParseSource(header(r, codecs.HeaderSource))
	o.w.must(err)
	if was, ok := o.outcomes[source]; ok && was != identity {
		o.w.fail("%v has two outcomes: %s, and %s", source, was, identity)
	}
	o.outcomes[source] = identity
}

func (o *observer) appended(r *kgo.Record) {
	switch r.Topic {
	case topicEvents:
		o.event(r)
	case topicRejects:
		source := header(r, codecs.HeaderSource)
		identity := "the reject of " + source
		o.same(identity, content(r))
		o.outcome(r, identity)
	default:
		applied, _, err := store.SplitValue(r.Value)
		o.w.must(err)
		of := dedupRole
		if r.Topic == windowRole.table() {
			of = windowRole
		}
		id := string(r.Key)
		o.applied[of][id] = max(o.applied[of][id], applied)
	}
}

func content(r *kgo.Record) string { return fmt.Sprintf("%q %q %q", r.Key, r.Value, r.Headers) }

func (o *observer) event(r *kgo.Record) {
	switch kindOf(r) {
	case codecs.KindReading:
		var v codecs.Reading
		o.w.must(codecs.DecodeReading(r.Value, &v))
		identity := fmt.Sprintf("reading %d of %s", v.Sequence, v.SensorID)
		o.same(identity, content(r))
		o.outcome(r, identity)
		o.reading(r, &v)
	case codecs.KindWindow:
		var v codecs.WindowAggregate
		o.w.must(codecs.DecodeWindow(r.Value, &v))
		n, err := ordinalOf(r)
		o.w.must(err)
		o.same(fmt.Sprintf("window %d of %s", n, v.SensorID), content(r))
		o.window(&v)
	case codecs.KindSilence:
		var v codecs.SensorSilence
		o.w.must(codecs.DecodeSilence(r.Value, &v))
		o.sensor(v.SensorID).state.ApplySilence(&v, &windowRules, ignore)
	}
}

func ignore(*codecs.WindowAggregate, int64) {}

func (o *observer) reading(r *kgo.Record, v *codecs.Reading) {
	s := o.sensor(v.SensorID)
	if v.Sequence != int64(len(s.readings))+1 {
		return // a repeat; or beyond a gap, and it comes again behind what is missing
	}
	if len(s.readings) == 0 || v.Timestamp > s.watermark {
		s.watermark = v.Timestamp
	}
	s.readings = append(s.readings, *v)
	s.counts[startOf(v.Timestamp)]++
	s.state.ApplyReading(v, &windowRules, ignore)
	o.taken[r.Partition][r.Offset] = v.SensorID
}

func startOf(ms int64) int64 { return ms - ms%windowRules.Length.Milliseconds() }

func (o *observer) window(v *codecs.WindowAggregate) {
	s := o.sensor(v.SensorID)
	name := fmt.Sprintf("revision %d of the window %s of %s", v.Revision, codecs.FormatTime(v.WindowStart), v.SensorID)
	o.same(name, fmt.Sprintf("%+v", *v))
	if have := s.counts[v.WindowStart]; v.MessageCount > have {
		o.w.fail("%s counts %d readings, and %d stand before it", name, v.MessageCount, have)
	}
	if last, ok := s.windows[v.WindowStart]; !ok || v.Revision > last.Revision {
		s.windows[v.WindowStart] = *v
	}
}

// committed fails where an offset is committed whose outputs or state are not out.
func (o *observer) committed(r role, part int32, from, next int64) {
	if next <= from {
		o.w.fail("the commit of %v/%d went back from %d to %d", r, part, from, next)
	}
	for offset := from; offset < next; offset++ {
		id := o.taken[part][offset]
		if r == dedupRole {
			id = o.judged(part, offset)
		}
		if id == "" {
			continue
		}
		if at, ok := o.applied[r][id]; !ok || at < offset {
			o.w.fail("%v/%d is committed up to %d, and the changelog has %s only as of %d", r, part, next, id, at)
		}
	}
}

// judged fails where a raw record has no outcome. It returns the sensor whose state the record has changed, if any.
func (o *observer) judged(part int32, offset int64) (id string) {
	a := o.w.arrived[part][offset]
	if a.reading == nil && a.metadata {
		return a.id
	}
	source := codecs.Source{Topic: topicRaw, Partition: part, Offset: offset}
	outcome, ok := o.outcomes[source]
	if !ok {
		o.w.fail("%v is committed and has no outcome", source)
	}
	if a.reading != nil && outcome[:7] == "reading" {
		return a.id
	}
	return ""
}
