package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
)

// read gives each record of the spans to a function, control records of transactions too, in the order of each
// partition. The function may end its partition early.
//
// A span ends with its last offset, which the broker gives: the last stable offset is behind a record, or behind the
// marker of a transaction.
func (o *VerifyOptions) read(ctx context.Context, stage string, topics map[string][]Span,
	each func(*kgo.Record) (done bool, err error),
) error {
	p := newProgress(stage, topics, o.Progress)
	if len(p.left) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(slices.Clone(o.Client),
		kgo.ConsumePartitions(p.starts()),
		// What is deleted while it is read must be seen, not skipped.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return fmt.Errorf("options of the client: %w", err)
	}
	defer client.Close()
	for len(p.left) > 0 {
		fetches, err := o.poll(ctx, client)
		if err != nil {
			return fmt.Errorf("read %s: %w; %v", stage, err, p)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			r := iter.Next()
			if !p.wants(r) {
				continue
			}
			done, err := each(r)
			if err != nil {
				return err
			}
			if p.read(r, done) {
				client.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
			}
		}
		p.report()
	}
	return nil
}

var errStalled = errors.New("the brokers give no more records")

// poll waits for the next fetches, for Stall at most.
func (o *VerifyOptions) poll(ctx context.Context, client *kgo.Client) (kgo.Fetches, error) {
	limited, cancel := context.WithTimeoutCause(ctx, o.Stall, errStalled)
	defer cancel()
	fetches := client.PollFetches(limited)
	if limited.Err() != nil {
		return nil, context.Cause(limited)
	}
	return fetches, processors.FetchErr(fetches)
}

// progress knows which spans are not read to their ends.
type progress struct {
	stage       string
	left        map[topicPartition]Span // Start is the next offset to read
	done, total int64
	tell        func(stage string, done, total int64)
}

type topicPartition struct {
	topic     string
	partition int32
}

func newProgress(stage string, topics map[string][]Span, tell func(string, int64, int64)) *progress {
	p := &progress{stage: stage, left: make(map[topicPartition]Span), tell: tell}
	for topic, spans := range topics {
		for partition, s := range spans {
			if s.Start < s.End {
				p.left[topicPartition{topic, int32(partition)}] = s
				p.total += s.End - s.Start
			}
		}
	}
	return p
}

func (p *progress) starts() map[string]map[int32]kgo.Offset {
	starts := make(map[string]map[int32]kgo.Offset)
	for at, s := range p.left {
		if starts[at.topic] == nil {
			starts[at.topic] = make(map[int32]kgo.Offset)
		}
		starts[at.topic][at.partition] = kgo.NewOffset().At(s.Start)
	}
	return starts
}

// wants tells whether a record lies in its span. One behind it ends the span too: the last offsets may be absent.
func (p *progress) wants(r *kgo.Record) bool {
	at := topicPartition{r.Topic, r.Partition}
	s, ok := p.left[at]
	if ok && r.Offset >= s.End {
		p.done += s.End - s.Start
		delete(p.left, at)
	}
	return ok && r.Offset < s.End
}

// read notes a record, and tells whether it was the last one that is wanted of its partition.
func (p *progress) read(r *kgo.Record, done bool) (last bool) {
	at := topicPartition{r.Topic, r.Partition}
	s := p.left[at]
	next := r.Offset + 1
	if done {
		next = s.End
	}
	p.done += next - s.Start
	s.Start = next
	p.left[at] = s
	if next < s.End {
		return false
	}
	delete(p.left, at)
	return true
}

func (p *progress) report() {
	if p.tell != nil {
		p.tell(p.stage, p.done, p.total)
	}
}

// String says what is missing, for the error of a reading that ended early.
func (p *progress) String() string {
	for at, s := range p.left {
		return fmt.Sprintf("%d partitions are not read to their ends, %s/%d from offset %d to %d among them", len(p.left),
			at.topic, at.partition, s.Start, s.End)
	}
	return "all is read"
}
