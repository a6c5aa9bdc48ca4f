package test

import (
	"testing"
	"time"

	"gantry/cmd/gantry/feed"
	"gantry/codecs"
	"gantry/test/harness"
)

const fiveMinutes = int64(5 * time.Minute / time.Millisecond)

// metrLAStart is when the first row of a METR-LA file was measured.
var metrLAStart = time.Date(2012, 3, 1, 8, 0, 0, 0, time.UTC).UnixMilli()

// A window of METR-LA holds one reading, so that its mean is the input's value to the last bit. Every value of the
// input has one accepted reading and one window, a gap has none, and the archive has what the topics have.
func TestMetrLA(t *testing.T) {
	t.Parallel()
	t.Run("day", func(t *testing.T) {
		t.Parallel()
		metrLA(t, metrLADay(t), 207*288)
	})
	t.Run("synthetic", func(t *testing.T) {
		t.Parallel()
		metrLA(t, syntheticMetrLA(t), 0)
	})
}

func metrLA(t *testing.T, path string, values int) {
	input := readSpeeds(t, path)
	want := make(map[harness.WindowKey]float64)
	for i, row := range input.rows {
		for j, speed := range row {
			if speed != nil {
				want[harness.WindowKey{Sensor: input.sensors[j], Start: metrLAStart + int64(i)*fiveMinutes}] = *speed
			}
		}
	}
	if values > 0 && len(want) != values {
		t.Fatalf("the file holds %d values, not %d", len(want), values)
	}
	data := t.TempDir()
	d := start(t, replaying(t, path, data))
	seen := harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool { return len(o.Final) >= len(want) })
	harness.Archived(t, d.Brokers(), seen)
	d.stop()

	o, report := inspect(t, data)
	clean(t, report)
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
	harness.Compare(t, "means", means(o), want)
	for key, w := range o.Final {
		if w.MessageCount != 1 || w.SpeedVariance != codecs.Some(0.0) || w.AvgVolume.Valid || w.FlowWeightedSpeed.Valid ||
			w.Completeness != 1 || w.MinSpeed != w.MaxSpeed {
			t.Fatalf("window %v of one reading: %+v", key, w)
		}
	}
	harness.ArchiveHolds(t, archiveURL(data), o)
}

func means(o *harness.Outcomes) map[harness.WindowKey]float64 {
	m := make(map[harness.WindowKey]float64)
	for key, w := range o.Final {
		m[key] = w.AvgSpeed.V
	}
	return m
}

// A rebased replay moves all times by one number of whole windows, so that its last reading lies in the window that
// holds the present. Windows are published up to the last two, which are not over; over HTTP those stand, too.
func TestRebase(t *testing.T) {
	t.Parallel()
	path := syntheticMetrLA(t)
	input := readSpeeds(t, path)
	o := replaying(t, path, t.TempDir())
	o.Rebase = feed.RebaseNow
	o.Config.Window.IdleTimeout = time.Hour
	before := time.Now()
	d := start(t, o)
	last := make(map[string]int) // row of the last value
	total := 0
	for i, row := range input.rows {
		for j, speed := range row {
			if speed != nil {
				last[input.sensors[j]] = i
				total++
			}
		}
	}
	want := make(map[harness.WindowKey]float64) // by row, and so are those below
	for i, row := range input.rows {
		for j, speed := range row {
			if id := input.sensors[j]; speed != nil && i+1 < last[id] {
				want[harness.WindowKey{Sensor: id, Start: int64(i)}] = *speed
			}
		}
	}
	seen := harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool {
		return len(o.Final) >= len(want) && len(o.Readings) >= total
	})
	shift := newest(seen) - int64(len(input.rows)-1)*fiveMinutes - metrLAStart
	if shift%fiveMinutes != 0 {
		t.Errorf("times are moved by %d ms, not by whole windows", shift)
	}
	if age := before.UnixMilli() - newest(seen); age < -time.Since(before).Milliseconds() || age > fiveMinutes {
		t.Errorf("the last reading is %d ms old", age)
	}
	row := func(start int64) int64 { return (start - shift - metrLAStart) / fiveMinutes }
	got := make(map[harness.WindowKey]float64)
	for key, mean := range means(seen) {
		got[harness.WindowKey{Sensor: key.Sensor, Start: row(key.Start)}] = mean
	}
	harness.Compare(t, "published means", got, want)

	harness.Await(t, "readiness", func() bool { return status(t, d, "/readyz") == 200 })
	for j, id := range input.sensors {
		var answer struct {
			Windows []struct {
				Start    time.Time `json:"window_start"`
				Mean     float64   `json:"avg_speed"`
				Revision int
			}
		}
		harness.Await(t, "the views", func() bool {
			get(t, d, "/api/v1/sensors/"+id+"/windows", &answer)
			n := len(answer.Windows)
			return n > 0 && int(row(answer.Windows[n-1].Start.UnixMilli())) == last[id]
		})
		for _, w := range answer.Windows {
			i := int(row(w.Start.UnixMilli()))
			if speed := input.rows[i][j]; speed == nil || *speed != w.Mean || (w.Revision == 0) != (i+1 >= last[id]) {
				t.Errorf("sensor %s, row %d: %+v", id, i, w)
			}
		}
	}
}

func newest(o *harness.Outcomes) (at int64) {
	for _, r := range o.Readings {
		at = max(at, r.Timestamp)
	}
	return at
}
