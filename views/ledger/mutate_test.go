package ledger

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// find returns the nth record of a topic, from 0, that a condition holds for. Records are numbered over the partitions.
func find(topic [][]*kgo.Record, n int, ok func(*kgo.Record) bool) *kgo.Record {
	for _, r := range slices.Concat(topic...) {
		if ok(r) {
			if n == 0 {
				return r
			}
			n--
		}
	}
	panic("the world has no such record")
}

func (w *world) event(kind codecs.Kind, id string, n int) *kgo.Record {
	return find(w.events, n, func(r *kgo.Record) bool {
		k, _ := header(r, codecs.HeaderKind)
		return k == string(kind) && string(r.Key) == id
	})
}

func (w *world) rejected(reason string) *kgo.Record {
	return find(w.rejects, 0, func(r *kgo.Record) bool {
		got, _ := header(r, codecs.HeaderReason)
		return got == reason
	})
}

func sourceOf(r *kgo.Record) string {
	text, _ := header(r, codecs.HeaderSource)
	return text
}

func setHeader(r *kgo.Record, name, value string) {
	for i := range r.Headers {
		if r.Headers[i].Key == name {
			r.Headers[i].Value = []byte(value)
		}
	}
}

func dropHeader(r *kgo.Record, name string) {
	r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h kgo.RecordHeader) bool { return h.Key == name })
}

func remove(topic [][]*kgo.Record, r *kgo.Record) {
	topic[r.Partition] = slices.DeleteFunc(topic[r.Partition], func(x *kgo.Record) bool { return x == r })
}

// double writes a record once more, at the end of its partition, and returns the copy.
func double(topic [][]*kgo.Record, r *kgo.Record) *kgo.Record {
	c := *r
	c.Headers = slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = slices.Clone(c.Headers[i].Value)
	}
	c.Offset = topic[r.Partition][len(topic[r.Partition])-1].Offset + 1
	topic[r.Partition] = append(topic[r.Partition], &c)
	return &c
}

func editReading(r *kgo.Record, change func(*codecs.Reading)) {
	var v codecs.Reading
	if err := codecs.DecodeReading(r.Value, &v); err != nil {
		panic(err)
	}
	change(&v)
	r.Value = codecs.AppendReading(nil, schemaID, &v)
}

func editWindow(r *kgo.Record, change func(*codecs.WindowAggregate)) {
	var v codecs.WindowAggregate
	if err := codecs.DecodeWindow(r.Value, &v); err != nil {
		panic(err)
	}
	change(&v)
	r.Value = codecs.AppendWindow(nil, schemaID, &v)
}

// finding is an exception that a mutation must lead to.
type finding struct {
	kind  Kind
	place string
}

func (f finding) in(r *Report) bool {
	return slices.ContainsFunc(r.Exceptions, func(x Exception) bool {
		return x.Kind == f.kind && fmt.Sprintf("%s/%d/%d", x.Topic, x.Partition, x.Offset) == f.place
	})
}

func checkFindings(t *testing.T, w *world, want ...finding) {
	t.Helper()
	r := w.verify(t, w.extent())
	if r.OK() {
		t.Fatal("the mutation was not found")
	}
	for _, f := range want {
		if !f.in(r) {
			r.WriteText(t.Output())
			t.Errorf("no exception %s at %s", f.kind, f.place)
		}
	}
	if !r.Totals.Balanced() {
		t.Errorf("the sums do not balance: %+v", r.Totals)
	}
}

