package dedup

import (
	"strings"

	"gantry/codecs"
)

// State is everything that is remembered of a sensor. The zero value is a sensor of which nothing is known. It is not
// safe for concurrent use.
//
// Its in-memory form is made for deciding, its encoded form (AppendTo, DecodeState) for being small; both hold the
// same, and equal states have equal encodings, however they came about.
type State struct {
	known        bool
	sensor       codecs.Sensor // without its id, which is the key of the state; zero where not known
	sequence     int64
	accepted     memory
	stuck        stuckRun
	loopReadings positions
	loopSensors  positions
}

// SetSensor takes the sensor's metadata, from here on. Its strings are cloned.
func (st *State) SetSensor(s codecs.Sensor) {
	s.SensorID = ""
	s.Freeway.V = strings.Clone(s.Freeway.V)
	s.Direction.V = strings.Clone(s.Direction.V)
	st.sensor, st.known = s, true
}

// RemoveSensor forgets the sensor's metadata. Its history stays: should it come back, its sequence goes on, and what
// was accepted before is not accepted again.
func (st *State) RemoveSensor() { st.sensor, st.known = codecs.Sensor{}, false }

// Sensor returns the sensor's metadata with the given id. ok is false where there is none.
func (st *State) Sensor(id string) (s codecs.Sensor, ok bool) {
	if !st.known {
		return codecs.Sensor{}, false
	}
	s = st.sensor
	s.SensorID = id
	return s, true
}

// Watermark returns the highest accepted event time in epoch milliseconds. ok is false before the first reading.
func (st *State) Watermark() (ms int64, ok bool) { return st.accepted.watermark() }

// Sequence returns the number of the last accepted reading: how many were accepted so far.
func (st *State) Sequence() int64 { return st.sequence }

// SeenOnLoop tells whether a record that reached the loop topic from this place on traffic-raw was seen before, and
// otherwise records it. A router that is restarted sends a run of records to the loop again; each partition's order is
// kept there, so that one offset tells. Metadata (codecs.KindSensor) is counted apart from readings, because routers
// let it overtake readings that they hold back.
func (st *State) SeenOnLoop(kind codecs.Kind, partition int32, offset int64) bool {
	if kind == codecs.KindSensor {
		return st.loopSensors.advance(partition, offset)
	}
	return st.loopReadings.advance(partition, offset)
}
