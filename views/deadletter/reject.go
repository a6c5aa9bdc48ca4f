package deadletter

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors/validate"
)

// Reject is a record of traffic-rejects.
type Reject struct {
	At         codecs.Source   // where it lies on traffic-rejects
	Source     codecs.Source   // of the raw record; it identifies the reject
	ReceivedAt int64           // first arrival, epoch milliseconds
	RejectedAt int64           // timestamp of the reject, epoch milliseconds
	Reason     validate.Reason // of the first rule that failed
	Detail     string          // every rule that failed
	Key        []byte          // of the raw record; nil for a null
	Value      []byte
	Headers    []kgo.RecordHeader

	Redrive  *codecs.Source  // the reject that the raw record had sent again; nil where it was no redrive
	Origin   codecs.Source   // the first reject of the chain: Source itself where the raw record was no redrive
	Waive    validate.Reason // what that redrive had waived
	Kind     codecs.Kind     // gantry-kind of the raw record; empty for a reading
	Abridged bool            // key and value are a part of the message, which lies at Source

	Reading codecs.RawReading // of a reading that can be decoded now
	Err     error             // why the message cannot be decoded; nil where it can
}

// Parse reads a record of traffic-rejects. The message in it is not decoded; see Decode.
func Parse(r *kgo.Record) (*Reject, error) {
	j := &Reject{
		At:         codecs.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset},
		RejectedAt: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value, Headers: r.Headers,
	}
	var errs [5]error
	var redrive, origin codecs.Source
	for _, h := range r.Headers {
		switch text := string(h.Value); h.Key {
		case codecs.HeaderSource:
			j.Source, errs[0] = codecs.ParseSource(text)
		case codecs.HeaderReceivedAt:
			j.ReceivedAt, errs[1] = strconv.ParseInt(text, 10, 64)
		case codecs.HeaderReason:
			j.Reason, errs[2] = validate.ParseReason(text)
		case codecs.HeaderDetail:
			j.Detail = text
		case codecs.HeaderKind:
			j.Kind = codecs.Kind(text)
		case codecs.HeaderAbridged:
			j.Abridged = true
		// These came with the message: what is not well-formed was not written by a redrive.
		case codecs.HeaderRedrive:
			if s, err := codecs.ParseSource(text); err == nil {
				redrive, j.Redrive = s, &redrive
			}
		case codecs.HeaderOrigin:
			origin, _ = codecs.ParseSource(text)
		case codecs.HeaderWaive:
			j.Waive, _ = validate.ParseReason(text)
		}
	}
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%v is no reject of Gantry: %w", j.At, err)
		}
	}
	if j.Source.Topic == "" || j.Reason == validate.ReasonNone {
		return nil, fmt.Errorf("%v is no reject of Gantry: it has no %s or no %s", j.At, codecs.HeaderSource,
			codecs.HeaderReason)
	}
	switch {
	case j.Redrive == nil:
		j.Origin = j.Source
	case origin.Topic == "":
		j.Origin = redrive
	default:
		j.Origin = origin
	}
	return j, nil
}

// Decoder decodes the value of a reading of traffic-raw. An error is a verdict on the bytes, or wraps ErrNoAnswer.
type Decoder interface {
	Decode(ctx context.Context, data []byte, r *codecs.RawReading) error
}

// Decode decodes the message: a reading, or a sensor's metadata, of which Reading then holds the id alone.
func (j *Reject) Decode(ctx context.Context, d Decoder) {
	switch {
	case j.Abridged:
		j.Err = fmt.Errorf("only a part of the message is here; the whole lies at %v", j.Source)
	case j.Kind == codecs.KindSensor:
		j.Err = j.decodeSensor()
	case j.Kind != "":
		j.Err = fmt.Errorf("%s %.64q has no place on traffic-raw", codecs.HeaderKind, string(j.Kind))
	default:
		j.Err = d.Decode(ctx, j.Value, &j.Reading)
	}
	if j.Err != nil {
		j.Reading = codecs.RawReading{}
	}
}

func (j *Reject) decodeSensor() error {
	if len(j.Key) == 0 || len(j.Key) > codecs.SensorIDBytesMax {
		return fmt.Errorf("the key of metadata is the sensor_id: 1 to %d bytes, not %d", codecs.SensorIDBytesMax, len(j.Key))
	}
	if j.Value != nil {
		if _, err := codecs.ParseSensor(j.Value, string(j.Key)); err != nil {
			return err
		}
	}
	j.Reading.SensorID = string(j.Key)
	return nil
}

// SensorID is the sensor that the message names, or else its key; empty where it has neither.
func (j *Reject) SensorID() string {
	if j.Reading.SensorID != "" {
		return j.Reading.SensorID
	}
	return string(j.Key)
}

// isAt tells whether this is the place of the reject, or of its raw record.
func (j *Reject) isAt(s codecs.Source) bool { return s == j.At || s == j.Source }

// own tells whether a header belongs to Gantry and not to the message. gantry-kind says what the message is.
func own(header string) bool {
	return strings.HasPrefix(header, "gantry-") && header != codecs.HeaderKind
}
