package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// stub decodes traffic-raw in a small JSON form. Like the real decoder it is total.
type stub struct{}

func (stub) Decode(_ context.Context, data []byte, r *codecs.RawReading) error {
	var v struct {
		ID     string                `json:"id"`
		At     codecs.Null[int64]    `json:"at"`
		Speed  codecs.Null[float64]  `json:"speed"`
		Volume codecs.Null[int64]    `json:"volume"`
		Occ    codecs.Null[float64]  `json:"occ"`
		Place  codecs.Null[location] `json:"place"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*r = codecs.RawReading{SensorID: v.ID, Timestamp: v.At, SpeedMPH: v.Speed, VolumeVPH: v.Volume, Occupancy: v.Occ}
	if v.Place.Valid {
		r.Latitude, r.Longitude = codecs.Some(v.Place.V.Lat), codecs.Some(v.Place.V.Lon)
	}
	return nil
}

type location struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}

func encodeRaw(r *codecs.RawReading) []byte {
	v := map[string]any{"id": r.SensorID, "at": r.Timestamp, "speed": r.SpeedMPH, "volume": r.VolumeVPH, "occ": r.Occupancy}
	if r.Latitude.Valid {
		v["place"] = location{r.Latitude.V, r.Longitude.V}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func parseSensor(value []byte, key string) (codecs.Sensor, error) {
	var s codecs.Sensor
	if err := json.Unmarshal(value, &s); err != nil {
		return s, err
	}
	if s.SensorID != key {
		return s, fmt.Errorf("id %q is not the key", s.SensorID)
	}
	return s, nil
}

func testOptions() Options {
	o := DefaultOptions()
	o.Decoder = stub{}
	o.ParseSensor = parseSensor
	return o
}

// world is a miniature of the whole pipeline: an obvious dedup and window stage without any storage, and the topics that
// they write. Its windows are running sums, where the ledger's are sums over lists.
type world struct {
	o       Options
	raw     [][]*kgo.Record
	events  [][]*kgo.Record
	rejects [][]*kgo.Record
	sensors map[string]*worldSensor
	clock   int64 // arrival time of the next record, epoch milliseconds
	hold    bool  // window records wait, as where the window stage lags behind
}

type worldSensor struct {
	meta      *codecs.Sensor
	sequence  int64
	watermark int64
	accepted  map[int64]codecs.RawReading
	windows   map[int64]*worldWindow
	ordinal   int64
	waiting   []*kgo.Record
	same      int
	previous  codecs.Reading
}

type worldWindow struct {
	codecs.WindowAggregate
	speeds, volumes, occupancies           int
	meanSpeed, m2, sumVolume, sumOccupancy float64
	q, qv, movingQ, movingTime             float64
}

const (
	partitions = 3
	schemaID   = 7
	dayStart   = int64(1_764_000_000_000) // a multiple of five minutes
)

func newWorld() *world {
	return &world{
		o:       testOptions(),
		raw:     make([][]*kgo.Record, partitions),
		events:  make([][]*kgo.Record, partitions),
		rejects: make([][]*kgo.Record, partitions),
		sensors: make(map[string]*worldSensor),
		clock:   dayStart,
	}
}

func (w *world) partition(key string) int32 {
	r := &kgo.Record{Key: []byte(key)}
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(r, partitions))
}

func (w *world) sensor(id string) *worldSensor {
	s := w.sensors[id]
	if s == nil {
		s = &worldSensor{
			accepted: make(map[int64]codecs.RawReading), windows: make(map[int64]*worldWindow),
			watermark: math.MinInt64,
		}
		w.sensors[id] = s
	}
	return s
}

// add appends a record to a topic.
func (w *world) add(topic [][]*kgo.Record, name string, p int32, key, value []byte, headers ...string) *kgo.Record {
	r := &kgo.Record{
		Topic: name, Partition: p, Offset: int64(len(topic[p])), Key: key, Value: value,
		Timestamp: time.UnixMilli(w.clock),
	}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	topic[p] = append(topic[p], r)
	return r
}

func (w *world) addRaw(key string, value []byte, headers ...string) *kgo.Record {
	return w.add(w.raw, w.o.RawTopic, w.partition(key), []byte(key), value, headers...)
}

func place(r *kgo.Record) string { return fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset) }

func (w *world) reject(raw *kgo.Record, reason string) {
	w.add(w.rejects, w.o.RejectsTopic, raw.Partition, raw.Key, raw.Value, codecs.HeaderSource, place(raw),
		codecs.HeaderReceivedAt, strconv.FormatInt(arrival(raw), 10), codecs.HeaderReason, reason,
		codecs.HeaderDetail, reason+": because")
}

// load publishes metadata; nil removes it.
func (w *world) load(id string, s *codecs.Sensor) {
	w.sensor(id).meta = s
	var value []byte
	if s != nil {
		value, _ = json.Marshal(s)
	}
	w.addRaw(id, value, codecs.HeaderKind, string(codecs.KindSensor))
}

// send publishes a reading, and its outcome.
func (w *world) send(raw codecs.RawReading, headers ...string) *kgo.Record {
	r := w.addRaw(raw.SensorID, encodeRaw(&raw), headers...)
	s := w.sensor(raw.SensorID)
	start := raw.Timestamp.V - raw.Timestamp.V%w.o.Length.Milliseconds()
	first, taken := s.accepted[raw.Timestamp.V]
	switch {
	case s.meta == nil:
		w.reject(r, "unknown_sensor")
	case raw.SpeedMPH.V > 120:
		w.reject(r, "speed_range")
	case s.sequence > 0 && s.watermark-start > w.o.Retention.Milliseconds():
		w.reject(r, "late")
	case taken && first == raw:
		w.reject(r, "duplicate")
	case taken:
		w.reject(r, "conflict")
	default:
		s.accepted[raw.Timestamp.V] = raw
		w.accept(s, r, raw)
	}
	return r
}

func (w *world) accept(s *worldSensor, raw *kgo.Record, in codecs.RawReading) {
	s.sequence++
	v := codecs.Reading{
		SensorID: in.SensorID, Timestamp: in.Timestamp.V, SpeedMPH: in.SpeedMPH, Occupancy: in.Occupancy,
		VolumeVPH:  codecs.Null[int32]{V: int32(in.VolumeVPH.V), Valid: in.VolumeVPH.Valid},
		Latitude:   in.Latitude.Or(s.meta.Latitude),
		Longitude:  in.Longitude.Or(s.meta.Longitude),
		ReceivedAt: arrival(raw), Sequence: s.sequence, Freeway: s.meta.Freeway, Direction: s.meta.Direction,
		Lanes: s.meta.Lanes, IntervalS: s.meta.IntervalS,
	}
	v.Flags, _ = flagsOf(&v)
	if v.VolumeVPH.V > 0 && v.VolumeVPH == s.previous.VolumeVPH && v.SpeedMPH == s.previous.SpeedMPH &&
		v.Occupancy == s.previous.Occupancy {
		s.same++
	} else {
		s.same = 1
	}
	if s.same >= 9 {
		v.Flags |= codecs.FlagStuck
	}
	s.previous = v
	if v.DensityVPMPL = densityOf(&v); v.DensityVPMPL.Valid {
		v.LevelOfService = codecs.Some(serviceOf(v.DensityVPMPL.V))
	}
	w.addReading(raw, &v)
	w.aggregate(s, &v)
}

func (w *world) addReading(raw *kgo.Record, v *codecs.Reading) *kgo.Record {
	return w.add(w.events, w.o.EventsTopic, w.partition(v.SensorID), []byte(v.SensorID),
		codecs.AppendReading(nil, schemaID, v), codecs.HeaderKind, string(codecs.KindReading), codecs.HeaderSource,
		place(raw), codecs.HeaderReceivedAt, strconv.FormatInt(v.ReceivedAt, 10))
}

func (w *world) aggregate(s *worldSensor, v *codecs.Reading) {
	length, grace := w.o.Length.Milliseconds(), w.o.Grace.Milliseconds()
	start := v.Timestamp - v.Timestamp%length
	x := s.windows[start]
	if x == nil {
		x = &worldWindow{WindowAggregate: codecs.WindowAggregate{
			SensorID: v.SensorID, WindowStart: start,
			WindowEnd: start + length,
		}}
		s.windows[start] = x
	}
	x.fold(v, &w.o)
	if x.Revision > 0 {
		w.publish(s, x, codecs.CloseLate)
	}
	s.watermark = max(s.watermark, v.Timestamp)
	w.closeUntil(s, s.watermark-grace, codecs.CloseWatermark)
	maps.DeleteFunc(s.windows, func(start int64, _ *worldWindow) bool {
		return s.watermark-start > w.o.Retention.Milliseconds()
	})
}

func (w *world) closeUntil(s *worldSensor, end int64, why codecs.CloseReason) {
	for _, start := range slices.Sorted(maps.Keys(s.windows)) {
		if x := s.windows[start]; x.Revision == 0 && x.WindowEnd <= end {
			w.publish(s, x, why)
		}
	}
}

// silence publishes what the detector says at a time.
func (w *world) silence(id string, watermark, asOf int64) {
	w.addSilence(&codecs.SensorSilence{SensorID: id, Since: watermark, Watermark: watermark, AsOf: asOf})
	if s := w.sensor(id); watermark == s.watermark {
		w.closeUntil(s, asOf-w.o.Grace.Milliseconds(), codecs.CloseSilence)
	}
}

func (w *world) addSilence(x *codecs.SensorSilence) {
	w.add(w.events, w.o.EventsTopic, w.partition(x.SensorID), []byte(x.SensorID), codecs.AppendSilence(nil, schemaID, x),
		codecs.HeaderKind, string(codecs.KindSilence))
}

func (x *worldWindow) fold(v *codecs.Reading, o *Options) {
	x.MessageCount++
	if v.SpeedMPH.Valid {
		x.speeds++
		d := v.SpeedMPH.V - x.meanSpeed
		x.meanSpeed += d / float64(x.speeds)
		x.m2 += d * (v.SpeedMPH.V - x.meanSpeed)
		x.AvgSpeed, x.SpeedVariance = codecs.Some(x.meanSpeed), codecs.Some(x.m2/float64(x.speeds))
		x.MinSpeed = codecs.Some(min(x.MinSpeed.Or(v.SpeedMPH.V), v.SpeedMPH.V))
		x.MaxSpeed = codecs.Some(max(x.MaxSpeed.Or(v.SpeedMPH.V), v.SpeedMPH.V))
	}
	if v.VolumeVPH.Valid {
		x.volumes++
		x.sumVolume += float64(v.VolumeVPH.V)
		x.AvgVolume = codecs.Some(x.sumVolume / float64(x.volumes))
	}
	if v.Occupancy.Valid {
		x.occupancies++
		x.sumOccupancy += v.Occupancy.V
		x.AvgOccupancy = codecs.Some(x.sumOccupancy / float64(x.occupancies))
	}
	if v.SpeedMPH.Valid && v.VolumeVPH.Valid {
		q := float64(v.VolumeVPH.V)
		x.q, x.qv = x.q+q, x.qv+q*v.SpeedMPH.V
		if v.SpeedMPH.V >= 5 {
			x.movingQ, x.movingTime = x.movingQ+q, x.movingTime+q/v.SpeedMPH.V
		}
		if x.q > 0 {
			x.FlowWeightedSpeed = codecs.Some(x.qv / x.q)
		}
		if x.movingQ > 0 {
			x.HarmonicSpeed = codecs.Some(x.movingQ / x.movingTime)
		}
	}
	x.FlagCounts.Add(v.Flags)
	x.Latitude, x.Longitude = v.Latitude, v.Longitude
	x.ExpectedCount = int32(o.Length / o.DefaultInterval)
	if v.IntervalS.Valid {
		x.ExpectedCount = max(1, int32(o.Length.Seconds())/v.IntervalS.V)
	}
	x.Completeness = min(1, float64(x.MessageCount)/float64(x.ExpectedCount))
}

func (w *world) publish(s *worldSensor, x *worldWindow, why codecs.CloseReason) {
	x.Revision++
	x.CloseReason = why
	s.ordinal++
	key := []byte(x.SensorID)
	s.waiting = append(s.waiting, &kgo.Record{
		Key: key, Value: codecs.AppendWindow(nil, schemaID, &x.WindowAggregate),
		Headers: []kgo.RecordHeader{
			{Key: codecs.HeaderKind, Value: []byte(codecs.KindWindow)},
			{Key: codecs.HeaderOrdinal, Value: strconv.AppendInt(nil, s.ordinal, 10)},
		},
	})
	if !w.hold {
		w.flush()
	}
}

// flush writes the window records that wait.
func (w *world) flush() {
	for _, id := range slices.Sorted(maps.Keys(w.sensors)) {
		s := w.sensors[id]
		for _, r := range s.waiting {
			x := w.add(w.events, w.o.EventsTopic, w.partition(id), r.Key, r.Value)
			x.Headers = r.Headers
		}
		s.waiting = nil
	}
}

// extent is that of the whole world, all of it committed.
func (w *world) extent() Extent {
	spans := func(topic [][]*kgo.Record) []Span {
		s := make([]Span, len(topic))
		for p, records := range topic {
			if n := len(records); n > 0 {
				end := records[n-1].Offset + 1
				s[p] = Span{End: end, Committed: end}
			}
		}
		return s
	}
	return Extent{Raw: spans(w.raw), Events: spans(w.events), Rejects: spans(w.rejects)}
}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Fatal(...any)
	Context() context.Context
}

// verify gives the ledger each topic in turn.
func (w *world) verify(t tb, x Extent) *Report {
	t.Helper()
	l, err := New(w.o, x)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Concat(w.raw...) {
		if err := l.Raw(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range slices.Concat(w.events...) {
		l.Event(r)
	}
	for _, r := range slices.Concat(w.rejects...) {
		l.Reject(r)
	}
	return l.Close()
}

// renumber gives the records of a topic offsets without holes, as a copy of the topic has them.
func renumber(topic [][]*kgo.Record) {
	for _, records := range topic {
		for i, r := range records {
			r.Offset = int64(i)
		}
	}
}

// day is a world with everything in it once: metadata that changes, all reasons of the stub, nulls, flags, late
// readings, silences, and a redriven record.
func day() *world {
	w := newWorld()
	for i, id := range []string{"100", "200", "300", "400"} {
		w.load(id, &codecs.Sensor{
			SensorID: id, Latitude: 34 + float64(i)/100, Longitude: -118, Freeway: codecs.Some("I-5"),
			Direction: codecs.Some("N"), Lanes: codecs.Some(int32(i + 1)), IntervalS: codecs.Some(int32(30)),
		})
	}
	w.load("500", &codecs.Sensor{SensorID: "500", Latitude: 34.1, Longitude: -118.1})
	w.addUndecodable("100")
	ids := []string{"100", "200", "300", "400", "500"}
	for step := range 60 {
		w.clock = dayStart + int64(step)*30_000 + 2_000
		for i, id := range ids {
			if step > 40 && id == "400" {
				continue // it falls silent
			}
			r := codecs.RawReading{
				SensorID: id, Timestamp: codecs.Some(w.clock - 2_000),
				SpeedMPH:  codecs.Some(40 + 10*math.Sin(float64(step+i))),
				VolumeVPH: codecs.Some(int64(600 + 60*((step+i)%7))), Occupancy: codecs.Some(5 + float64(step%5)),
			}
			switch {
			case id == "300" && step < 12: // stuck
				r.SpeedMPH, r.VolumeVPH, r.Occupancy = codecs.Some(30.0), codecs.Some(int64(900)), codecs.Some(9.0)
			case id == "500" && step%4 == 0:
				r.SpeedMPH, r.VolumeVPH = codecs.Null[float64]{}, codecs.Some(int64(0))
			case id == "500" && step%4 == 1:
				r.Occupancy, r.VolumeVPH = codecs.Null[float64]{}, codecs.Null[int64]{}
			case id == "200" && step%9 == 3:
				r.Latitude, r.Longitude = codecs.Some(34.2), codecs.Some(-118.2)
			case id == "100" && step == 17:
				r.SpeedMPH = codecs.Some(150.0)
			}
			w.send(r)
		}
		switch step {
		case 20:
			w.send(w.reading("100", 19))
			conflict := w.reading("100", 18)
			conflict.SpeedMPH.V++
			w.send(conflict)
			w.send(codecs.RawReading{SensorID: "unknown", Timestamp: codecs.Some(w.clock), SpeedMPH: codecs.Some(1.0)})
		case 30:
			w.load("200", &codecs.Sensor{SensorID: "200", Latitude: 34.05, Longitude: -118.3, Lanes: codecs.Some(int32(2))})
		case 35: // late readings of windows that are published
			late := w.reading("200", 35)
			late.Timestamp.V = dayStart + 61_000
			w.send(late, codecs.HeaderRedrive, sourceOf(w.rejected("undecodable")), codecs.HeaderReceivedAt, strconv.FormatInt(dayStart, 10))
			late.Timestamp.V = dayStart + 62_000
			w.send(late)
		case 55:
			s := w.sensors["400"]
			w.silence("400", s.watermark-1, w.clock)
			w.silence("400", s.watermark, w.clock)
		}
	}
	w.addRaw("100", nil)
	w.reject(w.raw[w.partition("100")][len(w.raw[w.partition("100")])-1], "undecodable")
	return w
}

func (w *world) addUndecodable(key string) { w.reject(w.addRaw(key, []byte("{")), "undecodable") }

// reading is what the sensor sent at a step.
func (w *world) reading(id string, step int) codecs.RawReading {
	return w.sensors[id].accepted[dayStart+int64(step)*30_000]
}
