package processors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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

	last  int64         // offset of the last record or marker
	taken chan struct{} // of a batch ahead: closed when it is handled
}

// Last returns the offset up to which the input is done when the batch is handled.
func (b *Batch) Last() int64 { return b.last }

// newBatch makes a batch of records and markers, of which there is at least one.
func newBatch(topic string, partition int32, records []*kgo.Record) *Batch {
	last := records[len(records)-1].Offset
	records = slices.DeleteFunc(records, func(r *kgo.Record) bool { return r.Attrs.IsControl() })
	return &Batch{Topic: topic, Partition: partition, Records: records, last: last}
}

// cut takes the first n records off the batch; all of them, with the markers behind, where n is their number.
func (b *Batch) cut(n int) (head, rest *Batch) {
	if n == len(b.Records) {
		return b, nil
	}
	head = &Batch{Topic: b.Topic, Partition: b.Partition, Records: b.Records[:n:n], last: b.Records[n-1].Offset}
	b.Records = b.Records[n:]
	return head, b
}

const (
	batchRecordsMax = 512
	// Fetching waits while the partitions that move hold this many records. A partition that has not moved for
	// stuckAfter, because its messages wait for the registry, say, is paused instead, so that it does not hold up the
	// others: pausing costs a turn of the long poll, so it is not for what merely is busy.
	queuedMax      = 16384
	stuckAfter     = time.Second
	fetchWait      = 250 * time.Millisecond // also how long a partition that is resumed may wait for its first fetch
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

	life    sync.Mutex // held while a session begins or ends: a shutdown may come in the middle of a recovery
	mu      sync.Mutex
	session *session
}

// NewGroup returns a consumer group. align may be nil.
func NewGroup(k Kafka, name goka.Group, align *Alignment, log *slog.Logger) *Group {
	return &Group{kafka: k, name: name, align: align, log: log}
}

var _ sarama.ConsumerGroup = (*Group)(nil)

// Builder gives the group to goka.
func (g *Group) Builder() goka.ConsumerGroupBuilder {
	return func([]string, string, string) (sarama.ConsumerGroup, error) { return g, nil }
}

// Consume runs the handler on the partitions of the group until ctx ends or the handler fails.
func (g *Group) Consume(ctx context.Context, topics []string, h sarama.ConsumerGroupHandler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opts := append(g.kafka.Options(),
		kgo.ConsumerGroup(string(g.name)),
		kgo.ConsumeTopics(topics...),
		// Range gives a member the same partitions of every topic. goka cannot do with a cooperative protocol.
		kgo.Balancers(kgo.RangeBalancer()),
		kgo.DisableAutoCommit(),
		// A record is either handed to the session that it was fetched for, or to none.
		kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The marker behind a transaction is an offset that has to be committed, or a partition that ends in one would
		// never be done.
		kgo.KeepControlRecords(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
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
	)
	if g.kafka.Instance != "" {
		opts = append(opts, kgo.InstanceID(g.kafka.Instance))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("consumer group %s: %w", g.name, err)
	}
	var watching sync.WaitGroup
	if g.align != nil {
		watching.Go(func() { g.align.watch(ctx) })
	}
	g.poll(ctx, client, cancel)
	endErr := g.end(true)
	client.CloseAllowingRebalance()
	cancel(nil)
	watching.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, endErr)
	}
	return endErr
}

func (g *Group) poll(ctx context.Context, client *kgo.Client, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			switch {
			case ctx.Err() != nil || errors.Is(e.Err, kgo.ErrClientClosed):
			case errors.Is(e.Err, kerr.FencedInstanceID):
				cancel(fmt.Errorf("another process runs as instance %q: %w", g.kafka.Instance, e.Err))
			default:
				g.log.Warn("fetch failed, will be tried again", "topic", e.Topic, "partition", e.Partition, "error", e.Err)
			}
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
		committed: make(map[topicPartition]commitment),
		room:      make(chan struct{}, 1),
	}
	if g.align != nil {
		g.align.begin(parts[g.align.topic])
	}
	for topic, ps := range parts {
		for _, p := range ps {
			s.claims[topicPartition{topic, p}] = &claim{
				s: s, topic: topic, partition: p, end: -1,
				messages: make(chan *sarama.ConsumerMessage), arrived: make(chan struct{}, 1),
			}
		}
	}
	g.mu.Lock()
	g.session = s
	g.mu.Unlock()
	g.log.Info("partitions assigned", "partitions", parts)
	if err := h.Setup(s); err != nil {
		return fmt.Errorf("set up partitions: %w", err)
	}
	if ctx.Err() != nil {
		return nil
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
	s.cancel()
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

type topicPartition struct {
	topic     string
	partition int32
}

// session is the time between two rebalances.
type session struct {
	g       *Group
	client  *kgo.Client
	ctx     context.Context
	cancel  context.CancelFunc
	fail    context.CancelCauseFunc
	handler sarama.ConsumerGroupHandler
	parts   map[string][]int32
	claims  map[topicPartition]*claim
	wg      sync.WaitGroup
	room    chan struct{} // a batch was cut off a queue

	mu        sync.Mutex
	marks     map[topicPartition]int64
	committed map[topicPartition]commitment
}

// commitment is what is committed of a partition.
type commitment struct {
	next     int64
	metadata string
}

var _ sarama.ConsumerGroupSession = (*session)(nil)

func (s *session) Claims() map[string][]int32               { return s.parts }
func (s *session) Context() context.Context                 { return s.ctx }
func (s *session) Commit()                                  {}
func (s *session) MarkOffset(string, int32, int64, string)  {}
func (s *session) ResetOffset(string, int32, int64, string) {}

func (s *session) MarkMessage(*sarama.ConsumerMessage, string) {}

func (s *session) MemberID() string {
	id, _ := s.client.GroupMetadata()
	return id
}

func (s *session) GenerationID() int32 {
	_, generation := s.client.GroupMetadata()
	return generation
}

func (s *session) mark(tp topicPartition, next int64) {
	s.mu.Lock()
	if next > s.marks[tp] {
		s.marks[tp] = next
	}
	s.mu.Unlock()
}

func (s *session) commitLoop() {
	defer s.wg.Done()
	tick := time.NewTicker(commitInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.commit(s.ctx)
		}
	}
}