// Whatever is done to the topics after the fact is found, and named by its place.
func TestMutations(t *testing.T) {
	tests := map[string]func(w *world) []finding{
		"a reading is removed": func(w *world) []finding {
			r, next := w.event(codecs.KindReading, "100", 5), w.event(codecs.KindReading, "100", 6)
			remove(w.events, r)
			renumber(w.events)
			return []finding{{KindMissingOutcome, sourceOf(r)}, {KindSequenceGap, place(next)}}
		},
		"a reading is removed and leaves its offset": func(w *world) []finding {
			r := w.event(codecs.KindReading, "200", 7)
			remove(w.events, r)
			return []finding{{KindMissingOutcome, sourceOf(r)}, {KindAbsentOffset, place(r)}}
		},
		"the last reading of a sensor is removed": func(w *world) []finding {
			r := w.event(codecs.KindReading, "400", 40)
			remove(w.events, r)
			renumber(w.events)
			return []finding{{KindMissingOutcome, sourceOf(r)}}
		},
		"two readings in a row are removed": func(w *world) []finding {
			r, s, next := w.event(codecs.KindReading, "500", 5), w.event(codecs.KindReading, "500", 6),
				w.event(codecs.KindReading, "500", 7)
			remove(w.events, r)
			remove(w.events, s)
			renumber(w.events)
			return []finding{{KindMissingOutcome, sourceOf(r)}, {KindMissingOutcome, sourceOf(s)}, {KindSequenceGap, place(next)}}
		},
		"a reject is removed": func(w *world) []finding {
			r := w.rejected("conflict")
			remove(w.rejects, r)
			renumber(w.rejects)
			return []finding{{KindMissingOutcome, sourceOf(r)}}
		},
		"a window is removed": func(w *world) []finding {
			r := w.event(codecs.KindWindow, "300", 1)
			trigger := w.events[r.Partition][r.Offset-1] // the reading that closed it
			remove(w.events, r)
			renumber(w.events)
			return []finding{{KindWindowMissing, place(trigger)}}
		},
		"the silence that closed a window is removed": func(w *world) []finding {
			remove(w.events, w.event(codecs.KindSilence, "400", 1))
			renumber(w.events)
			last := w.sensors["400"].ordinal - 1
			return []finding{{KindWindowUnexpected, place(w.event(codecs.KindWindow, "400", int(last)))}}
		},
		"a raw record is removed": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			source, _ := codecs.ParseSource(sourceOf(r))
			remove(w.raw, w.raw[source.Partition][source.Offset])
			return []finding{{KindNoSource, place(r)}}
		},
		"the raw record of a reject is removed": func(w *world) []finding {
			r := w.rejected("conflict")
			source, _ := codecs.ParseSource(sourceOf(r))
			remove(w.raw, w.raw[source.Partition][source.Offset])
			return []finding{{KindNoSource, place(r)}}
		},
		"a raw record is altered": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			source, _ := codecs.ParseSource(sourceOf(r))
			raw := w.reading("100", 5)
			raw.Occupancy.V++
			w.raw[source.Partition][source.Offset].Value = encodeRaw(&raw)
			return []finding{{KindUnfitOutcome, place(r)}}
		},
		"an accepted raw record is undecodable": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			source, _ := codecs.ParseSource(sourceOf(r))
			w.raw[source.Partition][source.Offset].Value = []byte("{")
			return []finding{{KindUnfitOutcome, place(r)}}
		},
		"an accepted raw record has another key": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			source, _ := codecs.ParseSource(sourceOf(r))
			w.raw[source.Partition][source.Offset].Key = nil
			return []finding{{KindUnfitOutcome, place(r)}}
		},
		"a reject's value is altered": func(w *world) []finding {
			r := w.rejected("conflict")
			r.Value = append(slices.Clone(r.Value), ' ')
			return []finding{{KindUnfitOutcome, place(r)}}
		},
		"a reject's null value becomes empty": func(w *world) []finding {
			r := find(w.rejects, 0, func(r *kgo.Record) bool { return r.Value == nil })
			r.Value = []byte{}
			return []finding{{KindUnfitOutcome, place(r)}}
		},
		"a reject's key is altered": func(w *world) []finding {
			r := w.rejected("conflict")
			r.Key = []byte("101")
			return []finding{{KindUnfitOutcome, place(r)}}
		},
		"a reject's received-at is altered": func(w *world) []finding {
			r := w.rejected("conflict")
			setHeader(r, codecs.HeaderReceivedAt, "1")
			return []finding{{KindUnfitOutcome, place(r)}}
		},
		"a reject's reason is unknown": func(w *world) []finding {
			r := w.rejected("conflict")
			setHeader(r, codecs.HeaderReason, "no_mood")
			return []finding{{KindMalformed, place(r)}, {KindMissingOutcome, sourceOf(r)}}
		},
		"a reject's received-at is missing": func(w *world) []finding {
			r := w.rejected("conflict")
			dropHeader(r, codecs.HeaderReceivedAt)
			return []finding{{KindMalformed, place(r)}}
		},
		"a reject is doubled with another detail": func(w *world) []finding {
			r := double(w.rejects, w.rejected("conflict"))
			setHeader(r, codecs.HeaderDetail, "else")
			return []finding{{KindUnequalRepeat, place(r)}}
		},
		"an accepted reading is rejected too": func(w *world) []finding {
			r := double(w.rejects, w.rejected("duplicate"))
			reading := w.event(codecs.KindReading, "100", 3)
			setHeader(r, codecs.HeaderSource, sourceOf(reading))
			return []finding{{KindTwoOutcomes, place(r)}}
		},
		"metadata is rejected": func(w *world) []finding {
			raw := find(w.raw, 2, func(r *kgo.Record) bool { _, ok := header(r, codecs.HeaderKind); return ok })
			w.reject(raw, "undecodable")
			last := w.rejects[raw.Partition][len(w.rejects[raw.Partition])-1]
			return []finding{{KindUnfitOutcome, place(last)}}
		},
		"a reading is doubled with another speed": func(w *world) []finding {
			r := double(w.events, w.event(codecs.KindReading, "100", 5))
			editReading(r, func(v *codecs.Reading) { v.SpeedMPH.V++ })
			return []finding{{KindUnequalRepeat, place(r)}}
		},
		"a window is doubled with another count": func(w *world) []finding {
			r := double(w.events, w.event(codecs.KindWindow, "100", 0))
			editWindow(r, func(v *codecs.WindowAggregate) { v.MessageCount++ })
			return []finding{{KindUnequalRepeat, place(r)}}
		},
		"two readings swap their sources": func(w *world) []finding {
			r, s := w.event(codecs.KindReading, "100", 5), w.event(codecs.KindReading, "100", 6)
			a, b := sourceOf(r), sourceOf(s)
			setHeader(r, codecs.HeaderSource, b)
			setHeader(s, codecs.HeaderSource, a)
			return []finding{{KindUnfitOutcome, place(r)}, {KindUnfitOutcome, place(s)}, {KindOutOfOrder, place(s)}}
		},
		"a reading names a source that is not there yet": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			setHeader(r, codecs.HeaderSource, "traffic-raw/0/9000")
			return []finding{{KindNoSource, place(r)}}
		},
		"a reading names another topic": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			setHeader(r, codecs.HeaderSource, "traffic-raw2/0/1")
			return []finding{{KindNoSource, place(r)}}
		},
		"a reading has no source": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			dropHeader(r, codecs.HeaderSource)
			return []finding{{KindMalformed, place(r)}}
		},
		"a reading's received-at is not its received_at": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			setHeader(r, codecs.HeaderReceivedAt, "1")
			return []finding{{KindMalformed, place(r)}}
		},
		"an event's kind is another": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			setHeader(r, codecs.HeaderKind, string(codecs.KindWindow))
			return []finding{{KindMalformed, place(r)}}
		},
		"an event's bytes are cut": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			r.Value = r.Value[:len(r.Value)-1]
			return []finding{{KindMalformed, place(r)}}
		},
		"an event's key is another": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			r.Key = []byte("200")
			return []finding{{KindMalformed, place(r)}}
		},
		"an event lies on another partition": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			remove(w.events, r)
			to := (r.Partition + 1) % partitions
			r.Partition = to
			w.events[to] = append(w.events[to], r)
			renumber(w.events)
			return []finding{{KindWrongPartition, place(r)}}
		},
		"a sequence is used twice": func(w *world) []finding {
			r := w.event(codecs.KindReading, "100", 5)
			editReading(r, func(v *codecs.Reading) { v.Sequence-- })
			return []finding{{KindSequenceReused, place(r)}, {KindSequenceGap, place(w.event(codecs.KindReading, "100", 6))}}
		},
		"a sequence jumps": func(w *world) []finding {
			editReading(w.event(codecs.KindReading, "100", 5), func(v *codecs.Reading) { v.Sequence = 1 << 40 })
			return []finding{{KindSequenceGap, place(w.event(codecs.KindReading, "100", 6))}}
		},
		"a window comes before the reading that closes it": func(w *world) []finding {
			r := w.event(codecs.KindWindow, "300", 1)
			p := w.events[r.Partition]
			i := int(r.Offset)
			p[i-1], p[i] = p[i], p[i-1]
			renumber(w.events)
			return []finding{{KindWindowUnexpected, place(r)}}
		},
		"a revision is skipped": func(w *world) []finding {
			r := find(w.events, 0, func(r *kgo.Record) bool {
				var v codecs.WindowAggregate
				return codecs.DecodeWindow(r.Value, &v) == nil && v.Revision == 2
			})
			trigger := w.events[r.Partition][r.Offset-1]
			remove(w.events, r)
			renumber(w.events)
			return []finding{{KindWindowMissing, place(trigger)}}
		},
		"a window is invented": func(w *world) []finding {
			r := double(w.events, w.event(codecs.KindWindow, "100", 0))
			editWindow(r, func(v *codecs.WindowAggregate) { v.Revision++ })
			return []finding{{KindWindowUnexpected, place(r)}}
		},
	}
	for name, mutate := range tests {
		t.Run(name, func(t *testing.T) {
			w := day()
			checkFindings(t, w, mutate(w)...)
		})
	}
}

