package validate

import (
	"math"

	"gantry/codecs"
)

// Thresholds of the flags. Bits 0 to 6 are PORTAL's dqflags, as its data documentation defines them.
const (
	countHighPerLane = 3060 // vehicles per hour: 17 in 20 s
	occupancyHigh    = 95   // percent
	speedHigh        = 100  // mph
	speedLow         = 5    // mph
	densityHigh      = 220  // vehicles per mile and lane: bumper to bumper
	vehicleLengthMin = 8    // feet
	vehicleLengthMax = 60   // feet
	feetPerMile      = 5280
)

// FlagsOf returns the data-quality flags of a reading, all but codecs.FlagStuck, which needs the readings before it.
// A null value raises no flag. Where lanes are unknown, a detector is taken to watch one.
func FlagsOf(speedMPH codecs.Null[float64], volumeVPH codecs.Null[int32], occupancy codecs.Null[float64],
	lanes codecs.Null[int32],
) codecs.Flags {
	v, hasV := speedMPH.V, speedMPH.Valid
	q, hasQ := float64(volumeVPH.V), volumeVPH.Valid
	occ, hasOcc := occupancy.V, occupancy.Valid
	n := float64(max(lanes.Or(1), 1))
	var f codecs.Flags
	raise := func(flag codecs.Flags, when bool) {
		if when {
			f |= flag
		}
	}
	raise(codecs.FlagCountHigh, hasQ && q > countHighPerLane*n)
	raise(codecs.FlagOccupancyHigh, hasOcc && occ > occupancyHigh)
	raise(codecs.FlagSpeedHigh, hasV && v > speedHigh)
	raise(codecs.FlagSpeedLow, hasV && v < speedLow)
	raise(codecs.FlagSpeedZeroWithVolume, hasV && hasQ && v == 0 && q > 0)
	raise(codecs.FlagVolumeZeroWithSpeed, hasV && hasQ && v > 0 && q == 0)
	raise(codecs.FlagVolumeZeroWithOccupancy, hasOcc && hasQ && occ > 0 && q == 0)
	raise(codecs.FlagOccupancyZeroWithVolume, hasOcc && hasQ && occ == 0 && q > 0)
	raise(codecs.FlagDensityHigh, hasV && hasQ && v > 0 && q/(v*n) > densityHigh)
	if hasV && hasQ && hasOcc && v > 0 && q > 0 && occ > 0 {
		// Products instead of the quotient 5280 · occ/100 · v / (q/n): with whole numbers they are exact, while a quotient
		// may be rounded to just outside a limit that the vehicles meet.
		covered, passed := feetPerMile*occ*v*n, 100*q
		raise(codecs.FlagVehicleLength, covered < vehicleLengthMin*passed || covered > vehicleLengthMax*passed)
	}
	return f
}

// Density returns the vehicles per mile and lane, k = q/(v·lanes). It is null where volume, speed or lanes are unknown,
// where the speed is not above 0, and where the quotient is too large for a number.
func Density(speedMPH codecs.Null[float64], volumeVPH, lanes codecs.Null[int32]) codecs.Null[float64] {
	if !speedMPH.Valid || !volumeVPH.Valid || !lanes.Valid || !(speedMPH.V > 0) || lanes.V < 1 {
		return codecs.Null[float64]{}
	}
	k := float64(volumeVPH.V) / (speedMPH.V * float64(lanes.V))
	if math.IsInf(k, 0) {
		return codecs.Null[float64]{}
	}
	return codecs.Some(k)
}

// LevelOfService grades a density, in vehicles per mile and lane, from "A" (free flow) to "F" (breakdown): the limits
// of the Highway Capacity Manual for basic freeway segments, taking each vehicle for a passenger car.
func LevelOfService(density float64) string {
	switch {
	case density <= 11:
		return "A"
	case density <= 18:
		return "B"
	case density <= 26:
		return "C"
	case density <= 35:
		return "D"
	case density <= 45:
		return "E"
	}
	return "F"
}
