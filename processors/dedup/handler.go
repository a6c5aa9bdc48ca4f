package dedup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/validate"
	"gantry/store"
)

// HandlerOptions are what the group's wiring needs beside the rules.
type HandlerOptions struct {
	Topics      processors.Topics
	Rules       Options
	Schemas     codecs.SchemaSource // the registry
	EventSchema int32               // id of codecs.EventSchema there
	Logger      *slog.Logger
	Metrics     prometheus.Registerer
}

// Handler is the dedup group: it decodes the messages of traffic-raw, decides, and sends the outcome. With un-keyed
// topics it first routes them to the loop by sensor, and judges what comes back.
type Handler struct {
	o       HandlerOptions
	decoder codecs.RawDecoder
	metrics *metrics
	scratch sync.Pool
}

var _ processors.Handler = (*Handler)(nil)

// NewHandler returns the handler of the dedup group.
func NewHandler(o HandlerOptions) *Handler {
	h := &Handler{o: o, metrics: newMetrics(o.Metrics, string(o.Topics.Raw))}
	h.scratch.New = func() any { return new([]message) }
	h.decoder.OnWait = func(id int32, err error, wait time.Duration) {
		h.metrics.registry.Inc()
		o.Logger.Warn("the registry does not say what a schema is; its messages wait, nothing is rejected for it",
			"component", "dedup", "schema", id, "error", err, "again_in", wait)
	}
	return h
}

// Stage returns the goka group around the handler; the caller fills in where it runs.
func (h *Handler) Stage() *processors.Stage {
	s := &processors.Stage{
		Group: processors.DedupGroup, Inputs: []goka.Stream{h.o.Topics.Raw},
		Outputs: []goka.Stream{h.o.Topics.Events, h.o.Topics.Rejects}, Handler: h,
		Sends:  []string{string(h.o.Topics.Events)},
		Large:  []string{string(h.o.Topics.Rejects)},
		Logger: h.o.Logger, Metrics: h.o.Metrics,
	}
	if !h.o.Topics.Keyed {
		s.Inputs, s.Loop, s.Ahead = append(s.Inputs, processors.DedupLoop), true, isMetadata
		s.Large = append(s.Large, string(processors.DedupLoop))
	}
	return s
}

// New returns the state of a sensor of which nothing is known.
func (h *Handler) New() store.State { return new(State) }

// Decode reads a state from the table.
func (h *Handler) Decode(b []byte) (store.State, error) { return DecodeState(b) }

// Handle decodes the batch as far as its writers' schemas are known, handles that, and waits for the registry only
// then: what needs no answer does not wait for one. While it waits it holds no lock.
func (h *Handler) Handle(ctx context.Context, l *store.Lane, input int, b *processors.Batch) error {
	if b.Ahead {
		return h.routeAhead(l, b.Records)
	}
	scratch := h.scratch.Get().(*[]message)
	defer h.scratch.Put(scratch)
	for rest := b.Records; len(rest) > 0; {
		ms, needed := h.decode((*scratch)[:0], rest, input)
		*scratch = ms
		if err := h.handle(l, input, b.Partition, ms); err != nil {
			return err
		}
		clear(ms) // the records must not outlive the batch
		rest = rest[len(ms):]
		if needed != nil {
			h.o.Logger.Info("schema seen for the first time, asking the registry", "component", "dedup", "schema", needed.ID)
			if err := h.decoder.Learn(ctx, needed.ID, h.o.Schemas); err != nil {
				return err
			}
		}
	}
	if err := l.Begin(); err != nil {
		return err
	}
	defer l.End()
	l.Handled(input, b.Last()) // which may be the marker of a transaction, behind the last record
	return nil
}

// routeAhead sends metadata to the loop ahead of a backlog, where the sensors' readings may be that lie in other
// partitions. It comes again in its place; there its second copy is dropped by what the state remembers of its sources,
// and what is not proper metadata is rejected, once.
func (h *Handler) routeAhead(l *store.Lane, records []*kgo.Record) error {
	if err := l.Begin(); err != nil {
		return err
	}
	defer l.End()
	for _, r := range records {
		var m message
		m.fromRaw(r)
		if _, err := m.sensor(); err == nil && m.excess(l) <= 0 {
			h.route(l, &m)
		}
	}
	return nil
}

// isMetadata tells whether a record of traffic-raw says that it is a sensor's metadata.
func isMetadata(r *kgo.Record) bool {
	return slices.ContainsFunc(r.Headers, func(hd kgo.RecordHeader) bool {
		return hd.Key == codecs.HeaderKind && string(hd.Value) == string(codecs.KindSensor)
	})
}

