package harness

import (
	"maps"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// Topics of the contract.
const (
	RawTopic     = "traffic-raw"
	EventsTopic  = "traffic-events"
	RejectsTopic = "traffic-rejects"
)

// WindowKey names a window, RevisionKey one of its records; SequenceKey names a reading.
type (
	WindowKey struct {
		Sensor string
		Start  int64
	}
	RevisionKey struct {
		WindowKey
		Revision int32
	}
	SequenceKey struct {
		Sensor   string
		Sequence int64
	}
)

// Outcomes are what traffic-events and traffic-rejects say to a reader who, as the contract asks, keeps one record for
// each identity.
type Outcomes struct {
	Readings map[codecs.Source]codecs.Reading
	Rejects  map[codecs.Source]string // reasons
	Windows  map[RevisionKey]codecs.WindowAggregate
	Final    map[WindowKey]codecs.WindowAggregate // the highest revision
	Repeats  int
	Last     map[int32]int64 // by partition of traffic-events, offset of the last reading or window
}

// NewOutcomes is an empty set.
func NewOutcomes() *Outcomes {
	return &Outcomes{
		Readings: make(map[codecs.Source]codecs.Reading), Rejects: make(map[codecs.Source]string),
		Windows: make(map[RevisionKey]codecs.WindowAggregate), Final: make(map[WindowKey]codecs.WindowAggregate),
		Last: make(map[int32]int64),
	}
}

// Header is the value of a record's header, empty where it has none.
func Header(r *kgo.Record, name string) string {
	i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == name })
	if i < 0 {
		return ""
	}
	return string(r.Headers[i].Value)
}

// Add takes a record of either topic. One that repeats an identity must have the same content.
func (o *Outcomes) Add(t *testing.T, r *kgo.Record) {
	t.Helper()
	kind := codecs.Kind(Header(r, codecs.HeaderKind))
	if kind == codecs.KindSilence {
		return
	}
	var source codecs.Source
	if kind != codecs.KindWindow {
		var err error
		if source, err = codecs.ParseSource(Header(r, codecs.HeaderSource)); err != nil {
			t.Fatalf("%s/%d/%d: %v", r.Topic, r.Partition, r.Offset, err)
		}
	}
	if r.Topic == RejectsTopic {
		keep(t, o, o.Rejects, source, Header(r, codecs.HeaderReason), r)
		return
	}
	o.Last[r.Partition] = r.Offset
	var e codecs.Event
	if err := codecs.DecodeEvent(r.Value, &e); err != nil || e.Kind != kind || e.SensorID() != string(r.Key) {
		t.Fatalf("%s/%d/%d: %s of %q with the headers and key of a %s of %q: %v", r.Topic, r.Partition, r.Offset, e.Kind,
			e.SensorID(), kind, r.Key, err)
	}
	if kind == codecs.KindReading {
		keep(t, o, o.Readings, source, e.Reading, r)
		return
	}
	key := WindowKey{e.Window.SensorID, e.Window.WindowStart}
	keep(t, o, o.Windows, RevisionKey{key, e.Window.Revision}, e.Window, r)
	if e.Window.Revision > o.Final[key].Revision {
		o.Final[key] = e.Window
	}
}

func keep[K, V comparable](t *testing.T, o *Outcomes, all map[K]V, key K, v V, r *kgo.Record) {
	t.Helper()
	old, repeat := all[key]
	if repeat && old != v {
		t.Fatalf("%s/%d/%d repeats %v with other content: %+v, before it was %+v", r.Topic, r.Partition, r.Offset, key,
			v, old)
	}
	if repeat {
		o.Repeats++
	}
	all[key] = v
}

// Reasons counts the rejects.
func (o *Outcomes) Reasons() map[string]int {
	counts := make(map[string]int)
	for _, reason := range o.Rejects {
		counts[reason]++
	}
	return counts
}

// Results are the final windows without what depends on when a silence was noticed: how often they were published, and
// why. The rest depends on the accepted readings alone.
func (o *Outcomes) Results() map[WindowKey]codecs.WindowAggregate {
	results := maps.Clone(o.Final)
	for key, w := range results {
		w.Revision, w.CloseReason = 0, codecs.CloseNone
		results[key] = w
	}
	return results
}

// BySequence are the readings by sensor and number. Where they came from differs between runs; what they are does not.
func (o *Outcomes) BySequence() map[SequenceKey]codecs.Reading {
	readings := make(map[SequenceKey]codecs.Reading)
	for _, r := range o.Readings {
		readings[SequenceKey{r.SensorID, r.Sequence}] = r
	}
	return readings
}

// Counted is how many readings the final windows count.
func (o *Outcomes) Counted() (n int64) {
	for _, w := range o.Final {
		n += int64(w.MessageCount)
	}
	return n
}
