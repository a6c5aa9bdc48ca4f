package views

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
)

// broker is an embedded Kafka with the topics of an installation.
type broker struct {
	t       *testing.T
	cluster *kfake.Cluster
	kafka   processors.Kafka
	topics  processors.Topics
	client  *kgo.Client
	adm     *kadm.Client
	numbers map[string]int64 // of the last reading and the last window of each sensor
}

func newBroker(t *testing.T, partitions int) *broker {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{
		t: t, cluster: c, topics: processors.DefaultTopics(), numbers: make(map[string]int64),
		kafka: processors.Kafka{Brokers: c.ListenAddrs(), Version: sarama.V4_0_0_0, ClientID: "test"},
	}
	b.topics.Partitions = partitions
	b.client, err = kgo.NewClient(append(b.kafka.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	b.adm = kadm.NewClient(b.client)
	t.Cleanup(func() {
		b.client.Close()
		c.Close()
	})
	if _, err := processors.EnsureTopics(t.Context(), b.adm, b.topics.Specs(true)); err != nil {
		t.Fatal(err)
	}
	return b
}

// produce writes records; their partition follows from their key.
func (b *broker) produce(records ...*kgo.Record) {
	b.t.Helper()
	for _, r := range records {
		r.Partition = processors.PartitionOf(string(r.Key), b.topics.Partitions)
	}
	if err := b.client.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) event(id string, kind codecs.Kind, value []byte, header, text string) *kgo.Record {
	return &kgo.Record{
		Topic: string(b.topics.Events), Key: []byte(id), Value: value,
		Headers: []kgo.RecordHeader{
			{Key: codecs.HeaderKind, Value: []byte(kind)}, {Key: header, Value: []byte(text)},
		},
	}
}

// reading is the next reading of a sensor, one a second from noon on.
func (b *broker) reading(id string) *kgo.Record {
	b.numbers[id]++
	n := b.numbers[id]
	return b.event(id, codecs.KindReading, codecs.AppendReading(nil, 1, &codecs.Reading{
		SensorID: id, Timestamp: noon + 1000*n, SpeedMPH: codecs.Some(float64(n)), Sequence: n, ReceivedAt: noon + 1000*n,
	}), codecs.HeaderSource, codecs.Source{Topic: "traffic-raw", Offset: n}.String())
}

// window is the next window of a sensor.
func (b *broker) window(id string) *kgo.Record {
	b.numbers["window "+id]++
	n := b.numbers["window "+id]
	return b.event(id, codecs.KindWindow, codecs.AppendWindow(nil, 1, &codecs.WindowAggregate{
		SensorID: id, WindowStart: noon + 5*minute*n, WindowEnd: noon + 5*minute*(n+1), MessageCount: 1, Revision: 1,
		ExpectedCount: 10, CloseReason: codecs.CloseWatermark,
	}), codecs.HeaderOrdinal, strconv.FormatInt(n, 10))
}

// ends are the ends of a topic by partition.
func (b *broker) ends(topic string) map[int32]int64 {
	b.t.Helper()
	listed, err := b.adm.ListEndOffsets(b.t.Context(), topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	ends := make(map[int32]int64)
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends
}

// until waits for something that other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute", what)
		case <-tick.C:
		}
	}
}

// running starts something that runs until it is stopped; stop may be called twice.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Errorf("it ended with %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}
