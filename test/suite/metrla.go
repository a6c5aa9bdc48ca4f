package suite

import (
	"testing"
	"time"

	"gantry/codecs"
	"gantry/test/harness"
)

const fiveMinutes = int64(5 * time.Minute / time.Millisecond)

const metrLAFile = "metr-la/los_speed.csv"

// MetrLAStart is when the first row of a METR-LA file was measured.
var MetrLAStart = time.Date(2012, 3, 1, 8, 0, 0, 0, time.UTC).UnixMilli()

// MetrLA: a window of METR-LA holds one reading, so that its mean is the input's value to the last bit. Every value of
// the input has one accepted reading and one window, a gap has none, and the archive has what the topics have.
func (s *Suite) MetrLA(t *testing.T) {
	s.parallel(t)
	t.Run("day", func(t *testing.T) {
		s.parallel(t)
		s.metrLA(t, metrLADay(t), 207*288)
	})
	t.Run("synthetic", func(t *testing.T) {
		s.parallel(t)
		s.standIn(t, metrLAFile)
		s.metrLA(t, SyntheticMetrLA(t), 0)
	})
}

func (s *Suite) metrLA(t *testing.T, path string, values int) {
	input := ReadSpeeds(t, path)
	want := make(map[harness.WindowKey]float64)
	for i, row := range input.Rows {
		for j, speed := range row {
			if speed != nil {
				want[harness.WindowKey{Sensor: input.Sensors[j], Start: MetrLAStart + int64(i)*fiveMinutes}] = *speed
			}
		}
	}
	if values > 0 && len(want) != values {
		t.Fatalf("the file holds %d values, not %d", len(want), values)
	}
	in := s.Install(t, t.TempDir())
	p := in.Start(t, Feed{File: path})
	seen := harness.Follow(t, p.Brokers, func(o *harness.Outcomes) bool { return len(o.Final) >= len(want) })
	harness.Archived(t, p.Brokers, seen)
	p.Stop()

	o, report := Inspect(t, in)
	Clean(t, report)
	readings := make(map[harness.WindowKey]float64)
	for _, r := range o.Readings {
		readings[harness.WindowKey{Sensor: r.SensorID, Start: r.Timestamp}] = r.SpeedMPH.V
		if r.VolumeVPH.Valid || r.Occupancy.Valid || r.DensityVPMPL.Valid {
			t.Fatalf("METR-LA knows speeds alone, and a reading has more: %+v", r)
		}
	}
	harness.Compare(t, "readings", readings, want)
	if len(o.Readings) != len(want) || len(o.Rejects) != 0 {
		t.Errorf("%d readings and %d rejects of %d values", len(o.Readings), len(o.Rejects), len(want))
	}
	harness.Compare(t, "means", Means(o), want)
	for key, w := range o.Final {
		if w.MessageCount != 1 || w.SpeedVariance != codecs.Some(0.0) || w.AvgVolume.Valid || w.FlowWeightedSpeed.Valid ||
			w.Completeness != 1 || w.MinSpeed != w.MaxSpeed {
			t.Fatalf("window %v of one reading: %+v", key, w)
		}
	}
	harness.ArchiveHolds(t, in.ArchiveURL(), o)
}

// Means are the average speeds of the final windows.
func Means(o *harness.Outcomes) map[harness.WindowKey]float64 {
	m := make(map[harness.WindowKey]float64)
	for key, w := range o.Final {
		m[key] = w.AvgSpeed.V
	}
	return m
}
