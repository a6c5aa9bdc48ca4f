package codecs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// decodeRawJSON reads the JSON form of a raw record into r, which must be zero. Null is missing; fields that the
// contract does not name are passed over, but must be proper JSON.
func decodeRawJSON(data []byte, r *RawReading) error {
	var keys [16]string
	p := newJSONReader(data, keys[:0])
	o := p.object()
	for key, ok := p.next(&o); ok; key, ok = p.next(&o) {
		switch key {
		case "sensor_id":
			r.SensorID = p.sensorID()
		case "timestamp":
			r.Timestamp = p.timestamp()
		case "speed_mph":
			r.SpeedMPH = p.nullFloat(key)
		case "volume_vph":
			r.VolumeVPH = p.nullInteger(key)
		case "occupancy_percent":
			r.Occupancy = p.nullFloat(key)
		case "coordinates":
			p.coordinates(r)
		default:
			p.skip()
		}
	}
	return p.end()
}

func (p *jsonReader) coordinates(r *RawReading) {
	if p.null() {
		return
	}
	if p.kind() != jsonObject {
		p.wrongType("coordinates", "an object")
		return
	}
	o := p.object()
	for key, ok := p.next(&o); ok; key, ok = p.next(&o) {
		switch key {
		case "latitude":
			r.Latitude = p.nullFloat(key)
		case "longitude":
			r.Longitude = p.nullFloat(key)
		default:
			p.skip()
		}
	}
}

// sensorID reads an id; null is the missing one.
func (p *jsonReader) sensorID() string {
	id := p.nullString("sensor_id").V
	if err := checkSensorID(len(id)); err != nil {
		p.fail(err)
	}
	return id
}

// timestamp reads an RFC 3339 text, or a number of epoch milliseconds. A number beyond int64 becomes the nearest int64,
// for the age rules to reject.
func (p *jsonReader) timestamp() Null[int64] {
	if p.kind() != jsonString {
		return p.nullInteger("timestamp")
	}
	ms, err := parseTime(p.string())
	if err != nil && p.err == nil {
		p.fail(fmt.Errorf("timestamp: %w", err))
	}
	return Some(ms)
}

// nullFloat reads a number or null. A number beyond the largest double becomes an infinity, for the range rules to
// reject.
func (p *jsonReader) nullFloat(field string) (v Null[float64]) {
	switch {
	case p.null():
	case p.kind() != jsonNumber:
		p.wrongType(field, "a number")
	default:
		v = Some(p.number().float())
	}
	return v
}

// nullInteger reads an integral number or null. A number beyond int64 becomes the nearest int64, for the range rules to
// reject.
func (p *jsonReader) nullInteger(field string) (v Null[int64]) {
	switch {
	case p.null():
	case p.kind() != jsonNumber:
		p.wrongType(field, "a number")
	default:
		var integral bool
		if v.V, integral = p.number().integer(); !integral {
			p.fail(fmt.Errorf("%s is not an integer", field))
		}
		v.Valid = integral
	}
	return v
}

func (p *jsonReader) nullString(field string) (v Null[string]) {
	switch {
	case p.null():
	case p.kind() != jsonString:
		p.wrongType(field, "a string")
	default:
		v = Some(p.string())
	}
	return v
}

// AppendRawJSON appends a raw reading in its JSON form, without the fields that are missing. JSON knows neither
// infinities nor NaN: an infinity is written as a number beyond every double, which reads as an infinity again, and NaN
// is left out. A time outside the years 0 to 9999 is written as epoch milliseconds.
func AppendRawJSON(b []byte, r *RawReading) []byte {
	b = appendJSONString(append(b, `{"sensor_id":`...), r.SensorID)
	if r.Timestamp.Valid {
		b = appendJSONTime(append(b, `,"timestamp":`...), r.Timestamp.V)
	}
	b = appendJSONFloat(b, `,"speed_mph":`, r.SpeedMPH)
	if r.VolumeVPH.Valid {
		b = strconv.AppendInt(append(b, `,"volume_vph":`...), r.VolumeVPH.V, 10)
	}
	b = appendJSONFloat(b, `,"occupancy_percent":`, r.Occupancy)
	if r.Latitude.Valid || r.Longitude.Valid {
		b = append(b, `,"coordinates":{`...)
		start := len(b)
		b = appendJSONFloat(b, `"latitude":`, r.Latitude)
		separator := `,"longitude":`
		if len(b) == start {
			separator = separator[1:]
		}
		b = append(appendJSONFloat(b, separator, r.Longitude), '}')
	}
	return append(b, '}')
}

