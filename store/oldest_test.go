package store

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// closed counts the rounds that are closed and not complete.
func (p *process) closed() int {
	p.lane.q.mu.Lock()
	defer p.lane.q.mu.Unlock()
	return len(p.lane.q.order)
}

// TestOldestUnacknowledged: the age counts from the first message of the oldest round that is not complete, be it open,
// or waiting for an output or for a table value; younger rounds do not make it younger, and with nothing under way it
// is 0.
func TestOldestUnacknowledged(t *testing.T) {
	for _, topic := range []string{topicOut, topicTable} {
		t.Run(topic, func(t *testing.T) {
			var c clock
			c.advance(time.Hour)
			p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) { o.now = c.now })
			mustBe := func(want time.Duration) {
				t.Helper()
				if got := p.e.OldestUnacknowledged(); got != want {
					t.Fatalf("age %v, want %v", got, want)
				}
			}
			mustBe(0)
			p.u.set(func() { p.u.held[topic] = true })
			for i := range int64(3) {
				must(t, p.handle(i, 1, oneKey))
				until(t, "closed", func() bool { return p.closed() > int(i) })
				c.advance(time.Second)
				mustBe(time.Duration(i+1) * time.Second)
			}
			p.u.set(func() { p.u.held[topic] = false })
			until(t, "marked", func() bool { return p.marks() == 3 })
			until(t, "complete", func() bool { return p.e.OldestUnacknowledged() == 0 })
		})
	}
}

// TestOldestWhileSendBlocks: a message whose callback waits for the brokers counts, and asking waits for nobody.
func TestOldestWhileSendBlocks(t *testing.T) {
	var c clock
	c.advance(time.Hour)
	p := newProcess(t, t.TempDir(), newUnreliable(t), func(o *Options) { o.now = c.now })
	p.u.set(func() { p.u.full[topicOut] = true })
	handled := make(chan error, 1)
	go func() { handled <- p.handle(0, 1, oneKey) }()
	until(t, "stuck", func() (stuck bool) {
		p.u.set(func() { stuck = p.u.stuck == 1 })
		return stuck
	})
	c.advance(time.Minute)
	if got := p.e.OldestUnacknowledged(); got != time.Minute {
		t.Errorf("age %v, want 1m", got)
	}
	p.u.set(func() { p.u.full[topicOut] = false })
	must(t, <-handled)
	until(t, "marked", func() bool { return p.marks() == 1 })
}

// TestOldestMetric: the metric is there from the start, and follows the engine that was built last: one that is built
// anew after an error registers nothing again.
func TestOldestMetric(t *testing.T) {
	var c clock
	c.advance(time.Hour)
	reg := prometheus.NewRegistry()
	change := func(o *Options) { o.now, o.Metrics = c.now, reg }
	value := func() float64 {
		t.Helper()
		families, err := reg.Gather()
		must(t, err)
		for _, f := range families {
			if f.GetName() == "stream_processor_oldest_unacknowledged_seconds" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatal("the metric is missing")
		return 0
	}
	RegisterMetrics(reg, "group")
	if v := value(); v != 0 {
		t.Fatalf("%v s at the start", v)
	}
	newProcess(t, t.TempDir(), newUnreliable(t), change)
	p := newProcess(t, t.TempDir(), newUnreliable(t), change)
	p.u.set(func() { p.u.held[topicOut] = true })
	must(t, p.handle(0, 1, oneKey))
	c.advance(90 * time.Second)
	if v := value(); v != 90 {
		t.Errorf("%v s, want 90", v)
	}
	p.u.set(func() { p.u.held[topicOut] = false })
}
