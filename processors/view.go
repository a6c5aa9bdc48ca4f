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
	"github.com/lovoo/goka/storage"
)

// ViewOptions describe a goka view of a topic.
type ViewOptions struct {
	Kafka   Kafka
	Topic   goka.Table
	Storage storage.Builder
	// Callback handles each record; nil stores values (goka.DefaultUpdate).
	Callback goka.UpdateCallback
	// Only, where it is not nil, is the one partition to be followed.
	Only   *int32
	Logger *slog.Logger
}

// viewBackoff is how soon a view that lost its broker tries again.
const viewBackoff = time.Second

// RunView follows a topic until ctx ends. goka's view reads from the offset that its storage returns, and reconnects by
// itself. A view leaks the clients that it was given; they are closed here.
func RunView(ctx context.Context, o ViewOptions) error {
	var mu sync.Mutex
	var closers []func() error
	keep := func(c func() error) {
		mu.Lock()
		closers = append(closers, c)
		mu.Unlock()
	}
	defer func() {
		for _, c := range closers {
			_ = c() // a second Close reports that the first was goka's own
		}
	}()
	consumers := func(brokers []string, clientID string) (sarama.Consumer, error) {
		c, err := o.Kafka.Consumer()(brokers, clientID)
		if err != nil {
			return nil, err
		}
		keep(c.Close)
		if o.Only != nil {
			return oneConsumer{c, *o.Only}, nil
		}
		return c, nil
	}
	managers := func(brokers []string) (goka.TopicManager, error) {
		m, err := o.Kafka.TopicManager(1)(brokers)
		if err != nil {
			return nil, err
		}
		keep(m.Close)
		if o.Only != nil {
			return oneManager{m, *o.Only}, nil
		}
		return m, nil
	}
	callback := o.Callback
	if callback == nil {
		callback = goka.DefaultUpdate
	}
	view, err := goka.NewView(o.Kafka.Brokers, o.Topic, noCodec{},
		goka.WithViewClientID(o.Kafka.ClientID),
		goka.WithViewLogger(gokaLog{o.Logger}),
		goka.WithViewHasher(NewHasher),
		goka.WithViewCallback(callback),
		goka.WithViewStorageBuilder(o.Storage),
		goka.WithViewConsumerSaramaBuilder(consumers),
		goka.WithViewTopicManagerBuilder(managers),
		goka.WithViewAutoReconnect(), // without it a broker that is away for a moment ends the view
		goka.WithViewBackoffBuilder(func() (goka.Backoff, error) {
			return goka.NewSimpleBackoff(viewBackoff, viewBackoff), nil // 10 s to 2 min by default
		}),
	)
	if err != nil {
		return fmt.Errorf("view of %s: %w", o.Topic, err)
	}
	err = view.Run(ctx)
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// oneManager and oneConsumer make goka follow a single partition: it sees a topic with the one partition 0, which
// stands for the real one.
type oneManager struct {
	goka.TopicManager
	real int32
}

func (m oneManager) Partitions(string) ([]int32, error) { return []int32{0}, nil }

func (m oneManager) GetOffset(topic string, _ int32, at int64) (int64, error) {
	return m.TopicManager.GetOffset(topic, m.real, at)
}

type oneConsumer struct {
	sarama.Consumer
	real int32
}

func (c oneConsumer) ConsumePartition(topic string, _ int32, offset int64) (sarama.PartitionConsumer, error) {
	return c.Consumer.ConsumePartition(topic, c.real, offset)
}
