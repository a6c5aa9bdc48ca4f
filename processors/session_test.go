package processors

import (
	"context"
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
	c := &claim{topic: "in", partition: 3, queue: make([]*kgo.Record, 1), moved: time.Now().Add(-2 * stuckAfter)}
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
