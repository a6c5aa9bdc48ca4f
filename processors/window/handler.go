package window

import (
	"context"
	"log/slog"
	"slices"
	"strconv"

	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/store"
)

// HandlerOptions are what the group's wiring needs beside the windows' rules.
type HandlerOptions struct {
	Topics      processors.Topics
	Rules       Options
	EventSchema int32 // id of codecs.EventSchema in the registry
	Logger      *slog.Logger
	Metrics     prometheus.Registerer
}

// Handler is the window group. Its one input is traffic-events, to which it publishes its windows too: it skips those
// by their header.
type Handler struct {
	o       HandlerOptions
	metrics *metrics
}

var _ processors.Handler = (*Handler)(nil)

// NewHandler returns the handler of the window group.
func NewHandler(o HandlerOptions) *Handler {
	return &Handler{o: o, metrics: newMetrics(o.Metrics)}
}

// Stage returns the goka group around the handler; the caller fills in where it runs. goka allows no group to list its
// input among its outputs, and outputs go through the engine, so there are none to name.
func (h *Handler) Stage() *processors.Stage {
	return &processors.Stage{
		Group: processors.WindowGroup, Inputs: []goka.Stream{h.o.Topics.Events}, Sends: []string{string(h.o.Topics.Events)},
		Handler: h,
		Logger:  h.o.Logger, Metrics: h.o.Metrics,
	}
}

// New returns the state of a sensor of which nothing is known.
func (h *Handler) New() store.State { return new(State) }

// Decode reads a state from the table.
func (h *Handler) Decode(b []byte) (store.State, error) { return DecodeState(b) }

// Handle folds the readings of a batch and applies its silences.
func (h *Handler) Handle(_ context.Context, l *store.Lane, input int, b *processors.Batch) error {
	if err := l.Begin(); err != nil {
		return err
	}
	defer l.End()
	for _, r := range b.Records {
		var err error
		switch kindOf(r) {
		case codecs.KindReading:
			err = h.reading(l, b, r)
		case codecs.KindSilence:
			err = h.silence(l, b.Partition, r)
		}
		if err != nil {
			return err
		}
	}
	l.Handled(input, b.Last())
	return nil
}

func kindOf(r *kgo.Record) codecs.Kind {
	for i := range r.Headers {
		if r.Headers[i].Key == codecs.HeaderKind {
			return codecs.Kind(r.Headers[i].Value)
		}
	}
	return ""
}

func (h *Handler) reading(l *store.Lane, b *processors.Batch, r *kgo.Record) error {
	var v codecs.Reading
	if err := codecs.DecodeReading(r.Value, &v); err != nil {
		h.foreign(r, err)
		return nil
	}
	c, err := l.Cell(v.SensorID)
	if err != nil {
		return err
	}
	if r.Offset <= c.Applied() {
		h.metrics.repeats.Inc()
		return nil
	}
	st := c.State.(*State)
	outcome := st.ApplyReading(&v, &h.o.Rules, h.publish(l, b.Partition))
	if outcome == Gap && slices.ContainsFunc(b.Unread, func(u processors.Hole) bool { return u.Between(c.Applied(), r.Offset) }) {
		// What is missing was deleted before it was read: it never comes. Waiting for it would leave the sensor without
		// windows for good.
		st.SkipTo(v.Sequence)
		outcome = st.ApplyReading(&v, &h.o.Rules, h.publish(l, b.Partition))
		h.metrics.holes.Inc()
	}
	switch outcome {
	case Applied, Late:
		l.Applied(c, r.Offset)
	case Repeat:
		h.metrics.repeats.Inc()
	case Gap:
		// Behind a gap nothing is taken: the missing readings come again, and what follows them too.
		h.metrics.gaps.Inc()
	}
	if outcome == Late {
		h.metrics.late.Inc()
	}
	return nil
}

func (h *Handler) silence(l *store.Lane, partition int32, r *kgo.Record) error {
	var v codecs.SensorSilence
	if err := codecs.DecodeSilence(r.Value, &v); err != nil {
		h.foreign(r, err)
		return nil
	}
	c, err := l.Cell(v.SensorID)
	if err != nil {
		return err
	}
	if r.Offset <= c.Applied() {
		return nil
	}
	if c.State.(*State).ApplySilence(&v, &h.o.Rules, h.publish(l, partition)) {
		l.Applied(c, r.Offset)
	}
	return nil
}

// foreign reports a record that no Gantry wrote. There is no reject for it: traffic-events is Gantry's own.
func (h *Handler) foreign(r *kgo.Record, err error) {
	h.metrics.foreign.Inc()
	h.metrics.errors.Inc()
	h.o.Logger.Warn("a record of traffic-events cannot be read and is skipped",
		"component", "window", "partition", r.Partition, "offset", r.Offset, "error", err)
}

// publish sends windows to the partition that their readings came from.
func (h *Handler) publish(l *store.Lane, partition int32) Publish {
	return func(w *codecs.WindowAggregate, ordinal int64) {
		o := l.Output(string(h.o.Topics.Events), partition)
		o.SetKeyString(w.SensorID)
		b := codecs.AppendWindow(o.Buffer(), h.o.EventSchema, w)
		n := len(b)
		b = strconv.AppendInt(b, ordinal, 10)
		o.Own(b)
		o.Value = b[:n:n]
		o.AddHeader(codecs.HeaderKind, kindWindow)
		o.AddHeader(codecs.HeaderOrdinal, b[n:])
		l.Emit(o)
		h.metrics.published(w.CloseReason)
	}
}

var kindWindow = []byte(codecs.KindWindow)
