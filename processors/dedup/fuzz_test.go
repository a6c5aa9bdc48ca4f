package dedup

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"gantry/codecs"
)

// For any bytes: an error, or a state that
//   - encodes to bytes that decode to the same bytes,
//   - is bounded like any other, and not larger than its input allows,
//   - has its readings and positions in strictly ascending order,
//   - takes readings without a panic, at its watermark and around it.
func FuzzDecodeState(f *testing.F) {
	o := DefaultOptions()
	st := &State{}
	f.Add(st.AppendTo(nil))
	st.SetSensor(busySensor())
	f.Add(st.AppendTo(nil))
	for i, ms := range []int64{0, 30, 60, 61, 90, 45, 4000} {
		Decide(st, readingAt(noon+ms*second), arrivedAt(noon+ms*second), &o)
		st.SeenOnLoop(codecs.KindReading, int32(i%3), int64(i))
		st.SeenOnLoop(codecs.KindSensor, int32(i), 1<<40)
		f.Add(st.AppendTo(nil))
	}
	f.Add([]byte{})
	f.Add([]byte{stateVersion, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := DecodeState(data)
		if err != nil {
			return
		}
		if n := len(st.accepted.times); printsLen(n) > len(data) || n > remembersMax {
			t.Fatalf("%d bytes hold %d readings", len(data), n)
		}
		if !ascending(st) {
			t.Fatalf("out of order: %+v", st)
		}
		roundTrip(t, &st)
		o := looseOptions()
		watermark, _ := st.Watermark()
		for _, d := range []int64{0, -1, 1, -600 * second, 30 * second} {
			Decide(st, readingAt(watermark+d), arrivedAt(watermark), o)
			roundTrip(t, &st)
		}
	})
}

// ascending tells whether the state is in the order that searching it relies on.
func ascending(st *State) bool {
	for i := range len(st.accepted.times) - 1 {
		if st.accepted.times[i] >= st.accepted.times[i+1] {
			return false
		}
	}
	for _, p := range []positions{st.loopReadings, st.loopSensors} {
		for i := range len(p) - 1 {
			if p[i].partition >= p[i+1].partition {
				return false
			}
		}
	}
	return len(st.accepted.times) == 0 || st.accepted.from <= st.accepted.times[0]
}

// What no state encodes to is refused, before memory is taken for it.
func TestDecodeStateRefuses(t *testing.T) {
	earliest := binary.AppendVarint(nil, math.MinInt64)
	most := binary.AppendUvarint(nil, math.MaxUint64)
	prints := make([]byte, 8)
	for _, x := range []struct {
		name string
		body []byte // after the version
		want string
	}{
		{"nothing", nil, "ends early"},
		{"freeway without a place", []byte{hasFreeway, 0, 0, 0, 0}, "without a place"},
		{"sequence of 64 bits", slices.Concat([]byte{0}, most, []byte{0, 0, 0}), "is above"},
		{"stuck run of 0", []byte{hasStuck, 0, 0, 1, 0, 0, 0}, "not within 1..9"},
		{"stuck run of 10", []byte{hasStuck, 0, 10, 1, 0, 0, 0}, "not within 1..9"},
		{"more positions than bytes", []byte{0, 0, 200, 1, 0, 0}, "is above"},
		{"a partition twice", []byte{0, 0, 2, 1, 0, 1, 0, 0, 0}, "partition 1 follows 1"},
		{"partitions in the wrong order", []byte{0, 0, 0, 2, 1, 0, 0, 0, 0}, "partition 0 follows 1"},
		{"more readings than a memory holds", []byte{0, 0, 0, 0, 0x81, 0x80, 0x02}, "is above 32768"},
		{"more readings than bytes", []byte{0, 0, 0, 0, 0x80, 0x80, 0x02, 0, 0xff, 0xff, 3}, "ends early"},
		{"a gap of 0", slices.Concat([]byte{0, 0, 0, 0, 2, 0, 0, 0}, prints[:5]), "of 0 ms does not fit"},
		{"a run too long", slices.Concat([]byte{0, 0, 0, 0, 2, 0, 3, 0, 0}, prints[:5]), "a run of 2 gaps"},
		{
			"a gap before all times", slices.Concat([]byte{0, 0, 0, 0, 2}, earliest, []byte{2, 0}, prints[:5]),
			"before all times",
		},
		{
			"judged from before all times", slices.Concat([]byte{0, 0, 0, 0, 1}, earliest, []byte{1}, prints[:3]),
			"before all times",
		},
		{"a byte left over", make([]byte, 6), "left over"},
	} {
		_, err := DecodeState(append([]byte{stateVersion}, x.body...))
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %q", x.name, err, x.want)
		}
	}
	huge := []byte{stateVersion, 0, 0, 0, 0, 0x80, 0x80, 0x02, 0} // announces 32768 readings
	if n := testing.AllocsPerRun(10, func() { _, _ = DecodeState(huge) }); n > 4 {
		t.Errorf("%v allocations for a state that ends early", n)
	}
}

// Every cut of a valid state is an error: nothing is taken for less than it is.
func TestDecodeStateRefusesCuts(t *testing.T) {
	o, st := DefaultOptions(), knownState()
	for _, s := range []int64{0, 30, 60, 100, 101} {
		Decide(st, readingAt(noon+s*second), arrivedAt(noon+s*second), &o)
	}
	data := st.AppendTo(nil)
	for n := range data {
		if _, err := DecodeState(data[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are a state", n, len(data))
		}
	}
	if _, err := DecodeState(append(slices.Clone(data), 0)); err == nil {
		t.Error("a byte too many is taken")
	}
	data[0]++
	if _, err := DecodeState(data); err == nil {
		t.Error("another version is taken")
	}
}
