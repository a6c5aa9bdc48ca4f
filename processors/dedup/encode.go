package dedup

import (
	"encoding/binary"
	"math"

	"gantry/codecs"
)

// The encoded form of a state, version 1. Numbers are varints (zigzag where they can be negative), doubles are 8 bytes,
// little endian.
//
//	version, presence bits
//	metadata, if known: latitude, longitude; then each that is present: freeway, direction, lanes, length_mi, interval_s
//	sequence
//	stuck run, if there is one: its length (4 bits) and the presence of speed and occupancy; volume, speed, occupancy
//	positions on the loop, of readings, then of metadata: how many; then for each the partition and the offset
//	how many readings are remembered; if any:
//	    watermark
//	    the gaps between their times, backwards from the watermark, as runs: gap × 2 for a single one,
//	    or gap × 2 + 1 and the number of equal ones − 2
//	    how far before the first of them event times can still be judged
//	    their fingerprints from the first on, 20 bits each, packed
const stateVersion = 1

// Presence bits.
const (
	hasSensor = 1 << iota
	hasFreeway
	hasDirection
	hasLanes
	hasLength
	hasInterval
	hasStuck
)

// Bits of the first byte of the stuck run, above its length.
const (
	stuckLengthMask   = 1<<4 - 1
	stuckHasSpeed     = 1 << 4
	stuckHasOccupancy = 1 << 5
)

// AppendTo appends the encoded state. Equal states have equal bytes. A sensor that sends every 30 s takes some 430
// bytes; none takes more than about 240 KiB, plus the texts of its metadata.
func (st *State) AppendTo(b []byte) []byte {
	b = append(b, stateVersion, st.presence())
	b = appendSensor(b, st)
	b = binary.AppendUvarint(b, uint64(st.sequence))
	if st.stuck.length > 0 {
		b = st.stuck.appendTo(b)
	}
	b = st.loopReadings.appendTo(b)
	b = st.loopSensors.appendTo(b)
	return st.accepted.appendTo(b)
}

func (st *State) presence() (bits byte) {
	for _, x := range [...]struct {
		bit byte
		has bool
	}{
		{hasSensor, st.known},
		{hasFreeway, st.sensor.Freeway.Valid},
		{hasDirection, st.sensor.Direction.Valid},
		{hasLanes, st.sensor.Lanes.Valid},
		{hasLength, st.sensor.LengthMi.Valid},
		{hasInterval, st.sensor.IntervalS.Valid},
		{hasStuck, st.stuck.length > 0},
	} {
		if x.has {
			bits |= x.bit
		}
	}
	return bits
}

func appendSensor(b []byte, st *State) []byte {
	if !st.known {
		return b
	}
	s := &st.sensor
	b = appendDouble(appendDouble(b, s.Latitude), s.Longitude)
	if s.Freeway.Valid {
		b = appendString(b, s.Freeway.V)
	}
	if s.Direction.Valid {
		b = appendString(b, s.Direction.V)
	}
	if s.Lanes.Valid {
		b = binary.AppendVarint(b, int64(s.Lanes.V))
	}
	if s.LengthMi.Valid {
		b = appendDouble(b, s.LengthMi.V)
	}
	if s.IntervalS.Valid {
		b = binary.AppendVarint(b, int64(s.IntervalS.V))
	}
	return b
}

func (s *stuckRun) appendTo(b []byte) []byte {
	head := byte(s.length)
	if s.speedMPH.Valid {
		head |= stuckHasSpeed
	}
	if s.occupancy.Valid {
		head |= stuckHasOccupancy
	}
	b = binary.AppendUvarint(append(b, head), uint64(s.volumeVPH))
	for _, v := range [...]codecs.Null[float64]{s.speedMPH, s.occupancy} {
		if v.Valid {
			b = appendDouble(b, v.V)
		}
	}
	return b
}

func (p positions) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(p)))
	for _, x := range p {
		b = binary.AppendUvarint(b, uint64(x.partition))
		b = binary.AppendUvarint(b, uint64(x.offset))
	}
	return b
}

func (m *memory) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(m.times)))
	watermark, ok := m.watermark()
	if !ok {
		return b
	}
	b = binary.AppendVarint(b, watermark)
	b = appendGaps(b, m.times)
	b = binary.AppendUvarint(b, uint64(m.times[0])-uint64(m.from))
	return appendPrints(b, m.prints)
}

func appendGaps(b []byte, times []int64) []byte {
	for i := len(times) - 1; i > 0; {
		gap := times[i] - times[i-1]
		first := i - 1
		for first > 0 && times[first]-times[first-1] == gap {
			first--
		}
		if n := i - first; n == 1 {
			b = binary.AppendUvarint(b, uint64(gap)<<1)
		} else {
			b = binary.AppendUvarint(b, uint64(gap)<<1|1)
			b = binary.AppendUvarint(b, uint64(n-2))
		}
		i = first
	}
	return b
}

func appendPrints(b []byte, prints []uint32) []byte {
	var pending uint64 // bits that do not fill a byte yet, the earliest lowest
	var n uint
	for _, p := range prints {
		pending |= uint64(p) << n
		for n += fingerprintBits; n >= 8; n -= 8 {
			b = append(b, byte(pending))
			pending >>= 8
		}
	}
	if n > 0 {
		b = append(b, byte(pending))
	}
	return b
}

// printsLen returns the bytes that n fingerprints take.
func printsLen(n int) int { return (n*fingerprintBits + 7) / 8 }

func appendDouble(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