// decode reads records up to the first whose schema has to be asked for.
func (h *Handler) decode(ms []message, records []*kgo.Record, input int) ([]message, *codecs.SchemaNeededError) {
	for _, r := range records {
		ms = append(ms, message{})
		m := &ms[len(ms)-1]
		if input == inputRaw {
			m.fromRaw(r)
		} else {
			m.fromLoop(r)
		}
		if m.err != nil || m.metadata {
			continue
		}
		m.err = h.decoder.Decode(m.value, &m.reading)
		var needed *codecs.SchemaNeededError
		if m.err != nil && errors.As(m.err, &needed) {
			return ms[:len(ms)-1], needed
		}
	}
	return ms, nil
}

func (h *Handler) handle(l *store.Lane, input int, partition int32, ms []message) error {
	if len(ms) == 0 {
		return nil
	}
	if err := l.Begin(); err != nil {
		return err
	}
	defer l.End()
	route := !h.o.Topics.Keyed && input == inputRaw
	if route {
		// Metadata first: it must not wait behind the readings of a backlog.
		for i := range ms {
			if ms[i].metadata {
				h.route(l, &ms[i])
			}
		}
	}
	for i := range ms {
		m := &ms[i]
		var err error
		switch {
		case route && m.metadata:
		case route:
			h.route(l, m)
		case m.metadata:
			err = h.learn(l, partition, m)
		default:
			err = h.judge(l, partition, m)
		}
		if err != nil {
			return err
		}
	}
	last := ms[len(ms)-1].record
	l.Handled(input, last.Offset)
	h.metrics.latency.Observe(time.Since(last.Timestamp).Seconds())
	return nil
}

// judge decides on a reading.
func (h *Handler) judge(l *store.Lane, partition int32, m *message) error {
	if m.err != nil {
		h.undecodable(l, m)
		return nil
	}
	a := Arrival{Source: m.source, ReceivedAt: m.receivedAt, Waive: m.waive}
	r := &m.reading
	if r.SensorID != "" {
		a.Misrouted = h.misrouted(m, r.SensorID, partition)
	}
	if r.SensorID == "" || a.Misrouted != "" {
		d := Decide(nil, r, &a, &h.o.Rules)
		h.reject(l, m, d.Reason, d.Detail)
		return nil
	}
	c, st, repeat, err := h.cell(l, r.SensorID, codecs.KindReading, m)
	if err != nil || repeat {
		return err
	}
	d := Decide(st, r, &a, &h.o.Rules)
	if !d.Accepted {
		h.reject(l, m, d.Reason, d.Detail)
		return nil
	}
	d.Reading.SensorID = c.Key()
	l.Applied(c, m.record.Offset)
	o := l.Output(string(h.o.Topics.Events), partition)
	o.SetKeyString(c.Key())
	b := codecs.AppendReading(o.Buffer(), h.o.EventSchema, &d.Reading)
	n := len(b)
	b = m.source.AppendTo(b)
	s := len(b)
	b = strconv.AppendInt(b, m.receivedAt, 10)
	o.Own(b)
	o.Value = b[:n:n]
	o.AddHeader(codecs.HeaderKind, kindReading)
	o.AddHeader(codecs.HeaderSource, b[n:s:s])
	o.AddHeader(codecs.HeaderReceivedAt, b[s:])
	if m.redrive != nil {
		o.AddHeader(codecs.HeaderRedrive, bytes.Clone(m.redrive))
	}
	l.Emit(o)
	h.metrics.accepted.Inc()
	return nil
}

// learn takes a sensor's metadata.
func (h *Handler) learn(l *store.Lane, partition int32, m *message) error {
	sensor, err := m.sensor()
	if err != nil {
		m.err = err
		h.undecodable(l, m)
		return nil
	}
	id := string(m.key)
	if why := h.misrouted(m, id, partition); why != "" {
		h.reject(l, m, validate.ReasonMisrouted, validate.ReasonMisrouted.String()+": "+why)
		return nil
	}
	c, st, repeat, err := h.cell(l, id, codecs.KindSensor, m)
	if err != nil || repeat {
		return err
	}
	if m.value == nil {
		st.RemoveSensor()
	} else {
		st.SetSensor(sensor)
	}
	l.Applied(c, m.record.Offset)
	h.metrics.sensors.Inc()
	return nil
}

