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

// copyHeaders copies the headers that the message came with, but for those that are written anew.
func (m *message) copyHeaders(o *store.Output) {
	for _, hd := range m.record.Headers {
		switch hd.Key {
		case codecs.HeaderSource, codecs.HeaderReceivedAt, codecs.HeaderReason, codecs.HeaderDetail, codecs.HeaderKey:
		default:
			o.AddHeader(hd.Key, bytes.Clone(hd.Value))
		}
	}
}
