package race

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/test/harness"
)

// outcomes are what a reader of Gantry's formats finds.
type outcomes struct {
	readings   int64
	duplicates int64
	rejects    map[string]struct{} // by source
	windows    map[harness.WindowKey]lastRevision
	sequences  map[string]int64
}

type lastRevision struct {
	revision, readings int32
	speed              float64 // 0 where there is none
}

func newOutcomes() *outcomes {
	return &outcomes{
		rejects: make(map[string]struct{}), windows: make(map[harness.WindowKey]lastRevision),
		sequences: make(map[string]int64),
	}
}

// closed are the windows, the readings in them and the sum of their mean speeds.
func (o *outcomes) closed() (windows, windowed int64, speedSum float64) {
	for _, w := range o.windows {
		windows++
		windowed += int64(w.readings)
		speedSum += w.speed
	}
	return windows, windowed, speedSum
}

// outcomes reads topics up to their ends.
func (r *rig) outcomes(topics ...string) *outcomes {
	r.t.Helper()
	ends, err := r.adm.ListEndOffsets(r.t.Context(), topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var left int64
	for _, o := range ends.Offsets() {
		for _, p := range o {
			left += p.At
		}
	}
	client := harness.Consumer(r.t, []string{r.brokers}, topics...)
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), commandPatience)
	defer cancel()
	o := newOutcomes()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("%d records were not read within %v", left, commandPatience)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			left--
			if err := o.add(record); err != nil {
				r.t.Fatalf("%s/%d/%d: %v", record.Topic, record.Partition, record.Offset, err)
			}
		})
	}
	return o
}

func (o *outcomes) add(r *kgo.Record) error {
	if r.Topic == "traffic-rejects" {
		source := harness.Header(r, codecs.HeaderSource)
		if _, repeat := o.rejects[source]; !repeat && harness.Header(r, codecs.HeaderReason) == "duplicate" {
			o.duplicates++
		}
		o.rejects[source] = struct{}{}
		return nil
	}
	var e codecs.Event
	if err := codecs.DecodeEvent(r.Value, &e); err != nil {
		return err
	}
	switch e.Kind {
	case codecs.KindReading:
		if last := o.sequences[e.Reading.SensorID]; e.Reading.Sequence == last+1 {
			o.sequences[strings.Clone(e.Reading.SensorID)] = last + 1
			o.readings++
		}
	case codecs.KindWindow:
		key := harness.WindowKey{Sensor: e.Window.SensorID, Start: e.Window.WindowStart}
		if e.Window.Revision > o.windows[key].revision {
			key.Sensor = strings.Clone(key.Sensor)
			o.windows[key] = lastRevision{e.Window.Revision, e.Window.MessageCount, e.Window.AvgSpeed.V}
		}
	}
	return nil
}

// What a reader counts: a repeat of a reading or a reject not at all, of a window the highest revision alone.
func TestOutcomes(t *testing.T) {
	o := newOutcomes()
	header := func(name, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: name, Value: []byte(value)} }
	reading := func(sensor string, sequence int64) *kgo.Record {
		return &kgo.Record{Topic: "traffic-events", Value: codecs.AppendReading(nil, 2, &codecs.Reading{
			SensorID: sensor, Sequence: sequence,
		})}
	}
	window := func(start int64, revision, readings int32, speed float64) *kgo.Record {
		return &kgo.Record{Topic: "traffic-windows", Value: codecs.AppendWindow(nil, 2, &codecs.WindowAggregate{
			SensorID: "a", WindowStart: start, WindowEnd: start + 1, MessageCount: readings, Revision: revision,
			AvgSpeed: codecs.Some(speed), CloseReason: codecs.CloseWatermark,
		})}
	}
	reject := func(source, reason string) *kgo.Record {
		return &kgo.Record{Topic: "traffic-rejects", Headers: []kgo.RecordHeader{
			header(codecs.HeaderSource, source), header(codecs.HeaderReason, reason),
		}}
	}
	for _, r := range []*kgo.Record{
		reading("a", 1), reading("a", 2), reading("b", 1), reading("a", 1), reading("a", 2), reading("a", 3),
		window(0, 1, 10, 60), window(5, 1, 9, 50), window(0, 2, 11, 61), window(0, 1, 10, 60),
		reject("traffic-raw/0/1", "duplicate"), reject("traffic-raw/0/2", "speed_range"),
		reject("traffic-raw/0/1", "duplicate"),
	} {
		if err := o.add(r); err != nil {
			t.Fatal(err)
		}
	}
	windows, windowed, speeds := o.closed()
	if o.readings != 4 || o.duplicates != 1 || len(o.rejects) != 2 || windows != 2 || windowed != 20 || speeds != 111 {
		t.Errorf("%d readings, %d duplicates, %d rejects, %d windows of %d readings, speeds %v",
			o.readings, o.duplicates, len(o.rejects), windows, windowed, speeds)
	}
}
