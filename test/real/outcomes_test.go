package real

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
)

// Topics of the contract.
const (
	rawTopic     = "traffic-raw"
	eventsTopic  = "traffic-events"
	rejectsTopic = "traffic-rejects"
)

// outcomes are what traffic-events and traffic-rejects say to a reader who, as the contract asks, keeps one record for
// each identity.
type outcomes struct {
	readings map[codecs.Source]codecs.Reading
	rejects  map[codecs.Source]string // reasons
	windows  map[revisionKey]codecs.WindowAggregate
	final    map[windowKey]codecs.WindowAggregate // the highest revision
	repeats  int
	last     map[int32]int64 // by partition of traffic-events, offset of the last reading or window
}

func newOutcomes() *outcomes {
	return &outcomes{
		readings: make(map[codecs.Source]codecs.Reading), rejects: make(map[codecs.Source]string),
		windows: make(map[revisionKey]codecs.WindowAggregate), final: make(map[windowKey]codecs.WindowAggregate),
		last: make(map[int32]int64),
	}
}

func header(r *kgo.Record, name string) string {
	i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == name })
	if i < 0 {
		return ""
	}
	return string(r.Headers[i].Value)
}

// add takes a record of either topic. One that repeats an identity must have the same content.
func (o *outcomes) add(t *testing.T, r *kgo.Record) {
	t.Helper()
	kind := codecs.Kind(header(r, codecs.HeaderKind))
	if kind == codecs.KindSilence {
		return
	}
	var source codecs.Source
	if kind != codecs.KindWindow {
		var err error
		if source, err = codecs.ParseSource(header(r, codecs.HeaderSource)); err != nil {
			t.Fatalf("%s/%d/%d: %v", r.Topic, r.Partition, r.Offset, err)
		}
	}
	if r.Topic == rejectsTopic {
		keep(t, o, o.rejects, source, header(r, codecs.HeaderReason), r)
		return
	}
	o.last[r.Partition] = r.Offset
	var e codecs.Event
	if err := codecs.DecodeEvent(r.Value, &e); err != nil || e.Kind != kind || e.SensorID() != string(r.Key) {
		t.Fatalf("%s/%d/%d: %s of %q with the headers and key of a %s of %q: %v", r.Topic, r.Partition, r.Offset, e.Kind,
			e.SensorID(), kind, r.Key, err)
	}
	if kind == codecs.KindReading {
		keep(t, o, o.readings, source, e.Reading, r)
		return
	}
	key := windowKey{e.Window.SensorID, e.Window.WindowStart}
	keep(t, o, o.windows, revisionKey{key, e.Window.Revision}, e.Window, r)
	if e.Window.Revision > o.final[key].Revision {
		o.final[key] = e.Window
	}
}

func keep[K, V comparable](t *testing.T, o *outcomes, all map[K]V, key K, v V, r *kgo.Record) {
	t.Helper()
	old, repeat := all[key]
	if repeat && old != v {
		t.Fatalf("%s/%d/%d repeats %v with other content: %+v, before it was %+v", r.Topic, r.Partition, r.Offset, key, v,
			old)
	}
	if repeat {
		o.repeats++
	}
	all[key] = v
}

// reasons counts the rejects.
func (o *outcomes) reasons() map[string]int {
	counts := make(map[string]int)
	for _, reason := range o.rejects {
		counts[reason]++
	}
	return counts
}

// counted is how many readings the final windows count.
func (o *outcomes) counted() (n int64) {
	for _, w := range o.final {
		n += int64(w.MessageCount)
	}
	return n
}

// reader follows the outcomes from the first on.
type reader struct {
	client *kgo.Client
	*outcomes
	seen func(r *kgo.Record, at time.Time) // of each record, when it could be read; nil is fine
}

func read(t *testing.T) *reader {
	t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: brokers(t)}.Options(),
		kgo.ConsumeTopics(eventsTopic, rejectsTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &reader{client: client, outcomes: newOutcomes()}
}

// until reads on until done holds for what was read.
func (r *reader) until(t *testing.T, what string, done func(*outcomes) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done(r.outcomes) {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("waited %v for %s with %d readings, %d rejects, %d windows, %d readings in windows", patience, what,
				len(r.readings), len(r.rejects), len(r.final), r.counted())
		}
		at := time.Now()
		fetches.EachRecord(func(record *kgo.Record) {
			r.add(t, record)
			if r.seen != nil {
				r.seen(record, at)
			}
		})
	}
}
