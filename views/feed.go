package views

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/store/archive"
	"gantry/views/api"
)

// feed archives one partition.
type feed struct {
	a         *Archiver
	partition int32
	client    *kgo.Client // of the group
	log       *slog.Logger
	cancel    context.CancelFunc
	done      chan struct{}
	flushed   chan struct{} // a flush has made room

	mu      sync.Mutex
	pos     *position
	start   int64              // where the view began to read
	target  codecs.Null[int64] // where the log ended when it did; missing while unknown
	open    bool
	trouble string // what the last try failed with
}

const (
	flushBackoffMin = time.Second
	flushBackoffMax = 30 * time.Second
	finalFlush      = 3 * time.Second
	holeBackoff     = time.Second
)

// progress tells how far the feed is. The first snapshot of the brokers that it is asked with sets its target.
func (f *feed) progress(o *processors.Offsets) api.Partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	part := api.Partition{Partition: f.partition, Start: f.start, Detail: f.trouble}
	if f.pos != nil {
		part.Offset = f.pos.next()
	}
	if o != nil {
		first := o.Starts[f.a.Topic][f.partition]
		part.Start, part.Offset = max(part.Start, first), max(part.Offset, first)
		if end, ok := o.Ends[f.a.Topic][f.partition]; ok && f.open && !f.target.Valid {
			f.target = codecs.Some(end)
		}
	}
	part.End = f.target.V
	part.Ready = f.open && f.target.Valid && part.Offset >= part.End
	return part
}

// run opens the partition's archive and follows the log, again after anything that ends it.
func (f *feed) run(ctx context.Context) {
	defer close(f.done)
	defer f.a.outage.ended(f.partition)
	backoff := flushBackoffMin
	for ctx.Err() == nil {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		var away *openError
		switch {
		case errors.Is(err, archive.ErrForeign):
			f.failed(processors.ErrorTopic)
			f.note(false, err)
			f.a.refuse(err)
			return
		case errors.Is(err, archive.ErrReopen):
			backoff = flushBackoffMin
			f.log.Info("another instance has archived this partition; reading on where it stopped")
		case errors.Is(err, archive.ErrIntentCorrupt):
			f.failed(processors.ErrorArchive)
			f.log.Error("the partition is not archived until its damaged intent is seen to", "error", err)
		case errors.As(err, &away):
			f.failed(processors.ErrorArchive)
			f.a.outage.failed(f.partition, err)
		default:
			f.failed(processors.ErrorArchive)
			f.log.Warn("archiving stopped, trying again", "error", err, "in", backoff)
		}
		f.note(false, err)
		pause(ctx, backoff)
		backoff = min(2*backoff, flushBackoffMax)
	}
}

// openError is what follow returns where the archive of the partition could not be opened.
type openError struct{ error }

func (e *openError) Unwrap() error { return e.error }

func (f *feed) note(open bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open, f.trouble = open, ""
	if err != nil {
		f.trouble = err.Error()
	}
}

func (f *feed) failed(kind string) { processors.Errors(f.a.Metrics).WithLabelValues(kind).Inc() }

// pause waits for d, or a part of it that is chosen at random: partitions that failed together should not come back
// together.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d/2 + rand.N(d/2+1)):
	}
}

// follow runs a view that goes on behind what is archived.
func (f *feed) follow(ctx context.Context) error {
	if err := f.bind(ctx); err != nil {
		return err
	}
	part, err := archive.OpenPartition(ctx, f.a.FS, f.partition, f.a.Options)
	if err != nil {
		return &openError{err}
	}
	defer part.Close()
	pos := new(position)
	next := max(0, part.NextOffset())
	if next > 0 {
		_ = pos.SetOffset(next - 1)
	}
	f.mu.Lock()
	f.pos, f.start = pos, next
	f.mu.Unlock()
	f.note(true, nil)
	f.a.outage.ended(f.partition)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	flusher := make(chan struct{})
	go func() {
		defer close(flusher)
		f.flushLoop(ctx, cancel, part)
	}()
	err = processors.RunView(ctx, processors.ViewOptions{
		Kafka: f.a.Kafka, Topic: goka.Table(f.a.Topic), Only: &f.partition, Logger: f.log,
		Storage: func(string, int32) (storage.Storage, error) { return pos, nil },
		Callback: func(u goka.UpdateContext, _ storage.Storage, _ string, v []byte) error {
			return f.add(ctx, cancel, part, u, v)
		},
	})
	cause := context.Cause(ctx)
	cancel(nil)
	<-flusher
	final, stop := context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
	defer stop()
	if _, err := part.Flush(final); err != nil && !errors.Is(err, archive.ErrReopen) {
		f.log.Info("the last batch is not archived yet; it will be read again", "error", err)
	}
	f.commit(final, part)
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// bind makes sure that the archive is one of this topic. A Monitor sees a topic that is created again while the process
// runs; the archive tells of one that was while it did not.
func (f *feed) bind(ctx context.Context) error {
	adm := kadm.NewClient(f.client)
	topics, err := adm.ListTopics(ctx, f.a.Topic)
	if err != nil {
		return fmt.Errorf("topic id: %w", err)
	}
	d := topics[f.a.Topic]
	if d.Err != nil {
		return fmt.Errorf("topic %s: %w", f.a.Topic, d.Err)
	}
	if d.ID == (kadm.TopicID{}) { // brokers before 2.8 give none
		return nil
	}
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("cluster id: %w", err)
	}
	err = archive.Bind(f.a.FS, archive.Origin{ClusterID: meta.Cluster, Topic: f.a.Topic, TopicID: d.ID.String()})
	if err != nil && !errors.Is(err, archive.ErrForeign) {
		return &openError{err}
	}
	return err
}

