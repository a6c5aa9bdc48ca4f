package validate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Names of the fields, as in the contract and in validate.required.
const (
	fieldSensorID    = "sensor_id"
	fieldTimestamp   = "timestamp"
	fieldCoordinates = "coordinates"
	fieldSpeed       = "speed_mph"
	fieldVolume      = "volume_vph"
	fieldOccupancy   = "occupancy_percent"
)

var fields = []string{fieldSensorID, fieldTimestamp, fieldCoordinates, fieldSpeed, fieldVolume, fieldOccupancy}

// Options are the limits of the rules; the keys are those of the configuration. All limits are inclusive.
type Options struct {
	// Required (validate.required) names the fields that a reading must have. speed_mph may be missing where
	// volume_vph is 0: with no vehicle there is no speed. sensor_id, timestamp and coordinates are required anyway.
	Required []string

	SpeedMax  float64 // validate.speedMax, mph
	VolumeMax int64   // validate.volumeMax, vehicles per hour; at most an int32

	LatMin, LatMax float64 // validate.latMin, validate.latMax, degrees
	LonMin, LonMax float64 // validate.lonMin, validate.lonMax, degrees

	MaxAge   time.Duration // validate.maxAge: how long before its arrival a reading may have been measured
	MaxAhead time.Duration // validate.maxAhead: how far its time may be after its arrival

	KnownSensorsOnly bool // validate.knownSensorsOnly: reject sensors without metadata
}

// DefaultOptions returns the defaults of the configuration: a speed is required, and the box is Los Angeles.
func DefaultOptions() Options {
	return Options{
		Required: []string{fieldSpeed},
		SpeedMax: 120, VolumeMax: 20000,
		LatMin: 33.7, LatMax: 34.5, LonMin: -119, LonMax: -117,
		MaxAge: time.Hour, MaxAhead: 5 * time.Minute,
		KnownSensorsOnly: true,
	}
}

// Validate reports all problems of the options together, each with its key, its value and what is allowed.
func (o *Options) Validate() error {
	var problems []error
	problem := func(key string, value any, allowed string) {
		problems = append(problems, fmt.Errorf("validate.%s: %v is not %s", key, value, allowed))
	}
	for _, f := range o.Required {
		if !slices.Contains(fields, f) {
			problem("required", fmt.Sprintf("%.64q", f), "one of "+strings.Join(fields, ", "))
		}
	}
	if !(o.SpeedMax > 0) || math.IsInf(o.SpeedMax, 0) {
		problem("speedMax", o.SpeedMax, "a number above 0 (mph)")
	}
	if o.VolumeMax < 0 || o.VolumeMax > math.MaxInt32 {
		problem("volumeMax", o.VolumeMax, fmt.Sprintf("within 0..%d (vehicles per hour)", math.MaxInt32))
	}
	degrees := func(keyMin, keyMax string, low, high, limit float64) {
		if !within(low, -limit, limit) {
			problem(keyMin, low, fmt.Sprintf("within -%v..%v (degrees)", limit, limit))
		}
		if !within(high, -limit, limit) {
			problem(keyMax, high, fmt.Sprintf("within -%v..%v (degrees)", limit, limit))
		}
		if low > high {
			problem(keyMin, low, fmt.Sprintf("at most validate.%s, which is %v", keyMax, high))
		}
	}
	degrees("latMin", "latMax", o.LatMin, o.LatMax, 90)
	degrees("lonMin", "lonMax", o.LonMin, o.LonMax, 180)
	duration := func(key string, d time.Duration) {
		if d < 0 || d%time.Millisecond != 0 {
			problem(key, d, "0 or more whole milliseconds")
		}
	}
	duration("maxAge", o.MaxAge)
	duration("maxAhead", o.MaxAhead)
	return errors.Join(problems...)
}
