package processors

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// refusedRetry is how long a partition is left alone that begins with a batch that is too large. Somebody has to act,
// and then nothing more than this wait is needed: the records may be deleted, or a process with a higher limit take over.
const refusedRetry = 30 * time.Second

// refusals are the partitions of a client that begin with a batch that is too large. They are paused, so that the
// others go on, and asked for again now and then.
type refusals struct {
	log    *slog.Logger
	client *kgo.Client
	paused map[string][]int32
	until  time.Time // when all of them are asked for again
}

// poll polls, and resumes the partitions when it is time. Its result may be empty.
func (r *refusals) poll(ctx context.Context) kgo.Fetches {
	if len(r.paused) == 0 {
		return r.client.PollFetches(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, r.until)
	defer cancel()
	fetches := r.client.PollFetches(limited)
	if errors.Is(limited.Err(), context.DeadlineExceeded) {
		r.client.ResumeFetchPartitions(r.paused)
		r.paused = nil
		if errors.Is(fetches.Err0(), context.DeadlineExceeded) {
			return nil // nothing but the news that there is none
		}
	}
	return fetches
}

// add pauses a partition.
func (r *refusals) add(topic string, partition int32, err error) {
	r.client.PauseFetchPartitions(map[string][]int32{topic: {partition}})
	if slices.Contains(r.paused[topic], partition) {
		return // resumed by somebody else meanwhile, and paused again
	}
	if len(r.paused) == 0 {
		r.paused, r.until = make(map[string][]int32), time.Now().Add(refusedRetry)
	}
	r.paused[topic] = append(r.paused[topic], partition)
	r.log.Error("a partition waits before a batch that cannot be unpacked; the others go on",
		"topic", topic, "partition", partition, "offset", position(r.client, topic, partition),
		"again_in", refusedRetry, "error", err)
}

// position is the next offset that a member of a group reads of a partition.
func position(client *kgo.Client, topic string, partition int32) int64 {
	if o, ok := client.UncommittedOffsets()[topic][partition]; ok {
		return o.Offset
	}
	return max(0, client.CommittedOffsets()[topic][partition].Offset)
}
