package simulate

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
)

// sensor is one of those that send.
type sensor struct {
	id   string
	part int32
	meta codecs.Sensor
}

// sensors are two on each partition.
var sensors = func() (all []sensor) {
	var on [partitions]int
	for i := 0; len(all) < 2*partitions; i++ {
		id := fmt.Sprintf("s%d", i)
		part := processors.PartitionOf(id, partitions)
		if on[part]++; on[part] > 2 {
			continue
		}
		all = append(all, sensor{id, part, codecs.Sensor{
			SensorID: id, Latitude: 34, Longitude: -118, Lanes: codecs.Some[int32](3), IntervalS: codecs.Some[int32](20),
		}})
	}
	return all
}()

// arrival is a raw record, and what it was made from.
type arrival struct {
	record    *kgo.Record
	id        string // of its sensor
	metadata  bool
	reading   *codecs.RawReading // nil for metadata, and for what cannot be decoded
	misrouted bool
}

// drawFeed draws what arrives at traffic-raw: the metadata of each sensor, mostly before its readings, and readings
// with everything that verdicts know.
func (w *world) drawFeed(n int) []*arrival {
	var feed []*arrival
	at := w.clock
	add := func(a arrival, part int32, key string, value []byte, headers ...kgo.RecordHeader) {
		a.record = &kgo.Record{
			Topic: topicRaw, Partition: part, Key: []byte(key), Value: value, Headers: headers, Timestamp: time.UnixMilli(at),
		}
		feed = append(feed, &a)
	}
	metadata := func(s *sensor) {
		add(arrival{id: s.id, metadata: true}, s.part, s.id, codecs.AppendSensorJSON(nil, &s.meta),
			kgo.RecordHeader{Key: codecs.HeaderKind, Value: []byte(codecs.KindSensor)})
	}
	for i := range sensors {
		if w.some(5) > 0 {
			metadata(&sensors[i])
		}
	}
	var sent []codecs.RawReading
	for range n {
		at += int64(w.some(25_000))
		s := &sensors[w.some(len(sensors))]
		r := codecs.RawReading{
			SensorID: s.id, Timestamp: codecs.Some(at - int64(w.some(20_000))), SpeedMPH: codecs.Some(float64(w.some(90))),
			VolumeVPH: codecs.Some(int64(w.some(2000))), Occupancy: codecs.Some(float64(w.some(300)) / 9),
			Latitude: codecs.Some(34.0), Longitude: codecs.Some(-118.0),
		}
		key, part := s.id, s.part
		switch w.some(24) {
		case 0: // a window that may be published already
			r.Timestamp.V -= int64(w.some(240_000))
		case 1:
			r.Timestamp.V -= 300_000 // too old
		case 2:
			r.Timestamp.V += 120_000 // in the future
		case 3:
			r.SpeedMPH.V = 150
		case 4, 5:
			if len(sent) > 0 { // a copy
				r = sent[w.some(len(sent))]
				if w.some(2) == 0 { // … with another speed
					r.SpeedMPH.V++
				}
				part = processors.PartitionOf(r.SensorID, partitions)
				key = r.SensorID
			}
		case 6:
			key = "somebody else"
		case 7:
			metadata(s)
			continue
		case 8:
			add(arrival{id: s.id}, part, key, []byte("{"))
			continue
		}
		sent = append(sent, r)
		add(arrival{id: r.SensorID, reading: &r, misrouted: key != r.SensorID}, part, key, codecs.AppendRawJSON(nil, &r))
	}
	for part := range int32(partitions) { // the last ones, see arrive
		at += 20_000
		s := &sensors[slices.IndexFunc(sensors, func(s sensor) bool { return s.part == part })]
		metadata(s)
		r := codecs.RawReading{
			SensorID: s.id, Timestamp: codecs.Some(at), SpeedMPH: codecs.Some(60.0), Latitude: codecs.Some(34.0),
			Longitude: codecs.Some(-118.0),
		}
		add(arrival{id: s.id, reading: &r}, s.part, s.id, codecs.AppendRawJSON(nil, &r))
	}
	return feed
}

// closeWindows publishes a silence that closes every window of a sensor.
func (w *world) closeWindows(id string) {
	w.sendSilence(&codecs.SensorSilence{
		SensorID: id, Watermark: w.watch.sensor(id).watermark, Since: w.clock, AsOf: w.clock + time.Hour.Milliseconds(),
	})
}
