package window

import (
	"testing"

	"gantry/codecs"
)

// stream applies a sensor's readings, one every 30 seconds, for as long as it is asked to.
type stream struct {
	*sensor
	r codecs.Reading
}

func newStream(t testing.TB) *stream {
	s := &stream{sensor: twoHours(t, fullPrecision())}
	s.r = sample(noon+239*30*second, some(62.66666667), some(1200), some(8.5))
	s.r.Sequence = s.Sequence()
	return s
}

func (s *stream) next() Outcome {
	s.r.Sequence++
	s.r.Timestamp += 30 * second
	return s.ApplyReading(&s.r, &s.o, discard)
}

func discard(*codecs.WindowAggregate, int64) {}

// A reading allocates nothing, and neither do the windows that it opens, publishes and forgets.
func TestApplyReadingAllocatesNothing(t *testing.T) {
	s := newStream(t)
	for range 20 { // one window's worth, so that the memory has its size
		s.next()
	}
	if n := testing.AllocsPerRun(1000, func() {
		for range 10 {
			if s.next() != Applied {
				t.Fatal("not applied")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations in the ten readings of a window", n)
	}
}

func BenchmarkApplyReading(b *testing.B) {
	s := newStream(b)
	b.ReportAllocs()
	for b.Loop() {
		s.next()
	}
}

func BenchmarkAppendTo(b *testing.B) {
	s := newStream(b)
	buf := s.AppendTo(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = s.AppendTo(buf[:0])
	}
}

func BenchmarkDecodeState(b *testing.B) {
	encoded := newStream(b).AppendTo(nil)
	b.SetBytes(int64(len(encoded)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeState(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
