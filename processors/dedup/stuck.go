package dedup

import "gantry/codecs"

// stuckFrom is the reading of a run of identical ones from which on the detector counts as stuck.
const stuckFrom = 9

// stuckRun is the current run of accepted readings, in order of acceptance, with identical volume, speed and occupancy
// and a volume above 0. The zero value is no run: on an empty road identical readings are the rule.
type stuckRun struct {
	length    int // 0 to stuckFrom, where it stays
	speedMPH  codecs.Null[float64]
	volumeVPH int32
	occupancy codecs.Null[float64]
}

// follow takes the next accepted reading and tells whether the detector is stuck. Values are compared as numbers;
// a missing one is identical to a missing one.
func (s *stuckRun) follow(speedMPH codecs.Null[float64], volumeVPH codecs.Null[int32],
	occupancy codecs.Null[float64],
) bool {
	if !volumeVPH.Valid || volumeVPH.V <= 0 {
		*s = stuckRun{}
		return false
	}
	if s.length == 0 || volumeVPH.V != s.volumeVPH || !identical(speedMPH, s.speedMPH) ||
		!identical(occupancy, s.occupancy) {
		*s = stuckRun{speedMPH: speedMPH, volumeVPH: volumeVPH.V, occupancy: occupancy}
	}
	s.length = min(s.length+1, stuckFrom)
	return s.length == stuckFrom
}

func identical(a, b codecs.Null[float64]) bool { return a.Valid == b.Valid && (!a.Valid || a.V == b.V) }
