package dedup

import (
	"slices"
	"testing"

	"gantry/codecs"
)

// For any bytes: an error, or a state that
//   - encodes to bytes that decode to the same bytes,
//   - is bounded like any other, and not larger than its input allows,
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
		roundTrip(t, &st)
		o := looseOptions()
		watermark, _ := st.Watermark()
		for _, d := range []int64{0, -1, 1, -600 * second, 30 * second} {
			Decide(st, readingAt(watermark+d), arrivedAt(watermark), o)
			roundTrip(t, &st)
		}
	})
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
