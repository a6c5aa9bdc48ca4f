package processors

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Condition is what keeps a part of the process from its work, while something does. A failure is counted by type each
// time that it is met; it is logged when it begins, when it turns into another, once a minute while it lasts, and when
// it is over: an outage of hours is a line a minute, however often it is tried. One that comes and goes is logged a few
// times a minute. What keeps the part from working can be asked for at any time, for readiness. It is safe for concurrent
// use.
type Condition struct {
	what   string // "dedup cannot work", say
	log    *slog.Logger
	errors *prometheus.CounterVec
	now    func() time.Time

	mu       sync.Mutex
	err      error
	kind     string
	since    time.Time
	said     time.Time // when something was last logged, and of what
	saidKind string
	begun    bool // that it lasts was logged, so its end is to be
}

const (
	repeatAfter = time.Minute      // a condition that lasts is logged again
	changeAfter = 10 * time.Second // one that turns into another, or is back, at the earliest: they may take turns
)

// NewCondition returns a condition under which nothing is wrong. what says, as a sentence without its end, what does not
// work while it lasts. reg may be nil.
func NewCondition(what string, log *slog.Logger, reg prometheus.Registerer) *Condition {
	return &Condition{what: what, log: log, errors: Errors(reg), now: time.Now}
}

// Fail notes an error that keeps the part from working. It returns the error's type.
func (c *Condition) Fail(err error) (errorType string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind, now := ErrorTypeOf(err), c.now()
	c.errors.WithLabelValues(kind).Inc()
	if c.err == nil {
		c.since = now
	}
	quiet := now.Sub(c.said)
	news := !c.begun || kind != c.saidKind
	if news && quiet >= changeAfter || quiet >= repeatAfter {
		c.said, c.saidKind, c.begun = now, kind, true
		args := []any{"error", err, "type", kind}
		if advice := Advice(err); advice != "" {
			args = append(args, "do", advice)
		}
		if d := now.Sub(c.since); d > 0 {
			args = append(args, "for", d.Round(time.Second).String())
		}
		c.log.Warn(c.what+"; trying again", args...)
	}
	c.err, c.kind = err, kind
	return kind
}

// Clear notes that the part works.
func (c *Condition) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return
	}
	if c.begun {
		c.said, c.begun = c.now(), false
		c.log.Info("over: "+c.what, "type", c.kind, "after", c.said.Sub(c.since).Round(time.Second).String())
	}
	c.err, c.kind = nil, ""
}

// Err returns the error that lasts, nil while the part works.
func (c *Condition) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Trouble says what is wrong and what to do, for people; "" while the part works.
func (c *Condition) Trouble() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return ""
	}
	text := c.what + ": " + c.err.Error()
	if advice := Advice(c.err); advice != "" {
		text += "; " + advice
	}
	return text
}
