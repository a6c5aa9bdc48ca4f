package views

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/dedup"
	"gantry/processors/window"
	"gantry/views/api"
	"gantry/views/ledger"
)

// jsonDecoder decodes raw readings that need no schema.
type jsonDecoder struct{ codecs.RawDecoder }

func (d *jsonDecoder) Decode(_ context.Context, data []byte, r *codecs.RawReading) error {
	return d.RawDecoder.Decode(data, r)
}

// send writes a reading of a sensor to traffic-raw and returns its event time and its arrival.
func (b *broker) send(id string, ms int64) (arrived int64) {
	b.t.Helper()
	r := &kgo.Record{Topic: string(b.topics.Raw), Key: []byte(id), Value: codecs.AppendRawJSON(nil, &codecs.RawReading{
		SensorID: id, Timestamp: codecs.Some(ms), SpeedMPH: codecs.Some(50.0), Latitude: codecs.Some(34.0),
		Longitude: codecs.Some(-118.0),
	})}
	b.produce(r)
	return r.Timestamp.UnixMilli()
}

// events reads what is on traffic-events.
func (b *broker) events() (all []codecs.Event) {
	b.t.Helper()
	ends := b.ends(string(b.topics.Events))
	starts := make(map[int32]kgo.Offset)
	for p, end := range ends {
		if end > 0 {
			starts[p] = kgo.NewOffset().AtStart()
		}
	}
	client, err := kgo.NewClient(append(b.kafka.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{string(b.topics.Events): starts}))...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	for len(starts) > 0 {
		fetches := client.PollFetches(b.t.Context())
		if err := fetches.Err(); err != nil {
			b.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var e codecs.Event
			if err := codecs.DecodeEvent(r.Value, &e); err != nil {
				b.t.Error(err)
			}
			all = append(all, e)
			if r.Offset+1 >= ends[r.Partition] {
				delete(starts, r.Partition)
			}
		})
	}
	return all
}

// snapshots waits for some snapshots of a monitor.
func snapshots(t *testing.T, m Monitor, n int) (last *processors.Offsets) {
	t.Helper()
	for range n {
		_, updated := m.Latest()
		select {
		case <-updated:
		case <-t.Context().Done():
			t.Fatal("no more snapshots")
		}
	}
	last, _ = m.Latest()
	return last
}

// The whole way of a silence. Sensors send readings, and dedup stops before it has read all of them. As long as it does
// not run nobody is silent, however long nothing is seen. When it runs again, and nothing more comes, each sensor is
// told silent once per window that is over, with the watermark and the arrival of its very last reading; its windows
// close, with the reason silence; and the ledger adds up.
func TestSilenceClosesWindows(t *testing.T) {
	b := newBroker(t, 3)
	reg := prometheus.NewRegistry()
	rules := window.DefaultOptions()
	rules.Length, rules.Grace, rules.IdleTimeout = 2*time.Second, time.Second, time.Second
	rules.Retention = time.Hour + 6*time.Minute
	judged := dedup.DefaultOptions()
	judged.WindowLength, judged.WindowRetention = rules.Length, rules.Retention
	judged.Rules.KnownSensorsOnly = false

	dir := t.TempDir()
	stage := func() *processors.Stage {
		s := dedup.NewHandler(dedup.HandlerOptions{
			Topics: b.topics, Rules: judged, EventSchema: 1, Logger: logger(t), Metrics: reg,
		}).Stage()
		s.Kafka, s.StateDir = b.kafka, dir
		return s
	}
	windows := window.NewHandler(window.HandlerOptions{
		Topics: b.topics, Rules: rules, EventSchema: 1, Logger: logger(t), Metrics: reg,
	}).Stage()
	windows.Kafka, windows.StateDir = b.kafka, dir
	inputs := PipelineInputs(b.topics)
	m := processors.NewMonitor(b.kafka, inputs,
		[]string{string(processors.DedupTable), string(processors.WindowTable)}, logger(t), reg)
	running(t, m.Run)
	running(t, windows.Run)
	stop := running(t, stage().Run)

	sensors := []string{"a", "b", "c", "d"}
	now := time.Now().UnixMilli()
	base := now - now%2000 // the start of a window
	for _, id := range sensors {
		b.send(id, base+100)
		b.send(id, base+2100)
	}
	until(t, "the first readings", func() bool {
		o, _ := m.Latest()
		return o != nil && o.Reached(inputs[0], b.ends(string(b.topics.Raw))) &&
			o.Reached(inputs[1], b.ends(string(b.topics.Events)))
	})
	stop()
	last := make(map[string]int64) // arrivals
	for _, id := range sensors {
		last[id] = b.send(id, base+4100)
	}

	d := NewDirectory(rules, b.topics.Partitions, new(recorder), time.Now)
	tables := &Tables{Directory: d, Kafka: b.kafka, Monitor: m, Logger: logger(t)}
	running(t, tables.Run)
	silences := &Silences{
		Directory: d, Monitor: m, Kafka: b.kafka, Topics: b.topics, EventSchema: 1, Logger: logger(t),
		Owns:     func(p int32) bool { return slices.Contains(windows.Owned(), p) },
		ViewNext: func() map[int32]int64 { return tables.Next(processors.WindowTable) },
	}
	running(t, silences.Run)
	until(t, "the views", func() bool { return tables.Role().Ready })
	snapshots(t, m, 10) // the idle timeout, and two verdicts of three snapshots each

	running(t, stage().Run)
	until(t, "the windows", func() bool {
		sensors, silent, open, _ := d.Counts()
		return sensors == 4 && silent == 4 && open == 0
	})
	told := make(map[string][]codecs.SensorSilence)
	closed := make(map[string]int)
	for _, e := range b.events() {
		switch e.Kind {
		case codecs.KindSilence:
			told[e.SensorID()] = append(told[e.SensorID()], e.Silence)
		case codecs.KindWindow:
			if e.Window.Revision != 1 {
				t.Errorf("%+v: no reading was late", e.Window)
			}
			if e.Window.WindowStart == base+4000 || e.Window.WindowStart == base+2000 {
				closed[e.SensorID()]++
				if e.Window.CloseReason != codecs.CloseSilence {
					t.Errorf("%+v was not closed by silence", e.Window)
				}
			}
		}
	}
	for _, id := range sensors {
		if len(told[id]) == 0 || closed[id] != 2 {
			t.Errorf("%s: %d silences, %d windows closed", id, len(told[id]), closed[id])
			continue
		}
		for _, s := range told[id] {
			if s.Watermark != base+4100 || s.Since != last[id] || s.AsOf < last[id]+rules.IdleTimeout.Milliseconds() {
				t.Errorf("%+v: the last reading is of %d and arrived at %d", s, base+4100, last[id])
			}
		}
		if s := told[id][len(told[id])-1]; s.AsOf < base+7000 {
			t.Errorf("%+v closes a window that is over at %d", s, base+7000)
		}
	}
	b.prove(rules, inputs, m)
}

