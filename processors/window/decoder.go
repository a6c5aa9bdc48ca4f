package window

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var errShort = errors.New("the state ends early")

// decoder reads the parts of an encoded state. After the first error every method returns zeros; the caller looks at
// err once, at the end.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
		d.b = nil
	}
}

// bytes returns the next n bytes, up to 8.
func (d *decoder) bytes(n int) (v [8]byte) {
	if len(d.b) < n {
		d.fail(errShort)
		return v
	}
	copy(v[:], d.b[:n])
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte { return d.bytes(1)[0] }

func (d *decoder) double() float64 {
	v := d.bytes(8)
	return math.Float64frombits(binary.LittleEndian.Uint64(v[:]))
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	switch {
	case n > 0:
		d.b = d.b[n:]
		return v
	case n == 0:
		d.fail(errShort)
	default:
		d.fail(errors.New("a number has more than 64 bits"))
	}
	return 0
}

// varint reads a signed number in zigzag.
func (d *decoder) varint() int64 {
	v := d.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// counter reads a number of at most limit.
func (d *decoder) counter(limit int64) int64 {
	v := d.uvarint()
	if v > uint64(limit) {
		d.fail(fmt.Errorf("%d is above %d", v, limit))
		return 0
	}
	return int64(v)
}

func (d *decoder) count() int32 { return int32(d.counter(math.MaxInt32)) }
