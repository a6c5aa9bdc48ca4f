package ledger

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"gantry/codecs"
)

// drawWorld runs a random history: sensors come and go, readings are late, doubled, in conflict, too fast or broken, and
// windows are published at a pace of their own.
func drawWorld(t *rapid.T) *world {
	w := newWorld()
	ids := []string{"1", "2", "3", "4"}
	sensor := rapid.SampledFrom(ids)
	speeds := rapid.SampledFrom([]codecs.Null[float64]{
		{},
		codecs.Some(0.0), codecs.Some(4.9), codecs.Some(5.0),
		codecs.Some(61.3), codecs.Some(99.9), codecs.Some(101.0), codecs.Some(130.0),
	})
	volumes := rapid.SampledFrom([]codecs.Null[int64]{
		{},
		codecs.Some[int64](0), codecs.Some[int64](600),
		codecs.Some[int64](5000),
	})
	occupancies := rapid.SampledFrom([]codecs.Null[float64]{{}, codecs.Some(0.0), codecs.Some(7.7), codecs.Some(97.0)})
	for _, id := range ids[:3] {
		w.load(id, &codecs.Sensor{SensorID: id, Latitude: 34, Longitude: -118, Lanes: codecs.Some[int32](2)})
	}
	for range rapid.IntRange(20, 120).Draw(t, "steps") {
		w.clock += rapid.Int64Range(0, 90_000).Draw(t, "pause")
		w.hold = rapid.Bool().Draw(t, "lag")
		id := sensor.Draw(t, "sensor")
		switch rapid.IntRange(0, 19).Draw(t, "step") {
		case 0:
			lanes := rapid.Int32Range(1, 5).Draw(t, "lanes")
			w.load(id, &codecs.Sensor{SensorID: id, Latitude: 34.1, Longitude: -118, Lanes: codecs.Some(lanes)})
		case 1:
			w.load(id, nil)
		case 2:
			w.addUndecodable(id)
		case 3:
			if s := w.sensor(id); s.sequence > 0 {
				w.silence(id, s.watermark-rapid.Int64Range(0, 1).Draw(t, "old"), w.clock+rapid.Int64Range(0, 600_000).Draw(t, "asOf"))
			}
		default:
			late := rapid.SampledFrom([]int64{0, 0, 0, 1, 60_000, 400_000, 4_000_000}).Draw(t, "late")
			w.send(codecs.RawReading{
				SensorID: id, Timestamp: codecs.Some(w.clock - late), SpeedMPH: speeds.Draw(t, "speed"),
				VolumeVPH: volumes.Draw(t, "volume"), Occupancy: occupancies.Draw(t, "occupancy"),
			})
		}
		if !w.hold {
			w.flush()
		}
	}
	w.flush()
	return w
}

// drawRepeats repeats runs of a topic, as crashes do: from a place back to an earlier one. Silences are not repeated:
// their detector writes them when it sees fit, and a second one is another event.
func drawRepeats(t *rapid.T, topic [][]*kgo.Record) {
	for p, records := range topic {
		for range rapid.IntRange(0, 3).Draw(t, "crashes") {
			if len(records) == 0 {
				break
			}
			at := rapid.IntRange(1, len(records)).Draw(t, "crash")
			from := rapid.IntRange(max(0, at-20), at-1).Draw(t, "back to")
			run := slices.DeleteFunc(slices.Clone(records[from:at]), func(r *kgo.Record) bool {
				kind, _ := header(r, codecs.HeaderKind)
				return kind == string(codecs.KindSilence)
			})
			records = slices.Insert(records, at, run...)
		}
		topic[p] = nil
		for i, r := range records {
			c := *r
			c.Offset = int64(i)
			topic[p] = append(topic[p], &c)
		}
	}
}

// drawOrder verifies with the partitions interleaved at random.
func drawOrder(t *rapid.T, w *world) *Report {
	l, err := New(w.o, w.extent())
	if err != nil {
		t.Fatal(err)
	}
	logs := slices.DeleteFunc(slices.Concat(w.raw, w.events, w.rejects), func(x []*kgo.Record) bool { return len(x) == 0 })
	for len(logs) > 0 {
		i := rapid.IntRange(0, len(logs)-1).Draw(t, "log")
		n := rapid.IntRange(1, min(16, len(logs[i]))).Draw(t, "records")
		for _, r := range logs[i][:n] {
			switch r.Topic {
			case w.o.RawTopic:
				err = l.Raw(t.Context(), r)
			case w.o.EventsTopic:
				l.Event(r)
			default:
				l.Reject(r)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if logs[i] = logs[i][n:]; len(logs[i]) == 0 {
			logs = slices.Delete(logs, i, i+1)
		}
	}
	return l.Close()
}

// Whatever a legal history is, however often crashes repeat parts of it, and however the topics are interleaved while
// they are read: there is no exception.
func TestRandomHistoriesAreClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		drawRepeats(t, w.events)
		drawRepeats(t, w.rejects)
		if r := drawOrder(t, w); !r.OK() || !r.Totals.Balanced() {
			t.Fatalf("%+v %v", r.Totals, r.Exceptions)
		}
	})
}

// One record of the outcome topics, removed, altered or doubled with other content, is always found; the only one that
// may be removed unseen is a silence that closed nothing.
func TestRandomMutationsAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		topic := w.events
		if rapid.Bool().Draw(t, "rejects") {
			topic = w.rejects
		}
		all := slices.Concat(topic...)
		if len(all) == 0 {
			t.Skip("an empty topic")
		}
		r := rapid.SampledFrom(all).Draw(t, "record")
		kind, _ := header(r, codecs.HeaderKind)
		if kind == string(codecs.KindSilence) {
			t.Skip("a silence has no identity")
		}
		alter := func(r *kgo.Record) { // in a way that no tolerance covers
			switch change := rapid.IntRange(0, 4).Draw(t, "change"); kind {
			case string(codecs.KindReading):
				editReading(r, func(v *codecs.Reading) {
					switch change {
					case 0:
						v.Timestamp ^= 1
					case 1:
						v.SpeedMPH = codecs.Some(v.SpeedMPH.V + 1)
					case 2:
						v.Flags ^= codecs.FlagSpeedLow
					case 3:
						v.Lanes = codecs.Some(v.Lanes.V + 1)
					default:
						v.Latitude += 0.01
					}
				})
			case string(codecs.KindWindow):
				editWindow(r, func(v *codecs.WindowAggregate) {
					switch change {
					case 0:
						v.MessageCount++
					case 1:
						v.AvgSpeed = codecs.Some(v.AvgSpeed.V + 1)
					case 2:
						v.FlagCounts[3]++
					case 3:
						v.Revision++
					default:
						v.Latitude += 0.01
					}
				})
			default:
				r.Value = append(slices.Clone(r.Value), 'x')
			}
		}
		switch rapid.IntRange(0, 2).Draw(t, "mutation") {
		case 0:
			remove(topic, r)
			renumber(topic)
		case 1:
			alter(r)
		case 2:
			alter(double(topic, r))
		}
		if w.verify(t, w.extent()).OK() {
			t.Fatal("the mutation was not found")
		}
	})
}
