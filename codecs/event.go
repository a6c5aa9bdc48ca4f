package codecs

import (
	_ "embed"
	"errors"
	"fmt"
)

// RawSchema and EventSchema are the Avro schemas of traffic-raw and traffic-events, as they are registered.
var (
	//go:embed raw.avsc
	RawSchema string
	//go:embed event.avsc
	EventSchema string
)

// Branches of the union TrafficEvent.body.
const (
	bodyReading = iota
	bodyWindow
	bodySilence
)

// Event is a record of traffic-events. Kind says which of the other fields holds.
type Event struct {
	Kind    Kind
	Reading Reading
	Window  WindowAggregate
	Silence SensorSilence
}

// SensorID is the key of the event.
func (e *Event) SensorID() string {
	switch e.Kind {
	case KindReading:
		return e.Reading.SensorID
	case KindWindow:
		return e.Window.SensorID
	default:
		return e.Silence.SensorID
	}
}

// AppendReading appends a reading in the Confluent wire format, as EventSchema with the given id.
func AppendReading(b []byte, schemaID int32, r *Reading) []byte {
	b = appendLong(AppendWireHeader(b, schemaID), bodyReading)
	b = appendString(b, r.SensorID)
	b = appendLong(b, r.Timestamp)
	b = appendNullDouble(b, r.SpeedMPH)
	b = appendNullInt(b, r.VolumeVPH)
	b = appendNullDouble(b, r.Occupancy)
	b = appendDouble(b, r.Latitude)
	b = appendDouble(b, r.Longitude)
	b = appendLong(b, r.ReceivedAt)
	b = appendLong(b, r.Sequence)
	b = appendLong(b, int64(int32(r.Flags))) // an int of the schema, whatever bits are set
	b = appendNullString(b, r.Freeway)
	b = appendNullString(b, r.Direction)
	b = appendNullInt(b, r.Lanes)
	b = appendNullInt(b, r.IntervalS)
	b = appendNullDouble(b, r.DensityVPMPL)
	return appendNullString(b, r.LevelOfService)
}

// AppendWindow appends a window in the Confluent wire format, as EventSchema with the given id.
func AppendWindow(b []byte, schemaID int32, w *WindowAggregate) []byte {
	b = appendLong(AppendWireHeader(b, schemaID), bodyWindow)
	b = appendString(b, w.SensorID)
	b = appendLong(b, w.WindowStart)
	b = appendLong(b, w.WindowEnd)
	b = appendNullDouble(b, w.AvgSpeed)
	b = appendNullDouble(b, w.AvgVolume)
	b = appendNullDouble(b, w.AvgOccupancy)
	b = appendNullDouble(b, w.SpeedVariance)
	b = appendLong(b, int64(w.MessageCount))
	b = appendNullDouble(b, w.MinSpeed)
	b = appendNullDouble(b, w.MaxSpeed)
	b = appendNullDouble(b, w.FlowWeightedSpeed)
	b = appendNullDouble(b, w.HarmonicSpeed)
	b = appendLong(b, int64(w.ExpectedCount))
	b = appendDouble(b, w.Completeness)
	b = appendFlagCounts(b, w.FlagCounts)
	b = appendLong(b, int64(w.Revision))
	b = appendString(b, string(w.CloseReason))
	b = appendDouble(b, w.Latitude)
	return appendDouble(b, w.Longitude)
}

// AppendSilence appends a silence in the Confluent wire format, as EventSchema with the given id.
func AppendSilence(b []byte, schemaID int32, s *SensorSilence) []byte {
	b = appendLong(AppendWireHeader(b, schemaID), bodySilence)
	b = appendString(b, s.SensorID)
	b = appendLong(b, s.Since)
	b = appendLong(b, s.Watermark)
	return appendLong(b, s.AsOf)
}

// appendFlagCounts writes a map in one block, by bit, so that equal counts have equal bytes.
func appendFlagCounts(b []byte, c FlagCounts) []byte {
	n := 0
	for _, v := range c {
		if v != 0 {
			n++
		}
	}
	if n > 0 {
		b = appendLong(b, int64(n))
		for bit, v := range c {
			if v != 0 {
				b = appendLong(appendString(b, flagNames[bit]), int64(v))
			}
		}
	}
	return append(b, 0)
}

