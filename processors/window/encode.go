package window

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The encoding of a State. Numbers are varints, signed ones in zigzag; a double is 8 bytes, little endian.
//
//	version     1 byte
//	sequence    0 ends the state here
//	watermark   signed
//	received_at signed, from the watermark
//	silent      0, or 1 and as_of: signed, from the watermark
//	ordinal
//	length      milliseconds
//	location    latitude and longitude, doubles
//	windows     their number, then each, the newest first
//
// A window:
//
//	header      3 bytes, see below
//	start       in lengths, back from the window before (the first: from the one that holds the watermark)
//	count
//	revision
//	Σ volume
//	values      the seven floats in the order of floats(), each of the kind in the header
//	partial     unless headerWhole: speedN, volumeN, occupancyN, flowVolumeSum, harmonicVolumeSum
//	flags       if headerFlags: a set of bits, then the count of each
//	location    if headerLocation: otherwise as in the window before (the first: as in the state)
//	interval    if headerInterval: otherwise as in the window before (the first: unknown)
//
// What a sensor that works sends all the time costs no byte: its place and interval are written once, and a window in
// which each reading has all three values needs one count and one sum of volumes.
const stateVersion = 1

// The header of a window: in its lowest 14 bits the kinds of its floats, then these.
const (
	headerLocation = 1 << 14
	headerInterval = 1 << 15
	headerWhole    = 1 << 16 // every reading has a volume, an occupancy and a speed that counts in the harmonic mean
	headerFlags    = 1 << 17

	headerReasonShift = 18 // two bits
	headerBits        = 20
	headerLen         = 3
)

const (
	floatCount = 7

	// windowLenMin is the length of the smallest window: header, start, count, revision, volume and floats.
	windowLenMin = headerLen + 4 + floatCount
)

func (a *accumulator) floats() [floatCount]*float64 {
	return [...]*float64{
		&a.speedMean, &a.speedM2, &a.speedMin, &a.speedMax, &a.occupancySum, &a.flowSpeedSum, &a.slownessSum,
	}
}

// whole tells whether the partial counts and sums follow from count and volumeSum. Where each reading has a speed and a
// volume, all volumes are in flowVolumeSum.
func (a *accumulator) whole() bool {
	return a.speedN == a.count && a.volumeN == a.count && a.occupancyN == a.count && a.harmonicVolumeSum == a.volumeSum
}

// chain is what a window inherits from the one written before it.
type chain struct {
	index               int64 // start / length
	latitude, longitude float64
	intervalS           int32
}

func (s *State) chain() chain {
	return chain{index: floor(s.watermark, s.length) / s.length, latitude: s.latitude, longitude: s.longitude}
}

// AppendTo appends the encoded state. Equal states have equal bytes, and DecodeState gives back exactly the state.
func (s *State) AppendTo(b []byte) []byte {
	b = append(b, stateVersion)
	b = binary.AppendUvarint(b, uint64(s.sequence))
	if s.sequence == 0 {
		return b
	}
	b = binary.AppendVarint(b, s.watermark)
	b = binary.AppendVarint(b, s.receivedAt-s.watermark)
	if s.silent {
		b = binary.AppendVarint(append(b, 1), s.silentAsOf-s.watermark)
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(s.ordinal))
	b = binary.AppendUvarint(b, uint64(s.length))
	b = appendDouble(appendDouble(b, s.latitude), s.longitude)
	b = binary.AppendUvarint(b, uint64(len(s.windows)))
	c := s.chain()
	for i := len(s.windows) - 1; i >= 0; i-- {
		b = s.windows[i].appendTo(b, s.length, &c)
	}
	return b
}

func (a *accumulator) appendTo(b []byte, length int64, c *chain) []byte {
	header := uint32(a.reason) << headerReasonShift
	headerAt := len(b)
	b = append(b, 0, 0, 0)

	index := a.start / length
	b = binary.AppendUvarint(b, uint64(c.index-index))
	c.index = index
	b = binary.AppendUvarint(b, uint64(a.count))
	b = binary.AppendUvarint(b, uint64(a.revision))
	b = binary.AppendUvarint(b, uint64(a.volumeSum))
	for i, f := range a.floats() {
		var kind floatKind
		b, kind = appendFloat(b, *f)
		header |= uint32(kind) << (i * floatKindBits)
	}
	if a.whole() {
		header |= headerWhole
	} else {
		b = binary.AppendUvarint(b, uint64(a.speedN))
		b = binary.AppendUvarint(b, uint64(a.volumeN))
		b = binary.AppendUvarint(b, uint64(a.occupancyN))
		b = binary.AppendUvarint(b, uint64(a.flowVolumeSum))
		b = binary.AppendUvarint(b, uint64(a.harmonicVolumeSum))
	}
	if set := a.flagSet(); set != 0 {
		header |= headerFlags
		b = binary.AppendUvarint(b, set)
		for _, n := range a.flags {
			if n != 0 {
				b = binary.AppendUvarint(b, uint64(n))
			}
		}
	}
	if !sameBits(a.latitude, c.latitude) || !sameBits(a.longitude, c.longitude) {
		header |= headerLocation
		b = appendDouble(appendDouble(b, a.latitude), a.longitude)
		c.latitude, c.longitude = a.latitude, a.longitude
	}
	if a.intervalS != c.intervalS {
		header |= headerInterval
		b = binary.AppendUvarint(b, uint64(a.intervalS))
		c.intervalS = a.intervalS
	}
	b[headerAt], b[headerAt+1], b[headerAt+2] = byte(header), byte(header>>8), byte(header>>16)
	return b
}

