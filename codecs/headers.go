package codecs

import (
	"fmt"
	"strconv"
	"strings"
)

// Header names of Kafka records.
const (
	HeaderKind       = "gantry-kind"        // what a record is; see Kind
	HeaderSource     = "gantry-source"      // TOPIC/PARTITION/OFFSET of the raw record
	HeaderReceivedAt = "gantry-received-at" // timestamp of the raw record, epoch milliseconds
	HeaderReason     = "gantry-reason"      // on a reject: the first rule that failed
	HeaderDetail     = "gantry-detail"      // on a reject: every rule that failed, readable
	HeaderRedrive    = "gantry-redrive"     // on a raw record: the source of the reject that it sends again
	HeaderOrigin     = "gantry-origin"      // on a redriven record: the source of the first reject, if it was redriven before
	HeaderWaive      = "gantry-waive"       // on a redriven record: the one reason that lets it pass
	HeaderAbridged   = "gantry-abridged"    // on a reject that is not whole: bytes of the value that it is cut from
	HeaderKey        = "gantry-key"         // on the loop: the original key, absent for a null
	HeaderOrdinal    = "gantry-ordinal"     // on a window: 1, 2, 3 … per sensor, so that a reader can tell repeats
)

// AbridgedBlock is what an abridged key or value is a multiple of, in bytes: whoever compares it with the message that it
// was cut from can do so block by block.
const AbridgedBlock = 4 << 10

// Kind is the value of HeaderKind.
type Kind string

// The kinds of records. KindSensor stands on traffic-raw, the others on traffic-events.
const (
	KindReading Kind = "reading"
	KindWindow  Kind = "window"
	KindSilence Kind = "silence"
	KindSensor  Kind = "sensor"
)

// Source names a record by its place: TOPIC/PARTITION/OFFSET.
type Source struct {
	Topic     string
	Partition int32
	Offset    int64
}

// AppendTo appends the text form of s.
func (s Source) AppendTo(b []byte) []byte {
	b = append(b, s.Topic...)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(s.Partition), 10)
	b = append(b, '/')
	return strconv.AppendInt(b, s.Offset, 10)
}

func (s Source) String() string { return string(s.AppendTo(nil)) }

// ParseSource reads the text form of a source. A topic may hold no slash.
func ParseSource(text string) (Source, error) {
	topic, rest, ok := strings.Cut(text, "/")
	part, off, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || topic == "" {
		return Source{}, fmt.Errorf("source %q is not TOPIC/PARTITION/OFFSET", text)
	}
	p, err := strconv.ParseInt(part, 10, 32)
	if err != nil || p < 0 {
		return Source{}, fmt.Errorf("source %q: partition is not a number from 0", text)
	}
	o, err := strconv.ParseInt(off, 10, 64)
	if err != nil || o < 0 {
		return Source{}, fmt.Errorf("source %q: offset is not a number from 0", text)
	}
	return Source{Topic: topic, Partition: int32(p), Offset: o}, nil
}
