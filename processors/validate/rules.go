package validate

import (
	"math"
	"math/bits"
	"slices"

	"gantry/codecs"
)

// Case is a reading to judge, with all that the rules have to know beside it.
type Case struct {
	Reading    codecs.RawReading // as its writer sent it; Place fills its coordinates
	ReceivedAt int64             // arrival time that its age is measured against, epoch milliseconds
	Misrouted  string            // what is wrong with its key or partition; empty where nothing is
	Waive      Reason            // the one reason that lets it pass; without effect where it is not Waivable

	sensor sensorState
}

type sensorState uint8

const (
	sensorUnseen  sensorState = iota // not looked up: Place was not called
	sensorUnknown                    // looked up, and there is no metadata
	sensorKnown
)

// Place tells the case what is known of its sensor, nil where nothing is, and takes the coordinates from there where
// the reading's are absent or incomplete: both, since a place put together from two sources is neither of them.
//
// A misrouted reading, or one without sensor_id, is not placed: what is known of its sensor stands elsewhere, and the
// rules that need it are not checked.
func (c *Case) Place(s *codecs.Sensor) {
	if s == nil {
		c.sensor = sensorUnknown
		return
	}
	c.sensor = sensorKnown
	if !c.Reading.Latitude.Valid || !c.Reading.Longitude.Valid {
		c.Reading.Latitude, c.Reading.Longitude = codecs.Some(s.Latitude), codecs.Some(s.Longitude)
	}
}

// Failures is a set of rules that a reading fails, one bit each. The bits stand in the order in which the rules are
// checked, so that the lowest one names the reject. The zero value is a reading that passes.
type Failures uint32

const (
	failSensorID Failures = 1 << iota
	failTimestamp
	failMisrouted
	failUnknownSensor
	failCoordinates
	failSpeedMissing
	failVolumeMissing
	failOccupancyMissing
	failSpeedRange
	failVolumeRange
	failOccupancyRange
	failLatitude
	failLongitude
	failTooOld
	failInFuture

	// FailLate, FailDuplicate and FailConflict need the sensor's history. Check never sets them; who knows the history
	// adds at most one of them.
	FailLate
	FailDuplicate
	FailConflict
)

// reasonOf holds the reason of each rule, by the number of its bit.
var reasonOf = [...]Reason{
	ReasonMissingField, ReasonMissingField, ReasonMisrouted, ReasonUnknownSensor, ReasonMissingField,
	ReasonMissingField, ReasonMissingField, ReasonMissingField, ReasonSpeedRange, ReasonVolumeRange,
	ReasonOccupancyRange, ReasonOutOfBounds, ReasonOutOfBounds, ReasonTooOld, ReasonInFuture, ReasonLate,
	ReasonDuplicate, ReasonConflict,
}

// Reason returns the reason of the first rule that fails, ReasonNone where none does.
func (f Failures) Reason() Reason {
	if f == 0 {
		return ReasonNone
	}
	return reasonOf[bits.TrailingZeros32(uint32(f))]
}

// Check returns every rule that fails, but for those that need the sensor's history.
func (c *Case) Check(o *Options) Failures {
	f := c.checkPresence(o) | c.checkRanges(o) | c.checkAge(o)
	if c.Misrouted != "" {
		f |= failMisrouted
	}
	if c.sensor == sensorUnknown && o.KnownSensorsOnly && c.Waive != ReasonUnknownSensor {
		f |= failUnknownSensor
	}
	return f
}

func (c *Case) checkPresence(o *Options) (f Failures) {
	r := &c.Reading
	if r.SensorID == "" {
		f |= failSensorID
	}
	if !r.Timestamp.Valid {
		f |= failTimestamp
	}
	if c.sensor != sensorUnseen && !(r.Latitude.Valid && r.Longitude.Valid) {
		f |= failCoordinates
	}
	noVehicle := r.VolumeVPH.Valid && r.VolumeVPH.V == 0
	if !r.SpeedMPH.Valid && !noVehicle && slices.Contains(o.Required, fieldSpeed) {
		f |= failSpeedMissing
	}
	if !r.VolumeVPH.Valid && slices.Contains(o.Required, fieldVolume) {
		f |= failVolumeMissing
	}
	if !r.Occupancy.Valid && slices.Contains(o.Required, fieldOccupancy) {
		f |= failOccupancyMissing
	}
	return f
}

func (c *Case) checkRanges(o *Options) (f Failures) {
	r := &c.Reading
	if r.SpeedMPH.Valid && !c.admits(ReasonSpeedRange, r.SpeedMPH.V, 0, o.SpeedMax) {
		f |= failSpeedRange
	}
	if r.VolumeVPH.Valid {
		low, high := int64(0), o.VolumeMax
		if c.Waive == ReasonVolumeRange {
			low, high = math.MinInt32, math.MaxInt32
		}
		if r.VolumeVPH.V < low || r.VolumeVPH.V > high {
			f |= failVolumeRange
		}
	}
	if r.Occupancy.Valid && !c.admits(ReasonOccupancyRange, r.Occupancy.V, 0, occupancyMax) {
		f |= failOccupancyRange
	}
	if r.Latitude.Valid && !c.admits(ReasonOutOfBounds, r.Latitude.V, o.LatMin, o.LatMax) {
		f |= failLatitude
	}
	if r.Longitude.Valid && !c.admits(ReasonOutOfBounds, r.Longitude.V, o.LonMin, o.LonMax) {
		f |= failLongitude
	}
	return f
}

const occupancyMax = 100 // percent

// admits tells whether v is within the limits. Where the rule is waived, any finite number is: a NaN or an infinity is
// a defect of the sender and not a value, and one of them would spoil the sums of its whole window.
func (c *Case) admits(rule Reason, v, low, high float64) bool {
	if c.Waive == rule {
		low, high = -math.MaxFloat64, math.MaxFloat64
	}
	return within(v, low, high)
}

// within is false for NaN, whatever the limits.
func within(v, low, high float64) bool { return low <= v && v <= high }

func (c *Case) checkAge(o *Options) (f Failures) {
	if !c.Reading.Timestamp.Valid {
		return 0
	}
	age := c.age()
	if age > o.MaxAge.Milliseconds() && c.Waive != ReasonTooOld {
		f |= failTooOld
	}
	if age < -o.MaxAhead.Milliseconds() && c.Waive != ReasonInFuture {
		f |= failInFuture
	}
	return f
}

// age is the time from measurement to arrival in milliseconds, negative where the reading is ahead. It saturates,
// because both times are whatever their writers chose to send.
func (c *Case) age() int64 {
	ts := c.Reading.Timestamp.V
	age := c.ReceivedAt - ts
	if ts < 0 && age < c.ReceivedAt {
		return math.MaxInt64
	}
	if ts > 0 && age > c.ReceivedAt {
		return math.MinInt64
	}
	return age
}
