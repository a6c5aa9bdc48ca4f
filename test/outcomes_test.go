package test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

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

// windowKey names a window, revisionKey one of its records; sequenceKey names a reading.
type (
	windowKey struct {
		sensor string
		start  int64
	}
	revisionKey struct {
		windowKey
		revision int32
	}
	sequenceKey struct {
		sensor   string
		sequence int64
	}
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
		t.Fatalf("%s/%d/%d repeats %v with other content: %+v, before it was %+v", r.Topic, r.Partition, r.Offset, key,
			v, old)
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

// results are the final windows without what depends on when a silence was noticed: how often they were published, and
// why. The rest depends on the accepted readings alone.
func (o *outcomes) results() map[windowKey]codecs.WindowAggregate {
	results := maps.Clone(o.final)
	for key, w := range results {
		w.Revision, w.CloseReason = 0, codecs.CloseNone
		results[key] = w
	}
	return results
}

// bySequence are the readings by sensor and number. Where they came from differs between runs; what they are does not.
func (o *outcomes) bySequence() map[sequenceKey]codecs.Reading {
	readings := make(map[sequenceKey]codecs.Reading)
	for _, r := range o.readings {
		readings[sequenceKey{r.SensorID, r.Sequence}] = r
	}
	return readings
}

// follow reads the outcomes from the first, until done holds for what was read. Brokers may come and go meanwhile.
func follow(t *testing.T, brokers []string, done func(*outcomes) bool) *outcomes {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := consumer(t, brokers, eventsTopic, rejectsTopic)
	defer client.Close()
	o := newOutcomes()
	for !done(o) {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("waited %v for more than %d readings, %d rejects, %d windows", patience, len(o.readings),
				len(o.rejects), len(o.final))
		}
		fetches.EachRecord(func(r *kgo.Record) { o.add(t, r) })
	}
	return o
}

func consumer(t *testing.T, brokers []string, topics ...string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: brokers}.Options(), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// compare reports keys that only one of two maps has, and those whose values differ; the first few of each.
func compare[K, V comparable](t *testing.T, what string, got, want map[K]V) {
	t.Helper()
	const shown = 5
	var lines []string
	for key, w := range want {
		if g, ok := got[key]; !ok {
			lines = append(lines, fmt.Sprintf("%v is missing", key))
		} else if g != w {
			lines = append(lines, fmt.Sprintf("%v is\n  %+v, not\n  %+v", key, g, w))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			lines = append(lines, fmt.Sprintf("%v is too much", key))
		}
	}
	if len(lines) > 0 {
		t.Errorf("%s: %d differ in %d:\n%s", what, len(lines), len(want), strings.Join(lines[:min(shown, len(lines))], "\n"))
	}
}
