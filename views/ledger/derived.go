package ledger

import (
	"math"

	"gantry/codecs"
)

// tolerance is the relative difference that two ways of computing one number may show.
const tolerance = 1e-9

// alike compares two results of a computation. scale is the size of what was added up on the way to them: a sum of
// large numbers that ends near 0 carries their rounding.
func alike(a, b, scale float64) bool {
	return math.Abs(a-b) <= tolerance*max(math.Abs(a), math.Abs(b))+1e-12*scale
}

func alikeNull(a, b codecs.Null[float64], scale float64) bool {
	return a.Valid == b.Valid && (!a.Valid || alike(a.V, b.V, scale))
}

// checkDerived compares what a reading derives from its own values with their definitions: density, level of service,
// and all flags but stuck.
func (l *Ledger) checkDerived(r *codecs.Reading, at codecs.Source) {
	density := densityOf(r)
	if !alikeNull(r.DensityVPMPL, density, 0) {
		l.except(KindUnfitOutcome, at, r.SensorID, "density_vpmpl is %s, and its values make %s", show(r.DensityVPMPL),
			show(density))
	}
	if r.LevelOfService.Valid != r.DensityVPMPL.Valid ||
		r.LevelOfService.Valid && r.LevelOfService.V != serviceOf(r.DensityVPMPL.V) {
		l.except(KindUnfitOutcome, at, r.SensorID, "level_of_service %.8q is not that of density_vpmpl %s",
			r.LevelOfService.V, show(r.DensityVPMPL))
	}
	raised, open := flagsOf(r)
	if differ := (r.Flags &^ codecs.FlagStuck) ^ raised; differ&^open != 0 {
		l.except(KindUnfitOutcome, at, r.SensorID, "flags are %v, and its values raise %v", r.Flags.Names(), raised.Names())
	}
}

// densityOf is k = q/(v·lanes), vehicles per mile and lane, null where one of them is unknown or the speed is 0.
func densityOf(r *codecs.Reading) codecs.Null[float64] {
	if !r.SpeedMPH.Valid || !r.VolumeVPH.Valid || !r.Lanes.Valid || r.SpeedMPH.V <= 0 || r.Lanes.V < 1 {
		return codecs.Null[float64]{}
	}
	k := float64(r.VolumeVPH.V) / r.SpeedMPH.V / float64(r.Lanes.V)
	if math.IsInf(k, 0) {
		return codecs.Null[float64]{}
	}
	return codecs.Some(k)
}

// serviceOf grades a density by the upper limits of A to E.
func serviceOf(density float64) string {
	for i, limit := range []float64{11, 18, 26, 35, 45} {
		if density <= limit {
			return "ABCDE"[i : i+1]
		}
	}
	return "F"
}

// flagsOf raises the flags of a reading as DOMAIN defines them, all but stuck. Those in open are so near to their limit
// that the order of the operations decides: both answers are right.
func flagsOf(r *codecs.Reading) (raised, open codecs.Flags) {
	lanes := float64(max(r.Lanes.Or(1), 1))
	speed, hasSpeed := r.SpeedMPH.V, r.SpeedMPH.Valid
	occupancy, hasOccupancy := r.Occupancy.V, r.Occupancy.Valid
	volume, hasVolume := float64(r.VolumeVPH.V), r.VolumeVPH.Valid
	for flag, when := range map[codecs.Flags]bool{
		codecs.FlagCountHigh:               hasVolume && volume > 3060*lanes,
		codecs.FlagOccupancyHigh:           hasOccupancy && occupancy > 95,
		codecs.FlagSpeedHigh:               hasSpeed && speed > 100,
		codecs.FlagSpeedLow:                hasSpeed && speed < 5,
		codecs.FlagSpeedZeroWithVolume:     hasSpeed && hasVolume && speed == 0 && volume > 0,
		codecs.FlagVolumeZeroWithSpeed:     hasSpeed && hasVolume && speed > 0 && volume == 0,
		codecs.FlagVolumeZeroWithOccupancy: hasOccupancy && hasVolume && occupancy > 0 && volume == 0,
		codecs.FlagOccupancyZeroWithVolume: hasOccupancy && hasVolume && occupancy == 0 && volume > 0,
	} {
		if when {
			raised |= flag
		}
	}
	if !hasSpeed || !hasVolume || speed <= 0 {
		return raised, 0
	}
	decide := func(flag codecs.Flags, value float64, limits ...float64) {
		for _, limit := range limits {
			if alike(value, limit, 0) {
				open |= flag
			}
		}
	}
	density := volume / speed / lanes
	decide(codecs.FlagDensityHigh, density, 220)
	if density > 220 {
		raised |= codecs.FlagDensityHigh
	}
	if hasOccupancy && occupancy > 0 && volume > 0 {
		feet := 5280 * occupancy / 100 * speed / (volume / lanes)
		decide(codecs.FlagVehicleLength, feet, 8, 60)
		if feet < 8 || feet > 60 {
			raised |= codecs.FlagVehicleLength
		}
	}
	return raised, open
}

// stuckFrom is the reading of a run of identical ones from which on the detector counts as stuck.
const stuckFrom = 9

// run is the current run of identical readings of a sensor with a volume above 0, in the order of their sequences.
type run struct {
	of     counted
	length int64
	known  bool // its beginning was seen
}

// follow takes the next reading, and tells whether it is the 9th or a later one of its run.
func (s *run) follow(c *counted) (stuck bool) {
	moving := c.volume.Valid && c.volume.V > 0
	if !moving {
		*s = run{known: true}
		return false
	}
	if s.length > 0 && c.speed == s.of.speed && c.volume == s.of.volume && c.occupancy == s.of.occupancy {
		s.length++
	} else {
		*s = run{of: *c, length: 1, known: s.known || s.length > 0}
	}
	return s.length >= stuckFrom
}
