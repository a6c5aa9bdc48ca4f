package window

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gantry/codecs"
)

// encodedBytesMax is the budget of a 30-second sensor's state after two hours.
const encodedBytesMax = 1450

// twoHours is a sensor that has sent a reading every 30 seconds for two hours. Its values come from next.
func twoHours(t testing.TB, next func() (speed, volume, occupancy float64)) *sensor {
	s := newSensor()
	for i := range int64(240) {
		v, q, occ := next()
		r := sample(noon+i*30*second, some(v), some(math.Round(q)), some(occ))
		r.Sequence = i + 1
		r.IntervalS = codecs.Some[int32](30)
		if i%5 == 0 {
			r.Flags = codecs.FlagVehicleLength
		}
		if s.ApplyReading(&r, &s.o, s.publish) != Applied {
			t.Fatal("not applied")
		}
	}
	return s
}

// fullPrecision draws values that no shorter form holds: the worst case of the encoding.
func fullPrecision() func() (speed, volume, occupancy float64) {
	rng := rand.New(rand.NewPCG(1, 2))
	return func() (float64, float64, float64) {
		return 5 + 115*rng.Float64(), 20000 * rng.Float64(), 100 * rng.Float64()
	}
}

// A state is rewritten for each of its readings, so its size is throughput.
func TestEncodedSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	detector := func() (float64, float64, float64) { // whole mph, counts of 30 s, tenths of a percent
		return math.Round(50 + 10*rng.NormFloat64()), 120 * float64(5+rng.IntN(15)), float64(50+rng.IntN(100)) / 10
	}
	constant := func() (float64, float64, float64) { return 62.66666667, 1200, 8.5 }
	for _, c := range []struct {
		name string
		next func() (speed, volume, occupancy float64)
	}{{"full precision", fullPrecision()}, {"detector", detector}, {"constant", constant}} {
		s := twoHours(t, c.next)
		n := len(s.AppendTo(nil))
		t.Logf("%s: %d windows in %d bytes", c.name, len(s.windows), n)
		if n > encodedBytesMax {
			t.Errorf("%s: %d bytes are above the budget of %d", c.name, n, encodedBytesMax)
		}
		if len(s.windows) < 14 {
			t.Errorf("%s: only %d windows are remembered", c.name, len(s.windows))
		}
	}
}

// What a state inherits instead of writing it again, and every part that is written only where it differs, comes back.
func TestEncodeParts(t *testing.T) {
	s := newSensor()
	r := func(ts int64, speed, volume, occupancy codecs.Null[float64], change func(r *codecs.Reading)) {
		reading := sample(ts, speed, volume, occupancy)
		change(&reading)
		s.apply(t, reading)
	}
	steps := []func(){
		func() {},
		func() { r(noon, none, none, none, func(r *codecs.Reading) {}) },
		func() {
			r(noon+length, some(60), some(600), some(8), func(r *codecs.Reading) { r.Flags = codecs.FlagsAll })
		},
		func() {
			r(noon+2*length, some(3), some(0), none, func(r *codecs.Reading) { r.IntervalS = codecs.Some[int32](20) })
		},
		func() { r(noon+3*length, some(3), some(60), none, func(r *codecs.Reading) { r.Latitude = 34 }) },
		func() {
			r(noon+4*length, some(math.Copysign(0, -1)), none, some(0.1),
				func(r *codecs.Reading) { r.Longitude = -118 })
		},
		func() { r(noon+5*length, none, none, none, func(r *codecs.Reading) {}) }, // differs in longitude alone
		func() {
			r(noon+9*length, none, some(math.MaxInt32), some(100), func(r *codecs.Reading) { r.Latitude = 0 })
		},
		func() { r(noon+2*length, some(1e-9), some(7), some(0), func(r *codecs.Reading) { r.ReceivedAt = 0 }) },
		func() { s.silence(noon+9*length, noon+10*length) },
		func() { s.silence(noon+9*length, noon+12*length) },
	}
	for i, step := range steps {
		step()
		decoded, err := DecodeState(s.AppendTo([]byte("kept"))[len("kept"):])
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		mustEqual(t, decoded, &s.State)
	}
}

