package views

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/window"
)

// resendAfter is when a silence that has had no effect is sent again: its record may have been lost with a broker.
const resendAfter = 30 * time.Second

// silences returns what is to be said about silent sensors as of a time up to which everything has been processed: a
// sensor's first silence when nothing was seen of it for the idle timeout, and another whenever one more of its windows
// is over.
func (d *Directory) silences(asOf time.Time, owns func(partition int32) bool) []codecs.SensorSilence {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []codecs.SensorSilence
	now := asOf.UnixMilli()
	for id, e := range d.sensors {
		watermark := watermarkOf(e.state)
		if !watermark.Valid || !e.due(asOf, &d.rules) || !owns(d.partition(id)) {
			continue
		}
		e.silence = now
		out = append(out, codecs.SensorSilence{
			SensorID: id, Since: e.state.LastReceivedAt(), Watermark: watermark.V, AsOf: now,
		})
	}
	return out
}

// due tells whether a silence of a sensor that has a watermark is to be sent as of a time.
func (e *entry) due(asOf time.Time, o *window.Options) bool {
	if asOf.Sub(e.seen) < o.IdleTimeout {
		return false
	}
	known, silent := e.state.SilentAsOf()
	pending := e.silence >= e.seen.UnixMilli() && (!silent || known < e.silence)
	if pending && asOf.UnixMilli()-e.silence < resendAfter.Milliseconds() {
		return false // on its way
	}
	if !silent {
		return true
	}
	closes, open := e.state.NextClose(o)
	return open && closes <= asOf.UnixMilli()
}

// Monitor tells how far the pipeline is: the newest snapshot, nil before the first, and a channel that is closed when
// there is a newer one. A snapshot is begun when the one before it has been published.
type Monitor interface {
	Latest() (*processors.Offsets, <-chan struct{})
}

var _ Monitor = (*processors.Monitor)(nil)

// Silences sends silence events for the sensors of the partitions that this process owns.
type Silences struct {
	Directory   *Directory
	Monitor     Monitor
	Kafka       processors.Kafka
	Topics      processors.Topics
	EventSchema int32
	Owns        func(partition int32) bool
	ViewNext    func() map[int32]int64 // by partition, the next offset that the view of the window table reads
	Logger      *slog.Logger
}

// Run detects silences until ctx ends.
func (s *Silences) Run(ctx context.Context) error {
	client, err := kgo.NewClient(append(s.Kafka.Options(),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return fmt.Errorf("producer of silences: %w", err)
	}
	defer client.Close()
	for {
		asOf, err := s.settled(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		found := s.Directory.silences(asOf, s.Owns)
		for i := range found {
			client.Produce(ctx, s.record(&found[i]), func(r *kgo.Record, err error) {
				if err != nil && ctx.Err() == nil {
					s.Logger.Warn("silence not sent, it will be sent again",
						"component", "silences", "sensor_id", string(r.Key), "error", err)
				}
			})
		}
	}
}

func (s *Silences) record(v *codecs.SensorSilence) *kgo.Record {
	return &kgo.Record{
		Topic:     string(s.Topics.Events),
		Partition: s.Directory.partition(v.SensorID),
		Key:       []byte(v.SensorID),
		Value:     codecs.AppendSilence(nil, s.EventSchema, v),
		Headers: []kgo.RecordHeader{
			{Key: codecs.HeaderKind, Value: []byte(codecs.KindSilence)},
		},
	}
}

// settled returns a time such that everything that had arrived by then has been processed and seen by the view. It
// follows the records: what was in traffic-raw at that time, what dedup made of it, what the window group made of that.
//
// What a commit stands for must lie below the ends that are waited for next: dedup emits a reading, then commits its
// source. The ends of the following snapshot hold it, in whatever order a snapshot asks for ends and commits.
func (s *Silences) settled(ctx context.Context) (time.Time, error) {
	o, err := s.next(ctx)
	if err != nil {
		return time.Time{}, err
	}
	asOf := o.At
	for _, in := range PipelineInputs(s.Topics) {
		for ends := o.Ends[in.Topic]; !o.Reached(in, ends); {
			if o, err = s.next(ctx); err != nil {
				return time.Time{}, err
			}
		}
		if o, err = s.next(ctx); err != nil {
			return time.Time{}, err
		}
	}
	for ends := o.Ends[string(processors.WindowTable)]; !s.viewed(ends); {
		if _, err = s.next(ctx); err != nil {
			return time.Time{}, err
		}
	}
	return asOf, nil
}

// viewed tells whether the view of the window table has read up to these ends.
func (s *Silences) viewed(ends map[int32]int64) bool {
	next := s.ViewNext()
	for p, end := range ends {
		if next[p] < end {
			return false
		}
	}
	return true
}

// next returns the next snapshot.
func (s *Silences) next(ctx context.Context) (*processors.Offsets, error) {
	_, updated := s.Monitor.Latest()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-updated:
		o, _ := s.Monitor.Latest()
		return o, nil
	}
}

// PipelineInputs lists what the pipeline's groups read, in the order in which a record passes.
func PipelineInputs(t processors.Topics) []processors.Input {
	in := []processors.Input{{Group: processors.DedupGroup, Topic: string(t.Raw)}}
	if !t.Keyed {
		in = append(in, processors.Input{Group: processors.DedupGroup, Topic: string(processors.DedupLoop)})
	}
	return append(in, processors.Input{Group: processors.WindowGroup, Topic: string(t.Events)})
}
