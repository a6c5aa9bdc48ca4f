package dedup

import "slices"

// remembersMax is the most readings of one sensor that are remembered, 7 a second over 75 minutes. It bounds the
// encoded state: a reading takes 2.5 bytes for its fingerprint and at most 5 for its gap, if that is below 198 days.
const remembersMax = 1 << 15

// memory is what a sensor's accepted readings leave behind: when each was measured, and a fingerprint of its values.
// The zero value is that of a sensor without one.
//
// times is strictly ascending, prints runs beside it. Readings nearly always come in order, and are appended; others are
// put in their place. The last time is the watermark: what was accepted is never forgotten before something later is
// accepted.
type memory struct {
	times  []int64  // epoch milliseconds
	prints []uint32 // fingerprintBits each
	from   int64    // an earlier event time may have been forgotten; at most times[0]
}

// watermark is the highest accepted event time.
func (m *memory) watermark() (ms int64, ok bool) {
	if len(m.times) == 0 {
		return 0, false
	}
	return m.times[len(m.times)-1], true
}

// rememberedFrom returns the earliest event time that can be judged at this watermark. The memory's own bound is the
// later one in rare cases: a full memory, or a retention that was raised since, which brings nothing back.
func (m *memory) rememberedFrom(watermark int64, o *Options) int64 {
	return max(m.from, o.rememberedFrom(watermark))
}

// find looks for a reading that was accepted at this time.
func (m *memory) find(ms int64) (print uint32, ok bool) {
	i, ok := slices.BinarySearch(m.times, ms)
	if !ok {
		return 0, false
	}
	return m.prints[i], true
}

// add remembers an accepted reading and forgets those whose windows are no longer remembered. It must be neither late
// nor there already.
func (m *memory) add(ms int64, print uint32, o *Options) {
	switch watermark, ok := m.watermark(); {
	case !ok:
		m.times, m.prints, m.from = append(m.times, ms), append(m.prints, print), o.rememberedFrom(ms)
	case ms > watermark:
		m.times, m.prints = append(m.times, ms), append(m.prints, print)
		m.forget(m.rememberedFrom(ms, o))
	default:
		i, _ := slices.BinarySearch(m.times, ms)
		m.times, m.prints = slices.Insert(m.times, i, ms), slices.Insert(m.prints, i, print)
	}
	if len(m.times) > remembersMax {
		// An eighth at a time: the cost of moving the rest is spread over many readings.
		m.forget(m.times[remembersMax/8-1] + 1)
	}
}

// forget drops what is before the given time. The arrays stay where they are, so that the next readings find room: a
// sensor that sends at a steady rate needs no further allocation.
func (m *memory) forget(from int64) {
	m.from = from
	if m.times[0] >= from {
		return
	}
	n, _ := slices.BinarySearch(m.times, from)
	m.times, m.prints = slices.Delete(m.times, 0, n), slices.Delete(m.prints, 0, n)
}
