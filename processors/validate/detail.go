package validate

import (
	"fmt"
	"math"
	"math/bits"
	"time"
	"unicode/utf8"

	"gantry/codecs"
)

// misroutedBytesMax bounds the part of a detail that comes from outside this package.
const misroutedBytesMax = 512

// AppendDetail appends what is wrong, for people: each failed rule with value and limit, in the order in which the
// rules are checked. The text is a few hundred bytes at most, whatever the reading holds.
//
//	speed_range: speed_mph 150 is not within 0..120; out_of_bounds: latitude 40 is not within 33.7..34.5
//
// FailLate, FailDuplicate and FailConflict are left to who found them; they come last.
func (c *Case) AppendDetail(b []byte, f Failures, o *Options) []byte {
	last := ReasonNone
	for rest := f &^ (FailLate | FailDuplicate | FailConflict); rest != 0; rest &= rest - 1 {
		reason := rest.Reason()
		switch {
		case reason == last:
			b = append(b, ", "...)
		case last != ReasonNone:
			b = append(b, "; "...)
			fallthrough
		default:
			b = append(append(b, reason.String()...), ": "...)
		}
		last = reason
		b = c.appendRule(b, 1<<bits.TrailingZeros32(uint32(rest)), o)
	}
	return b
}

func (c *Case) appendRule(b []byte, rule Failures, o *Options) []byte {
	r := &c.Reading
	switch rule {
	case failSensorID:
		return appendMissing(b, fieldSensorID)
	case failTimestamp:
		return appendMissing(b, fieldTimestamp)
	case failMisrouted:
		return append(b, clip(c.Misrouted, misroutedBytesMax)...)
	case failUnknownSensor:
		return fmt.Appendf(b, "sensor %.64q has no metadata", r.SensorID)
	case failCoordinates:
		return appendMissing(b, fieldCoordinates)
	case failSpeedMissing:
		return append(appendMissing(b, fieldSpeed), " and volume_vph is not 0"...)
	case failVolumeMissing:
		return appendMissing(b, fieldVolume)
	case failOccupancyMissing:
		return appendMissing(b, fieldOccupancy)
	case failSpeedRange:
		return appendRange(b, fieldSpeed, r.SpeedMPH.V, 0, o.SpeedMax)
	case failVolumeRange:
		return fmt.Appendf(b, "%s %d is not within 0..%d", fieldVolume, r.VolumeVPH.V, o.VolumeMax)
	case failOccupancyRange:
		return appendRange(b, fieldOccupancy, r.Occupancy.V, 0, occupancyMax)
	case failLatitude:
		return appendRange(b, "latitude", r.Latitude.V, o.LatMin, o.LatMax)
	case failLongitude:
		return appendRange(b, "longitude", r.Longitude.V, o.LonMin, o.LonMax)
	case failTooOld:
		return fmt.Appendf(b, "timestamp %s is %v before its arrival, more than %v",
			codecs.FormatTime(r.Timestamp.V), milliseconds(c.age()), o.MaxAge)
	case failInFuture:
		return fmt.Appendf(b, "timestamp %s is %v after its arrival, more than %v",
			codecs.FormatTime(r.Timestamp.V), milliseconds(-max(c.age(), -math.MaxInt64)), o.MaxAhead)
	}
	return b
}

func appendMissing(b []byte, field string) []byte {
	return append(append(b, field...), " is missing"...)
}

func appendRange(b []byte, field string, v, low, high float64) []byte {
	return fmt.Appendf(b, "%s %v is not within %v..%v", field, v, low, high)
}

// milliseconds returns a duration that saturates at about 292 years.
func milliseconds(ms int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(ms, most)) * time.Millisecond
}

// clip cuts s to at most n bytes and a mark, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