// DecodeEvent reads a record of traffic-events that Gantry wrote, in the Confluent wire format, into e. Its strings
// alias data. The schema's id is not looked up: the only writers of traffic-events are Gantry's, and bytes that are not
// a whole record of EventSchema are an error.
func DecodeEvent(data []byte, e *Event) error {
	_, body, err := SplitWire(data)
	if err != nil {
		return err
	}
	r := wireReader{b: body}
	switch branch := r.long(); branch {
	case bodyReading:
		e.Kind = KindReading
		r.reading(&e.Reading)
	case bodyWindow:
		e.Kind = KindWindow
		r.window(&e.Window)
	case bodySilence:
		e.Kind = KindSilence
		r.silence(&e.Silence)
	default:
		r.fail(fmt.Errorf("union branch %d does not exist", branch))
	}
	return r.end()
}

func (r *wireReader) reading(v *Reading) {
	v.SensorID = r.string()
	v.Timestamp = r.long()
	v.SpeedMPH = r.nullDouble()
	v.VolumeVPH = r.nullInt()
	v.Occupancy = r.nullDouble()
	v.Latitude = r.double()
	v.Longitude = r.double()
	v.ReceivedAt = r.long()
	v.Sequence = r.long()
	v.Flags = Flags(r.int())
	v.Freeway = r.nullString()
	v.Direction = r.nullString()
	v.Lanes = r.nullInt()
	v.IntervalS = r.nullInt()
	v.DensityVPMPL = r.nullDouble()
	v.LevelOfService = r.nullString()
}

func (r *wireReader) window(v *WindowAggregate) {
	v.SensorID = r.string()
	v.WindowStart = r.long()
	v.WindowEnd = r.long()
	v.AvgSpeed = r.nullDouble()
	v.AvgVolume = r.nullDouble()
	v.AvgOccupancy = r.nullDouble()
	v.SpeedVariance = r.nullDouble()
	v.MessageCount = r.int()
	v.MinSpeed = r.nullDouble()
	v.MaxSpeed = r.nullDouble()
	v.FlowWeightedSpeed = r.nullDouble()
	v.HarmonicSpeed = r.nullDouble()
	v.ExpectedCount = r.int()
	v.Completeness = r.double()
	v.FlagCounts = r.flagCounts()
	v.Revision = r.int()
	v.CloseReason = r.closeReason()
	v.Latitude = r.double()
	v.Longitude = r.double()
}

func (r *wireReader) silence(v *SensorSilence) {
	v.SensorID = r.string()
	v.Since = r.long()
	v.Watermark = r.long()
	v.AsOf = r.long()
}

func (r *wireReader) flagCounts() (c FlagCounts) {
	for {
		n := r.long()
		if n < 0 { // a negative count is followed by the block's size in bytes
			n = -n
			r.long()
		}
		if n < 0 {
			r.fail(errors.New("a block count has no positive counterpart"))
		}
		if n == 0 || r.err != nil {
			return c
		}
		for ; n > 0 && r.err == nil; n-- {
			name, count := r.string(), r.int()
			bit, ok := FlagBit(name)
			if !ok && r.err == nil {
				r.fail(errors.New("an unknown flag is counted"))
				return c
			}
			c[bit] = count
		}
	}
}

// closeReason returns one of the constants, so that the text is not kept by an alias.
func (r *wireReader) closeReason() CloseReason {
	switch s := CloseReason(r.string()); s {
	case CloseWatermark:
		return CloseWatermark
	case CloseSilence:
		return CloseSilence
	case CloseLate:
		return CloseLate
	case CloseNone:
		return CloseNone
	default:
		r.fail(errors.New("an unknown close_reason"))
		return CloseNone
	}
}

// DecodeReading reads an event that must be a reading, and is otherwise like DecodeEvent.
func DecodeReading(data []byte, v *Reading) error {
	r := openBody(data, bodyReading)
	r.reading(v)
	return r.end()
}

// DecodeWindow reads an event that must be a window, and is otherwise like DecodeEvent.
func DecodeWindow(data []byte, v *WindowAggregate) error {
	r := openBody(data, bodyWindow)
	r.window(v)
	return r.end()
}

// DecodeSilence reads an event that must be a silence, and is otherwise like DecodeEvent.
func DecodeSilence(data []byte, v *SensorSilence) error {
	r := openBody(data, bodySilence)
	r.silence(v)
	return r.end()
}

// openBody returns a reader behind the branch of the union, which must be the wanted one.
func openBody(data []byte, want int64) (r wireReader) {
	_, body, err := SplitWire(data)
	if err != nil {
		r.fail(err)
		return r
	}
	r.b = body
	if branch := r.long(); branch != want {
		r.fail(fmt.Errorf("union branch %d where %d was expected", branch, want))
	}
	return r
}
