package store

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Output is a record on its way to Kafka. It is pooled: it belongs to the engine from Emit on.
type Output = record

type record struct {
	kgo.Record        // first, so that the acknowledgement finds the record around it
	round      *round // the round that waits for it
	cell       *Cell  // set on a table record
	key        []byte // memory of Key
	buf        []byte // memory of what the writer built in Buffer
	headers    [4]kgo.RecordHeader
}

// SetKeyString copies the key. A key that lives as long as the record, or a null one, may be set as Key instead.
func (r *record) SetKeyString(key string) {
	r.key = append(r.key[:0], key...)
	r.Key = r.key
}

// Buffer returns an empty buffer to build the value and the headers' values in. Own gives it back, grown; it is used
// again after the acknowledgement.
func (r *record) Buffer() []byte { return r.buf[:0] }

// Own keeps the buffer with the record. Value and headers may be slices of it.
func (r *record) Own(b []byte) { r.buf = b }

// AddHeader appends a header.
func (r *record) AddHeader(key string, value []byte) {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: value})
}

func (e *Engine) newRecord(topic string, partition int32) *record {
	r := e.pool.Get().(*record)
	r.Topic, r.Partition = topic, partition
	r.Headers = r.headers[:0]
	return r
}

func (e *Engine) send(r *record) {
	if e.Err() != nil {
		return
	}
	if n := RecordBytes(&r.Record); n > e.opts.RecordBytesMax {
		e.Fail(fmt.Errorf("%w: a record of %d bytes for %s is larger than %d bytes: it would fail behind others in flight",
			ErrRecordSize, n, r.Topic, e.opts.RecordBytesMax))
		return
	}
	e.metrics.inFlight.Inc()
	e.transport.Send(&r.Record, e.onAck)
}

// acked runs on the transport's goroutine. It takes no lock that a blocked Send may hold.
func (e *Engine) acked(kr *kgo.Record, err error) {
	r := outer(kr)
	e.metrics.inFlight.Dec()
	if err != nil && !e.omit.has(omitStop) {
		e.Fail(fmt.Errorf("send to %s/%d: %w", r.Topic, r.Partition, err))
		return // its round is never released
	}
	round := r.round
	if r.cell == nil {
		e.recycle(r)
		round.outputAcked()
		return
	}
	if round.lane.hasEnded() {
		return // the table is closed, and the partition may be somebody else's
	}
	if err := round.lane.table.acked(r.cell.key, r.Value, r.Offset); err != nil {
		e.Fail(fmt.Errorf("partition %d of %s: %w", round.lane.part, e.opts.Table, err))
		return
	}
	e.metrics.changelogBytes.Add(float64(len(r.Value)))
	e.recycle(r)
	round.tableAcked()
}

// recycle makes a record ready for reuse: it keeps the memory of key and buffer. A table value belongs to the table.
func (e *Engine) recycle(r *record) {
	*r = record{key: r.key, buf: r.buf}
	e.pool.Put(r)
}
