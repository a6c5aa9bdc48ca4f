package processors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	batchRecordsMax = 512
	// Fetching waits while the partitions that move hold this many records, or this much memory. A partition that has
	// not moved for stuckAfter, because its messages wait for the registry, say, is paused instead, so that it does not
	// hold up the others: pausing costs a turn of the long poll, so it is not for what merely is busy. What paused ones
	// hold has a limit too, behind which everything waits for them.
	queuedMax      = 16384
	queuedBytesMax = 64 << 20
	stuckBytesMax  = 256 << 20
	stuckAfter     = time.Second
	fetchWait      = 250 * time.Millisecond // also how long a partition that is resumed may wait for its first fetch
	fetchRetry     = 5 * time.Second
	resumeTimeout  = 30 * time.Second
	commitInterval = 500 * time.Millisecond
	fetchBytesMax  = 2 << 20
	fetchPartition = 256 << 10
)

// Group is a consumer group on kgo behind sarama's interface, so that goka can run it. It differs from sarama's in four
// ways, each for a reason. A claim delivers a batch as one message, because goka's cost is per message. MarkOffset does
// nothing, because goka marks a message as soon as its own emits are acknowledged; Mark, which the engine calls, is what
// gets committed. Consume goes through rebalances by itself, because goka sleeps 5 s whenever it returns. And it returns
// when the handler fails, because goka would otherwise go on without the partition.
type Group struct {
	kafka Kafka
	name  goka.Group
	log   *slog.Logger
	align *Alignment // nil: nothing is held back
	stand *standby   // nil: nobody follows the partitions of others

	fetching, committing *Condition
	begun                func() // a session has begun; nil where nobody wants to know
	lost                 func(topic string, partition int32, from, to int64)

	life    sync.Mutex // held while a session begins or ends: a shutdown may come in the middle of a recovery
	mu      sync.Mutex
	session *session
}

// NewGroup returns a consumer group. align may be nil.
func NewGroup(k Kafka, name goka.Group, align *Alignment, log *slog.Logger, reg prometheus.Registerer) *Group {
	return &Group{
		kafka: k, name: name, align: align, log: log,
		fetching:   NewCondition(fmt.Sprintf("the group %s cannot read", name), log, reg),
		committing: NewCondition(fmt.Sprintf("the group %s cannot commit its offsets", name), log, reg),
	}
}

// Trouble says what keeps the group from reading or committing, "" while nothing does.
func (g *Group) Trouble() string {
	if t := g.fetching.Trouble(); t != "" {
		return t
	}
	return g.committing.Trouble()
}

var _ sarama.ConsumerGroup = (*Group)(nil)

// Builder gives the group to goka.
func (g *Group) Builder() goka.ConsumerGroupBuilder {
	return func([]string, string, string) (sarama.ConsumerGroup, error) { return g, nil }
}

// Consume runs the handler on the partitions of the group until ctx ends or the handler fails.
func (g *Group) Consume(ctx context.Context, topics []string, h sarama.ConsumerGroupHandler) error {
	process := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if g.stand != nil {
		defer g.stand.close()
		if err := g.stand.ahead(ctx); err != nil {
			return fmt.Errorf("read the tables of %s ahead: %w", g.name, err)
		}
		if ctx.Err() != nil {
			return nil // what has not joined moves nothing
		}
	}
	client, err := kgo.NewClient(append(g.kafka.MemberOptions(g.name),
		kgo.ConsumeTopics(topics...),
		// Range gives a member the same partitions of every topic. goka cannot do with a cooperative protocol.
		kgo.Balancers(kgo.RangeBalancer()),
		// A record is either handed to the session that it was fetched for, or to none.
		kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The marker behind a transaction is an offset that has to be committed, or a partition that ends in one would
		// never be done.
		kgo.KeepControlRecords(),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.FetchMaxBytes(fetchBytesMax),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxPartitionBytes(fetchPartition),
		// NewClient may not have returned yet when the first assignment comes.
		kgo.OnPartitionsAssigned(func(_ context.Context, client *kgo.Client, parts map[string][]int32) {
			if err := g.begin(ctx, client, parts, h, cancel); err != nil {
				cancel(err)
			}
		}),
		kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) {
			if err := g.end(true); err != nil {
				cancel(err)
			}
		}),
		kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) {
			if err := g.end(false); err != nil {
				cancel(err)
			}
		}),
	)...)
	if err != nil {
		return fmt.Errorf("consumer group %s: %w", g.name, err)
	}
	var watching sync.WaitGroup
	if g.align != nil {
		watching.Go(func() { g.align.watch(ctx) })
	}
	g.poll(ctx, client, cancel)
	endErr := g.end(true)
	if err := g.kafka.Leave(process, client, g.name); err != nil {
		g.log.Warn("the process has not left its group", "error", err)
	}
	client.CloseAllowingRebalance()
	cancel(nil)
	watching.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, ErrLeaving) {
		return errors.Join(cause, endErr)
	}
	return endErr
}

