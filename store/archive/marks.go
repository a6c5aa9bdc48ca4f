package archive

// A mark is what the archive remembers of a sensor: the last reading and the last window that it took. It is all that
// is needed to tell a repeat from something new, since both are numbered without a gap.
type mark struct {
	id              string // the sensor, in memory that rows may share
	reading, window counter
}

// counter is the last number taken, and the number of holes that were known then.
type counter struct {
	last  int64
	holes int64
}

type verdict uint8

const (
	verdictTake   verdict = iota
	verdictRepeat         // not above the last: the archive has it
	verdictGap            // beyond the next: it comes again after what is missing, and is taken then
)

// judge decides what to do with number n. Behind a hole that retention made, what is missing never comes, so the first
// number above the last is taken as a new beginning.
func (c counter) judge(n, holes int64) verdict {
	switch {
	case n <= c.last:
		return verdictRepeat
	case n == c.last+1 || c.holes < holes:
		return verdictTake
	default:
		return verdictGap
	}
}
