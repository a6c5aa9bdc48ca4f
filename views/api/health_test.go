package api

import (
	"slices"
	"testing"

	"gantry/codecs"
)

// Each reason appears at its threshold and not just below it, and not before there is enough to judge.
func TestHealth(t *testing.T) {
	bit := func(name string) int {
		b, ok := codecs.FlagBit(name)
		if !ok {
			t.Fatalf("no flag %s", name)
		}
		return b
	}
	// windows are full ones of 100 expected readings each, and an open one after them.
	windows := func(n int, arrived int32, flag string, flagged int32) []codecs.WindowAggregate {
		var list []codecs.WindowAggregate
		for i := range n {
			w := codecs.WindowAggregate{
				WindowStart: t0 + int64(i)*5*minute, WindowEnd: t0 + int64(i+1)*5*minute,
				MessageCount: arrived, ExpectedCount: 100,
			}
			if flag != "" {
				w.FlagCounts[bit(flag)] = flagged
			}
			list = append(list, w)
		}
		return list
	}
	hole := slices.Delete(windows(6, 100, "", 0), 1, 5) // four windows without a reading
	for _, c := range []struct {
		name    string
		windows []codecs.WindowAggregate
		silent  bool
		status  HealthStatus
		reasons []HealthReason
	}{
		{"nothing remembered", nil, true, HealthNoData, nil},
		{"all well", windows(3, 100, "", 0), false, HealthOK, nil},
		{"silent", windows(3, 100, "", 0), true, HealthSilent, nil},
		{"60 % arrive", windows(3, 60, "", 0), false, HealthOK, nil},
		{"59 % arrive", windows(3, 59, "", 0), false, HealthSuspect, []HealthReason{HealthInsufficient}},
		{"too few windows to judge", windows(2, 59, "", 0), false, HealthOK, nil},
		{"windows without a reading count", hole, false, HealthSuspect, []HealthReason{HealthInsufficient}},
		{
			"occupancy high in 20 %", windows(1, 100, "occupancy_high", 20), false, HealthSuspect,
			[]HealthReason{HealthHighOccupancy},
		},
		{"occupancy high in 19 %", windows(1, 100, "occupancy_high", 19), false, HealthOK, nil},
		{"too few readings to judge", windows(1, 29, "occupancy_high", 29), false, HealthOK, nil},
		{
			"occupied without volume in 2 %", windows(1, 100, "volume_zero_with_occupancy", 2), false, HealthSuspect,
			[]HealthReason{HealthIntermittent},
		},
		{"occupied without volume in 1 %", windows(1, 100, "volume_zero_with_occupancy", 1), false, HealthOK, nil},
		{
			"volume without occupancy in 50 %", windows(1, 100, "occupancy_zero_with_volume", 50), false, HealthSuspect,
			[]HealthReason{HealthIntermittent},
		},
		{"volume without occupancy in 49 %", windows(1, 100, "occupancy_zero_with_volume", 49), false, HealthOK, nil},
		{"stuck once", windows(1, 10, "stuck", 1), false, HealthSuspect, []HealthReason{HealthStuck}},
		{"silent and stuck", windows(1, 10, "stuck", 1), true, HealthSilent, []HealthReason{HealthStuck}},
	} {
		s := Sensor{Silent: c.silent, Windows: c.windows}
		if n := len(c.windows); n > 0 {
			s.Watermark = codecs.Some(c.windows[n-1].WindowEnd)
		}
		got := healthOf(&s)
		if got.Status != c.status || !slices.Equal(got.Reasons, c.reasons) {
			t.Errorf("%s: %v, want %s %v", c.name, got, c.status, c.reasons)
		}
	}
}

// The window of the watermark is not over, so what it lacks is not missing yet.
func TestHealthLeavesTheOpenWindowOut(t *testing.T) {
	s := sensorWith("a")
	s.Windows[1].MessageCount = 0
	if share, windows := arrivedShare(&s); share != 0.9 || windows != 1 {
		t.Errorf("share %v of %d windows, want 0.9 of the one that is over", share, windows)
	}
}
