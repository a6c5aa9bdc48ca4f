package feed

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// PublishSensors publishes the metadata of sensors and waits until all of it is acknowledged. A reading is judged by
// what the topic held before it, so this comes before the sensors' first rows.
func (p *Publisher) PublishSensors(ctx context.Context, sensors []codecs.Sensor) error {
	r := round{p: p}
	for i := range sensors {
		rec := p.metadata(sensors[i].SensorID, codecs.AppendSensorJSON(nil, &sensors[i]))
		if err := r.add(ctx, rec, Row{}, ignore); err != nil {
			return err
		}
	}
	return r.flush(ctx, ignore)
}

// RemoveSensors publishes that sensors are no longer known.
func (p *Publisher) RemoveSensors(ctx context.Context, ids []string) error {
	r := round{p: p}
	for _, id := range ids {
		if err := r.add(ctx, p.metadata(id, nil), Row{}, ignore); err != nil {
			return err
		}
	}
	return r.flush(ctx, ignore)
}

// ignore is for records that are no rows.
func ignore(*Row) {}

func (p *Publisher) metadata(id string, value []byte) *kgo.Record {
	return &kgo.Record{
		Topic:     p.opt.Topic,
		Partition: int32(p.place.Partition(&kgo.Record{Key: []byte(id)}, p.partitions)),
		Key:       []byte(id),
		Value:     value,
		Headers:   []kgo.RecordHeader{{Key: codecs.HeaderKind, Value: []byte(codecs.KindSensor)}},
		Timestamp: p.opt.Clock.Now(),
	}
}