// mustEqual compares states bit by bit, so that 0 and −0 differ.
func mustEqual(t *testing.T, got, want *State) {
	t.Helper()
	g, w := *got, *want
	g.windows, w.windows = nil, nil
	same := func(a, b accumulator) bool {
		for i, f := range a.floats() {
			if !sameBits(*f, *b.floats()[i]) {
				return false
			}
		}
		return a == b
	}
	if !slices.EqualFunc(got.windows, want.windows, same) {
		t.Fatalf("windows differ:\n%+v\n%+v", got.windows, want.windows)
	}
	g.windows, w.windows = nil, nil
	if !(g.sequence == w.sequence && g.watermark == w.watermark && g.receivedAt == w.receivedAt &&
		g.silent == w.silent && g.silentAsOf == w.silentAsOf && g.ordinal == w.ordinal && g.length == w.length && g.latitude == w.latitude &&
		g.longitude == w.longitude) {
		t.Fatalf("states differ:\n%+v\n%+v", g, w)
	}
}

// A float comes back bit by bit in each form, and in the form that is meant for it.
func TestFloats(t *testing.T) {
	for _, c := range []struct {
		v    float64
		kind floatKind
		len  int
	}{
		{0, floatWhole, 1},
		{1, floatWhole, 1},
		{127, floatWhole, 1},
		{128, floatWhole, 2},
		{1<<49 - 1, floatWhole, 7},
		{1 << 49, floatFull, 8},
		{64.375, floatDecimal3, 3},
		{0.001, floatDecimal3, 1},
		{8.5, floatDecimal3, 2},
		{62.66666667, floatDecimal8, 5},
		{1e-8, floatDecimal8, 1},
		{1e-9, floatFull, 8},
		{59.142857142857146, floatFull, 8},
		{0.30000000000000004, floatFull, 8},
		{-1, floatFull, 8},
		{math.Copysign(0, -1), floatFull, 8},
		{math.MaxFloat64, floatFull, 8},
		{math.SmallestNonzeroFloat64, floatFull, 8},
		{math.Inf(1), floatFull, 8},
		{math.NaN(), floatFull, 8},
	} {
		b, kind := appendFloat(nil, c.v)
		if kind != c.kind || len(b) != c.len {
			t.Errorf("%v is of kind %d in %d bytes, want %d in %d", c.v, kind, len(b), c.kind, c.len)
		}
		d := decoder{b: b}
		if got := d.float(kind); !sameBits(got, c.v) || d.err != nil || len(d.b) != 0 {
			t.Errorf("%v comes back as %v, error %v", c.v, got, d.err)
		}
	}
}

// Bytes that are not a whole state are an error, wherever they end.
func TestDecodeDamaged(t *testing.T) {
	s := twoHours(t, fullPrecision())
	s.silence(noon+239*30*second, noon+3*3600*second)
	b := s.AppendTo(nil)
	for n := range b {
		if _, err := DecodeState(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are a state", n, len(b))
		}
	}
	if _, err := DecodeState(append(bytes.Clone(b), 0)); err == nil {
		t.Error("a byte too many is a state")
	}
	if _, err := DecodeState(append([]byte{stateVersion + 1}, b[1:]...)); err == nil {
		t.Error("another version is a state")
	}
}