// No field of a reading can be changed unseen, each is either in the raw record, in the metadata, or derived.
func TestEachFieldOfAReading(t *testing.T) {
	for name, change := range map[string]func(*codecs.Reading){
		"timestamp":         func(v *codecs.Reading) { v.Timestamp++ },
		"speed_mph":         func(v *codecs.Reading) { v.SpeedMPH.V = math.Nextafter(v.SpeedMPH.V, 0) },
		"speed_mph null":    func(v *codecs.Reading) { v.SpeedMPH = codecs.Null[float64]{} },
		"volume_vph":        func(v *codecs.Reading) { v.VolumeVPH.V++ },
		"occupancy_percent": func(v *codecs.Reading) { v.Occupancy.V += 0.1 },
		"latitude":          func(v *codecs.Reading) { v.Latitude += 1e-6 },
		"longitude":         func(v *codecs.Reading) { v.Longitude += 1e-6 },
		"received_at":       func(v *codecs.Reading) { v.ReceivedAt++ },
		"sequence":          func(v *codecs.Reading) { v.Sequence++ },
		"freeway":           func(v *codecs.Reading) { v.Freeway.V = "I-6" },
		"direction":         func(v *codecs.Reading) { v.Direction = codecs.Null[string]{} },
		"lanes":             func(v *codecs.Reading) { v.Lanes.V++ },
		"interval_s":        func(v *codecs.Reading) { v.IntervalS.V = 20 },
		"density_vpmpl":     func(v *codecs.Reading) { v.DensityVPMPL.V *= 1.000001 },
		"level_of_service":  func(v *codecs.Reading) { v.LevelOfService.V = "Z" },
	} {
		t.Run(name, func(t *testing.T) {
			w := day()
			r := w.event(codecs.KindReading, "100", 12)
			editReading(r, change)
			if name == "received_at" { // the header goes with it
				var v codecs.Reading
				if err := codecs.DecodeReading(r.Value, &v); err != nil {
					t.Fatal(err)
				}
				setHeader(r, codecs.HeaderReceivedAt, strconv.FormatInt(v.ReceivedAt, 10))
			}
			want := finding{KindUnfitOutcome, place(r)}
			if name == "sequence" {
				want = finding{KindSequenceGap, place(r)}
			}
			checkFindings(t, w, want)
		})
	}
	for bit := range codecs.FlagKinds {
		t.Run(codecs.FlagName(bit), func(t *testing.T) {
			w := day()
			r := w.event(codecs.KindReading, "300", 9) // in a run of identical readings: stuck is raised
			editReading(r, func(v *codecs.Reading) { v.Flags ^= 1 << bit })
			checkFindings(t, w, finding{KindUnfitOutcome, place(r)})
		})
	}
}