func (g *Group) poll(ctx context.Context, client *kgo.Client, cancel context.CancelCauseFunc) {
	unreadable := unreadable{client: client}
	for ctx.Err() == nil {
		unreadable.resume()
		fetches := g.fetch(ctx, client)
		failed := false
		for _, e := range fetches.Errors() {
			switch {
			case ctx.Err() != nil || errors.Is(e.Err, kgo.ErrClientClosed) || errors.Is(e.Err, context.DeadlineExceeded):
			case errors.Is(e.Err, errUnpackLater):
			case errors.Is(e.Err, ErrBatchTooLarge):
				g.fetching.Fail(unreadable.add(e.Topic, e.Partition, e.Err))
			case errors.Is(e.Err, kerr.FencedInstanceID):
				cancel(fmt.Errorf("group %s, instance %q: %w", g.name, g.kafka.Instance, ErrInstanceTaken))
			case errors.Is(e.Err, kerr.UnknownTopicID):
				// The client holds on to the topic that it began with. The next processor looks at what there is now.
				cancel(fmt.Errorf("topic %s was deleted, or created again: %w", e.Topic, e.Err))
			case e.Topic == "":
				failed = true
				g.fetching.Fail(e.Err)
			default:
				failed = true
				g.fetching.Fail(fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err))
			}
		}
		if !failed && !unreadable.any() {
			g.fetching.Clear()
		}
		g.mu.Lock()
		s := g.session
		g.mu.Unlock()
		if s != nil {
			fetches.EachPartition(s.deliver)
		}
		client.AllowRebalance()
		if s != nil {
			s.waitForRoom()
		}
	}
}

// fetch polls. While reading fails it does not wait for records: none may come for long after it works again.
func (g *Group) fetch(ctx context.Context, client *kgo.Client) kgo.Fetches {
	if g.fetching.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, fetchRetry)
		defer cancel()
	}
	return client.PollFetches(ctx)
}

