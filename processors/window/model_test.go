package window

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gantry/codecs"
)

// model is what the package should do, said in the plainest way: it keeps every reading for ever and computes each
// window from its readings, in two passes.
type model struct {
	o         Options
	readings  map[int64][]codecs.Reading // by start of window, in order of sequence
	last      codecs.Reading
	revisions map[int64]int32
	reasons   map[int64]codecs.CloseReason
	out       []codecs.WindowAggregate
	watermark int64
}

func newModel(o Options) *model {
	return &model{
		o: o, readings: map[int64][]codecs.Reading{}, revisions: map[int64]int32{},
		reasons: map[int64]codecs.CloseReason{},
	}
}

func (m *model) remembered(start int64) bool {
	return m.last.Sequence == 0 || m.watermark-start <= m.o.Retention.Milliseconds()
}

func (m *model) reading(r codecs.Reading) Outcome {
	switch {
	case r.Sequence <= m.last.Sequence:
		return Repeat
	case r.Sequence > m.last.Sequence+1:
		return Gap
	}
	length := float64(m.o.Length.Milliseconds())
	start := int64(math.Floor(float64(r.Timestamp)/length) * length)
	outcome := Late
	if m.remembered(start) {
		outcome = Applied
		m.readings[start] = append(m.readings[start], r)
		if m.revisions[start] > 0 {
			m.publish(start, codecs.CloseLate)
		}
	}
	if m.last.Sequence == 0 || r.Timestamp > m.watermark {
		m.watermark = r.Timestamp
	}
	m.last = r
	m.close(m.watermark, codecs.CloseWatermark)
	return outcome
}

func (m *model) silence(x codecs.SensorSilence) {
	if m.last.Sequence > 0 && x.Watermark == m.watermark {
		m.close(x.AsOf, codecs.CloseSilence)
	}
}

func (m *model) close(ms int64, reason codecs.CloseReason) {
	for _, start := range slices.Sorted(maps.Keys(m.readings)) {
		end := start + m.o.Length.Milliseconds()
		if m.revisions[start] == 0 && end+m.o.Grace.Milliseconds() <= ms {
			m.publish(start, reason)
		}
	}
}

func (m *model) publish(start int64, reason codecs.CloseReason) {
	m.revisions[start]++
	m.reasons[start] = reason
	m.out = append(m.out, m.window(start))
}

// windows are the remembered ones.
func (m *model) windows() (all []codecs.WindowAggregate) {
	for _, start := range slices.Sorted(maps.Keys(m.readings)) {
		if m.remembered(start) {
			all = append(all, m.window(start))
		}
	}
	return all
}

func (m *model) window(start int64) codecs.WindowAggregate {
	readings := m.readings[start]
	last := readings[len(readings)-1]
	var speeds, volumes, occupancies []float64
	var flow, flowSpeed, harmonic, slowness float64
	var flags codecs.FlagCounts
	for _, r := range readings {
		if r.SpeedMPH.Valid {
			speeds = append(speeds, r.SpeedMPH.V)
		}
		if r.VolumeVPH.Valid {
			volumes = append(volumes, float64(r.VolumeVPH.V))
		}
		if r.Occupancy.Valid {
			occupancies = append(occupancies, r.Occupancy.V)
		}
		if q, v := float64(r.VolumeVPH.V), r.SpeedMPH.V; r.VolumeVPH.Valid && r.SpeedMPH.Valid {
			flow += q
			flowSpeed += q * v
			if v >= 5 {
				harmonic += q
				slowness += q / v
			}
		}
		for bit := range flags {
			flags[bit] += int32(r.Flags >> bit & 1)
		}
	}
	w := codecs.WindowAggregate{
		SensorID: last.SensorID, WindowStart: start, WindowEnd: start + m.o.Length.Milliseconds(),
		AvgSpeed: mean(speeds), AvgVolume: mean(volumes), AvgOccupancy: mean(occupancies),
		MessageCount: int32(len(readings)), FlagCounts: flags,
		Revision: m.revisions[start], CloseReason: m.reasons[start], Latitude: last.Latitude, Longitude: last.Longitude,
	}
	if len(speeds) > 0 {
		var squares []float64
		for _, v := range speeds {
			squares = append(squares, (v-w.AvgSpeed.V)*(v-w.AvgSpeed.V))
		}
		w.SpeedVariance = mean(squares)
		w.MinSpeed, w.MaxSpeed = codecs.Some(slices.Min(speeds)), codecs.Some(slices.Max(speeds))
	}
	if flow > 0 {
		w.FlowWeightedSpeed = codecs.Some(flowSpeed / flow)
	}
	if harmonic > 0 {
		w.HarmonicSpeed = codecs.Some(harmonic / slowness)
	}
	interval := m.o.DefaultInterval.Seconds()
	if last.IntervalS.Valid {
		interval = float64(last.IntervalS.V)
	}
	w.ExpectedCount = max(1, int32(m.o.Length.Seconds()/interval))
	w.Completeness = min(1, float64(w.MessageCount)/float64(w.ExpectedCount))
	return w
}

