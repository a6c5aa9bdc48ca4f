package window

import (
	"testing"

	"gantry/codecs"
)

// Every aggregate follows the contract: missing is null and never 0, a zero is a value. Expected values are exact.
func TestAggregates(t *testing.T) {
	type null = codecs.Null[float64]
	q, v := 601.0, 59.1 // variables, so that the expected value is computed in float64
	for _, c := range []struct {
		name     string
		readings [][3]null // speed, volume, occupancy

		avgSpeed, variance, minSpeed, maxSpeed, avgVolume, avgOccupancy, flow, harmonic null
	}{
		{name: "nothing measured", readings: [][3]null{{}, {}}},
		{
			name:     "one reading is its own mean, with no variance",
			readings: [][3]null{{some(v), some(q), some(8.3)}},
			avgSpeed: some(v), variance: some(0), minSpeed: some(v), maxSpeed: some(v),
			avgVolume: some(q), avgOccupancy: some(8.3), flow: some(q * v / q), harmonic: some(q / (q / v)),
		},
		{
			name:     "zeros are values: a standing queue",
			readings: [][3]null{{some(0), some(0), some(100)}, {some(0), some(0), some(0)}},
			avgSpeed: some(0), variance: some(0), minSpeed: some(0), maxSpeed: some(0),
			avgVolume: some(0), avgOccupancy: some(50),
		},
		{
			name:      "no vehicle, no speed",
			readings:  [][3]null{{none, some(0), some(0)}, {none, some(0), some(0)}},
			avgVolume: some(0), avgOccupancy: some(0),
		},
		{
			name:     "averages over what is present",
			readings: [][3]null{{some(30)}, {none, some(900)}, {none, none, some(12)}, {some(50)}},
			avgSpeed: some(40), variance: some(100), minSpeed: some(30), maxSpeed: some(50),
			avgVolume: some(900), avgOccupancy: some(12),
		},
		{
			name:     "population variance: divided by n",
			readings: [][3]null{{some(2)}, {some(4)}, {some(4)}, {some(4)}, {some(5)}, {some(5)}, {some(7)}, {some(9)}},
			avgSpeed: some(5), variance: some(4), minSpeed: some(2), maxSpeed: some(9),
		},
		{
			name:     "three mean speeds: arithmetic, flow-weighted, harmonic",
			readings: [][3]null{{some(60), some(1200)}, {some(20), some(400)}},
			avgSpeed: some(40), variance: some(400), minSpeed: some(20), maxSpeed: some(60),
			avgVolume: some(800), flow: some(50), harmonic: some(40),
		}, // 1600 / (20 + 20)
		{
			name:     "speed and volume count as a pair only together",
			readings: [][3]null{{some(60), some(600)}, {some(10), none}, {none, some(9000)}},
			avgSpeed: some(35), variance: some(625), minSpeed: some(10), maxSpeed: some(60),
			avgVolume: some(4800), flow: some(60), harmonic: some(60),
		},
		{
			name:     "below 5 mph is out of the harmonic mean, and only there",
			readings: [][3]null{{some(4.9375), some(600)}, {some(5), some(600)}},
			avgSpeed: some(4.96875), variance: some(0.0009765625), minSpeed: some(4.9375), maxSpeed: some(5),
			avgVolume: some(600), flow: some(4.96875), harmonic: some(5),
		},
		{
			name:     "only slow readings: no harmonic mean",
			readings: [][3]null{{some(0), some(600)}, {some(4), some(600)}},
			avgSpeed: some(2), variance: some(4), minSpeed: some(0), maxSpeed: some(4),
			avgVolume: some(600), flow: some(2),
		},
		{
			name:     "volumes below 0, which a waiver lets pass, cancel out: no flow",
			readings: [][3]null{{some(50), some(100)}, {some(25), some(-100)}},
			avgSpeed: some(37.5), variance: some(156.25), minSpeed: some(25), maxSpeed: some(50), avgVolume: some(0),
		},
		{
			name:     "speed without volume: no flow",
			readings: [][3]null{{some(60), some(0)}},
			avgSpeed: some(60), variance: some(0), minSpeed: some(60), maxSpeed: some(60), avgVolume: some(0),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSensor()
			for i, r := range c.readings {
				s.apply(t, sample(noon+int64(i)*second, r[0], r[1], r[2]))
			}
			w, ok := s.Current("773869", &s.o)
			if !ok {
				t.Fatal("no current window")
			}
			for _, f := range []struct {
				name      string
				got, want null
			}{
				{"avg_speed", w.AvgSpeed, c.avgSpeed},
				{"speed_variance", w.SpeedVariance, c.variance},
				{"min_speed", w.MinSpeed, c.minSpeed},
				{"max_speed", w.MaxSpeed, c.maxSpeed},
				{"avg_volume", w.AvgVolume, c.avgVolume},
				{"avg_occupancy", w.AvgOccupancy, c.avgOccupancy},
				{"flow_weighted_speed", w.FlowWeightedSpeed, c.flow},
				{"harmonic_speed", w.HarmonicSpeed, c.harmonic},
			} {
				if f.got != f.want {
					t.Errorf("%s is %+v, want %+v", f.name, f.got, f.want)
				}
			}
			if int(w.MessageCount) != len(c.readings) {
				t.Errorf("message_count is %d", w.MessageCount)
			}
		})
	}
}

