// Package processorstest runs the dedup and the window stage in one process on an embedded Kafka and an embedded schema
// registry, for the tests of both. Records go in by traffic-raw and come out by the topics, as they do for a user.
package processorstest

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/codecs/registry"
	"gantry/processors"
	"gantry/processors/dedup"
	"gantry/processors/window"
)

// patience is how long a test waits for the pipeline before it fails.
const patience = 60 * time.Second

// Pipeline is an installation of its own: brokers, registry, topics.
type Pipeline struct {
	Cluster     *kfake.Cluster
	Kafka       processors.Kafka
	Topics      processors.Topics
	Schemas     codecs.SchemaSource // what the dedup stage asks; a test may put something before it
	RawSchema   int32
	EventSchema int32
	Dedup       dedup.Options
	Window      window.Options

	t      *testing.T
	client *kgo.Client
	adm    *kadm.Client
}

// New starts the servers and creates topics and subjects. Everything ends with the test.
func New(t *testing.T, keyed bool) *Pipeline {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	check(t, err)
	t.Cleanup(cluster.Close)
	reg, err := registry.StartEmbedded("127.0.0.1:0", t.TempDir())
	check(t, err)
	t.Cleanup(func() { check(t, reg.Close()) })
	o := registry.DefaultOptions()
	o.URL = reg.URL()
	schemas, err := registry.NewClient(o)
	check(t, err)
	t.Cleanup(schemas.Close)

	p := &Pipeline{
		Cluster: cluster, Topics: processors.DefaultTopics(), Schemas: schemas,
		Kafka: processors.Kafka{Brokers: cluster.ListenAddrs(), Version: sarama.V4_0_0_0, ClientID: "test"},
		Dedup: dedup.DefaultOptions(), Window: window.DefaultOptions(), t: t,
	}
	p.Topics.Keyed = keyed
	p.RawSchema, err = schemas.EnsureSubject(t.Context(), p.Topics.RawSubject(), codecs.RawSchema)
	check(t, err)
	p.EventSchema, err = schemas.EnsureSubject(t.Context(), p.Topics.EventsSubject(), codecs.EventSchema)
	check(t, err)
	p.client, err = kgo.NewClient(append(p.Kafka.Options(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(16<<20))...)
	check(t, err)
	p.adm = kadm.NewClient(p.client)
	t.Cleanup(p.client.Close)
	_, err = processors.EnsureTopics(t.Context(), p.adm, p.Topics.Specs(true))
	check(t, err)
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Produce writes records to the partitions that they name, in order, and returns when all are acknowledged.
func (p *Pipeline) Produce(records ...*kgo.Record) {
	p.t.Helper()
	check(p.t, p.client.ProduceSync(p.t.Context(), records...).FirstErr())
}

// ProduceCompressed does the same, with a batch of its own for each record, compressed and of any size.
func (p *Pipeline) ProduceCompressed(records ...*kgo.Record) {
	p.t.Helper()
	client, err := kgo.NewClient(append(p.Kafka.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(64<<20))...)
	check(p.t, err)
	defer client.Close()
	for _, r := range records {
		check(p.t, client.ProduceSync(p.t.Context(), r).FirstErr())
	}
}

// TakeMessages makes traffic-raw take messages of this size, as an operator would, and what carries them onwards.
func (p *Pipeline) TakeMessages(bytes int) {
	p.t.Helper()
	limit := strconv.Itoa(bytes)
	_, err := p.adm.AlterTopicConfigs(p.t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}},
		string(p.Topics.Raw))
	check(p.t, err)
	_, err = processors.EnsureTopics(p.t.Context(), p.adm, p.Topics.Specs(true))
	check(p.t, err)
}

// Member is a process that runs both stages.
type Member struct {
	Dedup, Window *processors.Stage
	Metrics       *prometheus.Registry
	cancel        context.CancelFunc
	wg            sync.WaitGroup
}

// Stop ends the member as a signal does, and returns when nothing of it runs any more.
func (m *Member) Stop() {
	m.cancel()
	m.wg.Wait()
}

// Start runs a member with its state below dir. It stops with the test at the latest.
func (p *Pipeline) Start(dir string) *Member {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	m := &Member{Metrics: prometheus.NewRegistry(), cancel: cancel}
	m.Dedup = dedup.NewHandler(dedup.HandlerOptions{
		Topics: p.Topics, Rules: p.Dedup, Schemas: p.Schemas, EventSchema: p.EventSchema,
		Logger: p.logger(), Metrics: m.Metrics,
	}).Stage()
	m.Window = window.NewHandler(window.HandlerOptions{
		Topics: p.Topics, Rules: p.Window, EventSchema: p.EventSchema, Logger: p.logger(), Metrics: m.Metrics,
	}).Stage()
	for _, s := range []*processors.Stage{m.Dedup, m.Window} {
		s.Kafka, s.StateDir = p.Kafka, dir
		m.wg.Go(func() {
			if err := s.Run(ctx); err != nil {
				p.t.Error(err)
			}
		})
	}
	p.t.Cleanup(m.Stop)
	return m
}

func (p *Pipeline) logger() *slog.Logger {
	if os.Getenv("GANTRY_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// Await returns when everything that lies in the topics is processed.
func (p *Pipeline) Await() {
	p.t.Helper()
	// In the order of the data: what is done upstream adds nothing downstream any more.
	p.done(string(processors.DedupGroup), string(p.Topics.Raw))
	if !p.Topics.Keyed {
		p.done(string(processors.DedupGroup), string(processors.DedupLoop))
	}
	p.done(string(processors.WindowGroup), string(p.Topics.Events))
}

func (p *Pipeline) done(group, topic string) {
	p.t.Helper()
	Eventually(p.t, group+" has done all of "+topic, func() bool {
		committed, err := p.adm.FetchOffsets(p.t.Context(), group)
		if err != nil {
			return false // nobody has joined it yet
		}
		for part, end := range p.Ends(topic) {
			if c, _ := committed.Lookup(topic, part); end > 0 && c.At < end {
				return false
			}
		}
		return true
	})
}

// Ends returns the end offsets of a topic by partition.
func (p *Pipeline) Ends(topic string) map[int32]int64 {
	p.t.Helper()
	offsets, err := p.adm.ListCommittedOffsets(p.t.Context(), topic)
	check(p.t, err)
	check(p.t, offsets.Error())
	ends := make(map[int32]int64)
	offsets.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends
}

// Read returns everything that a topic holds now, by partition and offset: committed records alone.
func (p *Pipeline) Read(topic string) []*kgo.Record {
	p.t.Helper()
	missing := p.Ends(topic)
	from := make(map[int32]kgo.Offset)
	for part, end := range missing {
		if end == 0 {
			delete(missing, part)
			continue
		}
		from[part] = kgo.NewOffset().AtStart()
	}
	if len(from) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(p.Kafka.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the last one may be the marker of a transaction
	)...)
	check(p.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	var all []*kgo.Record
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			p.t.Fatalf("%s: not read to its end: %v", topic, missing)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
			if r.Offset+1 >= missing[r.Partition] {
				delete(missing, r.Partition)
			}
		})
	}
	slices.SortStableFunc(all, func(a, b *kgo.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return all
}

// Eventually waits until something is so, and fails the test where it takes too long.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// Counter returns the value of a counter with this label value, 0 where there is none.
func Counter(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	check(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}
