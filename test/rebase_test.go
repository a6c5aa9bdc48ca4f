package test

import (
	"testing"
	"time"

	"gantry/cmd/gantry/feed"
	"gantry/test/harness"
	"gantry/test/suite"
)

const fiveMinutes = int64(5 * time.Minute / time.Millisecond)

// A rebased replay moves all times by one number of whole windows, so that its last reading lies in the window that
// holds the present. Windows are published up to the last two, which are not over; over HTTP those stand, too.
func TestRebase(t *testing.T) {
	t.Parallel()
	path := suite.SyntheticMetrLA(t)
	input := suite.ReadSpeeds(t, path)
	o := replaying(t, path, t.TempDir())
	o.Rebase = feed.RebaseNow
	o.Config.Window.IdleTimeout = time.Hour
	before := time.Now()
	d := start(t, o)
	last := make(map[string]int) // row of the last value
	total := 0
	for i, row := range input.Rows {
		for j, speed := range row {
			if speed != nil {
				last[input.Sensors[j]] = i
				total++
			}
		}
	}
	want := make(map[harness.WindowKey]float64) // by row, and so are those below
	for i, row := range input.Rows {
		for j, speed := range row {
			if id := input.Sensors[j]; speed != nil && i+1 < last[id] {
				want[harness.WindowKey{Sensor: id, Start: int64(i)}] = *speed
			}
		}
	}
	seen := harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool {
		return len(o.Final) >= len(want) && len(o.Readings) >= total
	})
	shift := newest(seen) - int64(len(input.Rows)-1)*fiveMinutes - suite.MetrLAStart
	if shift%fiveMinutes != 0 {
		t.Errorf("times are moved by %d ms, not by whole windows", shift)
	}
	if age := before.UnixMilli() - newest(seen); age < -time.Since(before).Milliseconds() || age > fiveMinutes {
		t.Errorf("the last reading is %d ms old", age)
	}
	row := func(start int64) int64 { return (start - shift - suite.MetrLAStart) / fiveMinutes }
	got := make(map[harness.WindowKey]float64)
	for key, mean := range suite.Means(seen) {
		got[harness.WindowKey{Sensor: key.Sensor, Start: row(key.Start)}] = mean
	}
	harness.Compare(t, "published means", got, want)

	harness.Await(t, "readiness", func() bool { return status(t, d, "/readyz") == 200 })
	for j, id := range input.Sensors {
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
			if speed := input.Rows[i][j]; speed == nil || *speed != w.Mean || (w.Revision == 0) != (i+1 >= last[id]) {
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
