package deadletter

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/store"
)

// A transaction holds so much at most: readers of traffic-raw wait for its end.
const (
	batchRecordsMax = 500
	batchBytesMax   = 512 << 10
	recordBytesMax  = 64 << 20 // the brokers' limit decides; a record is compressed
)

// ErrFenced says that another redriver has taken over. What this one committed is sent, all else is not, and a redriver
// that is run now finds out which is which.
var ErrFenced = errors.New("another redrive was started and has taken over; run this one again to send what is left")

// TransactionalID is under what name redrivers of a topic write; see the package comment. With ACLs it must be allowed
// to write.
func TransactionalID(rawTopic string) string { return "gantry-redrive-" + rawTopic }

// Redrive sends the rejects of a selection again, once each, and tells the verdict on each of them when it stands: a
// message counts as sent when its transaction is committed. When it returns an error, what was told is so.
func (q *Queue) Redrive(ctx context.Context, s *Selection, r Request, tell func(Verdict) error) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if s.Rejects == 0 {
		return nil
	}
	b := batch{q: q, request: r, tell: tell}
	if !r.DryRun {
		client, err := q.takeOver(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		b.client = client
	}
	// Only now: what another redriver has sent is committed or aborted, and it can commit nothing any more.
	x, err := q.search(ctx, s.Oldest)
	if err != nil {
		return err
	}
	err = q.each(ctx, StageRejects, s, func(j *Reject) error {
		v := r.decide(j, x, q.o.Topics.Partitions)
		if v.Fate != FateSent || r.DryRun {
			return tell(v)
		}
		return b.add(ctx, v)
	})
	if err != nil {
		return err // the open batch was never sent
	}
	return b.send(ctx)
}

// takeOver returns a producer that alone may write redrives from here on.
func (q *Queue) takeOver(ctx context.Context) (*kgo.Client, error) {
	id := TransactionalID(string(q.o.Topics.Raw))
	client, err := kgo.NewClient(append(append([]kgo.Opt(nil), q.o.Client...),
		kgo.TransactionalID(id),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(recordBytesMax),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()),
	)...)
	if err != nil {
		return nil, fmt.Errorf("options of the client: %w", err)
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("take the transactional id %s: %w", id, err)
	}
	return client, nil
}

// batch is what is sent in one transaction.
type batch struct {
	q       *Queue
	client  *kgo.Client
	request Request
	tell    func(Verdict) error

	verdicts []Verdict
	records  []*kgo.Record
	bytes    int
}

// add takes a message that is to be sent, and sends the batch before it where there is no more room.
func (b *batch) add(ctx context.Context, v Verdict) error {
	r := b.request.record(&v, string(b.q.o.Topics.Raw), b.q.o.Now())
	n := store.RecordBytes(r)
	if len(b.records) == batchRecordsMax || len(b.records) > 0 && b.bytes+n > batchBytesMax {
		if err := b.send(ctx); err != nil {
			return err
		}
	}
	b.verdicts, b.records, b.bytes = append(b.verdicts, v), append(b.records, r), b.bytes+n
	return nil
}

// send sends the batch in a transaction. After an error nothing more may be sent by this client: what it would look
// for before it goes on, it has looked for under an epoch that may be over.
func (b *batch) send(ctx context.Context) error {
	if len(b.records) == 0 {
		return nil
	}
	if err := b.transaction(ctx); err != nil {
		return err
	}
	for i := range b.verdicts {
		v, r := &b.verdicts[i], b.records[i]
		if v.Fate == FateSent {
			v.Place = codecs.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
		}
		if err := b.tell(*v); err != nil {
			return err
		}
	}
	b.verdicts, b.records, b.bytes = b.verdicts[:0], b.records[:0], 0
	return nil
}

func (b *batch) transaction(ctx context.Context) error {
	if err := b.client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", explain(err))
	}
	err := b.client.ProduceSync(ctx, b.records...).FirstErr()
	if errors.Is(err, kerr.MessageTooLarge) && len(b.records) == 1 {
		// Alone in its transaction, and not taken: the brokers' limit has shrunk, or the message came compressed better.
		b.verdicts[0].Fate = FateRefused
		b.verdicts[0].Why = fmt.Sprintf("%d bytes are more than %s takes; raise its max.message.bytes", b.bytes,
			b.q.o.Topics.Raw)
		return b.end(ctx, kgo.TryAbort)
	}
	if err != nil {
		return fmt.Errorf("send %d messages to %s: %w", len(b.records), b.q.o.Topics.Raw, explain(err))
	}
	return b.end(ctx, kgo.TryCommit)
}

func (b *batch) end(ctx context.Context, how kgo.TransactionEndTry) error {
	if err := b.client.EndTransaction(ctx, how); err != nil {
		return fmt.Errorf("end the transaction of %d messages: %w (run it again: it finds out what was sent)",
			len(b.records), explain(err))
	}
	return nil
}

// explain names the error of a producer that was fenced.
func explain(err error) error {
	if errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) {
		return fmt.Errorf("%w (%w)", ErrFenced, err)
	}
	return err
}
