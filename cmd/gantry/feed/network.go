package feed

import (
	"fmt"
	"math"

	"gantry/codecs"
)

// A road of the synthetic network: a straight line from one point to another, in shares of the bounds of accepted
// coordinates from the south-west, in the direction of its traffic. The opposite carriageway belongs to it.
type road struct {
	freeway        string
	there, back    string // directions of the two carriageways
	fromLat, toLat float64
	fromLon, toLon float64
	lanes          int32
}

var network = []road{
	{"I-5", "N", "S", 0.1, 0.9, 0.70, 0.25, 4},
	{"I-10", "E", "W", 0.42, 0.45, 0.10, 0.90, 5},
	{"US-101", "N", "S", 0.45, 0.60, 0.60, 0.05, 4},
	{"I-405", "N", "S", 0.08, 0.80, 0.62, 0.22, 5},
	{"SR-60", "E", "W", 0.40, 0.36, 0.45, 0.95, 4},
}

// synthesize spreads sensors over the network: even ones on the first carriageway of a road, odd ones on the other.
func synthesize(o SimulateOptions) []codecs.Sensor {
	l := o.Limits
	roads := len(network)
	perRoad := (o.Sensors + 2*roads - 1) / (2 * roads) // stations of a carriageway
	sensors := make([]codecs.Sensor, o.Sensors)
	for i := range sensors {
		r := network[i/2%roads]
		direction := r.there
		if i%2 == 1 {
			direction = r.back
		}
		share := (float64(i/2/roads) + 0.5) / float64(perRoad)
		lat := l.LatMin + (l.LatMax-l.LatMin)*(r.fromLat+(r.toLat-r.fromLat)*share)
		lon := l.LonMin + (l.LonMax-l.LonMin)*(r.fromLon+(r.toLon-r.fromLon)*share)
		miles := r.miles(l.LatMax-l.LatMin, l.LonMax-l.LonMin)
		sensors[i] = codecs.Sensor{
			SensorID:  fmt.Sprintf("sim-%04d", i+1),
			Latitude:  min(max(nearest(lat, 1e5), l.LatMin), l.LatMax), // rounding must not leave narrow bounds
			Longitude: min(max(nearest(lon, 1e5), l.LonMin), l.LonMax),
			Freeway:   codecs.Some(r.freeway),
			Direction: codecs.Some(direction),
			Lanes:     codecs.Some(r.lanes),
			LengthMi:  codecs.Some(max(nearest(miles/float64(perRoad), 1e3), 1e-3)),
			IntervalS: codecs.Some(int32(max(1, math.Round(o.interval().Seconds())))),
		}
	}
	return sensors
}

// miles is the length of the road in bounds of a height and width in degrees; 69 miles are a degree of latitude, 57 one
// of longitude at 34° north.
func (r *road) miles(height, width float64) float64 {
	return math.Hypot(69*height*(r.toLat-r.fromLat), 57*width*(r.toLon-r.fromLon))
}
