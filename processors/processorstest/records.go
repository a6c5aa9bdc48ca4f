package processorstest

import (
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
)

// Noon is when the tests' readings begin, epoch milliseconds; it begins a window.
var Noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC).UnixMilli()

// ReadingOf returns a reading that passes every rule.
func ReadingOf(sensor string, ms int64) codecs.RawReading {
	return codecs.RawReading{
		SensorID: sensor, Timestamp: codecs.Some(ms), SpeedMPH: codecs.Some(61.5),
		VolumeVPH: codecs.Some(int64(1200)), Occupancy: codecs.Some(7.25),
		Latitude: codecs.Some(34.1), Longitude: codecs.Some(-118.2),
	}
}

// Raw returns a record of traffic-raw in Avro, on its sensor's partition, that arrives two seconds after its time.
func (p *Pipeline) Raw(r codecs.RawReading) *kgo.Record {
	return p.Place(&kgo.Record{
		Key: []byte(r.SensorID), Value: codecs.AppendRaw(nil, p.RawSchema, &r),
		Timestamp: time.UnixMilli(r.Timestamp.V + 2000),
	})
}

// Metadata returns a record of traffic-raw that makes a sensor known.
func (p *Pipeline) Metadata(sensor string) *kgo.Record {
	return p.Place(&kgo.Record{
		Key: []byte(sensor), Headers: []kgo.RecordHeader{Header(codecs.HeaderKind, string(codecs.KindSensor))},
		Value: codecs.AppendSensorJSON(nil, &codecs.Sensor{
			SensorID: sensor, Latitude: 34.1, Longitude: -118.2, Freeway: codecs.Some("I-10"),
			Direction: codecs.Some("E"), Lanes: codecs.Some(int32(4)), LengthMi: codecs.Some(0.5),
			IntervalS: codecs.Some(int32(30)),
		}),
		Timestamp: time.UnixMilli(Noon),
	})
}

// Place puts a record on its key's partition of traffic-raw.
func (p *Pipeline) Place(r *kgo.Record) *kgo.Record {
	r.Topic = string(p.Topics.Raw)
	r.Partition = processors.PartitionOf(string(r.Key), p.Topics.Partitions)
	return r
}

// Header returns a header of a record.
func Header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}

// HeaderOf returns the text of a record's header; ok is false where it has none.
func HeaderOf(r *kgo.Record, key string) (text string, ok bool) {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}

// SourceOf returns the place of a raw record that was produced.
func SourceOf(r *kgo.Record) string {
	return codecs.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}.String()
}

// Results are the records of traffic-events and traffic-rejects, each once.
type Results struct {
	Readings map[string]codecs.Reading         // by source
	Windows  map[string]codecs.WindowAggregate // by sensor, start and revision
	Rejects  map[string]string                 // reasons, by source
}

// Results reads both topics, drops repeats, and fails where a repeat differs from the first copy.
func (p *Pipeline) Results() Results {
	p.t.Helper()
	e := Results{make(map[string]codecs.Reading), make(map[string]codecs.WindowAggregate), make(map[string]string)}
	values := make(map[string]string)
	for _, r := range p.Read(string(p.Topics.Events)) {
		var v codecs.Event
		check(p.t, codecs.DecodeEvent(r.Value, &v))
		id, _ := HeaderOf(r, codecs.HeaderSource)
		if v.Kind == codecs.KindWindow {
			id = WindowID(&v.Window)
			e.Windows[id] = v.Window
		} else {
			e.Readings[id] = v.Reading
		}
		if first, ok := values[id]; ok && first != string(r.Value) {
			p.t.Errorf("%s was published twice with different content", id)
		}
		values[id] = string(r.Value)
	}
	for _, r := range p.Read(string(p.Topics.Rejects)) {
		source, _ := HeaderOf(r, codecs.HeaderSource)
		reason, _ := HeaderOf(r, codecs.HeaderReason)
		if first, ok := e.Rejects[source]; ok && first != reason {
			p.t.Errorf("%s was rejected twice: %s, %s", source, first, reason)
		}
		e.Rejects[source] = reason
	}
	return e
}

// WindowID names a revision of a window.
func WindowID(w *codecs.WindowAggregate) string {
	return w.SensorID + " " + codecs.FormatTime(w.WindowStart) + " " + strconv.Itoa(int(w.Revision))
}

// Outcome is what became of a raw record: accepted, or the reason of its reject.
type Outcome struct {
	Accepted bool
	Reason   string
	Record   *kgo.Record // on traffic-events or traffic-rejects
}

func (o Outcome) String() string {
	if o.Accepted {
		return "accepted"
	}
	return o.Reason
}

// Outcomes returns what became of each raw record, by source, and fails where one has two.
func (p *Pipeline) Outcomes() map[string]Outcome {
	p.t.Helper()
	all := make(map[string]Outcome)
	add := func(r *kgo.Record, o Outcome) {
		source, ok := HeaderOf(r, codecs.HeaderSource)
		if first, twice := all[source]; !ok || twice {
			p.t.Errorf("second outcome of %q: %v after %v", source, o, first)
		}
		o.Record = r
		all[source] = o
	}
	for _, r := range p.Read(string(p.Topics.Events)) {
		if kind, _ := HeaderOf(r, codecs.HeaderKind); kind == string(codecs.KindReading) {
			add(r, Outcome{Accepted: true})
		}
	}
	for _, r := range p.Read(string(p.Topics.Rejects)) {
		reason, _ := HeaderOf(r, codecs.HeaderReason)
		add(r, Outcome{Reason: reason})
	}
	return all
}

// Expect fails where the outcome of a record is not the wanted one.
func Expect(t *testing.T, all map[string]Outcome, r *kgo.Record, want, what string) {
	t.Helper()
	if got := all[SourceOf(r)]; got.String() != want {
		detail := ""
		if got.Record != nil {
			detail, _ = HeaderOf(got.Record, codecs.HeaderDetail)
		}
		t.Errorf("%s: %q (%s), want %q", what, got, detail, want)
	}
}