// cell returns the sensor's cell and state, or tells that the record has been applied before.
func (h *Handler) cell(
	l *store.Lane, id string, kind codecs.Kind, m *message,
) (c *store.Cell, st *State, repeat bool, err error) {
	c, err = l.Cell(id)
	if err != nil {
		return nil, nil, false, err
	}
	st = c.State.(*State)
	if m.record.Offset <= c.Applied() {
		h.metrics.repeats.Inc()
		return c, st, true, nil
	}
	if !h.o.Topics.Keyed {
		// A router that starts again repeats what it had sent. Only the first copy counts; every copy changes what the
		// state remembers of its sources, also for a sensor that is not known.
		repeat = st.SeenOnLoop(kind, m.source.Partition, m.source.Offset)
		l.Applied(c, m.record.Offset)
		if repeat {
			h.metrics.repeats.Inc()
		}
	}
	return c, st, repeat, nil
}

// misrouted says what is wrong with the key or the partition of a record of traffic-raw, and what to do.
func (h *Handler) misrouted(m *message, id string, partition int32) string {
	if !h.o.Topics.Keyed {
		return ""
	}
	if m.key == nil || string(m.key) != id {
		key := "null"
		if m.key != nil {
			key = fmt.Sprintf("%.64q", m.key)
		}
		return fmt.Sprintf("key %s is not the sensor_id %.64q; send it with that key, or set raw.keyed to false, or redrive it",
			key, id)
	}
	if want := processors.PartitionOf(id, h.o.Topics.Partitions); want != partition {
		return fmt.Sprintf("partition %d is not the key's %d by murmur2; use the Java client's default partitioner "+
			"(librdkafka: murmur2_random), or redrive it", partition, want)
	}
	return ""
}

func (h *Handler) undecodable(l *store.Lane, m *message) {
	h.reject(l, m, validate.ReasonUndecodable, fmt.Sprintf("%s: %.1024s", validate.ReasonUndecodable, m.err))
}

// reject sends the message as it was to traffic-rejects, with what was wrong. Its own headers stay with it, but for
// those that Gantry writes. Of a message that no record can hold it sends a part, see abridge.
func (h *Handler) reject(l *store.Lane, m *message, reason validate.Reason, detail string) {
	partition := m.source.Partition
	if m.key != nil {
		partition = processors.PartitionOf(string(m.key), h.o.Topics.Partitions)
	}
	if m.excess(l) > 0 {
		detail += m.abridge(l)
	}
	o := l.Output(string(h.o.Topics.Rejects), partition)
	o.Key, o.Value = m.key, m.value // the very bytes: an empty key is not a null one
	b := m.source.AppendTo(o.Buffer())
	s := len(b)
	b = strconv.AppendInt(b, m.receivedAt, 10)
	r := len(b)
	b = append(b, detail...)
	o.Own(b)
	m.copyHeaders(o)
	o.AddHeader(codecs.HeaderSource, b[:s:s])
	o.AddHeader(codecs.HeaderReceivedAt, b[s:r:r])
	o.AddHeader(codecs.HeaderReason, []byte(reason.String()))
	o.AddHeader(codecs.HeaderDetail, b[r:])
	l.Emit(o)
	h.metrics.rejected(reason)
}

// route sends a message of traffic-raw to the loop, to the partition of its sensor. What has no sensor is rejected here.
func (h *Handler) route(l *store.Lane, m *message) {
	id := m.reading.SensorID
	if m.metadata {
		if _, m.err = m.sensor(); m.err == nil {
			id = string(m.key)
		}
	}
	if n := m.excess(l); n > 0 && m.err == nil {
		m.err = fmt.Errorf("the message is %d bytes too large for the loop topic", n)
	}
	if m.err != nil {
		h.undecodable(l, m)
		return
	}
	if id == "" {
		d := Decide(nil, &m.reading, &Arrival{Source: m.source, ReceivedAt: m.receivedAt}, &h.o.Rules)
		h.reject(l, m, d.Reason, d.Detail)
		return
	}
	o := l.Output(string(processors.DedupLoop), processors.PartitionOf(id, h.o.Topics.Partitions))
	o.SetKeyString(id)
	o.Value = m.value
	b := m.source.AppendTo(o.Buffer())
	s := len(b)
	b = strconv.AppendInt(b, m.receivedAt, 10)
	r := len(b)
	b = append(b, m.key...)
	o.Own(b)
	m.copyHeaders(o)
	o.AddHeader(codecs.HeaderSource, b[:s:s])
	o.AddHeader(codecs.HeaderReceivedAt, b[s:r:r])
	if m.key != nil {
		o.AddHeader(codecs.HeaderKey, b[r:])
	}
	l.Emit(o)
}

// The group's inputs, by their place in Stage.Inputs.
const (
	inputRaw = iota
	inputLoop
)

var kindReading = []byte(codecs.KindReading)
