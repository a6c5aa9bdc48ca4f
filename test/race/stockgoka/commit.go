package main

import (
	"context"
	"sync"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
)

// committing builds consumer groups that commit only the contiguous prefix of what is done. goka marks an offset as
// soon as the outputs of that one message are acknowledged, and sarama keeps the highest mark: that of message N+1,
// which has no outputs, is beyond N, whose outputs may still be under way, and a crash would lose them.
func committing(config func() *sarama.Config) goka.ConsumerGroupBuilder {
	return func(brokers []string, group, _ string) (sarama.ConsumerGroup, error) {
		g, err := sarama.NewConsumerGroup(brokers, group, config())
		return consumerGroup{g}, err
	}
}

type consumerGroup struct{ sarama.ConsumerGroup }

func (g consumerGroup) Consume(ctx context.Context, topics []string, h sarama.ConsumerGroupHandler) error {
	return g.ConsumerGroup.Consume(ctx, topics, &handler{ConsumerGroupHandler: h, trackers: make(map[claimed]*tracker)})
}

// claimed is a partition that the session holds.
type claimed struct {
	topic     string
	partition int32
}

// handler gives goka a session and claims that keep track of what was delivered.
type handler struct {
	sarama.ConsumerGroupHandler
	mu       sync.Mutex
	trackers map[claimed]*tracker
}

func (h *handler) Setup(s sarama.ConsumerGroupSession) error {
	return h.ConsumerGroupHandler.Setup(session{s, h})
}

func (h *handler) Cleanup(s sarama.ConsumerGroupSession) error {
	return h.ConsumerGroupHandler.Cleanup(session{s, h})
}

func (h *handler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	t := &tracker{mark: func(next int64) { s.MarkOffset(c.Topic(), c.Partition(), next, "") }}
	h.mu.Lock()
	h.trackers[claimed{c.Topic(), c.Partition()}] = t
	h.mu.Unlock()
	tracked := claim{c, make(chan *sarama.ConsumerMessage)}
	go tracked.deliver(s.Context(), t)
	return h.ConsumerGroupHandler.ConsumeClaim(session{s, h}, tracked)
}

func (h *handler) tracker(topic string, partition int32) *tracker {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trackers[claimed{topic, partition}]
}

type session struct {
	sarama.ConsumerGroupSession
	handler *handler
}

// MarkOffset is how goka says that the message before next is done.
func (s session) MarkOffset(topic string, partition int32, next int64, _ string) {
	if t := s.handler.tracker(topic, partition); t != nil {
		t.done(next - 1)
	}
}

type claim struct {
	sarama.ConsumerGroupClaim
	messages chan *sarama.ConsumerMessage
}

func (c claim) Messages() <-chan *sarama.ConsumerMessage { return c.messages }

func (c claim) deliver(ctx context.Context, t *tracker) {
	defer close(c.messages)
	for m := range c.ConsumerGroupClaim.Messages() {
		t.deliver(m.Offset)
		select {
		case c.messages <- m:
		case <-ctx.Done():
			return
		}
	}
}

// tracker knows, in the order of delivery, which messages of a partition are not done. Offsets may have gaps.
type tracker struct {
	mu    sync.Mutex
	queue []int64 // from head on; one that is done is stored as -1 - offset
	head  int
	mark  func(next int64)
}

func (t *tracker) deliver(offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, offset)
}

func (t *tracker) done(offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := t.head; i < len(t.queue); i++ {
		if t.queue[i] == offset {
			t.queue[i] = -1 - offset
			break
		}
	}
	last := int64(-1)
	for ; t.head < len(t.queue) && t.queue[t.head] < 0; t.head++ {
		last = -1 - t.queue[t.head]
	}
	if last >= 0 {
		t.mark(last + 1)
	}
	if t.head > 1024 && t.head*2 > len(t.queue) {
		t.queue, t.head = t.queue[:copy(t.queue, t.queue[t.head:])], 0
	}
}