// flagSet has a bit for each flag that was raised.
func (a *accumulator) flagSet() (set uint64) {
	for bit, n := range a.flags {
		if n != 0 {
			set |= 1 << bit
		}
	}
	return set
}

// sameBits is equality that tells 0 from −0 and finds a NaN equal to itself.
func sameBits(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) }

func appendDouble(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

// DecodeState reads a state that AppendTo wrote. It is total: for any other bytes it returns an error, or a state that
// behaves as one, and it allocates at most a small multiple of their length. The state keeps nothing of b.
func DecodeState(b []byte) (*State, error) {
	d := decoder{b: b}
	s := d.state()
	switch {
	case d.err != nil:
		return nil, fmt.Errorf("decode window state: %w", d.err)
	case len(d.b) > 0:
		return nil, fmt.Errorf("decode window state: %d bytes are left over", len(d.b))
	}
	return s, nil
}

func (d *decoder) state() *State {
	if version := d.byte(); version != stateVersion && d.err == nil {
		d.fail(fmt.Errorf("version %d is not %d, the one that this program reads", version, stateVersion))
	}
	s := &State{sequence: d.counter(math.MaxInt64)}
	if s.sequence == 0 {
		return s
	}
	s.watermark = d.varint()
	s.receivedAt = s.watermark + d.varint()
	switch d.byte() {
	case 0:
	case 1:
		s.silent, s.silentAsOf = true, s.watermark+d.varint()
	default:
		d.fail(errors.New("silent is neither 0 nor 1"))
	}
	s.ordinal = d.counter(math.MaxInt64)
	s.length = d.counter(lengthMax.Milliseconds())
	if s.length == 0 {
		d.fail(errors.New("windows have no length"))
	}
	s.latitude, s.longitude = d.double(), d.double()
	n := int(d.counter(int64(len(d.b) / windowLenMin)))
	if d.err != nil {
		return nil
	}
	s.windows = make([]accumulator, n, n+1) // the next reading may begin one
	c := s.chain()
	for i := n - 1; i >= 0 && d.err == nil; i-- {
		w := &s.windows[i]
		d.window(w, s.length, &c)
		if w.start > s.watermark || i < n-1 && w.start >= s.windows[i+1].start {
			d.fail(errors.New("windows are not in order"))
		}
	}
	return s
}

func (d *decoder) window(a *accumulator, length int64, c *chain) {
	h := d.bytes(headerLen)
	header := uint32(h[0]) | uint32(h[1])<<8 | uint32(h[2])<<16
	if header>>headerBits != 0 {
		d.fail(errors.New("a window has unknown parts"))
	}
	c.index -= int64(d.uvarint())
	a.start = c.index * length
	if a.start/length != c.index {
		d.fail(errors.New("the start of a window has more than 64 bits"))
	}
	a.count = d.count()
	a.revision = d.count()
	a.reason = closeReason(header >> headerReasonShift & 3)
	if (a.revision == 0) != (a.reason == closeNone) {
		d.fail(errors.New("revision and close reason of a window disagree"))
	}
	a.volumeSum = int64(d.uvarint())
	for i, f := range a.floats() {
		*f = d.float(floatKind(header >> (i * floatKindBits) & floatKindMask))
	}
	if header&headerWhole != 0 {
		a.speedN, a.volumeN, a.occupancyN = a.count, a.count, a.count
		a.flowVolumeSum, a.harmonicVolumeSum = a.volumeSum, a.volumeSum
	} else {
		a.speedN, a.volumeN, a.occupancyN = d.count(), d.count(), d.count()
		a.flowVolumeSum, a.harmonicVolumeSum = int64(d.uvarint()), int64(d.uvarint())
	}
	if header&headerFlags != 0 {
		d.flags(a)
	}
	if header&headerLocation != 0 {
		c.latitude, c.longitude = d.double(), d.double()
	}
	if header&headerInterval != 0 {
		c.intervalS = d.count()
	}
	a.latitude, a.longitude, a.intervalS = c.latitude, c.longitude, c.intervalS
}

func (d *decoder) flags(a *accumulator) {
	set := d.uvarint()
	if set>>len(a.flags) != 0 {
		d.fail(errors.New("an unknown flag is counted"))
	}
	for bit := range a.flags {
		if set>>bit&1 != 0 {
			a.flags[bit] = d.count()
		}
	}
}
