package dedup

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors/validate"
	"gantry/store"
)

// message is a record of traffic-raw on its way to an outcome.
type message struct {
	record     *kgo.Record // as consumed; its offset is what the state applies
	source     codecs.Source
	receivedAt int64
	key        []byte // of the raw record; nil for a null
	value      []byte
	metadata   bool
	waive      validate.Reason
	redrive    []byte // the source of the reject that the message sends again; nil where it does not
	abridged   bool   // its own headers, and all of key and value that does not fit, are left out
	wholeBytes int    // of the value, before it was abridged
	reading    codecs.RawReading
	err        error // undecodable
}

// fromRaw reads what the record itself says.
func (m *message) fromRaw(r *kgo.Record) {
	m.record, m.key, m.value = r, r.Key, r.Value
	m.source = codecs.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	m.receivedAt = r.Timestamp.UnixMilli()
	redriven := false
	var first int64
	for i := range r.Headers {
		switch v := r.Headers[i].Value; r.Headers[i].Key {
		case codecs.HeaderKind:
			m.kind(v)
		case codecs.HeaderRedrive:
			redriven = true
			if len(v) <= sourceBytesMax {
				m.redrive = v
			}
		case codecs.HeaderReceivedAt:
			if ms, err := strconv.ParseInt(string(v), 10, 64); err == nil {
				first = ms
			}
		case codecs.HeaderWaive:
			m.waive, _ = validate.ParseReason(string(v))
		}
	}
	if redriven && first > 0 {
		m.receivedAt = first
	}
	if !redriven {
		m.waive = validate.ReasonNone
	}
	if m.err == nil && !m.metadata && m.value == nil {
		m.err = errNull
	}
}

var errNull = errors.New("the value is null")

// fromLoop reads what the router has written about the raw record.
func (m *message) fromLoop(r *kgo.Record) {
	m.fromRaw(r)
	m.key = nil
	for i := range r.Headers {
		switch v := r.Headers[i].Value; r.Headers[i].Key {
		case codecs.HeaderSource:
			s, err := codecs.ParseSource(string(v))
			if err != nil {
				m.err = err
				continue
			}
			m.source = s
		case codecs.HeaderReceivedAt:
			m.receivedAt, _ = strconv.ParseInt(string(v), 10, 64)
		case codecs.HeaderKey:
			m.key = v
		}
	}
}

func (m *message) kind(v []byte) {
	if string(v) == string(codecs.KindSensor) {
		m.metadata = true
		return
	}
	m.err = fmt.Errorf("%s %.64q has no place on traffic-raw", codecs.HeaderKind, v)
}

// sensor reads the message as metadata; a null value removes the sensor that is its key.
func (m *message) sensor() (codecs.Sensor, error) {
	if m.err != nil {
		return codecs.Sensor{}, m.err
	}
	if len(m.key) == 0 || len(m.key) > codecs.SensorIDBytesMax {
		return codecs.Sensor{}, fmt.Errorf("the key of metadata is the sensor_id: 1 to %d bytes, not %d",
			codecs.SensorIDBytesMax, len(m.key))
	}
	if m.value == nil {
		return codecs.Sensor{}, nil
	}
	return codecs.ParseSensor(m.value, string(m.key))
}

// sourceBytesMax bounds what is carried onwards as a source: a topic's name has 249 bytes at most.
const sourceBytesMax = 288

// addedBytesMax bounds what Gantry adds to a message that it carries onwards: source, arrival, reason and detail.
const addedBytesMax = 8 << 10

// excess is by how many bytes the message is larger than what can be carried onwards. It is above 0 for none that came
// uncompressed, since the topics take what traffic-raw takes; but a batch of a few kilobytes may unpack to any size.
func (m *message) excess(l *store.Lane) int {
	return store.RecordBytes(m.record) + len(m.key) + addedBytesMax - l.RecordBytesMax() // the loop holds the key twice
}

// abridge cuts the message to what can be carried onwards, and returns what the detail has to say about it. A reject
// that is not whole but says so, and where the whole is, is better than a pipeline that stops at anybody's word.
func (m *message) abridge(l *store.Lane) string {
	m.abridged, m.wholeBytes = true, len(m.value)
	room := l.RecordBytesMax() - addedBytesMax
	m.key, m.value = cut(m.key, room/4), cut(m.value, room/2)
	return fmt.Sprintf("; the message is too large to be kept whole: here are the first %d bytes of its value, and none of "+
		"its own headers; it lies at %v", len(m.value), m.source)
}

// cut shortens b to as many whole blocks as there is room for.
func cut(b []byte, room int) []byte {
	if len(b) <= room {
		return b
	}
	n := room - room%codecs.AbridgedBlock
	return b[:n:n]
}

// copyHeaders copies the headers that the message came with, but for those that are written anew.
func (m *message) copyHeaders(o *store.Output) {
	if m.abridged {
		o.AddHeader(codecs.HeaderAbridged, strconv.AppendInt(nil, int64(m.wholeBytes), 10))
		return
	}
	for _, hd := range m.record.Headers {
		switch hd.Key {
		case codecs.HeaderSource, codecs.HeaderReceivedAt, codecs.HeaderReason, codecs.HeaderDetail, codecs.HeaderKey,
			codecs.HeaderAbridged:
		default:
			o.AddHeader(hd.Key, bytes.Clone(hd.Value))
		}
	}
}