// commit sends what was marked since the last time. A commit that fails is sent again with the next; one that is lost
// for good costs repeats, which the state drops.
func (s *session) commit(ctx context.Context) {
	due := s.uncommitted()
	if len(due) == 0 {
		return
	}
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	for tp, c := range due {
		if offsets[tp.topic] == nil {
			offsets[tp.topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: -1, Offset: c.next}
	}
	withMetadata := kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			for j := range t.Partitions {
				metadata := due[topicPartition{t.Topic, t.Partitions[j].Partition}].metadata
				t.Partitions[j].Metadata = &metadata
			}
		}
		return nil
	})
	var failed error
	s.client.CommitOffsetsSync(withMetadata, offsets, commitDone(&failed))
	if failed != nil {
		if ctx.Err() == nil {
			s.g.log.Warn("commit failed, will be tried again", "error", failed)
		}
		return
	}
	s.mu.Lock()
	maps.Copy(s.committed, due)
	s.mu.Unlock()
}

// uncommitted returns what there is to commit. An aligned partition is committed again at the same offset when its
// record time has changed: the other members wait for that.
func (s *session) uncommitted() map[topicPartition]commitment {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := make(map[topicPartition]commitment)
	add := func(tp topicPartition, c commitment) {
		if c != s.committed[tp] {
			due[tp] = c
		}
	}
	align := s.g.align
	for tp, next := range s.marks {
		if align == nil || tp.topic != align.topic {
			add(tp, commitment{next: next})
		}
	}
	if align == nil {
		return due
	}
	for _, p := range s.parts[align.topic] {
		tp := topicPartition{align.topic, p}
		next, ok := s.marks[tp]
		if !ok {
			if next, ok = align.base(p); !ok {
				continue
			}
		}
		add(tp, commitment{next, align.metadata(p, next)})
	}
	return due
}

// commitDone notes the first error of a commit.
func commitDone(failed *error) func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error) {
	return func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			*failed = err
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil && *failed == nil {
					*failed = fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err)
				}
			}
		}
	}
}

// deliver queues fetched records for their claim. It does not block: a partition that is not consumed as fast as it is
// fetched is paused, without holding up the others.
func (s *session) deliver(p kgo.FetchTopicPartition) {
	c := s.claims[topicPartition{p.Topic, p.Partition}]
	if c == nil {
		return
	}
	c.mu.Lock()
	if p.HighWatermark > c.end {
		c.end = p.HighWatermark
	}
	if len(c.queue) == 0 {
		c.moved = time.Now()
	}
	c.queue = append(c.queue, p.Records...)
	c.mu.Unlock()
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// waitForRoom waits until the partitions that move have worked off most of what they hold.
func (s *session) waitForRoom() {
	for s.ctx.Err() == nil && s.held() > queuedMax {
		select {
		case <-s.ctx.Done():
		case <-s.room:
		case <-time.After(stuckAfter / 4):
		}
	}
}

// held counts the records of the partitions that move, and pauses those that do not.
func (s *session) held() (n int) {
	for _, c := range s.claims {
		c.mu.Lock()
		stuck := !c.paused && len(c.queue) > 0 && time.Since(c.moved) > stuckAfter
		c.paused = c.paused || stuck
		if !c.paused {
			n += len(c.queue)
		}
		c.mu.Unlock()
		if stuck {
			s.client.PauseFetchPartitions(map[string][]int32{c.topic: {c.partition}})
		}
	}
	return n
}

// claim is one partition of a session.
type claim struct {
	s         *session
	topic     string
	partition int32
	messages  chan *sarama.ConsumerMessage
	arrived   chan struct{}

	mu     sync.Mutex
	queue  []*kgo.Record
	handed []*Batch  // handed to goka and not taken yet, oldest first
	moved  time.Time // when a batch was last cut off the queue, or the queue began
	paused bool
	end    int64
	seen   int64 // offset of the last record queued into a batch, plus one
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
	b := newBatch(c.topic, c.partition, c.queue[:n:n])
	c.queue = c.queue[n:]
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

func (g *Group) owned(topic string) []int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.session == nil {
		return nil
	}
	return g.session.parts[topic]
}
