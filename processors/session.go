package processors

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
	pausing sync.Mutex    // held while a partition is paused, and while all are resumed at the end

	mu        sync.Mutex
	marks     map[topicPartition]int64
	committed map[topicPartition]commitment
	holes     map[topicPartition][]Hole // deleted before they were read
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
		// Also after a session whose last commit failed: what that left is read again, and committed when it is done.
		s.g.committing.Clear()
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
			s.g.committing.Fail(failed)
		}
		return
	}
	s.g.committing.Clear()
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
			add(tp, commitment{next, withHoles("", s.holes[tp])})
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
		add(tp, commitment{next, withHoles(align.metadata(p, next), s.holes[tp])})
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
	// A fetch of what retention has deleted goes on silently where the log begins now.
	from := c.resumeAt
	if n := len(p.Records); n > 0 {
		c.resumeAt = p.Records[n-1].Offset + 1
	}
	if len(c.queue) == 0 {
		c.moved = time.Now()
	}
	c.mu.Unlock()
	if len(p.Records) > 0 && from >= 0 && from < p.LogStartOffset {
		s.passHole(c, from, min(p.LogStartOffset, p.Records[0].Offset))
	}
	c.mu.Lock()
	c.queue = append(c.queue, p.Records...)
	for _, r := range p.Records {
		c.memory += recordMemory(r)
	}
	c.mu.Unlock()
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// resume learns where the partitions of the session go on, and what was deleted before they were read, earlier.
func (s *session) resume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, resumeTimeout)
	defer cancel()
	committed, err := committedOffsets(ctx, kadm.NewClient(s.client), string(s.g.name))
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return fmt.Errorf("committed offsets: %w", err)
	}
	for tp, c := range s.claims {
		if o, ok := committed.Lookup(tp.topic, tp.partition); ok && o.At >= 0 {
			c.resumeAt = o.At
			s.holes[tp] = ParseHoles(o.Metadata)
		}
	}
	return nil
}

// passHole notes that records of a partition were deleted before they were read. It comes before they are passed: the
// commit that passes them carries the note.
func (s *session) passHole(c *claim, from, to int64) {
	tp := topicPartition{c.topic, c.partition}
	s.mu.Lock()
	s.holes[tp] = addHole(s.holes[tp], Hole{From: from, To: to, At: time.Now()})
	s.mu.Unlock()
	if s.g.lost != nil {
		s.g.lost(c.topic, c.partition, from, to)
	}
}

func (s *session) unread(tp topicPartition) []Hole {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holes[tp]
}

// waitForRoom waits until the partitions that move have worked off most of what they hold.
func (s *session) waitForRoom() {
	for s.ctx.Err() == nil && s.held().full() {
		select {
		case <-s.ctx.Done():
		case <-s.room:
		case <-time.After(stuckAfter / 4):
		}
	}
}

// holdings is what a session has fetched and not handed on.
type holdings struct {
	records, moving int // records of the partitions that move, and their bytes
	all             int // bytes
}

func (h holdings) full() bool {
	return h.records > queuedMax || h.moving > queuedBytesMax || h.all > stuckBytesMax
}

// held counts what the partitions hold, and pauses those that do not move.
func (s *session) held() (h holdings) {
	for _, c := range s.claims {
		c.mu.Lock()
		stuck := !c.paused && len(c.queue) > 0 && time.Since(c.moved) > stuckAfter
		c.paused = c.paused || stuck
		if !c.paused {
			h.records += len(c.queue)
			h.moving += c.memory
		}
		h.all += c.memory
		c.mu.Unlock()
		if stuck {
			s.pause(c)
		}
	}
	return h
}

// pause stops fetching a partition, unless the session has ended.
func (s *session) pause(c *claim) {
	s.pausing.Lock()
	defer s.pausing.Unlock()
	if s.ctx.Err() == nil {
		s.client.PauseFetchPartitions(map[string][]int32{c.topic: {c.partition}})
	}
}

// resumeAll fetches again what the session has paused. The client would keep it paused in every later session, whose
// claims know of no pause: a member that had slept past its session found that nothing in its queues had moved for so
// long, paused the partitions, lost the session, and got partitions back of which it never fetched a record again,
// while it sent its heartbeats. The session's context has ended, so that no pause follows.
func (s *session) resumeAll() {
	s.pausing.Lock()
	defer s.pausing.Unlock()
	s.client.ResumeFetchPartitions(s.parts)
}
