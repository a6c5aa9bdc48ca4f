package api

import (
	"encoding/json"
	"math"
	"strconv"

	"gantry/codecs"
)

// The answers are appended by hand: a page of a thousand windows is then one buffer, without reflection, and a float
// that is no number becomes null instead of an error half-way. Every member is always there.

// appendKey appends "name": and, unless it is the first of its object, a comma.
func appendKey(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e15) {
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

func appendTime(b []byte, ms int64) []byte {
	b = append(b, '"')
	b = append(b, codecs.FormatTime(ms)...)
	return append(b, '"')
}

// appendNull appends null, or the value by the given function.
func appendNull[T any](b []byte, v codecs.Null[T], appendValue func([]byte, T) []byte) []byte {
	if !v.Valid {
		return append(b, "null"...)
	}
	return appendValue(b, v.V)
}

func appendInt(b []byte, v int32) []byte { return strconv.AppendInt(b, int64(v), 10) }

// appendWindow appends a window as an object.
func appendWindow(b []byte, w *codecs.WindowAggregate) []byte {
	return append(appendWindowMembers(append(b, '{'), w), '}')
}

func appendWindowMembers(b []byte, w *codecs.WindowAggregate) []byte {
	b = appendText(appendKey(b, "sensor_id"), w.SensorID)
	b = appendTime(appendKey(b, "window_start"), w.WindowStart)
	b = appendTime(appendKey(b, "window_end"), w.WindowEnd)
	b = appendNull(appendKey(b, "avg_speed"), w.AvgSpeed, appendNumber)
	b = appendNull(appendKey(b, "avg_volume"), w.AvgVolume, appendNumber)
	b = appendNull(appendKey(b, "avg_occupancy"), w.AvgOccupancy, appendNumber)
	b = appendNull(appendKey(b, "speed_variance"), w.SpeedVariance, appendNumber)
	b = appendInt(appendKey(b, "message_count"), w.MessageCount)
	b = appendNull(appendKey(b, "min_speed"), w.MinSpeed, appendNumber)
	b = appendNull(appendKey(b, "max_speed"), w.MaxSpeed, appendNumber)
	b = appendNull(appendKey(b, "flow_weighted_speed"), w.FlowWeightedSpeed, appendNumber)
	b = appendNull(appendKey(b, "harmonic_speed"), w.HarmonicSpeed, appendNumber)
	b = appendInt(appendKey(b, "expected_count"), w.ExpectedCount)
	b = appendNumber(appendKey(b, "completeness"), w.Completeness)
	b = append(appendKey(b, "flag_counts"), '{')
	for bit, n := range w.FlagCounts {
		if n != 0 {
			b = appendInt(appendKey(b, codecs.FlagName(bit)), n)
		}
	}
	b = append(b, '}')
	b = appendInt(appendKey(b, "revision"), w.Revision)
	b = appendKey(b, "close_reason")
	if w.CloseReason == codecs.CloseNone {
		b = append(b, "null"...)
	} else {
		b = appendText(b, string(w.CloseReason))
	}
	b = appendNumber(appendKey(b, "latitude"), w.Latitude)
	return appendNumber(appendKey(b, "longitude"), w.Longitude)
}

// appendSensor appends a sensor as an object, its metadata flat and null where unknown.
func appendSensor(b []byte, s *Sensor) []byte {
	var lat, lon codecs.Null[float64]
	if la, lo, ok := s.Position(); ok {
		lat, lon = codecs.Some(la), codecs.Some(lo)
	}
	var meta codecs.Sensor
	if s.HasMeta {
		meta = s.Meta
	}
	b = appendText(appendKey(append(b, '{'), "sensor_id"), s.ID)
	b = appendNull(appendKey(b, "latitude"), lat, appendNumber)
	b = appendNull(appendKey(b, "longitude"), lon, appendNumber)
	b = appendNull(appendKey(b, "freeway"), meta.Freeway, appendText)
	b = appendNull(appendKey(b, "direction"), meta.Direction, appendText)
	b = appendNull(appendKey(b, "lanes"), meta.Lanes, appendInt)
	b = appendNull(appendKey(b, "length_mi"), meta.LengthMi, appendNumber)
	b = appendNull(appendKey(b, "interval_s"), meta.IntervalS, appendInt)
	b = appendNull(appendKey(b, "watermark"), s.Watermark, appendTime)
	b = appendNull(appendKey(b, "last_received_at"), s.LastReceivedAt, appendTime)
	b = strconv.AppendBool(appendKey(b, "silent"), s.Silent)
	b = appendHealth(appendKey(b, "health"), healthOf(s))
	return append(b, '}')
}

func appendHealth(b []byte, h Health) []byte {
	b = appendText(appendKey(append(b, '{'), "status"), string(h.Status))
	b = append(appendKey(b, "reasons"), '[')
	for i, r := range h.Reasons {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, string(r))
	}
	return append(b, "]}"...)
}

// appendEvent appends the change as a server-sent event, up to but without its id.
func (c *change) appendEvent(b []byte) []byte {
	switch {
	case c.removed:
		b = append(b, "event: removed\ndata: {"...)
		b = append(appendText(appendKey(b, "sensor_id"), c.sensor.ID), '}')
	case c.sensor != nil:
		b = appendSensor(append(b, "event: sensor\ndata: "...), c.sensor)
	default:
		b = appendWindowMembers(append(b, "event: window\ndata: {"...), &c.window)
		b = append(appendNull(appendKey(b, "watermark"), c.watermark, appendTime), '}')
	}
	return append(b, '\n')
}