// No field of a window can be changed unseen.
func TestEachFieldOfAWindow(t *testing.T) {
	for name, change := range map[string]func(*codecs.WindowAggregate){
		"window_start":        func(v *codecs.WindowAggregate) { v.WindowStart-- },
		"window_end":          func(v *codecs.WindowAggregate) { v.WindowEnd++ },
		"avg_speed":           func(v *codecs.WindowAggregate) { v.AvgSpeed.V *= 1 + 1e-8 },
		"avg_speed null":      func(v *codecs.WindowAggregate) { v.AvgSpeed = codecs.Null[float64]{} },
		"avg_volume":          func(v *codecs.WindowAggregate) { v.AvgVolume.V++ },
		"avg_occupancy":       func(v *codecs.WindowAggregate) { v.AvgOccupancy.V++ },
		"speed_variance":      func(v *codecs.WindowAggregate) { v.SpeedVariance.V *= 10. / 9 },
		"message_count":       func(v *codecs.WindowAggregate) { v.MessageCount-- },
		"min_speed":           func(v *codecs.WindowAggregate) { v.MinSpeed.V = math.Nextafter(v.MinSpeed.V, 0) },
		"max_speed":           func(v *codecs.WindowAggregate) { v.MaxSpeed.V = math.Nextafter(v.MaxSpeed.V, 0) },
		"flow_weighted_speed": func(v *codecs.WindowAggregate) { v.FlowWeightedSpeed.V++ },
		"harmonic_speed":      func(v *codecs.WindowAggregate) { v.HarmonicSpeed = codecs.Null[float64]{} },
		"expected_count":      func(v *codecs.WindowAggregate) { v.ExpectedCount++ },
		"completeness":        func(v *codecs.WindowAggregate) { v.Completeness /= 2 },
		"flag_counts":         func(v *codecs.WindowAggregate) { v.FlagCounts[10]++ },
		"revision":            func(v *codecs.WindowAggregate) { v.Revision++ },
		"close_reason":        func(v *codecs.WindowAggregate) { v.CloseReason = codecs.CloseSilence },
		"latitude":            func(v *codecs.WindowAggregate) { v.Latitude++ },
		"longitude":           func(v *codecs.WindowAggregate) { v.Longitude++ },
	} {
		t.Run(name, func(t *testing.T) {
			w := day()
			r := w.event(codecs.KindWindow, "100", 2)
			editWindow(r, change)
			kind := KindWindowDiffers
			if name == "revision" {
				kind = KindWindowUnexpected
			}
			checkFindings(t, w, finding{kind, place(r)})
		})
	}
	t.Run("ordinal", func(t *testing.T) {
		w := day()
		r := w.event(codecs.KindWindow, "100", 2)
		setHeader(r, codecs.HeaderOrdinal, "9")
		checkFindings(t, w, finding{KindWindowDiffers, place(r)})
	})
}
