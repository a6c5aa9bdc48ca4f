package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// roundBytesMax keeps the records of a round within one batch for each partition, whatever their partitions are.
	roundBytesMax = batchBytesMax - 4096
	// recordOverhead is more than a batch adds to key, value and headers of a record.
	recordOverhead = 64
)

// round is what is sent together: at most one batch for each partition, so that a partition gets all of a round's
// records or none, and the next round goes out only when all of this one is acknowledged. A client left to itself
// sends the batches behind one that the broker refuses for good (too large, say) while it is still telling that; a
// later Resume would find their rows and take the refused ones for published.
type round struct {
	p       *Publisher
	records []*kgo.Record
	rows    []Row
	bytes   int
}

// add puts a record into the round, and sends the round before where it does not fit any more.
func (r *round) add(ctx context.Context, rec *kgo.Record, row Row, acknowledged func(*Row)) error {
	size := recordSize(rec)
	if size > roundBytesMax {
		return fmt.Errorf("row %d has %d bytes, more than the %d of a record", row.Number, size, roundBytesMax)
	}
	if r.bytes+size > roundBytesMax {
		if err := r.flush(ctx, acknowledged); err != nil {
			return err
		}
	}
	row.Verbatim = nil // it lives until the next row only
	r.records, r.rows, r.bytes = append(r.records, rec), append(r.rows, row), r.bytes+size
	return nil
}

func recordSize(rec *kgo.Record) int {
	size := recordOverhead + len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		size += len(h.Key) + len(h.Value)
	}
	return size
}

// flush sends the round and waits until all of it is acknowledged, or one record has failed; after the end of ctx for
// flushTimeout at most.
func (r *round) flush(ctx context.Context, acknowledged func(*Row)) error {
	if len(r.records) == 0 {
		return nil
	}
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushTimeout, cancel) })()
	for len(r.records) > 0 {
		// The client does not know the topic before its first record, and would cut the round into several batches.
		n := len(r.records)
		if !r.p.warm {
			n = 1
		}
		if err := send(within, r.p.client, r.records[:n], func(i int) { acknowledged(&r.rows[i]) }); err != nil {
			return err
		}
		r.p.warm = true
		r.records, r.rows = r.records[n:], r.rows[n:]
	}
	r.records, r.rows, r.bytes = nil, nil, 0
	return nil
}

// send sends records in one flush. It calls acknowledged with the index of each that the broker has, one at a time, and
// not after it has returned.
func send(ctx context.Context, client *kgo.Client, records []*kgo.Record, acknowledged func(int)) error {
	var mu sync.Mutex
	var failed error
	returned := false
	for i, rec := range records {
		// A record's own context would take it out of the middle of the client's queue when it ends.
		client.Produce(context.WithoutCancel(ctx), rec, func(rec *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case returned:
			case err == nil:
				acknowledged(i)
			case failed == nil:
				failed = fmt.Errorf("publish to %s/%d: %w", rec.Topic, rec.Partition, err)
			}
		})
	}
	err := client.Flush(ctx)
	mu.Lock()
	defer mu.Unlock()
	returned = true
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("wait for acknowledgements: %w", err)
	}
	return nil
}