// add puts a record into the batch. While the batch is full and cannot be flushed, it waits: traffic-events is the
// buffer, and memory stays bounded.
func (f *feed) add(
	ctx context.Context, stop context.CancelCauseFunc, part *archive.Partition, u goka.UpdateContext, value []byte,
) error {
	if at := part.Position(); u.Offset() > at {
		if err := f.hole(ctx, part, at, u.Offset()); err != nil {
			return err // ctx has ended
		}
	}
	rec, err := record(u, value)
	if err != nil {
		f.failed(processors.ErrorEvent)
		f.log.Warn("a record of traffic-events cannot be read and is not archived", "offset", u.Offset(), "error", err)
	}
	for {
		_, err := part.Add(rec)
		if err == nil {
			return nil
		}
		if !errors.Is(err, archive.ErrFull) {
			stop(err) // goka would take the view up again by itself
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.flushed:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// record reads what the archive needs. A record that cannot be read, or has no number, is none that Gantry wrote: it
// becomes one that is passed over.
func record(u goka.UpdateContext, value []byte) (archive.Record, error) {
	rec := archive.Record{Offset: u.Offset(), Event: &codecs.Event{Kind: codecs.KindSilence}}
	headers := u.Headers()
	kind := codecs.Kind(headers[codecs.HeaderKind])
	if kind == codecs.KindSilence {
		return rec, nil
	}
	var ev codecs.Event
	if err := codecs.DecodeEvent(value, &ev); err != nil {
		return rec, err
	}
	if ev.Kind != kind {
		return rec, fmt.Errorf("the header says %q, the record is a %s", kind, ev.Kind)
	}
	var err error
	number := ev.Reading.Sequence
	if kind == codecs.KindReading {
		rec.Source, err = codecs.ParseSource(string(headers[codecs.HeaderSource]))
	} else {
		rec.Ordinal, err = strconv.ParseInt(string(headers[codecs.HeaderOrdinal]), 10, 64)
		number = rec.Ordinal
	}
	if err != nil {
		return rec, err
	}
	if number < 1 {
		return rec, fmt.Errorf("a %s has the number %d: they begin at 1", kind, number)
	}
	rec.Event = &ev
	return rec, nil
}

// hole tells the archive what retention deleted before it was archived. Offsets may be missing for other reasons, so
// the broker is asked where the log begins, until it answers: behind a hole that nobody noted, each reading would be
// taken for one that comes again after what is missing, and left out.
func (f *feed) hole(ctx context.Context, part *archive.Partition, from, to int64) error {
	adm := kadm.NewClient(f.client)
	for {
		starts, err := adm.ListStartOffsets(ctx, f.a.Topic)
		if err == nil {
			err = starts.Error()
		}
		if s, ok := starts.Lookup(f.a.Topic, f.partition); err == nil && ok {
			part.NoteHole(from, min(s.Offset, to))
			return nil
		}
		f.failed(processors.ErrorBroker)
		f.log.Warn("the broker does not say where the log begins; asking again", "error", err)
		if pause(ctx, holeBackoff); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// flushLoop flushes when a batch is due, and tries again after an error.
func (f *feed) flushLoop(ctx context.Context, cancel context.CancelCauseFunc, part *archive.Partition) {
	backoff := flushBackoffMin
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !part.Due(f.a.Options.Now()) {
			continue
		}
		_, err := part.Flush(ctx)
		switch {
		case err == nil:
			backoff = flushBackoffMin
			f.note(true, nil)
			f.a.outage.ended(f.partition)
			f.commit(ctx, part)
			select {
			case f.flushed <- struct{}{}:
			default:
			}
		case errors.Is(err, archive.ErrReopen):
			cancel(err)
			return
		case ctx.Err() == nil:
			f.failed(processors.ErrorArchive)
			f.a.outage.failed(f.partition, err)
			f.note(true, err)
			pause(ctx, backoff)
			backoff = min(2*backoff, flushBackoffMax)
		}
	}
}

// commit shows the group how far the archive is.
func (f *feed) commit(ctx context.Context, part *archive.Partition) {
	next := part.NextOffset()
	if next < 0 {
		return
	}
	f.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{
		f.a.Topic: {f.partition: {Epoch: -1, Offset: next}},
	}, nil)
}
