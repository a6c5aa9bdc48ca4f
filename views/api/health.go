package api

import (
	"gantry/codecs"
)

// Health is a verdict on a detector from its remembered windows (70 minutes by default).
type Health struct {
	Status  HealthStatus
	Reasons []HealthReason // why it is suspect; none otherwise, but a silent sensor can have been suspect before
}

// HealthStatus is the verdict in one word. The first that holds, in the order below, is given.
type HealthStatus string

const (
	HealthNoData  HealthStatus = "no_data" // no reading is remembered
	HealthSilent  HealthStatus = "silent"  // nothing has arrived for the idle timeout
	HealthSuspect HealthStatus = "suspect" // it reports, and at least one reason speaks against its values
	HealthOK      HealthStatus = "ok"
)

// HealthReason says what speaks against a detector.
type HealthReason string

// The reasons, by the rules of Caltrans' PeMS as far as windows can carry them. PeMS judges a day; here the same shares
// are taken over the remembered windows, so a verdict follows within the hour and passes with its cause.
const (
	// HealthInsufficient: fewer than 60 % of the expected readings arrived.
	HealthInsufficient HealthReason = "insufficient_data"
	// HealthHighOccupancy: at least 20 % of the readings carry occupancy_high. PeMS draws the line at an occupancy of
	// 70 %; the flag's, at 95 %, is stricter on evidence, so a queue alone is not held against the detector.
	HealthHighOccupancy HealthReason = "occupancy_high"
	// HealthIntermittent: volume 0 with occupancy above 0 in at least 2 % of the readings, or the reverse in 50 %.
	HealthIntermittent HealthReason = "intermittent"
	// HealthStuck: at least one reading was the ninth or later of a run of identical ones.
	HealthStuck HealthReason = "stuck"
)

const (
	healthWindowsMin  = 3  // complete windows before completeness is judged: 15 min
	healthReadingsMin = 30 // readings before shares are judged, so that a single reading is not 2 %

	insufficientBelow     = 0.60
	highOccupancyFrom     = 0.20
	occupancyNoVolumeFrom = 0.02
	volumeNoOccupancyFrom = 0.50
)

// healthOf judges a sensor.
func healthOf(s *Sensor) Health {
	var h Health
	var readings int64
	var flags [codecs.FlagKinds]int64
	for i := range s.Windows {
		readings += int64(s.Windows[i].MessageCount)
		for bit, n := range s.Windows[i].FlagCounts {
			flags[bit] += int64(n)
		}
	}
	if readings == 0 {
		return Health{Status: HealthNoData}
	}
	share := func(name string) float64 {
		bit, _ := codecs.FlagBit(name)
		return float64(flags[bit]) / float64(readings)
	}
	if arrived, windows := arrivedShare(s); windows >= healthWindowsMin && arrived < insufficientBelow {
		h.Reasons = append(h.Reasons, HealthInsufficient)
	}
	if readings >= healthReadingsMin {
		if share("occupancy_high") >= highOccupancyFrom {
			h.Reasons = append(h.Reasons, HealthHighOccupancy)
		}
		if share("volume_zero_with_occupancy") >= occupancyNoVolumeFrom ||
			share("occupancy_zero_with_volume") >= volumeNoOccupancyFrom {
			h.Reasons = append(h.Reasons, HealthIntermittent)
		}
	}
	if share("stuck") > 0 {
		h.Reasons = append(h.Reasons, HealthStuck)
	}
	switch {
	case s.Silent:
		h.Status = HealthSilent
	case len(h.Reasons) > 0:
		h.Status = HealthSuspect
	default:
		h.Status = HealthOK
	}
	return h
}

// arrivedShare is the share of the expected readings that arrived from the first remembered window up to the window of
// the watermark, which is not over and does not count. windows is the number of windows in that time; one without a
// reading, which is not remembered, is expected to hold as many as the one before it.
func arrivedShare(s *Sensor) (share float64, windows int64) {
	if !s.Watermark.Valid {
		return 0, 0
	}
	var arrived, expected float64
	for i := range s.Windows {
		w := &s.Windows[i]
		if w.WindowEnd > s.Watermark.V {
			break
		}
		next := s.Watermark.V
		if i+1 < len(s.Windows) {
			next = min(next, s.Windows[i+1].WindowStart)
		}
		n := max((next-w.WindowStart)/(w.WindowEnd-w.WindowStart), 1)
		windows += n
		expected += float64(n) * float64(w.ExpectedCount)
		arrived += float64(min(w.MessageCount, w.ExpectedCount))
	}
	if expected == 0 {
		return 0, 0
	}
	return arrived / expected, windows
}
