package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// rawPartition is what is remembered of one partition of traffic-raw.
type rawPartition struct {
	slots    slots
	records  int64
	provable int64 // the first offset whose outcome cannot have expired

	// metadata is what was known of each sensor at this place of the log; nil for one that was removed.
	metadata map[string]*codecs.Sensor
}

func newRawPartition(s Span, expiredUntil int64) rawPartition {
	p := rawPartition{slots: newSlots(), provable: s.End, metadata: make(map[string]*codecs.Sensor)}
	if expiredUntil == 0 {
		p.provable = s.Start
	}
	return p
}

// Raw takes a record of traffic-raw. The error is that of ctx, while a schema was waited for.
func (l *Ledger) Raw(ctx context.Context, r *kgo.Record) error {
	if int(r.Partition) >= len(l.raw) || !l.x.Raw[r.Partition].contains(r.Offset) {
		return nil // appended after the extent was noted
	}
	if r.Attrs.IsControl() {
		return nil // the marker of a transaction: a hole
	}
	p := &l.raw[r.Partition]
	p.records++
	if r.Timestamp.UnixMilli() > l.x.ExpiredUntil {
		p.provable = min(p.provable, r.Offset)
	}
	s := p.slots.at(r.Offset)
	s.state |= slotSeen
	s.bytes = l.hash.rejected(r.Key, r.Value, arrival(r))
	if recordBytes(r) >= abridgedBytesMin {
		l.large[l.place(l.o.RawTopic, r)] = l.outline(r.Key, r.Value, arrival(r))
	}
	switch kind, ok := header(r, codecs.HeaderKind); {
	case !ok:
		if err := l.rawReading(ctx, r, p, s); err != nil {
			return err
		}
	case kind == string(codecs.KindSensor):
		l.rawSensor(r, p, s)
	}
	if of, ok := header(r, codecs.HeaderRedrive); ok {
		l.redriven(r, s, of)
	}
	l.settle(r, s)
	return nil
}

func recordBytes(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// arrival is the time that counts for the age of a record: that of the first arrival where it was redriven.
func arrival(r *kgo.Record) int64 {
	if _, redriven := header(r, codecs.HeaderRedrive); redriven {
		if ms, err := headerMillis(r, codecs.HeaderReceivedAt); err == nil {
			return ms
		}
	}
	return r.Timestamp.UnixMilli()
}

// rawReading notes what a reading of the record must hold.
func (l *Ledger) rawReading(ctx context.Context, r *kgo.Record, p *rawPartition, s *slot) error {
	var raw codecs.RawReading
	if err := l.o.Decoder.Decode(ctx, r.Value, &raw); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("decode %v: %w", l.place(l.o.RawTopic, r), err)
		}
		return nil
	}
	s.sensor = l.number(raw.SensorID)
	if l.o.Keyed && (string(r.Key) != raw.SensorID || l.partitionOf(raw.SensorID, len(l.raw)) != r.Partition) {
		s.state |= slotMisrouted
	}
	volume := codecs.Null[int32]{V: int32(raw.VolumeVPH.V), Valid: raw.VolumeVPH.Valid}
	if !raw.Timestamp.Valid || int64(volume.V) != raw.VolumeVPH.V {
		return nil // it can only be rejected
	}
	want := codecs.Reading{
		SensorID:   raw.SensorID,
		Timestamp:  raw.Timestamp.V,
		SpeedMPH:   raw.SpeedMPH,
		VolumeVPH:  volume,
		Occupancy:  raw.Occupancy,
		Latitude:   raw.Latitude.V,
		Longitude:  raw.Longitude.V,
		ReceivedAt: arrival(r),
	}
	own := raw.Latitude.Valid && raw.Longitude.Valid
	if own {
		s.state |= slotPlaced
	}
	if known, sensor := l.metadata(p, r.Partition, raw.SensorID); known {
		s.state |= slotEnriched
		if !own && sensor != nil {
			s.state |= slotPlaced
			want.Latitude, want.Longitude = sensor.Latitude, sensor.Longitude
		}
		if sensor != nil {
			want.Freeway, want.Direction = sensor.Freeway, sensor.Direction
			want.Lanes, want.IntervalS = sensor.Lanes, sensor.IntervalS
		}
	}
	s.fields = l.hash.fields(&want, s.state)
	return nil
}

// metadata tells whether it is known what was known of a sensor at this place of the log, and what it was: nil for
// nothing. It is not known through the loop, whose order is another, and not where the beginning of the log has expired
// and the sensor's metadata may have gone with it.
func (l *Ledger) metadata(p *rawPartition, partition int32, id string) (known bool, s *codecs.Sensor) {
	if !l.o.Keyed {
		return false, nil
	}
	s, seen := p.metadata[id]
	return seen || l.x.Raw[partition].Start == 0, s
}

// rawSensor notes metadata, where the record is of its form and at its place; anything else must be rejected.
func (l *Ledger) rawSensor(r *kgo.Record, p *rawPartition, s *slot) {
	key := string(r.Key)
	s.sensor = l.number(key)
	if key == "" || len(key) > codecs.SensorIDBytesMax {
		return
	}
	var sensor *codecs.Sensor
	if r.Value != nil {
		v, err := l.o.ParseSensor(r.Value, key)
		if err != nil {
			return
		}
		sensor = cloneSensor(v)
	}
	if l.o.Keyed && l.partitionOf(key, len(l.raw)) != r.Partition {
		return
	}
	s.state |= slotMetadata
	p.metadata[key] = sensor
}

func cloneSensor(s codecs.Sensor) *codecs.Sensor {
	s.SensorID = strings.Clone(s.SensorID)
	s.Freeway.V = strings.Clone(s.Freeway.V)
	s.Direction.V = strings.Clone(s.Direction.V)
	return &s
}

// Loop takes a record of the loop topic that its group has not committed. Its raw record counts as pending as long as
// it has no outcome, although the router has committed it.
func (l *Ledger) Loop(r *kgo.Record) {
	text, _ := header(r, codecs.HeaderSource)
	source, err := codecs.ParseSource(text)
	if err == nil && source.Topic == l.o.RawTopic && int(source.Partition) < len(l.raw) &&
		l.x.Raw[source.Partition].contains(source.Offset) {
		l.raw[source.Partition].slots.at(source.Offset).state |= slotOnLoop
	}
}