// begin starts a session: goka recovers its tables in Setup, then each partition is consumed.
func (g *Group) begin(
	ctx context.Context, client *kgo.Client, parts map[string][]int32, h sarama.ConsumerGroupHandler,
	fail context.CancelCauseFunc,
) error {
	g.life.Lock()
	defer g.life.Unlock()
	sctx, cancel := context.WithCancel(ctx)
	s := &session{
		g: g, client: client, ctx: sctx, cancel: cancel, handler: h, parts: parts, fail: fail,
		claims: make(map[topicPartition]*claim), marks: make(map[topicPartition]int64),
		committed: make(map[topicPartition]commitment), holes: make(map[topicPartition][]Hole),
		room: make(chan struct{}, 1),
	}
	if g.align != nil {
		g.align.begin(parts[g.align.topic])
	}
	for topic, ps := range parts {
		for _, p := range ps {
			s.claims[topicPartition{topic, p}] = &claim{
				s: s, topic: topic, partition: p, end: -1, resumeAt: -1,
				messages: make(chan *sarama.ConsumerMessage), arrived: make(chan struct{}, 1),
			}
		}
	}
	if err := s.resume(ctx); err != nil {
		cancel()
		return err
	}
	g.mu.Lock()
	g.session = s
	g.mu.Unlock()
	g.log.Info("partitions assigned", "partitions", parts)
	var owned []int32 // the same of every topic
	for _, ps := range parts {
		owned = ps
	}
	if g.stand != nil {
		g.stand.release(owned)
	}
	if err := h.Setup(s); err != nil {
		return fmt.Errorf("set up partitions: %w", err)
	}
	if ctx.Err() != nil {
		return nil
	}
	if g.stand != nil {
		g.stand.follow(ctx, owned)
	}
	if g.begun != nil {
		g.begun()
	}
	s.wg.Add(1 + 2*len(s.claims))
	go s.commitLoop()
	for _, c := range s.claims {
		if g.align != nil && c.topic == g.align.topic {
			go c.feedAligned(g.align)
		} else {
			go c.feed()
		}
		go c.consume()
	}
	return nil
}

// end finishes the session: goka closes its tables in Cleanup, which waits for what is in flight; what was marked until
// then is committed, if the partitions are still ours.
func (g *Group) end(owned bool) error {
	g.life.Lock()
	defer g.life.Unlock()
	g.mu.Lock()
	s := g.session
	g.mu.Unlock()
	if s == nil {
		return nil
	}
	started := time.Now()
	s.cancel()
	s.resumeAll()
	s.wg.Wait()
	err := s.handler.Cleanup(s) // drains: its marks still belong to this session
	g.mu.Lock()
	g.session = nil
	g.mu.Unlock()
	if owned {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		s.commit(ctx)
	}
	if g.align != nil {
		g.align.begin(nil)
	}
	if err != nil {
		return fmt.Errorf("release partitions: %w", err)
	}
	g.log.Info("partitions given up", "partitions", s.parts, "lost", !owned, "took", time.Since(started).String())
	return nil
}

// Mark notes that everything before next is done. It never blocks.
func (g *Group) Mark(topic string, partition int32, next int64) {
	g.mu.Lock()
	s := g.session
	g.mu.Unlock()
	if s != nil {
		s.mark(topicPartition{topic, partition}, next)
	}
}

// Take returns the batch that goka's message stands for: the oldest one handed on for the partition.
func (g *Group) Take(topic string, partition int32, offset int64) (*Batch, error) {
	g.mu.Lock()
	s := g.session
	g.mu.Unlock()
	if s == nil {
		return nil, context.Canceled
	}
	c := s.claims[topicPartition{topic, partition}]
	if c == nil {
		return nil, fmt.Errorf("%s/%d is not claimed", topic, partition)
	}
	return c.take(offset)
}

// Handled notes that a batch that was taken has been handled.
func (g *Group) Handled(b *Batch) {
	switch {
	case b.Ahead:
		close(b.taken)
	case g.align != nil && b.Topic == g.align.topic:
		g.align.routed(b)
	}
}

// Marked returns the next offset to be committed of a claimed partition.
func (g *Group) Marked(topic string, partition int32) (next int64, ok bool) {
	g.mu.Lock()
	s := g.session
	g.mu.Unlock()
	if s == nil {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next, ok = s.marks[topicPartition{topic, partition}]
	return next, ok
}

// Errors is part of sarama's interface; errors are returned by Consume.
func (g *Group) Errors() <-chan error { return nil }

// Close is part of sarama's interface; Consume cleans up after itself.
func (g *Group) Close() error { return nil }

// Pause, Resume, PauseAll and ResumeAll are part of sarama's interface; goka does not use them.
func (g *Group) Pause(map[string][]int32)  {}
func (g *Group) Resume(map[string][]int32) {}
func (g *Group) PauseAll()                 {}
func (g *Group) ResumeAll()                {}

func (g *Group) owned(topic string) []int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.session == nil {
		return nil
	}
	return g.session.parts[topic]
}
