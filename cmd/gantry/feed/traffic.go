package feed

import (
	"math"
	"time"

	"gantry/codecs"
)

// The traffic model of the simulator. A lane follows a triangular fundamental diagram: up to capacity the flow is what
// is demanded and the speed is nearly free; beyond, a queue stands on the detector, the density grows with the excess
// demand, and flow and speed fall on the congested branch. Demand has a morning and an evening peak of local solar
// time, and a height of its own at each sensor. Occupancy follows from flow and speed by the g-factor,
// occ = g·q / (5280·v).
const (
	freeSpeed    = 65.0   // mph
	laneCapacity = 2000.0 // vehicles per hour and lane
	jamDensity   = 190.0  // vehicles per mile and lane
	gFactor      = 22.0   // effective vehicle length, feet

	capacityDensity = laneCapacity / freeSpeed
	waveSpeed       = laneCapacity / (jamDensity - capacityDensity) // at which a queue's end moves back, mph
)

// demand is the share of a lane's capacity that is asked for: above 1 a queue forms.
func demand(at time.Time, longitude, height float64) float64 {
	utc := at.UTC()
	hour := float64(utc.Hour()) + float64(utc.Minute())/60 + longitude/15
	hour = math.Mod(hour+24, 24)
	peak := func(center, width float64) float64 {
		d := (hour - center) / width
		return math.Exp(-d * d / 2)
	}
	return 0.05 + height*(0.45*peak(12.5, 4)+0.75*peak(7.5, 1.1)+0.7*peak(17.25, 1.4))
}

// lane gives flow (vehicles per hour) and speed (mph) of a lane at a demand.
func lane(demand float64) (flow, speed float64) {
	if demand <= 1 {
		return demand * laneCapacity, freeSpeed * (1 - 0.12*demand*demand)
	}
	density := min(capacityDensity*(1+2*(demand-1)), 0.8*jamDensity)
	flow = waveSpeed * (jamDensity - density)
	return flow, flow / density
}

// sample is what a detector over some lanes reports of an interval: whole vehicles, and no speed where none passed.
// Noise is two values in [0, 1).
func sample(demand float64, lanes int32, interval time.Duration, noise [2]float64) (r codecs.RawReading) {
	flow, speed := lane(demand)
	hours := interval.Hours()
	vehicles := math.Floor(flow*float64(lanes)*hours*(0.8+0.4*noise[0]) + 0.5)
	volume := math.Round(vehicles / hours)
	r.VolumeVPH = codecs.Some(int64(volume))
	r.Occupancy = codecs.Some(0.0)
	if volume > 0 {
		speed = nearest(speed*(0.93+0.14*noise[1]), 10)
		perLane := volume / float64(lanes)
		r.SpeedMPH = codecs.Some(speed)
		r.Occupancy = codecs.Some(min(nearest(100*gFactor*perLane/(5280*speed), 100), 100))
	}
	return r
}

// nearest keeps a fraction of 1/unit, as detectors report it.
func nearest(v, unit float64) float64 { return math.Round(v*unit) / unit }
