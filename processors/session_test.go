package processors

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
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
