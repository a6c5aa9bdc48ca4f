package processors

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// claim is one partition of a session.
type claim struct {
	s         *session
	topic     string
	partition int32
	messages  chan *sarama.ConsumerMessage
	arrived   chan struct{}

	mu     sync.Mutex
	queue  []*kgo.Record
	memory int       // what the queue holds on to, bytes
	handed []*Batch  // handed to goka and not taken yet, oldest first
	moved  time.Time // when a batch was last cut off the queue, or the queue began
	paused bool
	end    int64
	// resumeAt is the next offset to be fetched; -1 while that is wherever the log begins.
	resumeAt int64
	seen     int64 // offset of the last record queued into a batch, plus one
}

var _ sarama.ConsumerGroupClaim = (*claim)(nil)

func (c *claim) Topic() string                            { return c.topic }
func (c *claim) Partition() int32                         { return c.partition }
func (c *claim) InitialOffset() int64                     { return sarama.OffsetOldest }
func (c *claim) HighWaterMarkOffset() int64               { c.mu.Lock(); defer c.mu.Unlock(); return c.end }
func (c *claim) Messages() <-chan *sarama.ConsumerMessage { return c.messages }

// consume runs goka on the claim. Its return before the session's end means that the processor failed.
func (c *claim) consume() {
	defer c.s.wg.Done()
	if err := c.s.handler.ConsumeClaim(c.s, c); err != nil {
		c.s.fail(fmt.Errorf("consume %s/%d: %w", c.topic, c.partition, err))
	}
	if c.s.ctx.Err() == nil {
		// goka reports the cause in Cleanup, which end calls.
		c.s.fail(errStopped)
	}
}

var errStopped = errors.New("a partition processor stopped")

// feed hands batches to goka, each as one message without a value.
func (c *claim) feed() {
	defer c.s.wg.Done()
	defer close(c.messages)
	for {
		b := c.next()
		if b == nil {
			select {
			case <-c.s.ctx.Done():
				return
			case <-c.arrived:
				continue
			}
		}
		if !c.hand(b) {
			return
		}
	}
}

// hand gives a batch to goka; false when the session has ended.
func (c *claim) hand(b *Batch) bool {
	m := &sarama.ConsumerMessage{Topic: c.topic, Partition: c.partition, Offset: b.Last()}
	if n := len(b.Records); n > 0 {
		m.Timestamp = b.Records[n-1].Timestamp
	}
	c.mu.Lock()
	c.handed = append(c.handed, b)
	c.mu.Unlock()
	select {
	case <-c.s.ctx.Done():
		return false
	case c.messages <- m:
		return true
	}
}

// next cuts a batch off the queue, nil if it is empty.
func (c *claim) next() *Batch {
	c.mu.Lock()
	n := min(len(c.queue), batchRecordsMax)
	if n == 0 {
		c.mu.Unlock()
		return nil
	}
	records := slices.Clone(c.queue[:n])
	clear(c.queue[:n]) // the queue lives on, and what was in it may be large
	c.queue = c.queue[n:]
	for _, r := range records {
		c.memory -= recordMemory(r)
	}
	b := NewBatch(c.topic, c.partition, records)
	b.Unread = c.s.unread(topicPartition{c.topic, c.partition})
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.moved = time.Now()
	resume := c.paused && len(c.queue) < batchRecordsMax
	if resume {
		c.paused = false
	}
	c.mu.Unlock()
	select {
	case c.s.room <- struct{}{}:
	default:
	}
	if resume {
		c.s.client.ResumeFetchPartitions(map[string][]int32{c.topic: {c.partition}})
	}
	return b
}

func (c *claim) take(offset int64) (*Batch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.handed) == 0 || c.handed[0].Last() != offset {
		return nil, fmt.Errorf("%s/%d: no batch ends at offset %d", c.topic, c.partition, offset)
	}
	b := c.handed[0]
	c.handed[0] = nil // what is handled must not be kept
	c.handed = c.handed[1:]
	if b.Ahead {
		return b, nil
	}
	if len(b.Records) > 0 && b.Records[0].Offset < c.seen {
		return nil, fmt.Errorf("%s/%d: offset %d was delivered after %d",
			c.topic, c.partition, b.Records[0].Offset, c.seen-1)
	}
	c.seen = offset + 1
	return b, nil
}
