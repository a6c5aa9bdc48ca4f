package archive

import (
	"fmt"
	"time"
)

// Settling says when an hour is expected to be complete. It is about sense, not about safety: what comes later stands
// beside the sealed file, and the next compaction merges it in.
type Settling struct {
	// After is how long after the end of an hour its last reading or revision is published where everything keeps up:
	// window.retention (at least maxAge + maxAhead + length) for a reading of the hour's last window to arrive, grace for
	// the watermark, and idleTimeout for a silence to close that window.
	After time.Duration
	Now   time.Time
	// Published returns, by partition of traffic-events, the first offset published at or after a time, and the
	// partition's end where there is none.
	Published func(at time.Time) ([]int64, error)
	Extents   []Extent
}

// Unsettled says why an hour should not be sealed yet, and is empty where it may: everything that was published until
// After behind its end is archived. Partitions without traffic hold nothing up.
func (s *Settling) Unsettled(hour time.Time) (why string, err error) {
	until := hour.Add(time.Hour + s.After)
	if s.Now.Before(until) {
		return fmt.Sprintf("late readings are expected until %s", until.UTC().Format(time.RFC3339)), nil
	}
	published, err := s.Published(until)
	if err != nil {
		return "", err
	}
	archived := make(map[int]int64)
	for _, x := range s.Extents {
		archived[int(x.Partition)] = x.End
	}
	for p, end := range published {
		if archived[p] < end {
			return fmt.Sprintf("partition %d is archived to offset %d of the %d that were published until %s",
				p, archived[p], end, until.UTC().Format(time.RFC3339)), nil
		}
	}
	return "", nil
}
