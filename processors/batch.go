package processors

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Batch is a run of records of one input partition, in order.
type Batch struct {
	Topic     string
	Partition int32
	// Records may be empty: the markers that end transactions are offsets too, and they are not among the records.
	Records []*kgo.Record
	// Ahead marks records that overtake a backlog. They come again in their place, so nothing of the batch's input is
	// done when they are handled.
	Ahead bool
	// Unread is what was deleted of the partition before it was read, lately. It is not to be changed.
	Unread []Hole

	last  int64         // offset of the last record or marker
	taken chan struct{} // of a batch ahead: closed when it is handled
}

// Last returns the offset up to which the input is done when the batch is handled.
func (b *Batch) Last() int64 { return b.last }

// NewBatch makes a batch of records and markers of a partition, in order, of which there is at least one.
func NewBatch(topic string, partition int32, records []*kgo.Record) *Batch {
	last := records[len(records)-1].Offset
	records = slices.DeleteFunc(records, func(r *kgo.Record) bool { return r.Attrs.IsControl() })
	return &Batch{Topic: topic, Partition: partition, Records: records, last: last}
}

// cut takes the first n records off the batch; all of them, with the markers behind, where n is their number.
func (b *Batch) cut(n int) (head, rest *Batch) {
	if n == len(b.Records) {
		return b, nil
	}
	part := *b
	part.Records, part.last = b.Records[:n:n], b.Records[n-1].Offset
	b.Records = b.Records[n:]
	return &part, b
}
