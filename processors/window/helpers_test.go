package window

import (
	"testing"

	"gantry/codecs"
)

const (
	second = int64(1000)
	minute = 60 * second

	// noon is 2026-11-24 12:00 UTC: a start of a window.
	noon = int64(1_795_521_600_000)
)

// none is a missing value in a call of sample.
var none = codecs.Null[float64]{}

func some(v float64) codecs.Null[float64] { return codecs.Some(v) }

// sample is a reading with these values; a missing one is none.
func sample(ts int64, speed, volume, occupancy codecs.Null[float64]) codecs.Reading {
	return codecs.Reading{
		SensorID: "773869", Timestamp: ts, ReceivedAt: ts + 5*second, Latitude: 34.15497, Longitude: -118.31829,
		SpeedMPH:  speed,
		VolumeVPH: codecs.Null[int32]{V: int32(volume.V), Valid: volume.Valid},
		Occupancy: occupancy,
	}
}

// published is one call of Publish.
type published struct {
	codecs.WindowAggregate
	ordinal int64
}

// sensor drives a State as the stage does, and keeps what it publishes.
type sensor struct {
	State
	o   Options
	out []published
}

func newSensor() *sensor { return &sensor{o: DefaultOptions()} }

func (s *sensor) publish(w *codecs.WindowAggregate, ordinal int64) {
	s.out = append(s.out, published{*w, ordinal})
}

// apply applies readings, each with the next sequence, and returns what they published.
func (s *sensor) apply(t *testing.T, readings ...codecs.Reading) []published {
	t.Helper()
	s.out = nil
	for _, r := range readings {
		r.Sequence = s.Sequence() + 1
		if outcome := s.ApplyReading(&r, &s.o, s.publish); outcome != Applied {
			t.Fatalf("reading %d was not applied: %v", r.Sequence, outcome)
		}
	}
	return s.out
}

// at applies a reading at each of these times.
func (s *sensor) at(t *testing.T, times ...int64) []published {
	t.Helper()
	readings := make([]codecs.Reading, len(times))
	for i, ts := range times {
		readings[i] = sample(ts, some(60), some(600), some(8))
	}
	return s.apply(t, readings...)
}

// silence applies a silence and returns what it published.
func (s *sensor) silence(watermark, asOf int64) (out []published, held bool) {
	s.out = nil
	held = s.ApplySilence(&codecs.SensorSilence{SensorID: "773869", Watermark: watermark, AsOf: asOf}, &s.o, s.publish)
	return s.out, held
}

// mustPublish compares starts, revisions, reasons and counts.
func mustPublish(t *testing.T, got []published, want ...codecs.WindowAggregate) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d windows published, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.WindowStart != w.WindowStart || g.Revision != w.Revision || g.CloseReason != w.CloseReason ||
			g.MessageCount != w.MessageCount {
			t.Errorf("window %d: start noon%+d ms, revision %d, %s, %d readings; want noon%+d ms, %d, %s, %d", i,
				g.WindowStart-noon, g.Revision, g.CloseReason, g.MessageCount,
				w.WindowStart-noon, w.Revision, w.CloseReason, w.MessageCount)
		}
	}
}

// revision is a window for mustPublish.
func revision(start int64, n int32, reason codecs.CloseReason, count int32) codecs.WindowAggregate {
	return codecs.WindowAggregate{WindowStart: start, Revision: n, CloseReason: reason, MessageCount: count}
}
