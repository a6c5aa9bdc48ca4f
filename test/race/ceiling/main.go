// Command ceiling is what no stream processor with two stages can beat on this machine: it reads a topic and writes the
// same bytes to a second one, reads that and writes to a third, with plain clients and no work between. It is as
// careful as Gantry's own clients on the way out (acknowledged by all, idempotent) and commits nothing on the way in.
//
//	ceiling --brokers 127.0.0.1:9092 --topics traffic-raw,traffic-events,traffic-windows
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() { os.Exit(run()) }

func run() int {
	brokers := flag.String("brokers", "127.0.0.1:9092", "addresses of Kafka brokers")
	topics := flag.String("topics", "", "topics, each copied to the next; all of as many partitions")
	flag.Parse()
	chain := strings.Split(*topics, ",")
	if len(chain) < 2 || flag.NArg() > 0 {
		flag.Usage()
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var stages sync.WaitGroup
	for i := range chain[1:] {
		stages.Go(func() {
			if err := copyTopic(ctx, strings.Split(*brokers, ","), chain[i], chain[i+1]); err != nil {
				fail(err)
			}
		})
	}
	stages.Wait()
	if err := context.Cause(ctx); err != nil && err != context.Canceled {
		fmt.Fprintln(os.Stderr, "ceiling:", err)
		return 1
	}
	return 0
}

// copyTopic copies what a topic has and gets, partition by partition, until ctx ends.
func copyTopic(ctx context.Context, brokers []string, from, to string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.ConsumeTopics(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(10*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(100_000),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	acked := func(r *kgo.Record, err error) {
		if err != nil {
			fail(fmt.Errorf("write to %s/%d: %w", to, r.Partition, err))
		}
	}
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s: %w", from, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			client.Produce(ctx, &kgo.Record{
				Topic: to, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp,
			}, acked)
		})
	}
}
