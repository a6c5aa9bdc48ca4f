package window

import (
	"encoding/binary"
	"math"
)

// floatKind says in two bits how a float64 is written. Every kind is lossless, bit by bit; the shorter ones fit the
// values that detectors send and the sums that follow from them: whole numbers, three decimals, and the eight decimals
// of a mean that was written as text.
type floatKind uint8

const (
	floatWhole    floatKind = iota // varint k: v = k
	floatDecimal3                  // varint k: v = k / 1e3
	floatDecimal8                  // varint k: v = k / 1e8
	floatFull                      // the 8 bytes of v
)

const (
	floatKindBits = 2
	floatKindMask = 1<<floatKindBits - 1
)

var floatScales = [...]float64{floatWhole: 1, floatDecimal3: 1e3, floatDecimal8: 1e8}

// varintBelow is the first k whose varint is no shorter than the full 8 bytes.
const varintBelow = 1 << 49

// appendFloat appends v in the first kind that holds it exactly, and says which.
func appendFloat(b []byte, v float64) ([]byte, floatKind) {
	bits := math.Float64bits(v)
	for kind, scale := range floatScales {
		k := math.Round(v * scale)
		if !(k >= 0 && k < varintBelow) {
			continue
		}
		// As the decoder computes it, and compared by its bits: a −0 is no whole number.
		if u := uint64(k); math.Float64bits(float64(u)/scale) == bits {
			return binary.AppendUvarint(b, u), floatKind(kind)
		}
	}
	return binary.LittleEndian.AppendUint64(b, bits), floatFull
}

// float reads a value of this kind.
func (d *decoder) float(kind floatKind) float64 {
	if kind == floatFull {
		return d.double()
	}
	return float64(d.uvarint()) / floatScales[kind]
}