// The mean of equal values is that value, to the last bit, and their variance is 0, whatever the value and the number.
func TestMeanOfEqualSpeedsIsExact(t *testing.T) {
	for _, v := range []float64{0, 0.1, 1.0 / 3, 59.142857142857146, 62.66666667, 119.99999999999999} {
		var a accumulator
		for n := range 100 {
			a.addSpeed(v)
			var w codecs.WindowAggregate
			a.aggregate(&w, "", 5*minute, 30*second)
			if w.AvgSpeed != some(v) || w.SpeedVariance != some(0) {
				t.Fatalf("%d times %v: mean %v, variance %v", n+1, v, w.AvgSpeed.V, w.SpeedVariance.V)
			}
		}
	}
}

// A small variance beside a large mean survives: a sum of squares would cancel it away.
func TestVarianceOfNearlyEqualSpeeds(t *testing.T) {
	var a accumulator
	for i := range 1000 {
		a.addSpeed(1e9 + float64(i%2))
	}
	var w codecs.WindowAggregate
	a.aggregate(&w, "", 5*minute, 30*second)
	if got := w.SpeedVariance.V; got < 0.2499 || got > 0.2501 {
		t.Errorf("variance is %v, want 0.25", got)
	}
}

// Expected readings are length / interval rounded down, at least 1; completeness is capped at 1; the interval is that
// of the last counted reading, which is the one with the highest sequence and not the one with the latest time.
func TestExpectedCountAndCompleteness(t *testing.T) {
	seconds := func(n int32) codecs.Null[int32] { return codecs.Some(n) }
	for _, c := range []struct {
		name         string
		intervals    []codecs.Null[int32]
		expected     int32
		completeness float64
	}{
		{"default interval", []codecs.Null[int32]{{}}, 10, 0.1},
		{"known interval", []codecs.Null[int32]{seconds(20)}, 15, 1.0 / 15},
		{"rounded down", []codecs.Null[int32]{seconds(200)}, 1, 1},
		{"exactly once", []codecs.Null[int32]{seconds(300)}, 1, 1},
		{"less than once", []codecs.Null[int32]{seconds(3600)}, 1, 1},
		{"more than expected", []codecs.Null[int32]{seconds(150), seconds(150), seconds(150)}, 2, 1},
		{"the last one counts", []codecs.Null[int32]{seconds(20), seconds(60)}, 5, 0.4},
		{"the last one does not say", []codecs.Null[int32]{seconds(20), {}}, 10, 0.2},
		{"zero says nothing", []codecs.Null[int32]{seconds(0)}, 10, 0.1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSensor()
			for i, interval := range c.intervals {
				r := sample(noon+minute-int64(i), some(60), some(600), some(8))
				r.IntervalS = interval
				s.apply(t, r)
			}
			w, _ := s.Current("773869", &s.o)
			if w.ExpectedCount != c.expected || w.Completeness != c.completeness {
				t.Errorf("expected %d, completeness %v; want %d, %v",
					w.ExpectedCount, w.Completeness, c.expected, c.completeness)
			}
		})
	}
}

// Each flag is counted for each reading that raised it, and the place is that of the last counted reading.
func TestFlagsAndLocation(t *testing.T) {
	s := newSensor()
	first, second := sample(noon+1, some(3), some(60), some(8)), sample(noon, some(3), some(60), some(8))
	first.Flags = codecs.FlagSpeedLow | codecs.FlagStuck
	second.Flags = codecs.FlagSpeedLow
	second.Latitude, second.Longitude = 34, -118
	s.apply(t, first, second)
	w, _ := s.Current("773869", &s.o)
	var want codecs.FlagCounts
	want[3], want[10] = 2, 1
	if w.FlagCounts != want {
		t.Errorf("flags are %v, want %v", w.FlagCounts, want)
	}
	if w.Latitude != 34 || w.Longitude != -118 {
		t.Errorf("window is at %v, %v", w.Latitude, w.Longitude)
	}
	if lat, lon, ok := s.Location(); lat != 34 || lon != -118 || !ok {
		t.Errorf("sensor is at %v, %v, %v", lat, lon, ok)
	}
}
