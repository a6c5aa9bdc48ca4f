package views

import (
	"log/slog"
	"sync"
	"time"
)

// outage follows whether the archive's file system works, for all partitions of a process together: they share it, so
// that they fail and work again as one. It says so in the log when an outage begins, once in outageReminder while it
// lasts, and when it is over; a line for each try of each partition would bury what else happens.
type outage struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	failing map[int32]struct{} // partitions whose last try failed
	since   time.Time          // when the first of them did
	told    time.Time          // when the log said so last
}

const outageReminder = time.Minute

func newOutage(log *slog.Logger, now func() time.Time) *outage {
	return &outage{log: log, now: now, failing: make(map[int32]struct{})}
}

// failed notes that a try of a partition has failed.
func (o *outage) failed(partition int32, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if len(o.failing) == 0 {
		o.since, o.told = now, time.Time{}
	}
	o.failing[partition] = struct{}{}
	if now.Sub(o.told) < outageReminder {
		return
	}
	o.told = now
	o.log.Warn("the archive cannot be written; it is tried again until it can, and what is not archived waits in the topic",
		"for", now.Sub(o.since).Round(time.Second), "partitions", len(o.failing), "partition", partition, "error", err)
}

// ended notes that a partition is archived again, or is another process's concern now.
func (o *outage) ended(partition int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, failing := o.failing[partition]; !failing {
		return
	}
	delete(o.failing, partition)
	if len(o.failing) == 0 {
		o.log.Info("the archive can be written again", "after", o.now().Sub(o.since).Round(time.Second))
	}
}

// seconds tells how long the outage lasts; 0 while there is none.
func (o *outage) seconds() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failing) == 0 {
		return 0
	}
	return o.now().Sub(o.since).Seconds()
}
