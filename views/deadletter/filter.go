package deadletter

import (
	"math"
	"slices"

	"gantry/codecs"
	"gantry/processors/validate"
)

// Filter says which rejects are meant. Its zero value means all of them.
type Filter struct {
	Reasons []validate.Reason // any of these; empty: all
	Sensor  string            // this is the sensor that the message names, or its key; empty: all
	Since   int64             // first arrival at this time or later, epoch milliseconds
	Until   int64             // first arrival before this time; 0: without end
	Sources []codecs.Source   // any of these, by the raw record or by the place on traffic-rejects; empty: all
}

// admits tells whether a reject, decoded where it can be, is meant.
func (f *Filter) admits(j *Reject) bool {
	return f.mayAdmit(j) && (f.Sensor == "" || f.Sensor == j.SensorID() || f.Sensor == string(j.Key))
}

// mayAdmit is what can be told before the message is decoded.
func (f *Filter) mayAdmit(j *Reject) bool {
	return (len(f.Reasons) == 0 || slices.Contains(f.Reasons, j.Reason)) &&
		j.ReceivedAt >= f.Since && j.ReceivedAt < f.until() &&
		(len(f.Sources) == 0 || slices.ContainsFunc(f.Sources, j.isAt))
}

func (f *Filter) until() int64 {
	if f.Until == 0 {
		return math.MaxInt64
	}
	return f.Until
}

// offsets is a set of raw records, one bit each, by which repeats of a reject are known.
type offsets map[string]map[wordAt]uint64 // by topic

type wordAt struct {
	partition int32
	word      int64
}

// add tells whether the source was not in the set yet.
func (o offsets) add(s codecs.Source) bool {
	words := o[s.Topic]
	if words == nil {
		words = make(map[wordAt]uint64)
		o[s.Topic] = words
	}
	at, bit := wordAt{s.Partition, s.Offset >> 6}, uint64(1)<<(s.Offset&63)
	had := words[at]
	words[at] = had | bit
	return had&bit == 0
}
