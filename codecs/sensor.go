package codecs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sensorTextBytesMax is the longest freeway or direction, in bytes: each reading of the sensor repeats them.
const sensorTextBytesMax = 256

// sensorRecord is a sensor's metadata as it was sent, before it was checked.
type sensorRecord struct {
	id                  string
	latitude, longitude Null[float64]
	freeway, direction  Null[string]
	lanes, intervalS    Null[int64]
	lengthMi            Null[float64]
}

// ParseSensor reads a sensor's metadata from the value of a record on traffic-raw with the kind "sensor"; key is the
// record's key. A record without a value removes a sensor and is no matter of ParseSensor. The strings of the result
// are its own. Every error means that the record is undecodable.
//
// Fields that the contract does not name are passed over, as in readings: an inventory may know more of a sensor than
// Gantry, and a newer Gantry more than an older one.
func ParseSensor(value []byte, key string) (Sensor, error) {
	var rec sensorRecord
	p := newJSONReader(value, nil)
	o := p.object()
	for field, ok := p.next(&o); ok; field, ok = p.next(&o) {
		switch field {
		case "sensor_id":
			rec.id = p.sensorID()
		case "latitude":
			rec.latitude = p.nullFloat(field)
		case "longitude":
			rec.longitude = p.nullFloat(field)
		case "freeway":
			rec.freeway = p.nullString(field)
		case "direction":
			rec.direction = p.nullString(field)
		case "lanes":
			rec.lanes = p.nullInteger(field)
		case "length_mi":
			rec.lengthMi = p.nullFloat(field)
		case "interval_s":
			rec.intervalS = p.nullInteger(field)
		default:
			p.skip()
		}
	}
	if err := p.end(); err != nil {
		return Sensor{}, err
	}
	return rec.sensor(key)
}

// sensor checks the record and reports everything that is wrong with it.
func (rec *sensorRecord) sensor(key string) (Sensor, error) {
	var problems []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	switch {
	case rec.id == "":
		check(false, "sensor_id is missing")
	default:
		check(rec.id == key, "sensor_id %q differs from the key %q", rec.id, key)
	}
	check(rec.latitude.Valid, "latitude is missing")
	check(rec.longitude.Valid, "longitude is missing")
	check(math.Abs(rec.latitude.V) <= 90, "latitude is outside -90..90")
	check(math.Abs(rec.longitude.V) <= 180, "longitude is outside -180..180")
	check(len(rec.freeway.V) <= sensorTextBytesMax, "freeway has more than %d bytes", sensorTextBytesMax)
	check(len(rec.direction.V) <= sensorTextBytesMax, "direction has more than %d bytes", sensorTextBytesMax)
	length := rec.lengthMi.Or(1)
	check(length > 0 && !math.IsInf(length, 0), "length_mi is not a length above 0")
	lanes, ok := count(rec.lanes)
	check(ok, "lanes is outside 1..%d", math.MaxInt32)
	interval, ok := count(rec.intervalS)
	check(ok, "interval_s is outside 1..%d", math.MaxInt32)
	if err := errors.Join(problems...); err != nil {
		return Sensor{}, fmt.Errorf("sensor metadata: %w", err)
	}
	return Sensor{
		SensorID:  strings.Clone(rec.id),
		Latitude:  rec.latitude.V,
		Longitude: rec.longitude.V,
		Freeway:   cloneText(rec.freeway),
		Direction: cloneText(rec.direction),
		Lanes:     lanes,
		LengthMi:  rec.lengthMi,
		IntervalS: interval,
	}, nil
}

// count narrows a number that must be at least 1 where it is known.
func count(v Null[int64]) (c Null[int32], ok bool) {
	if !v.Valid {
		return c, true
	}
	if v.V < 1 || v.V > math.MaxInt32 {
		return c, false
	}
	return Some(int32(v.V)), true
}

func cloneText(v Null[string]) Null[string] {
	v.V = strings.Clone(v.V)
	return v
}

// AppendSensorJSON appends a sensor's metadata in the form that ParseSensor reads, without what is unknown. Its numbers
// must be finite.
func AppendSensorJSON(b []byte, s *Sensor) []byte {
	b = appendJSONString(append(b, `{"sensor_id":`...), s.SensorID)
	b = appendJSONFloat(b, `,"latitude":`, Some(s.Latitude))
	b = appendJSONFloat(b, `,"longitude":`, Some(s.Longitude))
	if s.Freeway.Valid {
		b = appendJSONString(append(b, `,"freeway":`...), s.Freeway.V)
	}
	if s.Direction.Valid {
		b = appendJSONString(append(b, `,"direction":`...), s.Direction.V)
	}
	if s.Lanes.Valid {
		b = strconv.AppendInt(append(b, `,"lanes":`...), int64(s.Lanes.V), 10)
	}
	b = appendJSONFloat(b, `,"length_mi":`, s.LengthMi)
	if s.IntervalS.Valid {
		b = strconv.AppendInt(append(b, `,"interval_s":`...), int64(s.IntervalS.V), 10)
	}
	return append(b, '}')
}