// appendJSONFloat appends the label and the number, or nothing where there is none.
func appendJSONFloat(b []byte, label string, v Null[float64]) []byte {
	if !v.Valid || math.IsNaN(v.V) {
		return b
	}
	b = append(b, label...)
	switch {
	case math.IsInf(v.V, 1):
		return append(b, "1e999"...)
	case math.IsInf(v.V, -1):
		return append(b, "-1e999"...)
	default:
		return strconv.AppendFloat(b, v.V, 'g', -1, 64)
	}
}

func appendJSONTime(b []byte, ms int64) []byte {
	t := time.UnixMilli(ms).UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		return strconv.AppendInt(b, ms, 10)
	}
	return t.AppendFormat(b, `"2006-01-02T15:04:05.000Z"`)
}

// appendJSONString quotes s. Bytes that are not UTF-8 become U+FFFD, as JSON cannot hold them.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&0xf])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

var errTime = errors.New("not an RFC 3339 time")

// parseTime reads an RFC 3339 time as epoch milliseconds; what is finer is cut off, towards the past. It is stricter
// than time.Parse, which takes other shapes too, and takes a leap second, as the second after it.
func parseTime(text string) (ms int64, err error) {
	t := timeReader{rest: text}
	year := t.digits(4, 0, 9999)
	t.byte('-', '-')
	month := t.digits(2, 1, 12)
	t.byte('-', '-')
	day := t.digits(2, 1, 31)
	t.byte('T', 't')
	hour := t.digits(2, 0, 23)
	t.byte(':', ':')
	minute := t.digits(2, 0, 59)
	t.byte(':', ':')
	second := t.digits(2, 0, 60)
	milli := t.fraction()
	offset := t.offset()
	if t.bad || t.rest != "" {
		return 0, errTime
	}
	date := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if day > 28 && time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() != day {
		return 0, errTime // the month has fewer days
	}
	date = date.Add(-offset)
	if second == 60 && (date.Hour() != 0 || date.Minute() != 0) { // leap seconds end a day of UTC
		return 0, errTime
	}
	return date.UnixMilli() + milli, nil
}

// timeReader reads the parts of a time; after the first that does not fit it is bad.
type timeReader struct {
	rest string
	bad  bool
}

func (t *timeReader) byte(upper, lower byte) bool {
	if t.bad || t.rest == "" || t.rest[0] != upper && t.rest[0] != lower {
		t.bad = true
		return false
	}
	t.rest = t.rest[1:]
	return true
}

func (t *timeReader) digits(n, least, most int) (v int) {
	for range n {
		if t.rest == "" || t.rest[0] < '0' || t.rest[0] > '9' {
			t.bad = true
			return 0
		}
		v = 10*v + int(t.rest[0]-'0')
		t.rest = t.rest[1:]
	}
	t.bad = t.bad || v < least || v > most
	return v
}

// fraction reads the fraction of a second, if there is one, as milliseconds.
func (t *timeReader) fraction() (ms int64) {
	if t.rest == "" || t.rest[0] != '.' {
		return 0
	}
	t.rest = t.rest[1:]
	unit := int64(100)
	for n := 0; ; n++ {
		if t.rest == "" || t.rest[0] < '0' || t.rest[0] > '9' {
			t.bad = t.bad || n == 0
			return ms
		}
		ms += unit * int64(t.rest[0]-'0')
		unit /= 10
		t.rest = t.rest[1:]
	}
}

// offset reads the zone: how far it is ahead of UTC.
func (t *timeReader) offset() time.Duration {
	if t.rest == "" {
		t.bad = true
		return 0
	}
	sign := time.Duration(1)
	switch t.rest[0] {
	case '-':
		sign = -1
		fallthrough
	case '+':
		t.rest = t.rest[1:]
		hours := t.digits(2, 0, 23)
		t.byte(':', ':')
		minutes := t.digits(2, 0, 59)
		return sign * (time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute)
	default:
		t.byte('Z', 'z')
		return 0
	}
}
