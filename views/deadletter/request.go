package deadletter

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/validate"
)

// Request says what is to be redriven.
type Request struct {
	Filter Filter
	Waive  validate.Reason // lets the messages pass in spite of this reason; ReasonNone waives nothing
	Again  bool            // also what came of a redrive that waived the same, and was rejected again
	DryRun bool            // decide, and send nothing
}

// Validate reports what can never be redriven.
func (q *Request) Validate() error {
	if q.Waive != validate.ReasonNone && !q.Waive.Waivable() {
		return fmt.Errorf("%v cannot be waived: %s", q.Waive, unwaivable[q.Waive])
	}
	return nil
}

var unwaivable = map[validate.Reason]string{
	validate.ReasonUndecodable:  "there is no value to take",
	validate.ReasonMissingField: "there is no value to take",
	validate.ReasonMisrouted:    "it need not be, a redrive places the message right by itself",
	validate.ReasonLate: "its window was published and forgotten, and would be published again with this reading " +
		"alone",
	validate.ReasonDuplicate: "an equal reading was accepted, and counts",
	validate.ReasonConflict:  "a sensor has one reading at a time, and the first one stands",
}

// Fate is what a redrive makes of a reject.
type Fate string

// The fates.
const (
	FateSent     Fate = "sent"             // sent; with DryRun, would be
	FateRedriven Fate = "already_redriven" // it was redriven before
	FateAgain    Fate = "rejected_again"   // it came of a redrive that waived the same; see Request.Again
	FateRefused  Fate = "refused"          // it cannot be redriven
)

// Verdict is what is decided about one reject.
type Verdict struct {
	Reject    *Reject
	Fate      Fate
	Why       string        // of FateRefused
	Place     codecs.Source // on traffic-raw: of the earlier redrive, or where this one was sent to
	partition int32         // to send to
}

// decide says what becomes of a decoded reject.
func (q *Request) decide(j *Reject, x *index, partitions int) Verdict {
	v := Verdict{Reject: j, Fate: FateRefused}
	if at, ok := x.find(j.Source); ok {
		v.Fate, v.Place = FateRedriven, at
		return v
	}
	named := len(q.Filter.Sources) > 0
	if j.Redrive != nil && j.Waive == q.Waive && !q.Again && !named {
		v.Fate = FateAgain
		return v
	}
	switch {
	case j.Source.Topic != x.topic:
		v.Why = fmt.Sprintf("it comes from %s, and topics.raw is %s", j.Source.Topic, x.topic)
	case errors.Is(j.Err, ErrNoAnswer):
		v.Why = fmt.Sprintf("it cannot be decoded now (%v); redrive it when the registry answers", j.Err)
	case j.Err != nil:
		v.Why = "it would be rejected again: " + j.Err.Error()
	case j.Reading.SensorID == "":
		v.Why = "it would be rejected again: sensor_id is missing"
	case j.Kind == codecs.KindSensor && !named:
		v.Why = fmt.Sprintf("it is a sensor's metadata, and would replace what was loaded since; name it (%v) to redrive it",
			j.Source)
	default:
		v.partition = processors.PartitionOf(j.Reading.SensorID, partitions)
		if x.reaches(j, v.partition) {
			v.Fate = FateSent
			break
		}
		v.Why = fmt.Sprintf("retention has deleted the part of %s/%d where an earlier redrive of it would be, so that "+
			"nobody can tell whether there was one", x.topic, v.partition)
	}
	return v
}

// record is the message as it is sent again. Its timestamp is not before its first arrival, also where the clock of
// this machine is: a look for redrives begins at that time.
func (q *Request) record(v *Verdict, topic string, now time.Time) *kgo.Record {
	j := v.Reject
	r := &kgo.Record{
		Topic: topic, Partition: v.partition, Key: []byte(j.Reading.SensorID), Value: j.Value,
		Timestamp: time.UnixMilli(max(now.UnixMilli(), j.ReceivedAt)),
	}
	for _, h := range j.Headers {
		if !own(h.Key) {
			r.Headers = append(r.Headers, h)
		}
	}
	add := func(key, value string) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	add(codecs.HeaderRedrive, j.Source.String())
	add(codecs.HeaderReceivedAt, strconv.FormatInt(j.ReceivedAt, 10))
	if j.Origin != j.Source {
		add(codecs.HeaderOrigin, j.Origin.String())
	}
	if q.Waive != validate.ReasonNone {
		add(codecs.HeaderWaive, q.Waive.String())
	}
	return r
}
