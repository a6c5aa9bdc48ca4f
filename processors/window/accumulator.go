package window

import "gantry/codecs"

// harmonicSpeedMin is the slowest speed, in mph, that counts in a harmonic mean: below it a detector's speed is noise,
// and its reciprocal would outweigh everything else.
const harmonicSpeedMin = 5

// closeReason is codecs.CloseReason in one byte.
type closeReason uint8

const (
	closeNone closeReason = iota
	closeWatermark
	closeSilence
	closeLate
)

var closeReasons = [...]codecs.CloseReason{
	closeNone:      codecs.CloseNone,
	closeWatermark: codecs.CloseWatermark,
	closeSilence:   codecs.CloseSilence,
	closeLate:      codecs.CloseLate,
}

// accumulator holds what must be known of the readings of one window to aggregate them, and to take one more.
//
// Volumes are whole numbers, so their sums are exact. Speeds go through Welford's recurrence (Technometrics 4, 1962),
// which keeps the variance of nearly equal speeds that a sum of squares would cancel away, and whose mean of equal
// values is that value. Products are converted explicitly before they are added: Go may fuse x*y + z on some
// processors, and a result must not depend on which one computed it.
type accumulator struct {
	start int64 // epoch milliseconds

	count      int32 // readings
	speedN     int32 // those with a speed; likewise below
	volumeN    int32
	occupancyN int32

	speedMean, speedM2 float64 // Welford: mean, and sum of squared distances from it
	speedMin, speedMax float64 // 0 while there is no speed
	occupancySum       float64
	flowSpeedSum       float64 // Σqv over readings with volume and speed
	slownessSum        float64 // Σ(q/v) over those of at least harmonicSpeedMin

	volumeSum         int64
	flowVolumeSum     int64 // Σq that belongs to flowSpeedSum
	harmonicVolumeSum int64 // Σq that belongs to slownessSum

	flags codecs.FlagCounts

	// Of the last counted reading. Readings are counted in order of their sequence, so the last one has the highest.
	latitude, longitude float64
	intervalS           int32 // 0 = unknown

	revision int32 // 0 = not published
	reason   closeReason
}

// add counts a reading of this window.
func (a *accumulator) add(r *codecs.Reading) {
	a.count++
	if r.SpeedMPH.Valid {
		a.addSpeed(r.SpeedMPH.V)
	}
	if r.VolumeVPH.Valid {
		a.volumeN++
		a.volumeSum += int64(r.VolumeVPH.V)
	}
	if r.Occupancy.Valid {
		a.occupancyN++
		a.occupancySum += r.Occupancy.V
	}
	if r.SpeedMPH.Valid && r.VolumeVPH.Valid {
		a.addFlow(int64(r.VolumeVPH.V), r.SpeedMPH.V)
	}
	a.flags.Add(r.Flags)
	a.latitude, a.longitude = r.Latitude, r.Longitude
	a.intervalS = max(0, r.IntervalS.Or(0))
}

func (a *accumulator) addSpeed(v float64) {
	if a.speedN == 0 {
		a.speedMin, a.speedMax = v, v
	}
	a.speedN++
	delta := v - a.speedMean
	a.speedMean += delta / float64(a.speedN)
	a.speedM2 += float64(delta * (v - a.speedMean))
	a.speedMin = min(a.speedMin, v)
	a.speedMax = max(a.speedMax, v)
}

func (a *accumulator) addFlow(q int64, v float64) {
	a.flowVolumeSum += q
	a.flowSpeedSum += float64(float64(q) * v)
	if v >= harmonicSpeedMin {
		a.harmonicVolumeSum += q
		a.slownessSum += float64(q) / v
	}
}

// aggregate writes into w what the window says as it stands. Length and default interval are in milliseconds.
func (a *accumulator) aggregate(w *codecs.WindowAggregate, sensorID string, length, defaultInterval int64) {
	expected := expectedCount(length, a.intervalS, defaultInterval)
	*w = codecs.WindowAggregate{
		SensorID:          sensorID,
		WindowStart:       a.start,
		WindowEnd:         a.start + length,
		AvgSpeed:          codecs.Null[float64]{V: a.speedMean, Valid: a.speedN > 0},
		AvgVolume:         ratio(float64(a.volumeSum), float64(a.volumeN)),
		AvgOccupancy:      ratio(a.occupancySum, float64(a.occupancyN)),
		SpeedVariance:     ratio(a.speedM2, float64(a.speedN)),
		MessageCount:      a.count,
		MinSpeed:          codecs.Null[float64]{V: a.speedMin, Valid: a.speedN > 0},
		MaxSpeed:          codecs.Null[float64]{V: a.speedMax, Valid: a.speedN > 0},
		FlowWeightedSpeed: ratio(a.flowSpeedSum, float64(a.flowVolumeSum)),
		HarmonicSpeed:     a.harmonicSpeed(),
		ExpectedCount:     expected,
		Completeness:      min(1, float64(a.count)/float64(expected)),
		FlagCounts:        a.flags,
		Revision:          a.revision,
		CloseReason:       closeReasons[a.reason],
		Latitude:          a.latitude,
		Longitude:         a.longitude,
	}
}

// harmonicSpeed is Σq/Σ(q/v), null where Σq = 0. Readings that passed by a waiver may have volumes below 0, so that
// neither sum says of the other whether it is 0.
func (a *accumulator) harmonicSpeed() codecs.Null[float64] {
	if a.harmonicVolumeSum == 0 {
		return codecs.Null[float64]{}
	}
	return ratio(float64(a.harmonicVolumeSum), a.slownessSum)
}

// ratio is null where there is nothing to divide by.
func ratio(sum, n float64) codecs.Null[float64] {
	if n == 0 {
		return codecs.Null[float64]{}
	}
	return codecs.Some(sum / n)
}

// expectedCount is the number of readings that a window should have: length / interval, rounded down, at least 1.
func expectedCount(length int64, intervalS int32, defaultInterval int64) int32 {
	interval := defaultInterval
	if intervalS > 0 {
		interval = int64(intervalS) * 1000
	}
	return int32(max(1, length/interval))
}
