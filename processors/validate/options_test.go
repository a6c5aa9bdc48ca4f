package validate

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestDefaultOptionsAreValid(t *testing.T) {
	o := DefaultOptions()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// Each problem is named by its key and value.
func TestOptionsProblems(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, x := range []struct {
		want   string
		change func(*Options)
	}{
		{`validate.required: "speed" is not one of`, func(o *Options) { o.Required = []string{"speed"} }},
		{"validate.speedMax: 0 is not", func(o *Options) { o.SpeedMax = 0 }},
		{"validate.speedMax: NaN is not", func(o *Options) { o.SpeedMax = nan }},
		{"validate.speedMax: +Inf is not", func(o *Options) { o.SpeedMax = inf }},
		{"validate.volumeMax: -1 is not within 0..2147483647", func(o *Options) { o.VolumeMax = -1 }},
		{"validate.volumeMax: 2147483648 is not", func(o *Options) { o.VolumeMax = math.MaxInt32 + 1 }},
		{"validate.latMin: -90.5 is not within -90..90", func(o *Options) { o.LatMin = -90.5 }},
		{"validate.latMax: 91 is not within -90..90", func(o *Options) { o.LatMax = 91 }},
		{"validate.latMin: 35 is not at most validate.latMax, which is 34.5", func(o *Options) { o.LatMin = 35 }},
		{"validate.lonMin: -181 is not within -180..180", func(o *Options) { o.LonMin = -181 }},
		{"validate.lonMax: NaN is not within -180..180", func(o *Options) { o.LonMax = nan }},
		{"validate.lonMin: -116 is not at most validate.lonMax", func(o *Options) { o.LonMin = -116 }},
		{"validate.maxAge: -1s is not", func(o *Options) { o.MaxAge = -time.Second }},
		{"validate.maxAhead: 1.5µs is not", func(o *Options) { o.MaxAhead = 1500 }},
	} {
		o := DefaultOptions()
		x.change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("got %v, want %q", err, x.want)
		}
	}
}

// All problems are reported together, so that one edit of the configuration can mend them all.
func TestOptionsProblemsTogether(t *testing.T) {
	o := Options{Required: []string{"a", "b"}, LatMin: 1, LonMin: 1, MaxAge: -1, MaxAhead: -1, VolumeMax: -1}
	err := o.Validate()
	if err == nil || strings.Count(err.Error(), "validate.") < 8 {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAtTheirLimits(t *testing.T) {
	o := Options{
		Required: []string{
			"sensor_id", "timestamp", "coordinates", "speed_mph", "volume_vph", "occupancy_percent",
		},
		SpeedMax: math.MaxFloat64, VolumeMax: math.MaxInt32, LatMin: -90, LatMax: 90, LonMin: 180, LonMax: 180,
	}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}
