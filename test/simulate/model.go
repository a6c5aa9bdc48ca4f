package simulate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"gantry/codecs"
)

// model is what must come of what has arrived, computed from the contract alone, in one pass over each partition.
type model struct {
	sensors map[string]*modelled
	reasons map[codecs.Source]string // of rejects
}

type modelled struct {
	known     bool
	watermark int64
	readings  []taken
	byTime    map[int64]codecs.RawReading
}

// taken is an accepted reading; its sequence is its place.
type taken struct {
	codecs.RawReading
	source  codecs.Source
	arrived int64
}

func (w *world) model() *model {
	m := &model{sensors: make(map[string]*modelled), reasons: make(map[codecs.Source]string)}
	for _, s := range sensors {
		m.sensors[s.id] = &modelled{byTime: make(map[int64]codecs.RawReading)}
	}
	for part, log := range w.logs[topicRaw] {
		for offset, r := range log {
			a := w.arrived[part][offset]
			source := codecs.Source{Topic: topicRaw, Partition: int32(part), Offset: int64(offset)}
			if a.metadata {
				m.sensors[a.id].known = true
				continue
			}
			if reason := m.judge(a, source, r.Timestamp.UnixMilli()); reason != "" {
				m.reasons[source] = reason
			}
		}
	}
	return m
}

// judge takes a reading or says why not, by the rules in their order.
func (m *model) judge(a *arrival, source codecs.Source, arrived int64) (reason string) {
	if a.reading == nil {
		return "undecodable"
	}
	r, s := *a.reading, m.sensors[a.id]
	at := r.Timestamp.V
	first, again := s.byTime[at]
	switch {
	case a.misrouted:
		return "misrouted"
	case !s.known:
		return "unknown_sensor"
	case r.SpeedMPH.V > 120:
		return "speed_range"
	case arrived-at > dedupRules.Rules.MaxAge.Milliseconds():
		return "too_old"
	case at-arrived > dedupRules.Rules.MaxAhead.Milliseconds():
		return "in_future"
	case len(s.readings) > 0 && s.watermark-startOf(at) > windowRules.Retention.Milliseconds():
		return "late"
	case again && first == r:
		return "duplicate"
	case again:
		return "conflict"
	}
	if len(s.readings) == 0 || at > s.watermark {
		s.watermark = at
	}
	s.byTime[at] = r
	s.readings = append(s.readings, taken{r, source, arrived})
	return ""
}

// checkOutcomes compares what a reader of the topics sees with the model: readings by their numbers, rejects.
func (m *model) checkOutcomes(w *world) {
	for _, id := range slices.Sorted(maps.Keys(m.sensors)) {
		want, got := m.sensors[id].readings, w.watch.sensor(id).readings
		if len(got) != len(want) {
			w.fail("%d readings of %s can be read in sequence, and %d were accepted", len(got), id, len(want))
		}
		for i, t := range want {
			g := got[i]
			volume := codecs.Null[int64]{V: int64(g.VolumeVPH.V), Valid: g.VolumeVPH.Valid}
			have := codecs.RawReading{
				SensorID: g.SensorID, Timestamp: codecs.Some(g.Timestamp), SpeedMPH: g.SpeedMPH, VolumeVPH: volume,
				Occupancy: g.Occupancy, Latitude: codecs.Some(g.Latitude), Longitude: codecs.Some(g.Longitude),
			}
			if have != t.RawReading || g.ReceivedAt != t.arrived {
				w.fail("reading %d of %s is %+v, and %v holds %+v", i+1, id, g, t.source, t.RawReading)
			}
			if of := w.watch.outcomes[t.source]; of != fmt.Sprintf("reading %d of %s", i+1, id) {
				w.fail("the outcome of %v is %q, and it was accepted as reading %d of %s", t.source, of, i+1, id)
			}
		}
	}
	rejected := make(map[codecs.Source]string)
	for _, log := range w.logs[topicRejects] {
		for _, r := range log {
			source, err := codecs.ParseSource(header(r, codecs.HeaderSource))
			w.must(err)
			rejected[source] = header(r, codecs.HeaderReason)
		}
	}
	for _, source := range sources(m.reasons, rejected) {
		if got, want := rejected[source], m.reasons[source]; got != want {
			w.fail("%v was rejected as %q, and should be as %q", source, got, want)
		}
	}
}

// sources lists the keys of both maps, in order.
func sources(a, b map[codecs.Source]string) []codecs.Source {
	all := append(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b))...)
	slices.SortFunc(all, func(x, y codecs.Source) int {
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Offset, y.Offset))
	})
	return slices.Compact(all)
}

// checkWindows compares the highest revision of each window with all readings of its time.
func (m *model) checkWindows(w *world) {
	for _, id := range slices.Sorted(maps.Keys(m.sensors)) {
		want := make(map[int64][]codecs.RawReading)
		for _, t := range m.sensors[id].readings {
			start := startOf(t.Timestamp.V)
			want[start] = append(want[start], t.RawReading)
		}
		got := w.watch.sensor(id).windows
		for _, start := range slices.Sorted(maps.Keys(want)) {
			name := fmt.Sprintf("the window %s of %s", codecs.FormatTime(start), id)
			v, ok := got[start]
			if !ok {
				w.fail("%s was never published", name)
			}
			if int(v.MessageCount) != len(want[start]) {
				w.fail("%s counts %d readings in its last revision, and %d were accepted", name, v.MessageCount,
					len(want[start]))
			}
			sum, lowest, highest := 0.0, math.Inf(1), math.Inf(-1)
			for _, r := range want[start] {
				sum += r.SpeedMPH.V
				lowest, highest = min(lowest, r.SpeedMPH.V), max(highest, r.SpeedMPH.V)
			}
			if mean := sum / float64(len(want[start])); math.Abs(v.AvgSpeed.V-mean) > 1e-9*max(1, mean) ||
				v.MinSpeed.V != lowest || v.MaxSpeed.V != highest {
				w.fail("%s has the speeds %v, %v to %v, and its readings %v, %v to %v", name, v.AvgSpeed.V, v.MinSpeed.V,
					v.MaxSpeed.V, mean, lowest, highest)
			}
		}
		if len(got) != len(want) {
			w.fail("%s has %d windows, and readings in %d", id, len(got), len(want))
		}
	}
}
