package codecs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
	"unsafe"
)

// The Confluent wire format: a zero byte, the writer schema's id (4 bytes, big endian), the Avro body.
const (
	wireMagic     = 0
	wireHeaderLen = 5
)

// AppendWireHeader appends the prefix of the Confluent wire format.
func AppendWireHeader(b []byte, schemaID int32) []byte {
	b = append(b, wireMagic)
	return binary.BigEndian.AppendUint32(b, uint32(schemaID))
}

// SplitWire separates the writer schema's id from the Avro body.
func SplitWire(data []byte) (schemaID int32, body []byte, err error) {
	if len(data) < wireHeaderLen {
		return 0, nil, fmt.Errorf("%d bytes are too few for the Confluent wire format", len(data))
	}
	if data[0] != wireMagic {
		return 0, nil, fmt.Errorf("first byte is 0x%02x, not the 0 of the Confluent wire format", data[0])
	}
	return int32(binary.BigEndian.Uint32(data[1:])), data[wireHeaderLen:], nil
}

var errShort = errors.New("the record ends early")

// wireReader reads Avro primitives from a body. After the first error every method returns zero values; the caller
// looks at err once, at the end.
type wireReader struct {
	b   []byte
	err error
}

func (r *wireReader) fail(err error) {
	if r.err == nil {
		r.err = err
		r.b = nil
	}
}

func (r *wireReader) long() int64 {
	var v uint64
	for i := 0; i < len(r.b); i++ {
		c := r.b[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.b = r.b[i+1:]
			return int64(v>>1) ^ -int64(v&1)
		}
	}
	if len(r.b) >= binary.MaxVarintLen64 {
		r.fail(errors.New("a number has more than 64 bits"))
	} else {
		r.fail(errShort)
	}
	return 0
}

func (r *wireReader) int() int32 {
	v := r.long()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail(fmt.Errorf("%d is not an int", v))
		return 0
	}
	return int32(v)
}

func (r *wireReader) double() float64 {
	if len(r.b) < 8 {
		r.fail(errShort)
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

// bytes returns the content of a length-prefixed field, without a copy.
func (r *wireReader) bytes() []byte {
	n := r.long()
	if r.err != nil {
		return nil
	}
	if n < 0 || n > int64(len(r.b)) {
		r.fail(fmt.Errorf("a field of %d bytes does not fit into the %d left", n, len(r.b)))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *wireReader) string() string {
	v := r.bytes()
	if !utf8.Valid(v) {
		r.fail(errors.New("a string is not UTF-8"))
		return ""
	}
	return alias(v)
}

// present reads the branch of a union ["null", T] and tells whether T follows.
func (r *wireReader) present() bool {
	switch branch := r.long(); branch {
	case 0:
		return false
	case 1:
		return r.err == nil
	default:
		r.fail(fmt.Errorf("union branch %d does not exist", branch))
		return false
	}
}

func (r *wireReader) nullDouble() (v Null[float64]) {
	if r.present() {
		v = Some(r.double())
	}
	return v
}

func (r *wireReader) nullInt() (v Null[int32]) {
	if r.present() {
		v = Some(r.int())
	}
	return v
}

func (r *wireReader) nullString() (v Null[string]) {
	if r.present() {
		v = Some(r.string())
	}
	return v
}

// end reports the first error, or bytes that are left over.
func (r *wireReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("%d bytes are left over after the record", len(r.b))
	}
	return r.err
}

// alias returns a string that shares b's memory.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func appendLong(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v<<1)^uint64(v>>63))
}

func appendDouble(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func appendString(b []byte, s string) []byte {
	return append(appendLong(b, int64(len(s))), s...)
}

// Branches of a union ["null", T], as Avro writes them.
const (
	branchNull  = 0x00
	branchValue = 0x02
)

func appendNullDouble(b []byte, v Null[float64]) []byte {
	if !v.Valid {
		return append(b, branchNull)
	}
	return appendDouble(append(b, branchValue), v.V)
}

func appendNullInt(b []byte, v Null[int32]) []byte {
	if !v.Valid {
		return append(b, branchNull)
	}
	return appendLong(append(b, branchValue), int64(v.V))
}

func appendNullString(b []byte, v Null[string]) []byte {
	if !v.Valid {
		return append(b, branchNull)
	}
	return appendString(append(b, branchValue), v.V)
}
