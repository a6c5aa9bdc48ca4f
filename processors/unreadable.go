package processors

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// refusedRetry is how long a partition is left alone that begins with a batch that is too large. Somebody has to act,
// and then nothing more than this wait is needed: the records may be deleted, or a process with a higher limit take over.
const refusedRetry = 30 * time.Second

// unreadable are the partitions of a client that begin with a batch that is too large. They are paused, so that the
// others go on, and asked for again now and then.
type unreadable struct {
	client *kgo.Client
	paused map[string][]int32
	until  time.Time // when all of them are asked for again
}

func (u *unreadable) any() bool { return len(u.paused) > 0 }

// add pauses a partition, and returns the error with its place.
func (u *unreadable) add(topic string, partition int32, err error) error {
	u.client.PauseFetchPartitions(map[string][]int32{topic: {partition}})
	if len(u.paused) == 0 {
		u.paused, u.until = make(map[string][]int32), time.Now().Add(refusedRetry)
	}
	if !slices.Contains(u.paused[topic], partition) { // else resumed by somebody else meanwhile
		u.paused[topic] = append(u.paused[topic], partition)
	}
	return fmt.Errorf("%s/%d waits at offset %d, the others go on: %w",
		topic, partition, position(u.client, topic, partition), err)
}

// resume asks for the partitions again when it is time.
func (u *unreadable) resume() {
	if u.any() && time.Now().After(u.until) {
		u.client.ResumeFetchPartitions(u.paused)
		u.paused = nil
	}
}

// position is the next offset that a member of a group reads of a partition.
func position(client *kgo.Client, topic string, partition int32) int64 {
	if o, ok := client.UncommittedOffsets()[topic][partition]; ok {
		return o.Offset
	}
	return max(0, client.CommittedOffsets()[topic][partition].Offset)
}
