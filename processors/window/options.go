package window

import (
	"errors"
	"fmt"
	"time"
)

// Limits of the options.
const (
	lengthMin = time.Second
	lengthMax = 24 * time.Hour
	graceMax  = 24 * time.Hour

	// rememberedMax bounds a sensor's state: with this many windows its value still fits into a Kafka message of 1 MB.
	rememberedMax = 10_000
)

// Options say how windows are cut, closed and forgotten; the keys are those of the configuration. All are whole
// milliseconds.
type Options struct {
	Length      time.Duration // window.length
	Grace       time.Duration // window.grace: how far the watermark must be past the end of a window to publish it
	IdleTimeout time.Duration // window.idleTimeout: after how long without readings a sensor is silent
	Retention   time.Duration // window.retention: for how long after its start a window is remembered

	// DefaultInterval (window.defaultInterval) is the time between readings of a sensor that does not say.
	DefaultInterval time.Duration
}

// DefaultOptions returns the defaults of the configuration.
func DefaultOptions() Options {
	return Options{
		Length:          5 * time.Minute,
		Grace:           time.Minute,
		IdleTimeout:     2 * time.Minute,
		Retention:       70 * time.Minute,
		DefaultInterval: 30 * time.Second,
	}
}

// Validate reports all problems of the options together, each with its key, its value and what is allowed. A
// retention of at least length + grace is what makes sure that no window is forgotten before it was published.
func (o *Options) Validate() error {
	var problems []error
	check := func(key string, d, low, high time.Duration) {
		switch {
		case d < low || d > high:
			problems = append(problems, fmt.Errorf("window.%s: %v is not within %v..%v", key, d, low, high))
		case d%time.Millisecond != 0:
			problems = append(problems, fmt.Errorf("window.%s: %v is not a number of whole milliseconds", key, d))
		}
	}
	check("length", o.Length, lengthMin, lengthMax)
	check("grace", o.Grace, 0, graceMax)
	check("idleTimeout", o.IdleTimeout, time.Millisecond, lengthMax)
	check("defaultInterval", o.DefaultInterval, time.Millisecond, lengthMax)

	// The bounds of the retention follow from length and grace; out of range those are reported, and not used.
	length := min(max(o.Length, lengthMin), lengthMax)
	grace := min(max(o.Grace, 0), graceMax)
	low, high := length+grace, rememberedMax*length
	switch {
	case o.Retention < low || o.Retention > high:
		problems = append(problems, fmt.Errorf(
			"window.retention: %v is not within %v..%v (window.length + window.grace to %d times window.length)",
			o.Retention, low, high, rememberedMax))
	case o.Retention%time.Millisecond != 0:
		problems = append(problems,
			fmt.Errorf("window.retention: %v is not a number of whole milliseconds", o.Retention))
	}
	return errors.Join(problems...)
}
