// Command stockgoka does Gantry's job as a user of goka would write it: the same pure decisions, called from goka's own
// callbacks through ctx.Value, ctx.Emit and ctx.SetValue, with sarama for all traffic and goka's own LevelDB storage.
// It is what Gantry's engine is measured against.
//
// It is made as safe as settings and a wrapper can make it: every output is acknowledged by all replicas and
// idempotent, the offset of a message is committed only when those of all before it may be (committer), a message that
// the state has applied is not applied again, and of two values of a table the one that has applied more is kept. What
// remains unsafe is goka's order: storage and changelog take the new state before the outputs are acknowledged, so a
// crash between the two loses outputs for good.
//
// It publishes windows to a topic of their own: goka does not let a group write to its input.
//
//	stockgoka --brokers 127.0.0.1:9092 --registry http://127.0.0.1:8081 --state DIR
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"

	"gantry/codecs"
	"gantry/codecs/registry"
	"gantry/processors"
)

// The groups and the topics. Those of Gantry's names have its formats.
const (
	dedupGroup  goka.Group  = "stockgoka-dedup"
	windowGroup goka.Group  = "stockgoka-window"
	raw         goka.Stream = "traffic-raw"
	events      goka.Stream = "traffic-events"
	rejects     goka.Stream = "traffic-rejects"
	windows     goka.Stream = "traffic-windows"
)

func main() { os.Exit(run()) }

func run() int {
	brokers := flag.String("brokers", "127.0.0.1:9092", "addresses of Kafka brokers")
	url := flag.String("registry", "http://127.0.0.1:8081", "schema registry with the Confluent API")
	state := flag.String("state", "stockgoka-state", "folder of the tables")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := process(ctx, strings.Split(*brokers, ","), *url, *state); err != nil {
		fmt.Fprintln(os.Stderr, "stockgoka:", err)
		return 1
	}
	return 0
}

// process runs both groups until ctx ends or one of them fails.
func process(ctx context.Context, brokers []string, url, state string) error {
	options := registry.DefaultOptions()
	options.URL = url
	schemas, err := registry.NewClient(options)
	if err != nil {
		return err
	}
	defer schemas.Close()
	id, err := schemas.EnsureSubject(ctx, processors.DefaultTopics().EventsSubject(), codecs.EventSchema)
	if err != nil {
		return err
	}
	var all []*goka.Processor
	for _, graph := range []*goka.GroupGraph{newDedup(schemas, id).graph(), newWindow(id).graph()} {
		p, err := newProcessor(brokers, graph, state)
		if err != nil {
			return fmt.Errorf("group %s: %w", graph.Group(), err)
		}
		all = append(all, p)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, p := range all {
		running.Go(func() {
			defer cancel()
			errs[i] = p.Run(ctx)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func newProcessor(brokers []string, graph *goka.GroupGraph, state string) (*goka.Processor, error) {
	kafka := processors.Kafka{Brokers: brokers, Version: sarama.V4_0_0_0, ClientID: string(graph.Group())}
	tables := goka.NewTopicManagerConfig()
	tables.Table.Replication = 1
	return goka.NewProcessor(brokers, graph,
		goka.WithHasher(func() hash.Hash32 { return processors.NewHasher() }),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(clients(kafka), tables)),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(clients(kafka))),
		goka.WithProducerBuilder(goka.ProducerBuilderWithConfig(clients(kafka))),
		goka.WithConsumerGroupBuilder(committing(func() *sarama.Config { return clients(kafka) })),
		goka.WithStorageBuilder(storage.DefaultBuilder(filepath.Join(state, string(graph.Group())))),
		goka.WithUpdateCallback(keepNewer),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithPartitionChannelSize(1000),
	)
}

// clients are Gantry's settings, which leave nothing that matters to a default, with the buffers and the linger that
// gave stock goka the most on trial. A configuration is never shared.
func clients(kafka processors.Kafka) *sarama.Config {
	c := kafka.Sarama()
	c.Consumer.Fetch.Default = 2 << 20
	c.ChannelBufferSize = 1024
	c.Producer.Flush.Frequency = 20 * time.Millisecond
	c.Producer.Flush.Bytes = 1 << 20
	c.Consumer.Group.InstanceId = kafka.ClientID
	return c
}
