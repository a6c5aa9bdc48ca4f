package ledger

import (
	"fmt"
	"math"

	"gantry/codecs"
)

// openWindow is a remembered window, as the readings that it counts.
type openWindow struct {
	start     int64
	revision  int32 // of the last record that is due, 0 before the first
	samples   []sample
	latitude  float64 // of the last reading
	longitude float64
	intervalS codecs.Null[int32]
}

// sample is a reading as it counts in a window, in 24 bytes.
type sample struct {
	speed     float64
	occupancy float64
	volume    int32
	flags     uint16
	has       uint8
}

// Values that a sample has.
const (
	hasSpeed = 1 << iota
	hasVolume
	hasOccupancy
)

func (w *openWindow) add(r *counted) {
	s := sample{speed: r.speed.V, occupancy: r.occupancy.V, volume: r.volume.V, flags: uint16(r.flags)}
	if r.speed.Valid {
		s.has |= hasSpeed
	}
	if r.volume.Valid {
		s.has |= hasVolume
	}
	if r.occupancy.Valid {
		s.has |= hasOccupancy
	}
	w.samples = append(w.samples, s)
	w.latitude, w.longitude, w.intervalS = r.latitude, r.longitude, r.intervalS
}

// aggregate computes the window by its definition: sums over the readings, and for the variance a second pass with the
// mean. CloseReason and SensorID are not set.
func (w *openWindow) aggregate(o *Options) codecs.WindowAggregate {
	var speeds, volumes, occupancies []float64
	var flow, flowSpeed, movingFlow, movingTime float64
	a := codecs.WindowAggregate{
		WindowStart:   w.start,
		WindowEnd:     w.start + o.Length.Milliseconds(),
		MessageCount:  int32(len(w.samples)),
		ExpectedCount: w.expected(o),
		Revision:      w.revision,
		Latitude:      w.latitude,
		Longitude:     w.longitude,
	}
	for _, s := range w.samples {
		q, v := float64(s.volume), s.speed
		if s.has&hasSpeed != 0 {
			speeds = append(speeds, v)
		}
		if s.has&hasVolume != 0 {
			volumes = append(volumes, q)
		}
		if s.has&hasOccupancy != 0 {
			occupancies = append(occupancies, s.occupancy)
		}
		if s.has&hasSpeed != 0 && s.has&hasVolume != 0 {
			flow += q
			flowSpeed += q * v
			if v >= harmonicSpeedMin {
				movingFlow += q
				movingTime += q / v
			}
		}
		a.FlagCounts.Add(codecs.Flags(s.flags))
	}
	a.AvgSpeed, a.AvgVolume, a.AvgOccupancy = mean(speeds), mean(volumes), mean(occupancies)
	if len(speeds) > 0 {
		a.SpeedVariance = codecs.Some(variance(speeds, a.AvgSpeed.V))
		low, high := speeds[0], speeds[0]
		for _, v := range speeds {
			low, high = min(low, v), max(high, v)
		}
		a.MinSpeed, a.MaxSpeed = codecs.Some(low), codecs.Some(high)
	}
	if flow != 0 {
		a.FlowWeightedSpeed = codecs.Some(flowSpeed / flow)
	}
	if movingFlow != 0 {
		a.HarmonicSpeed = codecs.Some(movingFlow / movingTime)
	}
	a.Completeness = min(1, float64(a.MessageCount)/float64(a.ExpectedCount))
	return a
}

// harmonicSpeedMin is the least speed, in mph, that counts in the harmonic mean: crawling traffic would decide it alone.
const harmonicSpeedMin = 5

// expected is how many readings fit into the window at the interval of the last one.
func (w *openWindow) expected(o *Options) int32 {
	interval := o.DefaultInterval.Milliseconds()
	if w.intervalS.Valid && w.intervalS.V > 0 {
		interval = int64(w.intervalS.V) * 1000
	}
	return int32(max(1, o.Length.Milliseconds()/interval))
}

// scale is the size of what the variance is made of.
func (w *openWindow) scale() float64 {
	var high float64
	for _, s := range w.samples {
		high = max(high, math.Abs(s.speed))
	}
	return high * high
}

func mean(values []float64) codecs.Null[float64] {
	if len(values) == 0 {
		return codecs.Null[float64]{}
	}
	var sum float64
	for _, v := range values {
		sum += v
	}
	return codecs.Some(sum / float64(len(values)))
}

// variance is that of the population: the mean of the squared distances from the mean.
func variance(values []float64, mean float64) float64 {
	var sum float64
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	return sum / float64(len(values))
}

// diffWindows lists the fields in which a window differs from the one that is wanted, each with both values. Counts,
// extremes and places are exact; what is computed may show another rounding.
func diffWindows(want, got *codecs.WindowAggregate, scale float64) []string {
	var differ []string
	exact := func(name string, equal bool, got, want any) {
		if !equal {
			differ = append(differ, field(name, got, want))
		}
	}
	computed := func(name string, got, want codecs.Null[float64], scale float64) {
		if !alikeNull(got, want, scale) {
			differ = append(differ, field(name, show(got), show(want)))
		}
	}
	exact("window_end", got.WindowEnd == want.WindowEnd, got.WindowEnd, want.WindowEnd)
	exact("message_count", got.MessageCount == want.MessageCount, got.MessageCount, want.MessageCount)
	computed("avg_speed", got.AvgSpeed, want.AvgSpeed, 0)
	computed("avg_volume", got.AvgVolume, want.AvgVolume, 0)
	computed("avg_occupancy", got.AvgOccupancy, want.AvgOccupancy, 0)
	computed("speed_variance", got.SpeedVariance, want.SpeedVariance, scale)
	exact("min_speed", got.MinSpeed == want.MinSpeed, show(got.MinSpeed), show(want.MinSpeed))
	exact("max_speed", got.MaxSpeed == want.MaxSpeed, show(got.MaxSpeed), show(want.MaxSpeed))
	computed("flow_weighted_speed", got.FlowWeightedSpeed, want.FlowWeightedSpeed, 0)
	computed("harmonic_speed", got.HarmonicSpeed, want.HarmonicSpeed, 0)
	exact("expected_count", got.ExpectedCount == want.ExpectedCount, got.ExpectedCount, want.ExpectedCount)
	computed("completeness", codecs.Some(got.Completeness), codecs.Some(want.Completeness), 0)
	exact("flag_counts", got.FlagCounts == want.FlagCounts, got.FlagCounts.Map(), want.FlagCounts.Map())
	exact("close_reason", got.CloseReason == want.CloseReason, got.CloseReason, want.CloseReason)
	exact("latitude", got.Latitude == want.Latitude, got.Latitude, want.Latitude)
	exact("longitude", got.Longitude == want.Longitude, got.Longitude, want.Longitude)
	return differ
}

func field(name string, got, want any) string {
	return fmt.Sprintf("%s is %v, not %v", name, got, want)
}

func show(v codecs.Null[float64]) string {
	if !v.Valid {
		return "null"
	}
	return fmt.Sprint(v.V)
}
