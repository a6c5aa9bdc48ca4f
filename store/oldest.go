package store

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// begun notes when the open round got its first record. The caller holds l.mu.
func (l *Lane) begun() {
	if l.began.Load() == 0 {
		l.began.Store(l.e.opts.now().UnixNano())
	}
}

// oldestBegan returns when the first record came into the oldest round that is not complete, in Unix nanoseconds; 0
// where every round is. It does not take l.mu, which a Send may hold while the brokers are away: that is when somebody
// looks.
func (l *Lane) oldestBegan() int64 {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	if len(l.q.order) > 0 {
		return l.q.order[0].began
	}
	return l.began.Load()
}

// OldestUnacknowledged returns the age of the oldest message that a partition of this engine has taken up and not
// finished: an output, a table value, or the offset itself waits for an acknowledgement. It is 0 where there is none.
func (e *Engine) OldestUnacknowledged() time.Duration {
	e.mu.Lock()
	lanes := slices.Collect(maps.Values(e.lanes))
	e.mu.Unlock()
	var first int64
	for _, l := range lanes {
		if at := l.oldestBegan(); at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	if first == 0 {
		return 0
	}
	return max(0, e.opts.now().Sub(time.Unix(0, first)))
}

// oldest is the metric of OldestUnacknowledged. It outlives the engine, and asks the group's newest.
type oldest struct {
	desc   *prometheus.Desc
	engine atomic.Pointer[Engine]
}

var _ prometheus.Collector = (*oldest)(nil)

func (o *oldest) Describe(ch chan<- *prometheus.Desc) { ch <- o.desc }

func (o *oldest) Collect(ch chan<- prometheus.Metric) {
	var age time.Duration
	if e := o.engine.Load(); e != nil {
		age = e.OldestUnacknowledged()
	}
	ch <- prometheus.MustNewConstMetric(o.desc, prometheus.GaugeValue, age.Seconds())
}