// Bytes that no state encodes to are an error: what they mean would break the invariants of a state.
func TestDecodeImpossible(t *testing.T) {
	const flagCounted = 3 // bytes at the end of a window with one reading that was stuck: a set of 2 bytes and a count
	for _, c := range []struct {
		name   string
		state  func(s *State)                   // changes the state
		window func(b []byte, first int) []byte // changes its encoding, in which the newest window begins at first
		want   string
	}{
		{name: "windows the wrong way round", state: func(s *State) { slices.Reverse(s.windows) }, want: "in order"},
		{name: "a window twice", state: func(s *State) { s.windows[0] = s.windows[1] }, want: "in order"},
		{name: "a window ahead of the watermark", state: func(s *State) { s.watermark -= length }, want: "in order"},
		{name: "no length", state: func(s *State) { s.length = -1 }, want: "is above"},
		{name: "revision without reason", state: func(s *State) { s.windows[0].revision = 1 }, want: "disagree"},
		{name: "reason without revision", state: func(s *State) { s.windows[0].reason = closeLate }, want: "disagree"},
		{name: "a count below 0", state: func(s *State) { s.windows[0].count = -1 }, want: "is above"},
		{
			name: "unknown part", window: func(b []byte, first int) []byte { b[first+2] |= 0x10; return b },
			want: "unknown part",
		},
		{
			name: "unknown flag", window: func(b []byte, _ int) []byte { b[len(b)-flagCounted+1] <<= 1; return b },
			want: "unknown flag",
		},
		{name: "start below int64", window: func(b []byte, first int) []byte {
			return slices.Replace(b, first+headerLen, first+headerLen+1, binary.AppendUvarint(nil, 1<<62)...)
		}, want: "more than 64 bits"},
		{name: "number beyond uint64", window: func(b []byte, first int) []byte {
			return slices.Replace(b, first+headerLen, first+headerLen+1, bytes.Repeat([]byte{0xff}, 11)...)
		}, want: "more than 64 bits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSensor()
			r := sample(noon, none, none, none)
			r.Flags = codecs.FlagStuck
			s.apply(t, r, sample(noon+length, none, none, none))
			if c.state != nil {
				c.state(&s.State)
			}
			b := s.AppendTo(nil)
			if c.window != nil {
				head := s.State
				head.windows = nil
				b = c.window(b, len(head.AppendTo(nil)))
			}
			if _, err := DecodeState(b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

// A few bytes that promise many windows must not allocate for them.
func TestDecodeAllocatesWithinInput(t *testing.T) {
	s := newSensor()
	s.at(t, noon)
	b := s.AppendTo(nil)
	s.windows = nil
	head := s.AppendTo(nil)
	head = head[:len(head)-1] // without the number of windows
	hostile := append(append(head, 0xff, 0xff, 0xff, 0xff, 0x0f), b[len(head)+1:]...)
	if _, err := DecodeState(hostile); err == nil {
		t.Error("4 billion windows in one are a state")
	}
}

// Invariants of DecodeState: it never panics; what it accepts is encoded to bytes that decode to the same bytes; and
// the state behaves: its readers and both transitions run.
func FuzzDecodeState(f *testing.F) {
	s := twoHours(f, fullPrecision())
	f.Add(s.AppendTo(nil))
	s.silence(noon+239*30*second, noon+3*3600*second)
	f.Add(s.AppendTo(nil))
	f.Add(new(State).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err != nil {
			return
		}
		once := s.AppendTo(nil)
		again, err := DecodeState(once)
		if err != nil {
			t.Fatalf("an encoded state is not one: %v", err)
		}
		if twice := again.AppendTo(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%x is encoded as %x", once, twice)
		}
		o := DefaultOptions()
		publish := func(*codecs.WindowAggregate, int64) {}
		s.Windows("", &o)
		s.Current("", &o)
		s.NextClose(&o)
		watermark, _ := s.Watermark()
		s.ApplySilence(&codecs.SensorSilence{Watermark: watermark, AsOf: watermark + minute}, &o, publish)
		r := sample(watermark+second, some(60), some(600), some(8))
		r.Sequence = s.Sequence() + 1
		s.ApplyReading(&r, &o, publish)
	})
}
