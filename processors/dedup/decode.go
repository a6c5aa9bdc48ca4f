package dedup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"gantry/codecs"
)

// DecodeState reads an encoded state. It is total: bytes that AppendTo did not write are an error, or a state that can
// be used like any other. It allocates a small multiple of the input's length, and the state keeps nothing of data.
func DecodeState(data []byte) (*State, error) {
	r := stateReader{b: data}
	if version := r.byte(); r.err == nil && version != stateVersion {
		return nil, fmt.Errorf("decode dedup state: version %d is not %d", version, stateVersion)
	}
	st := &State{}
	bits := r.byte()
	if bits&hasSensor != 0 {
		st.known = true
		r.sensor(&st.sensor, bits)
	} else if bits&^hasStuck != 0 {
		r.fail(errors.New("metadata without a place"))
	}
	st.sequence = int64(r.uvarint(math.MaxInt64))
	if bits&hasStuck != 0 {
		r.stuck(&st.stuck)
	}
	r.positions(&st.loopReadings)
	r.positions(&st.loopSensors)
	r.memory(&st.accepted)
	if r.err == nil && len(r.b) > 0 {
		r.fail(fmt.Errorf("%d bytes are left over", len(r.b)))
	}
	if r.err != nil {
		return nil, fmt.Errorf("decode dedup state: %w", r.err)
	}
	return st, nil
}

// stateReader reads the parts of an encoded state. After the first error every method returns zero values; the caller
// looks at err once, at the end.
type stateReader struct {
	b   []byte
	err error
}

var errShort = errors.New("it ends early")

func (r *stateReader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

func (r *stateReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *stateReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *stateReader) double() float64 {
	if b := r.take(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (r *stateReader) string() string { return string(r.take(r.uvarint(math.MaxUint64))) }

// uvarint reads a number of at most most.
func (r *stateReader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	if r.b = r.b[n:]; v > most {
		r.fail(fmt.Errorf("%d is above %d", v, most))
		return 0
	}
	return v
}

func (r *stateReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) int32() int32 {
	v := r.varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail(fmt.Errorf("%d is not an int32", v))
		return 0
	}
	return int32(v)
}

func (r *stateReader) sensor(s *codecs.Sensor, bits byte) {
	s.Latitude, s.Longitude = r.double(), r.double()
	if bits&hasFreeway != 0 {
		s.Freeway = codecs.Some(r.string())
	}
	if bits&hasDirection != 0 {
		s.Direction = codecs.Some(r.string())
	}
	if bits&hasLanes != 0 {
		s.Lanes = codecs.Some(r.int32())
	}
	if bits&hasLength != 0 {
		s.LengthMi = codecs.Some(r.double())
	}
	if bits&hasInterval != 0 {
		s.IntervalS = codecs.Some(r.int32())
	}
}

func (r *stateReader) stuck(s *stuckRun) {
	head := r.byte()
	s.length = int(head & stuckLengthMask)
	if s.length < 1 || s.length > stuckFrom {
		r.fail(fmt.Errorf("a stuck run of %d is not within 1..%d", s.length, stuckFrom))
	}
	s.volumeVPH = int32(r.uvarint(math.MaxInt32))
	if head&stuckHasSpeed != 0 {
		s.speedMPH = codecs.Some(r.double())
	}
	if head&stuckHasOccupancy != 0 {
		s.occupancy = codecs.Some(r.double())
	}
}

func (r *stateReader) positions(p *positions) {
	n := r.uvarint(uint64(len(r.b)) / 2) // each takes at least 2 bytes
	if n == 0 {
		return
	}
	*p = make(positions, n)
	last := int32(-1)
	for i := range *p {
		x := position{partition: int32(r.uvarint(math.MaxInt32)), offset: int64(r.uvarint(math.MaxInt64))}
		if x.partition <= last {
			r.fail(fmt.Errorf("partition %d follows %d", x.partition, last))
			return
		}
		(*p)[i], last = x, x.partition
	}
}

func (r *stateReader) memory(m *memory) {
	n := int(r.uvarint(remembersMax))
	if n == 0 {
		return
	}
	if printsLen(n) > len(r.b) {
		r.fail(errShort)
		return
	}
	// A decoded state is nearly always about to take the next reading: leave room for it.
	room := n + n/8 + 1
	m.times, m.prints = make([]int64, n, room), make([]uint32, n, room)
	m.times[n-1] = r.varint()
	r.gaps(m.times)
	m.from = r.before(m.times[0], r.uvarint(math.MaxUint64))
	r.prints(m.prints)
}

// gaps fills in the times before the last.
func (r *stateReader) gaps(times []int64) {
	for i := len(times) - 1; i > 0; {
		v, n := r.uvarint(math.MaxUint64), uint64(1)
		if v&1 != 0 {
			n = 2 + r.uvarint(uint64(i))
		}
		if v>>1 == 0 || n > uint64(i) {
			r.fail(fmt.Errorf("a run of %d gaps of %d ms does not fit before %d readings", n, v>>1, i))
			return
		}
		for range n {
			times[i-1] = r.before(times[i], v>>1)
			i--
		}
	}
}

// before returns the time that is that much earlier.
func (r *stateReader) before(ms int64, gap uint64) int64 {
	if gap > uint64(ms)-1<<63 { // the distance to the earliest int64: ms + 2^63, modulo 2^64
		r.fail(errors.New("a time before all times"))
		return 0
	}
	return int64(uint64(ms) - gap)
}

func (r *stateReader) prints(prints []uint32) {
	b := r.take(uint64(printsLen(len(prints))))
	if b == nil {
		return
	}
	var pending uint64 // as in appendPrints
	var have uint
	for i := range prints {
		for ; have < fingerprintBits; have += 8 {
			pending |= uint64(b[0]) << have
			b = b[1:]
		}
		prints[i] = uint32(pending & fingerprintMask)
		pending >>= fingerprintBits
		have -= fingerprintBits
	}
}
