package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
)

// spans are what is read of a topic, by partition.
type spans []span

// span is a range of offsets, without its end.
type span struct{ from, to int64 }

// bounds returns what a topic holds now, up to the high watermarks: records of transactions that are still open too, so
// that a reader of committed records waits for them.
func (q *Queue) bounds(ctx context.Context, topic string) (spans, error) {
	starts, err := processors.TopicOffsets(q.adm.ListStartOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("start of %s: %w", topic, err)
	}
	ends, err := processors.TopicOffsets(q.adm.ListEndOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("end of %s: %w", topic, err)
	}
	if len(starts) != len(ends) {
		return nil, fmt.Errorf("%s has %d partitions, a moment ago it had %d", topic, len(ends), len(starts))
	}
	s := make(spans, len(ends))
	for p, start := range starts {
		s[p] = span{start, max(start, ends[p])}
	}
	return s, nil
}

// since cuts spans to what may have been written at this time, in epoch milliseconds, or later.
func (q *Queue) since(ctx context.Context, topic string, s spans, ms int64) (spans, error) {
	cut := slices.Clone(s)
	if ms <= 0 {
		return cut, nil
	}
	offsets, err := q.adm.ListOffsetsAfterMilli(ctx, ms, topic)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of %s from %s on: %w", topic, time.UnixMilli(ms).UTC().Format(time.RFC3339), err)
	}
	for p := range cut {
		if o, ok := offsets.Lookup(topic, int32(p)); ok && o.Offset > cut[p].from {
			cut[p].from = min(o.Offset, cut[p].to)
		}
	}
	return cut, nil
}

var (
	errStalled = errors.New("the brokers give no more records, or an open transaction holds them back; try again later")
	errEnough  = errors.New("enough") // ends a read early
)

// read gives the committed records of the spans to a function, in the order of each partition.
func (q *Queue) read(ctx context.Context, stage string, topics map[string]spans, each func(*kgo.Record) error) error {
	left := make(map[spotOfTopic]span) // what is not read yet
	from := make(map[string]map[int32]kgo.Offset)
	var done, total int64
	for topic, s := range topics {
		from[topic] = make(map[int32]kgo.Offset)
		for p, x := range s {
			if x.from < x.to {
				left[spotOfTopic{topic, int32(p)}] = x
				from[topic][int32(p)] = kgo.NewOffset().At(x.from)
				total += x.to - x.from
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(slices.Clone(q.o.Client),
		kgo.ConsumePartitions(from),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // what is deleted while it is read must be seen, not skipped
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the last one may be the marker of a transaction
	)...)
	if err != nil {
		return fmt.Errorf("options of the client: %w", err)
	}
	defer client.Close()
	for len(left) > 0 {
		fetches, err := q.poll(ctx, client)
		if err != nil {
			return fmt.Errorf("read %s: %w", stage, err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			r := iter.Next()
			at := spotOfTopic{r.Topic, r.Partition}
			x, ok := left[at]
			if !ok {
				continue
			}
			next := min(r.Offset+1, x.to) // offsets may be absent: what was aborted, and the last ones too
			done += next - x.from
			if left[at] = (span{next, x.to}); next == x.to {
				delete(left, at)
				client.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
			}
			if r.Offset >= x.to || r.Attrs.IsControl() {
				continue
			}
			if err := each(r); errors.Is(err, errEnough) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if q.o.Progress != nil {
			q.o.Progress(stage, done, total)
		}
	}
	return nil
}

type spotOfTopic struct {
	topic     string
	partition int32
}

// poll waits for the next records, for Stall at most.
func (q *Queue) poll(ctx context.Context, client *kgo.Client) (kgo.Fetches, error) {
	limited, cancel := context.WithTimeoutCause(ctx, q.o.Stall, errStalled)
	defer cancel()
	fetches := client.PollFetches(limited)
	if limited.Err() != nil {
		return nil, context.Cause(limited)
	}
	err := processors.FetchErr(fetches)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		err = fmt.Errorf("retention has deleted what was being read, try again: %w", err)
	}
	return fetches, err
}

// checkTopics compares the number of partitions with the configuration: by it, messages are placed.
func (q *Queue) checkTopics(ctx context.Context) error {
	raw, rejects := string(q.o.Topics.Raw), string(q.o.Topics.Rejects)
	topics, err := q.adm.ListTopics(ctx, raw, rejects)
	if err != nil {
		return fmt.Errorf("look up topics: %w", err)
	}
	for _, t := range []kadm.TopicDetail{topics[raw], topics[rejects]} {
		if t.Err != nil {
			return fmt.Errorf("topic %s: %w (gantry topics create makes it)", t.Topic, t.Err)
		}
		if n := len(t.Partitions); n != q.o.Topics.Partitions {
			return fmt.Errorf("topic %s has %d partitions, topics.partitions is %d", t.Topic, n, q.o.Topics.Partitions)
		}
	}
	return nil
}
