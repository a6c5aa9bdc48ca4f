package feed

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Rebase says what becomes of a file's event times.
type Rebase string

// The ways to rebase.
const (
	RebaseNow  Rebase = "now"  // all are moved so that the last lies in the window that ends now
	RebaseNone Rebase = "none" // they stay
)

// ParseRebase reads the name of a way to rebase.
func ParseRebase(s string) (Rebase, error) {
	if r := Rebase(s); r == RebaseNow || r == RebaseNone {
		return r, nil
	}
	return "", fmt.Errorf("rebase %q: allowed are now, none", s)
}

// Shift is how many milliseconds a feed's times are moved. It is a whole multiple of a window's length, so that the
// same readings fall into the same windows at whatever moment a replay starts, and the last reading lands in
// (now − length, now]: as late as can be, never in the future.
func (r Rebase) Shift(last int64, now time.Time, length time.Duration) int64 {
	if r == RebaseNone {
		return 0
	}
	step := length.Milliseconds()
	distance := now.UnixMilli() - last
	shift := distance / step * step
	if shift > distance { // Go rounds towards zero: a last reading in the future moves back
		shift -= step
	}
	return shift
}

// Speed is how many times faster than the road a feed is published. 0 is as fast as possible.
type Speed float64

// ParseSpeed reads a speed like 60x, or max.
func ParseSpeed(s string) (Speed, error) {
	if s == "max" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "x"), 64)
	if err != nil || v <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("speed %q: allowed are numbers above 0 like 60x, and max", s)
	}
	return Speed(v), nil
}

// Clock is time as the feeds see it.
type Clock interface {
	Now() time.Time
	// Sleep waits until d has passed or ctx ends, and then returns ctx's error.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the machine's.
type SystemClock struct{}

var _ Clock = SystemClock{}

// Now returns the time.
func (SystemClock) Now() time.Time { return time.Now() }

// Sleep waits.
func (SystemClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pace holds a row back until its time has come: its arrival itself for a live feed, else counted from the first row
// that it sees.
type pace struct {
	clock   Clock
	speed   Speed
	live    bool
	started bool
	start   time.Time
	arrival int64 // of the first row
}

// ahead is how long a row must wait; nothing or less where its time has come.
func (p *pace) ahead(arrival int64) time.Duration {
	now := p.clock.Now()
	if p.live {
		return time.UnixMilli(arrival).Sub(now)
	}
	if p.speed == 0 {
		return 0
	}
	if !p.started {
		p.started, p.start, p.arrival = true, now, arrival
	}
	due := time.Duration(float64(arrival-p.arrival) / float64(p.speed) * float64(time.Millisecond))
	return p.start.Add(due).Sub(now)
}