func mean(values []float64) codecs.Null[float64] {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return codecs.Null[float64]{V: sum / max(1, float64(len(values))), Valid: len(values) > 0}
}

// closeTo compares windows: floats that are computed within 1e-9 of their size, everything else exactly.
func closeTo(got, want codecs.WindowAggregate) error {
	for _, f := range []struct {
		name string
		got  *codecs.Null[float64]
		want codecs.Null[float64]
	}{
		{"avg_speed", &got.AvgSpeed, want.AvgSpeed},
		{"avg_occupancy", &got.AvgOccupancy, want.AvgOccupancy},
		{"speed_variance", &got.SpeedVariance, want.SpeedVariance},
		{"flow_weighted_speed", &got.FlowWeightedSpeed, want.FlowWeightedSpeed},
		{"harmonic_speed", &got.HarmonicSpeed, want.HarmonicSpeed},
	} {
		if f.got.Valid != f.want.Valid || math.Abs(f.got.V-f.want.V) > 1e-9*max(1, math.Abs(f.want.V)) {
			return fmt.Errorf("%s is %v, want %v", f.name, *f.got, f.want)
		}
		*f.got = f.want
	}
	if got != want {
		return fmt.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	return nil
}

// event is a reading or a silence of a random log.
type event struct {
	reading *codecs.Reading
	silence *codecs.SensorSilence
}

// drawOptions draws configurations around the default, down to a retention that remembers as little as is allowed.
func drawOptions(t *rapid.T) Options {
	o := DefaultOptions()
	if rapid.Bool().Draw(t, "default options") {
		return o
	}
	minutes := func(name string, of ...time.Duration) time.Duration {
		return rapid.SampledFrom(of).Draw(t, name+" in minutes") * time.Minute
	}
	o.Length = minutes("length", 1, 5, 15)
	o.Grace = minutes("grace", 0, 1, 7)
	o.Retention = o.Length + o.Grace + minutes("more retention", 0, 1, 30)
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	return o
}

// drawLog draws the events of one sensor: readings mostly near the watermark, some long before it and beyond the
// retention, some far ahead; repeats and gaps; silences around the next close, of this watermark and of another.
func drawLog(t *rapid.T, o Options) []event {
	values := rapid.OneOf(rapid.SampledFrom([]float64{0, 4.999, 5, 64.375, 62.66666667}), rapid.Float64Range(0, 120))
	volumes := rapid.Map(rapid.IntRange(0, 20000), func(q int) float64 { return float64(q) })
	null := func(g *rapid.Generator[float64], name string) codecs.Null[float64] {
		if rapid.IntRange(0, 4).Draw(t, name+" missing") == 0 {
			return none
		}
		return some(g.Draw(t, name))
	}
	edges := []int64{0, 1, -1, o.Length.Milliseconds(), o.Grace.Milliseconds(), o.Retention.Milliseconds()}
	jump := rapid.OneOf(
		rapid.Int64Range(-90*second, 90*second),
		rapid.Int64Range(-90*second, 90*second),
		rapid.Int64Range(-90*minute, 20*minute),
		rapid.Custom(func(t *rapid.T) int64 {
			to := rapid.SampledFrom(edges).Draw(t, "to")
			return to - rapid.SampledFrom(edges).Draw(t, "from")
		}),
	)
	watermark, sequence := noon, int64(0)
	var log []event
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		switch rapid.IntRange(0, 9).Draw(t, "event") {
		case 0, 1:
			log = append(log, event{silence: &codecs.SensorSilence{
				SensorID:  "773869",
				Watermark: watermark - rapid.SampledFrom([]int64{0, 0, 0, 1, -minute}).Draw(t, "moved"),
				AsOf:      watermark + o.Grace.Milliseconds() + rapid.Int64Range(-minute, 20*minute).Draw(t, "as of"),
			}})
			continue
		}
		r := sample(watermark+jump.Draw(t, "jump"), null(values, "speed"),
			null(volumes, "volume"),
			null(rapid.Float64Range(0, 100), "occupancy"))
		r.Flags = codecs.Flags(rapid.Uint32Range(0, uint32(codecs.FlagsAll)).Draw(t, "flags"))
		r.ReceivedAt += rapid.Int64Range(0, minute).Draw(t, "delay")
		if rapid.IntRange(0, 9).Draw(t, "moves") == 0 {
			r.Latitude, r.Longitude = 34, -118
		}
		if rapid.Bool().Draw(t, "interval known") {
			r.IntervalS = codecs.Some(rapid.SampledFrom([]int32{20, 30, 7, 4000}).Draw(t, "interval"))
		}
		r.Sequence = sequence + rapid.SampledFrom([]int64{1, 1, 1, 1, 1, 1, 1, 1, 0, -3, 2}).Draw(t, "sequence")
		if r.Sequence == sequence+1 {
			sequence++
			watermark = max(watermark, r.Timestamp)
		}
		log = append(log, event{reading: &r})
	}
	return log
}

