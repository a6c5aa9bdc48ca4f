package processors

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// idle is a handler that has nothing to do.
type idle struct{}

func (idle) Setup(sarama.ConsumerGroupSession) error { return nil }

func (idle) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (idle) ConsumeClaim(sarama.ConsumerGroupSession, sarama.ConsumerGroupClaim) error { return nil }

// A partition that does not move is paused, and fetched again when the session is over: the next session of the same
// client, which may have it too, knows nothing of the pause. A poll that is late pauses nothing any more.
func TestPauseEndsWithTheSession(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	paused := func() int { return len(client.PauseFetchPartitions(nil)["in"]) }

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := &Group{log: slog.New(slog.DiscardHandler)}
	c := &claim{topic: "in", partition: 3, queue: make([]*kgo.Record, 1), memory: 1, moved: time.Now().Add(-2 * stuckAfter)}
	s := &session{
		g: g, client: client, ctx: ctx, cancel: cancel, handler: idle{}, parts: map[string][]int32{"in": {3}},
		claims: map[topicPartition]*claim{{"in", 3}: c},
	}
	g.session = s
	s.held()
	if paused() != 1 {
		t.Fatal("a partition that does not move is fetched on")
	}
	if err := g.end(false); err != nil {
		t.Fatal(err)
	}
	if paused() != 0 {
		t.Error("a partition is paused behind the end of the session")
	}
	c.paused = false
	s.held()
	if paused() != 0 {
		t.Error("a session that has ended pauses a partition")
	}
}

// A commit that failed at the end of a session is no trouble of the next one, where nothing is left to commit: a member
// that got no partitions, or quiet ones, would be unready for ever.
func TestCommitTroubleEndsWithTheSession(t *testing.T) {
	g := NewGroup(Kafka{}, "group", nil, slog.New(slog.DiscardHandler), nil)
	g.committing.Fail(kerr.CoordinatorNotAvailable)
	s := &session{g: g}
	s.commit(t.Context())
	if trouble := g.Trouble(); trouble != "" {
		t.Error(trouble)
	}
}

// TestNothingReadIsNoNews: a poll without records ends an outage only if the brokers answer. Readiness and log would else
// take turns with the client, which says only now and then that it does not reach them.
func TestNothingReadIsNoNews(t *testing.T) {
	g := NewGroup(Kafka{}, "group", nil, slog.New(slog.DiscardHandler), nil)
	away, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	g.fetching.Fail(io.EOF)
	if g.reads(t.Context(), away, nil) {
		t.Error("nothing was read, from brokers that do not answer")
	}
	there, err := kgo.NewClient(broker(t).Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if !g.reads(t.Context(), there, nil) {
		t.Error("the brokers answer, and there is nothing to be read")
	}
}

// Whoever handles a part of a batch must know as much as whoever handles all of it.
func TestCutKeepsWhatIsKnown(t *testing.T) {
	b := NewBatch("in", 3, []*kgo.Record{{Offset: 7}, {Offset: 8}, {Offset: 9}})
	b.Unread = []Hole{{From: 2, To: 7}}
	head, rest := b.cut(2)
	if head.Last() != 8 || len(head.Records) != 2 || len(head.Unread) != 1 || head.Partition != 3 {
		t.Errorf("head is %+v", head)
	}
	if rest.Last() != 9 || len(rest.Records) != 1 || len(rest.Unread) != 1 {
		t.Errorf("rest is %+v", rest)
	}
}

// What a partition that does not move has fetched counts until it is handled, wherever it lies: in the queue, with goka,
// or held until it is in step. Handled, all of it is let go of, and the partition is fetched again.
func TestMemoryCountsUntilHandled(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := &session{ctx: t.Context(), client: client, room: make(chan struct{}, 1)}
	tp := topicPartition{"in", 3}
	c := &claim{s: s, topic: tp.topic, partition: tp.partition, arrived: make(chan struct{}, 1)}
	s.claims = map[topicPartition]*claim{tp: c}
	s.g = &Group{session: s}
	value := make([]byte, stuckBytesMax/8)
	records := make([]*kgo.Record, 10)
	for i := range records {
		records[i] = &kgo.Record{Offset: int64(i), Value: value}
	}
	s.deliver(kgo.FetchTopicPartition{Topic: tp.topic, FetchPartition: kgo.FetchPartition{
		Partition: tp.partition, Records: records,
	}})
	all := s.held()
	b := c.next()
	if now := s.held(); now.all != all.all || !now.full() {
		t.Fatalf("a batch that is not handled is not counted: %d of %d bytes", now.all, all.all)
	}
	c.moved = time.Now().Add(-2 * stuckAfter)
	if now := s.held(); now.moving != 0 || !c.paused {
		t.Errorf("a partition whose batches all wait with goka holds up the others, for %d bytes", now.moving)
	}
	head, rest := b.cut(4)
	s.g.Handled(head)
	if c.paused || s.held().all >= all.all {
		t.Errorf("paused %t with %d bytes, when a part is handled", c.paused, s.held().all)
	}
	s.g.Handled(rest)
	if left := s.held().all; left != 0 {
		t.Errorf("%d bytes are counted when all is handled", left)
	}
	// A poll that saw it stuck, before the last batch was handled, comes to pause it.
	s.pause(c)
	if paused := client.PauseFetchPartitions(nil); len(paused["in"]) > 0 || c.paused {
		t.Errorf("paused %v with nothing left that could resume it", paused)
	}
}

// BenchmarkClaim takes records from the fetch through the queue to their handling, without a handler: what the group costs
// for each record.
func BenchmarkClaim(b *testing.B) {
	s := &session{ctx: b.Context(), room: make(chan struct{}, 1)}
	tp := topicPartition{"in", 3}
	c := &claim{s: s, topic: tp.topic, partition: tp.partition, arrived: make(chan struct{}, 1)}
	s.claims = map[topicPartition]*claim{tp: c}
	s.g = &Group{session: s}
	fetched := make([]*kgo.Record, 4*batchRecordsMax)
	for i := range fetched {
		fetched[i] = &kgo.Record{
			Offset: int64(i), Key: make([]byte, 6), Value: make([]byte, 60), Headers: make([]kgo.RecordHeader, 3),
		}
	}
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(fetched) {
		s.deliver(kgo.FetchTopicPartition{Topic: tp.topic, FetchPartition: kgo.FetchPartition{
			Partition: tp.partition, Records: fetched,
		}})
		s.held()
		for batch := c.next(); batch != nil; batch = c.next() {
			s.g.Handled(batch)
		}
	}
}
