package feed

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// After a rebase the last reading lies in (now − length, now], and every window keeps its readings.
func TestShift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := time.Duration(rapid.Int64Range(1, 86_400_000).Draw(t, "length")) * time.Millisecond
		last := rapid.Int64Range(0, 4e12).Draw(t, "last")
		now := rapid.Int64Range(0, 4e12).Draw(t, "now")
		shift := RebaseNow.Shift(last, time.UnixMilli(now), length)
		if moved := last + shift; moved > now || moved <= now-length.Milliseconds() {
			t.Fatalf("the last reading lands %d ms before now", now-moved)
		}
		if shift%length.Milliseconds() != 0 {
			t.Fatalf("a shift of %d ms moves readings to other windows", shift)
		}
	})
	if RebaseNone.Shift(1, time.UnixMilli(1e12), time.Minute) != 0 {
		t.Error("rebase none moves readings")
	}
}

func TestParseSpeed(t *testing.T) {
	for text, want := range map[string]Speed{"max": 0, "60x": 60, "0.5x": 0.5, "2": 2} {
		if got, err := ParseSpeed(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0x", "-1x", "fast", "NaNx", "Infx", "60xx"} {
		if got, err := ParseSpeed(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// steps is a clock that moves only when somebody sleeps.
type steps struct{ now time.Time }

func (c *steps) Now() time.Time { return c.now }
func (c *steps) Sleep(ctx context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return ctx.Err()
}

// A feed at 60x sends a minute of the road in a second, counted from its first row, and catches up when it is behind.
func TestPace(t *testing.T) {
	clock := &steps{now: time.UnixMilli(5e11)}
	p := pace{clock: clock, speed: 60}
	for i, want := range []time.Duration{0, time.Second, time.Second, 3 * time.Second} {
		if got := p.ahead([]int64{100, 101, 101, 103}[i] * 60_000); got != want {
			t.Errorf("row %d waits %v, not %v", i, got, want)
		}
	}
	clock.now = clock.now.Add(time.Hour)
	if got := p.ahead(110 * 60_000); got > 0 {
		t.Errorf("a feed that is behind waits %v", got)
	}
	live := pace{clock: clock, live: true, speed: 60}
	if got := live.ahead(clock.now.UnixMilli() + 1500); got != 1500*time.Millisecond {
		t.Errorf("a live row waits %v", got)
	}
	if got := (&pace{clock: clock}).ahead(1 << 40); got != 0 {
		t.Errorf("a row at full speed waits %v", got)
	}
}

// A header says again which feed and row it is from; foreign headers say nothing.
func TestHeader(t *testing.T) {
	for _, f := range []Identity{{"1a2b3c4d", 86_400_000}, {"sim01", -300_000}, {"x", 0}} {
		got, number, ok := parseHeader(string(f.header(42)))
		if !ok || got != f || number != 42 {
			t.Errorf("%s: %+v, %d, %v", f.header(42), got, number, ok)
		}
	}
	for _, text := range []string{"", "a", "a-1", "a/1", "-1/2", "a-1/-2", "a-1/x", "a-x/1"} {
		if f, _, ok := parseHeader(text); ok {
			t.Errorf("%q is %+v", text, f)
		}
	}
}