// apply applies one event.
func (e event) apply(s *State, o *Options, publish Publish) Outcome {
	if e.silence != nil {
		s.ApplySilence(e.silence, o, publish)
		return Applied
	}
	return s.ApplyReading(e.reading, o, publish)
}

// For every log, the windows published, in their order and with their ordinals, and those remembered, are the model's.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		m := newModel(o)
		var s State
		var out []codecs.WindowAggregate
		publish := func(w *codecs.WindowAggregate, ordinal int64) {
			out = append(out, *w)
			if ordinal != int64(len(out)) {
				t.Fatalf("window %d has ordinal %d", len(out), ordinal)
			}
		}
		compare := func(i int, got, want []codecs.WindowAggregate) {
			if len(got) != len(want) {
				t.Fatalf("event %d: %d windows, want %d", i, len(got), len(want))
			}
			for j := range got {
				if err := closeTo(got[j], want[j]); err != nil {
					t.Fatalf("event %d, window %d: %v", i, j, err)
				}
			}
		}
		for i, e := range drawLog(t, o) {
			got, want := e.apply(&s, &o, publish), Applied
			if e.silence != nil {
				m.silence(*e.silence)
			} else {
				want = m.reading(*e.reading)
			}
			if got != want {
				t.Fatalf("event %d is %v, want %v", i, got, want)
			}
			compare(i, out, m.out)
			compare(i, s.Windows("773869", &o), m.windows())
			if limit := int(o.Retention/o.Length) + 1; len(s.windows) > limit {
				t.Fatalf("event %d: %d windows are remembered, at most %d should be", i, len(s.windows), limit)
			}
		}
	})
}

// A state that is encoded and decoded between any two events publishes the same bytes as one that never was, and ends
// in the same state.
func TestEncodingChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		kept, dropped := new(State), new(State)
		var want, got []byte
		record := func(into *[]byte) Publish { // the ordinal takes the place of the schema's id
			return func(w *codecs.WindowAggregate, ordinal int64) {
				*into = codecs.AppendWindow(*into, int32(ordinal), w)
			}
		}
		for i, e := range drawLog(t, o) {
			e.apply(kept, &o, record(&want))
			e.apply(dropped, &o, record(&got))
			if !bytes.Equal(got, want) {
				t.Fatalf("event %d: the publishes differ", i)
			}
			encoded := dropped.AppendTo(nil)
			if !bytes.Equal(encoded, kept.AppendTo(nil)) {
				t.Fatalf("event %d: the states differ", i)
			}
			if rapid.Bool().Draw(t, "drop") {
				var err error
				if dropped, err = DecodeState(encoded); err != nil {
					t.Fatalf("event %d: %v", i, err)
				}
			}
		}
	})
}

// Readings that were applied before, from any place on, publish nothing and change nothing.
func TestReplayOfReadings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		log := drawLog(t, o)
		var s State
		for _, e := range log {
			e.apply(&s, &o, func(*codecs.WindowAggregate, int64) {})
		}
		before := s.AppendTo(nil)
		for _, e := range log[rapid.IntRange(0, len(log)-1).Draw(t, "from"):] {
			if e.reading == nil || e.reading.Sequence > s.Sequence() {
				continue
			}
			got := e.apply(&s, &o, func(w *codecs.WindowAggregate, _ int64) { t.Fatalf("published %+v", w) })
			if got != Repeat {
				t.Fatalf("sequence %d is %v", e.reading.Sequence, got)
			}
		}
		if !bytes.Equal(before, s.AppendTo(nil)) {
			t.Fatal("the state has changed")
		}
	})
}

// The highest revision of a window says the same with and without silences, and a window that is published without them
// is published with them.
func TestSilencesChangeNoResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		var plain, silenced State
		results := func(into map[int64]codecs.WindowAggregate) Publish {
			return func(w *codecs.WindowAggregate, _ int64) {
				result := *w
				result.Revision, result.CloseReason = 0, codecs.CloseNone // when it was published may differ
				into[w.WindowStart] = result
			}
		}
		want, got := map[int64]codecs.WindowAggregate{}, map[int64]codecs.WindowAggregate{}
		for _, e := range drawLog(t, o) {
			e.apply(&silenced, &o, results(got))
			if e.reading != nil {
				e.apply(&plain, &o, results(want))
			}
		}
		for start, w := range want {
			if got[start] != w {
				t.Fatalf("with silences\n%+v\nwithout\n%+v", got[start], w)
			}
		}
		for _, w := range plain.Windows("773869", &o) { // those still open hold the same readings
			if r, ok := got[w.WindowStart]; ok {
				w.Revision, w.CloseReason = 0, codecs.CloseNone
				if r != w {
					t.Fatalf("closed by silence\n%+v\nopen\n%+v", r, w)
				}
			}
		}
	})
}
