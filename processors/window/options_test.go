package window

import (
	"strings"
	"testing"
	"time"
)

// The defaults are those of the contract, and valid.
func TestDefaultOptions(t *testing.T) {
	o := DefaultOptions()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	want := Options{5 * time.Minute, 60 * time.Second, 2 * time.Minute, 70 * time.Minute, 30 * time.Second}
	if o != want {
		t.Errorf("defaults are %+v, want %+v", o, want)
	}
}

// Each limit is inclusive, and a value beyond it is reported with its key.
func TestOptionsValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(o *Options)
		want   []string // what the message holds; none = valid
	}{
		{"shortest length", func(o *Options) { o.Length = time.Second }, nil},
		{
			"length too short", func(o *Options) { o.Length = time.Second - time.Millisecond },
			[]string{"window.length: 999ms is not within 1s..24h0m0s"},
		},
		{"longest length", func(o *Options) { o.Length, o.Retention = 24*time.Hour, 48*time.Hour }, nil},
		{
			"length too long", func(o *Options) { o.Length, o.Retention = 24*time.Hour+1, 48*time.Hour },
			[]string{"window.length: 24h0m0.000000001s is not within"},
		},
		{
			"length in microseconds", func(o *Options) { o.Length += time.Microsecond },
			[]string{"window.length: 5m0.000001s is not a number of whole milliseconds"},
		},
		{"no grace", func(o *Options) { o.Grace = 0 }, nil},
		{"negative grace", func(o *Options) { o.Grace = -1 }, []string{"window.grace: -1ns is not within 0s..24h0m0s"}},
		{"no idle timeout", func(o *Options) { o.IdleTimeout = 0 }, []string{"window.idleTimeout: 0s"}},
		{"no interval", func(o *Options) { o.DefaultInterval = 0 }, []string{"window.defaultInterval: 0s"}},
		{"shortest retention", func(o *Options) { o.Retention = 6 * time.Minute }, nil},
		{
			"retention too short", func(o *Options) { o.Retention = 6*time.Minute - time.Millisecond },
			[]string{"window.retention: 5m59.999s is not within 6m0s..833h20m0s"},
		},
		{"longest retention", func(o *Options) { o.Retention = 50_000 * time.Minute }, nil},
		{
			"retention too long", func(o *Options) { o.Retention = 50_000*time.Minute + time.Millisecond },
			[]string{"window.retention: 833h20m0.001s is not within"},
		},
		{
			"retention in nanoseconds", func(o *Options) { o.Retention++ },
			[]string{"window.retention: 1h10m0.000000001s"},
		},
		{"all at once", func(o *Options) { *o = Options{Grace: -1} }, []string{
			"window.length: ", "window.grace: ", "window.idleTimeout: ", "window.retention: ", "window.defaultInterval: ",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := DefaultOptions()
			c.change(&o)
			err := o.Validate()
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("no problem found")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not hold %q", err, want)
				}
			}
			if n := strings.Count(err.Error(), "\n") + 1; n != len(c.want) {
				t.Errorf("%d problems, want %d:\n%v", n, len(c.want), err)
			}
		})
	}
}
