package codecs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// nestingMax bounds how deep values may nest, in Avro (records, arrays, maps; recursive types too) and in JSON.
const nestingMax = 64

var errNesting = fmt.Errorf("values nest deeper than %d", nestingMax)

// A step reads one value of a writer's record: it stores the value where a reading wants it, or skips it. The steps of
// a writer schema form a graph that is fixed once compiled (see resolve.go), so goroutines share it.
//
// Work and memory are bounded by the input, whatever the data claims: every step but readNothing consumes at least one
// byte or is a record that holds such a step, fields that take no bytes are left out when a record is compiled, and an
// array of values without bytes is passed in one go.
type step struct {
	do    action
	to    target
	n     int64   // readFixed: its bytes; readEnum: its symbols; readLong into toTimestamp: units in a millisecond
	steps []*step // readRecord: the fields; readUnion: the branches; readArray, readMap: the one kind of item
	err   error   // refuse: what does not fit
}

// action is the Avro type of the writer's value.
type action uint8

const (
	readNothing action = iota // null and everything else that takes no bytes
	readBoolean
	readInt
	readLong
	readFloat
	readDouble
	readBytes // string too
	readFixed
	readEnum
	readArray
	readMap
	readRecord
	readUnion
	refuse // a branch of a writer's union that the wanted field cannot hold
)

// target is the place of a value in a RawReading.
type target uint8

const (
	toNothing target = iota
	toSensorID
	toTimestamp
	toSpeed
	toVolume
	toOccupancy
	toLatitude
	toLongitude
	toCoordinates // the record of the two before; only while a schema is compiled
	toReading     // the whole record; only while a schema is compiled
)

// run reads the step's value from r into out. depth is how many more levels may open below.
func (s *step) run(r *wireReader, out *RawReading, depth int) {
	switch s.do {
	case readNothing:
	case readBoolean:
		r.boolean()
	case readInt:
		s.storeInteger(out, int64(r.int()))
	case readLong:
		s.storeInteger(out, r.long())
	case readFloat:
		s.storeNumber(out, float64(r.float()))
	case readDouble:
		s.storeNumber(out, r.double())
	case readBytes:
		s.storeBytes(r, out, r.bytes())
	case readFixed:
		r.skip(s.n)
	case readEnum:
		if i := r.long(); i < 0 || i >= s.n {
			r.fail(fmt.Errorf("enum symbol %d of %d does not exist", i, s.n))
		}
	case readUnion:
		branch := r.long()
		if branch < 0 || branch >= int64(len(s.steps)) {
			r.fail(fmt.Errorf("union branch %d does not exist", branch))
			return
		}
		s.steps[branch].run(r, out, depth)
	case refuse:
		r.fail(s.err)
	default:
		if depth == 0 {
			r.fail(errNesting)
			return
		}
		s.runNested(r, out, depth-1)
	}
}

func (s *step) runNested(r *wireReader, out *RawReading, depth int) {
	if s.do != readRecord {
		s.runBlocks(r, out, depth)
		return
	}
	for _, field := range s.steps {
		if field.run(r, out, depth); r.err != nil {
			return
		}
	}
}

// runBlocks passes an array or a map: blocks of items until an empty one.
func (s *step) runBlocks(r *wireReader, out *RawReading, depth int) {
	item := s.steps[0]
	for r.err == nil {
		n := r.long()
		switch {
		case n == 0:
			return
		case n < 0: // the block's size in bytes follows, so that it can be passed unread
			r.skip(r.long())
			continue
		case s.do == readArray && item.do == readNothing:
			continue // a trillion nulls take no bytes and no time
		}
		for ; n > 0 && r.err == nil; n-- {
			if s.do == readMap {
				r.bytes()
			}
			item.run(r, out, depth)
		}
	}
}

func (s *step) storeInteger(out *RawReading, v int64) {
	switch s.to {
	case toNothing:
	case toTimestamp:
		out.Timestamp = Some(floorDiv(v, s.n))
	case toVolume:
		out.VolumeVPH = Some(v)
	default:
		s.storeNumber(out, float64(v))
	}
}

func (s *step) storeNumber(out *RawReading, v float64) {
	switch s.to {
	case toSpeed:
		out.SpeedMPH = Some(v)
	case toOccupancy:
		out.Occupancy = Some(v)
	case toLatitude:
		out.Latitude = Some(v)
	case toLongitude:
		out.Longitude = Some(v)
	}
}

func (s *step) storeBytes(r *wireReader, out *RawReading, v []byte) {
	if s.to != toSensorID {
		return
	}
	if err := checkSensorID(len(v)); err != nil {
		r.fail(err)
		return
	}
	if !utf8.Valid(v) {
		r.fail(errors.New("sensor_id is not UTF-8"))
		return
	}
	out.SensorID = alias(v)
}

// checkSensorID refuses an id that is too long to be one.
func checkSensorID(n int) error {
	if n > SensorIDBytesMax {
		return fmt.Errorf("sensor_id has %d bytes, more than %d", n, SensorIDBytesMax)
	}
	return nil
}

// floorDiv divides by a positive d and rounds towards minus infinity, so that times before 1970 are floored too.
func floorDiv(v, d int64) int64 {
	q := v / d
	if v%d < 0 {
		q--
	}
	return q
}

func (r *wireReader) boolean() {
	if len(r.b) == 0 {
		r.fail(errShort)
		return
	}
	if r.b[0] > 1 {
		r.fail(fmt.Errorf("0x%02x is not a boolean", r.b[0]))
		return
	}
	r.b = r.b[1:]
}

func (r *wireReader) float() float32 {
	if len(r.b) < 4 {
		r.fail(errShort)
		return 0
	}
	v := math.Float32frombits(binary.LittleEndian.Uint32(r.b))
	r.b = r.b[4:]
	return v
}

// skip passes n bytes.
func (r *wireReader) skip(n int64) {
	if n < 0 || n > int64(len(r.b)) {
		r.fail(fmt.Errorf("%d bytes cannot be passed where %d are left", n, len(r.b)))
		return
	}
	r.b = r.b[n:]
}
