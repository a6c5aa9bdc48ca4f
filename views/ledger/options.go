package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gantry/codecs"
)

// RawDecoder decodes the value of a reading of traffic-raw. An error is a verdict on the bytes, undecodable, unless ctx
// has ended: whoever waits for a schema registry does it inside Decode. Strings in r may alias data.
type RawDecoder interface {
	Decode(ctx context.Context, data []byte, r *codecs.RawReading) error
}

// SensorParser reads the value of a metadata record of traffic-raw. An error says that the record is not of that form,
// or that its id is not the key.
type SensorParser func(value []byte, key string) (codecs.Sensor, error)

// Options say what the topics were written with. They must be those of the processors: a ledger with another window
// length finds every window wrong.
type Options struct {
	RawTopic     string
	EventsTopic  string
	RejectsTopic string

	// Keyed is raw.keyed: each record of traffic-raw lies on the partition of its sensor. Only then is the order of a
	// sensor's metadata and readings known, and coordinates, road and interval that were filled in can be checked.
	Keyed bool

	Length          time.Duration // window.length
	Grace           time.Duration // window.grace
	Retention       time.Duration // window.retention
	DefaultInterval time.Duration // window.defaultInterval
	MaxAhead        time.Duration // validate.maxAhead: how far an event time may be beyond its arrival

	Decoder     RawDecoder
	ParseSensor SensorParser
}

// DefaultOptions are those of the contract. Decoder and ParseSensor remain to be set.
func DefaultOptions() Options {
	return Options{
		RawTopic:        "traffic-raw",
		EventsTopic:     "traffic-events",
		RejectsTopic:    "traffic-rejects",
		Keyed:           true,
		Length:          5 * time.Minute,
		Grace:           time.Minute,
		Retention:       70 * time.Minute,
		DefaultInterval: 30 * time.Second,
		MaxAhead:        5 * time.Minute,
	}
}

// Validate reports all problems together.
func (o *Options) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.RawTopic != "" && o.EventsTopic != "" && o.RejectsTopic != "", "topics.raw, topics.events and "+
		"topics.rejects are %q, %q and %q: each needs a name", o.RawTopic, o.EventsTopic, o.RejectsTopic)
	check(o.RawTopic != o.EventsTopic && o.EventsTopic != o.RejectsTopic && o.RejectsTopic != o.RawTopic,
		"topics.raw, topics.events and topics.rejects are %q, %q and %q: they must differ", o.RawTopic, o.EventsTopic,
		o.RejectsTopic)
	check(wholeMillis(o.Length) && o.Length > 0, "window.length is %v: whole milliseconds above 0 are allowed", o.Length)
	check(wholeMillis(o.Grace) && o.Grace >= 0, "window.grace is %v: whole milliseconds from 0 are allowed", o.Grace)
	check(wholeMillis(o.Retention) && o.Retention >= o.Length+o.Grace,
		"window.retention is %v: whole milliseconds from window.length + window.grace (%v) are allowed", o.Retention,
		o.Length+o.Grace)
	check(wholeMillis(o.DefaultInterval) && o.DefaultInterval > 0,
		"window.defaultInterval is %v: whole milliseconds above 0 are allowed", o.DefaultInterval)
	check(o.MaxAhead >= 0, "validate.maxAhead is %v: it must not be negative", o.MaxAhead)
	check(o.Decoder != nil, "a decoder of %s is needed", o.RawTopic)
	check(o.ParseSensor != nil, "a parser of sensor metadata is needed")
	return errors.Join(errs...)
}

func wholeMillis(d time.Duration) bool { return d%time.Millisecond == 0 }
