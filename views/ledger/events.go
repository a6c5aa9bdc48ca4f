package ledger

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// Event takes a record of traffic-events.
func (l *Ledger) Event(r *kgo.Record) {
	if int(r.Partition) >= len(l.events) || !l.x.Events[r.Partition].contains(r.Offset) {
		return
	}
	l.events[r.Partition].follow(r)
	if r.Attrs.IsControl() {
		return
	}
	at := l.place(l.o.EventsTopic, r)
	var e codecs.Event
	if err := decodeEvent(r, &e); err != nil {
		l.except(KindMalformed, at, string(r.Key), "%v", err)
		return
	}
	id := e.SensorID()
	if want := l.partitionOf(id, len(l.events)); want != r.Partition {
		l.except(KindWrongPartition, at, id, "its key belongs on partition %d", want)
		return
	}
	switch s := l.sensor(id, r.Partition); e.Kind {
	case codecs.KindReading:
		l.reading(s, r, at, &e.Reading)
	case codecs.KindWindow:
		l.window(s, r, at, &e.Window)
	case codecs.KindSilence:
		l.totals.Silences++
		e.Silence.SensorID = s.id
		l.offer(s, event{offset: r.Offset, silence: &e.Silence})
	}
}

// decodeEvent reads a record of traffic-events, and compares its key and its header with what it holds.
func decodeEvent(r *kgo.Record, e *codecs.Event) error {
	kind, _ := header(r, codecs.HeaderKind)
	switch err := codecs.DecodeEvent(r.Value, e); {
	case err != nil:
		return fmt.Errorf("not an event: %w", err)
	case kind != string(e.Kind):
		return fmt.Errorf("the header %s is %.32q, and the record holds a %s", codecs.HeaderKind, kind, e.Kind)
	case e.SensorID() == "":
		return errors.New("the event has no sensor_id")
	case string(r.Key) != e.SensorID():
		return fmt.Errorf("the key is not the sensor_id %.64q", e.SensorID())
	}
	return nil
}

// reading accounts for a reading, and hands it to its sensor if it is the record that a reader takes.
func (l *Ledger) reading(s *sensor, r *kgo.Record, at codecs.Source, v *codecs.Reading) {
	source, slot := l.source(r, at, s.id)
	if slot == nil {
		return
	}
	receivedAt, err := headerMillis(r, codecs.HeaderReceivedAt)
	switch {
	case err != nil:
		l.except(KindMalformed, at, s.id, "%v", err)
		return
	case receivedAt != v.ReceivedAt:
		l.except(KindMalformed, at, s.id, "the header %s is %d, and received_at %d", codecs.HeaderReceivedAt, receivedAt,
			v.ReceivedAt)
		return
	case v.Sequence < 1:
		l.except(KindMalformed, at, s.id, "sequence %d: sequences begin at 1", v.Sequence)
		return
	}
	first := slot.state&(slotAccepted|slotRejected) == 0
	equal := slot.state&slotAccepted != 0 && slot.content == l.content(r)
	if l.enter(slot, slotAccepted, l.content(r), source, at, s.id) {
		l.judge(slot, source, earlyOutcome{at: at, reading: v})
	}
	if first || equal {
		l.offer(s, event{offset: r.Offset, first: first, reading: count(v, source)})
	}
}

// content digests an event: its key and its value, without the id of the schema, which a registry may give anew.
func (l *Ledger) content(r *kgo.Record) uint32 {
	_, body, err := codecs.SplitWire(r.Value)
	if err != nil {
		body = r.Value
	}
	return l.hash.content(r.Key, body)
}