// prove has the ledger look at the topics, when everything is committed.
func (b *broker) prove(rules window.Options, inputs []processors.Input, m Monitor) {
	b.t.Helper()
	until(b.t, "the commits", func() bool {
		o, _ := m.Latest()
		return o.Reached(inputs[0], b.ends(string(b.topics.Raw))) && o.Reached(inputs[1], b.ends(string(b.topics.Events)))
	})
	v := ledger.DefaultVerifyOptions()
	v.Client = b.kafka.Options()
	v.Ledger.Length, v.Ledger.Grace, v.Ledger.Retention = rules.Length, rules.Grace, rules.Retention
	v.Ledger.Decoder, v.Ledger.ParseSensor = new(jsonDecoder), codecs.ParseSensor
	report, err := ledger.Verify(b.t.Context(), v)
	if err != nil {
		b.t.Fatal(err)
	}
	if !report.OK() || report.Totals.Accepted != 12 || report.Totals.Pending != 0 {
		b.t.Errorf("the ledger: %+v %v", report.Totals, report.Exceptions)
	}
}

// The views are ready when they have read what was in the changelogs when they began, and not before: goka's own word
// is not asked. From then on changes are published.
func TestTablesReadiness(t *testing.T) {
	b := newBroker(t, 2)
	f := newTables(t)
	var records []*kgo.Record
	for _, id := range []string{"a", "b", "c"} {
		var st dedup.State
		st.SetSensor(place)
		records = append(records, &kgo.Record{
			Topic: string(processors.DedupTable), Key: []byte(id), Value: value(3, st.AppendTo(nil)),
		})
	}
	b.produce(records...)
	m := &monitor{updated: make(chan struct{})}
	tables := &Tables{Directory: f.d, Kafka: b.kafka, Monitor: m, Logger: logger(t)}
	if tables.Role().Ready {
		t.Error("ready before they run")
	}
	stop := running(t, tables.Run)
	until(t, "the values", func() bool { n, _, _, _ := f.d.Counts(); return n == 3 })
	// The changelog is said to hold one record more than there is.
	p := processors.PartitionOf("late", 2)
	o := &processors.Offsets{
		Starts: map[string]map[int32]int64{string(processors.WindowTable): {0: 7, 1: 7}},
		Ends: map[string]map[int32]int64{
			string(processors.DedupTable): b.ends(string(processors.DedupTable)), string(processors.WindowTable): {0: 7, 1: 7},
		},
	}
	o.Ends[string(processors.DedupTable)][p]++
	m.publish(o)
	until(t, "the target", func() bool { return len(tables.Role().Partitions) == 4 })
	if r := tables.Role(); r.Ready {
		t.Errorf("ready before the end: %+v", r)
	}
	for i, part := range tables.Role().Partitions[2:] { // of the window table: nothing is left of an empty log
		if want := (api.Partition{
			Partition: int32(i), Ready: true, Start: 7, Offset: 7, End: 7, Detail: string(processors.WindowTable),
		}); part != want {
			t.Errorf("partition %+v, want %+v", part, want)
		}
	}
	f.out.want(t, "views that have not caught up")
	late := *records[0]
	late.Key = []byte("late")
	b.produce(&late)
	until(t, "the last value", func() bool { n, _, _, _ := f.d.Counts(); return n == 4 })
	m.publish(o)
	until(t, "readiness", func() bool { return tables.Role().Ready })
	if next := tables.Next(processors.DedupTable); next[p] != o.Ends[string(processors.DedupTable)][p] {
		t.Errorf("next offsets %v, ends %v", next, o.Ends)
	}
	stop()
}
