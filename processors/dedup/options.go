package dedup

import (
	"errors"
	"fmt"
	"math"
	"time"

	"gantry/processors/validate"
)

// Options are the settings that decisions depend on. Two processes that judge the same log with different options may
// differ in their verdicts.
type Options struct {
	Rules           validate.Options
	WindowLength    time.Duration // window.length
	WindowRetention time.Duration // window.retention: how long a window is remembered after its start
}

// DefaultOptions returns the defaults of the configuration.
func DefaultOptions() Options {
	return Options{
		Rules:           validate.DefaultOptions(),
		WindowLength:    5 * time.Minute,
		WindowRetention: 70 * time.Minute,
	}
}

// Validate reports all problems of the options together, each with its key, its value and what is allowed.
func (o *Options) Validate() error {
	problems := []error{o.Rules.Validate()}
	problem := func(key string, value time.Duration, allowed string) {
		problems = append(problems, fmt.Errorf("window.%s: %v is not %s", key, value, allowed))
	}
	if o.WindowLength < time.Millisecond || o.WindowLength%time.Millisecond != 0 {
		problem("length", o.WindowLength, "1 or more whole milliseconds")
	}
	least := o.Rules.MaxAge + o.Rules.MaxAhead + o.WindowLength
	if o.WindowRetention < least || o.WindowRetention%time.Millisecond != 0 {
		problem("retention", o.WindowRetention,
			fmt.Sprintf("whole milliseconds, at least maxAge + maxAhead + length, which is %v", least))
	}
	return errors.Join(problems...)
}

// rememberedFrom returns the start of the oldest window that is remembered at this watermark: of those that are aligned
// to the epoch, the first with watermark − start ≤ retention. An event time is late exactly if it is before that.
func (o *Options) rememberedFrom(watermark int64) int64 {
	length, retention := o.WindowLength.Milliseconds(), o.WindowRetention.Milliseconds()
	if watermark < math.MinInt64+retention+length {
		return math.MinInt64
	}
	limit := watermark - retention
	if behind := floorMod(limit, length); behind > 0 {
		return limit - behind + length
	}
	return limit
}

func floorMod(a, n int64) int64 {
	m := a % n
	if m < 0 {
		m += n
	}
	return m
}
