package dedup

import (
	"math/rand/v2"
	"testing"
)

// The usual case: a reading every 30 s, in order, accepted.
func BenchmarkDecideAccept(b *testing.B) {
	o, st, ms := DefaultOptions(), knownState(), noon
	r, a := readingAt(ms), arrivedAt(ms)
	b.ReportAllocs()
	for b.Loop() {
		ms += 30 * second
		r.Timestamp.V, a.ReceivedAt = ms, ms
		if !Decide(st, r, a, &o).Accepted {
			b.Fatal("rejected")
		}
	}
}

func BenchmarkDecideDuplicate(b *testing.B) {
	o, st := DefaultOptions(), knownState()
	r, a := readingAt(noon), arrivedAt(noon)
	Decide(st, r, a, &o)
	b.ReportAllocs()
	for b.Loop() {
		Decide(st, r, a, &o)
	}
}

// The worst case: a full memory, filled in random order.
func BenchmarkDecideFullMemory(b *testing.B) {
	o, st := looseOptions(), knownState()
	random := rand.New(rand.NewPCG(1, 2))
	ms := noon
	b.ReportAllocs()
	for b.Loop() {
		ms += 60
		at := ms - random.Int64N(70*minute)
		Decide(st, readingAt(at), arrivedAt(ms), o)
	}
}

func BenchmarkState(b *testing.B) {
	o, st := DefaultOptions(), knownState()
	for i := range int64(240) {
		Decide(st, readingAt(noon+i*30*second), arrivedAt(noon+i*30*second), &o)
	}
	data := st.AppendTo(nil)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			data = st.AppendTo(data[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeState(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
