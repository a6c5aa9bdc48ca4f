package dedup

import (
	"math"

	"gantry/codecs"
)

const (
	fingerprintBits = 20
	fingerprintMask = 1<<fingerprintBits - 1
)

// fingerprint condenses the values of a reading, with its coordinates filled. Readings that are equal as numbers have
// equal fingerprints, 0 and -0 too; a missing value differs from 0. The result is part of stored states: changing the
// function turns later duplicates of remembered readings into conflicts.
func fingerprint(r *codecs.RawReading) uint32 {
	h := mix(0, numberBits(r.SpeedMPH))
	if r.VolumeVPH.Valid {
		h = mix(h, uint64(r.VolumeVPH.V))
	} else {
		h = mix(h, nullBits)
	}
	h = mix(h, numberBits(r.Occupancy))
	h = mix(h, numberBits(r.Latitude))
	h = mix(h, numberBits(r.Longitude))
	return uint32(h & fingerprintMask)
}

// nullBits stands for a missing value: bits of a NaN, which no accepted reading holds, and no volume.
const nullBits = 0x7ff8_6761_6e74_7279

func numberBits(v codecs.Null[float64]) uint64 {
	if !v.Valid {
		return nullBits
	}
	return math.Float64bits(v.V + 0) // -0 + 0 is 0
}

// mix is the finalizer of MurmurHash3 over h and v: for each h a bijection of v, so that readings that differ in one
// value differ in all 64 bits before they are cut.
func mix(h, v uint64) uint64 {
	h = (h ^ v) + 0x9e3779b97f4a7c15
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
