package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// flushTimeout bounds how long a publisher that is told to stop waits for what it has sent.
const flushTimeout = 3 * time.Second

// Wire is how readings are encoded.
type Wire string

// The encodings. A reading that Avro cannot hold (without time, or with a volume beyond int32) is JSON in either case.
const (
	WireAvro Wire = "avro"
	WireJSON Wire = "json"
)

// ParseWire reads the name of an encoding.
func ParseWire(s string) (Wire, error) {
	if w := Wire(s); w == WireAvro || w == WireJSON {
		return w, nil
	}
	return "", fmt.Errorf("wire %q: allowed are avro, json", s)
}

// PublishOptions say how a feed is published.
type PublishOptions struct {
	Topic    string
	Feed     Identity // its Shift moves event times and arrivals
	Wire     Wire
	SchemaID int32 // of codecs.RawSchema, for WireAvro
	Speed    Speed
	Live     bool // rows are published at their arrival, and Speed does not count
	Clock    Clock
	Position Position       // where an earlier publisher of the same feed stopped; zero: nowhere
	Sent     func(row *Row) // called for each acknowledged row, one at a time; nil is fine. Verbatim is not kept
}

// Counts are the rows of a feed so far. They may be read at any time.
type Counts struct{ Published, Skipped atomic.Int64 }

// Publisher publishes to one topic. Records are placed as the Java client's default partitioner does, by murmur2 of
// the key, and those without a key by their number, so that each row has one place whoever publishes it.
type Publisher struct {
	Counts

	client     *kgo.Client
	opt        PublishOptions
	place      kgo.TopicPartitioner
	partitions int
	warm       bool // the client knows the topic
}

// Feed is the identity under which the rows are published.
func (p *Publisher) Feed() Identity { return p.opt.Feed }

// NewPublisher connects to the brokers and finds the partitions of the topic, which must exist.
func NewPublisher(ctx context.Context, conn []kgo.Opt, opt PublishOptions) (*Publisher, error) {
	client, err := newProducer(conn)
	if err != nil {
		return nil, err
	}
	n, err := partitionCount(ctx, client, opt.Topic)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Publisher{
		client: client, opt: opt, partitions: n,
		place: kgo.StickyKeyPartitioner(nil).ForTopic(opt.Topic), // nil: murmur2, as the Java client masks it
	}, nil
}

func partitionCount(ctx context.Context, client *kgo.Client, topic string) (int, error) {
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("look up topic %s: %w", topic, err)
	}
	t := topics[topic]
	if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
		return 0, fmt.Errorf("topic %s does not exist: create it with gantry topics create: %w", topic, t.Err)
	}
	if t.Err != nil {
		return 0, fmt.Errorf("look up topic %s: %w", topic, t.Err)
	}
	return len(t.Partitions), nil
}

// Close drops the connections. What is not acknowledged by then may or may not be in the topic.
func (p *Publisher) Close() { p.client.Close() }

// Publish sends the rows of src that lie behind the position, until the end of src, the end of ctx, or the first error.
// It returns when everything that it sent is acknowledged; after the end of ctx it waits 3 s for that at most. After an
// error the publisher is of no more use.
func (p *Publisher) Publish(ctx context.Context, src Source) error {
	r := round{p: p}
	err := p.rows(ctx, src, &r)
	if ferr := r.flush(ctx, p.acknowledged); ferr != nil { // what was read before an error of the source is sent
		err = ferr
	}
	return err
}

func (p *Publisher) rows(ctx context.Context, src Source, r *round) error {
	pace := pace{clock: p.opt.Clock, speed: p.opt.Speed, live: p.opt.Live}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := src.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.opt.Position.has(p.partition(&row), row.Number) {
			p.Skipped.Add(1)
			continue
		}
		if wait := pace.ahead(row.Arrival); wait > 0 {
			if err := r.flush(ctx, p.acknowledged); err != nil {
				return err
			}
			if err := p.opt.Clock.Sleep(ctx, wait); err != nil {
				return err
			}
		}
		if err := r.add(ctx, p.record(&row), row, p.acknowledged); err != nil {
			return err
		}
	}
}

func (p *Publisher) acknowledged(row *Row) {
	p.Published.Add(1)
	if p.opt.Sent != nil {
		p.opt.Sent(row)
	}
}

func (p *Publisher) record(row *Row) *kgo.Record {
	rec := &kgo.Record{
		Topic:     p.opt.Topic,
		Partition: p.partition(row),
		Key:       key(row),
		Headers:   []kgo.RecordHeader{{Key: HeaderFeed, Value: p.opt.Feed.header(row.Number)}},
		// The arrival, moved like the event times; brokers refuse records from the future.
		Timestamp: time.UnixMilli(min(row.Arrival+p.opt.Feed.Shift, p.opt.Clock.Now().UnixMilli())),
	}
	r := row.Reading
	r.Timestamp.V += p.opt.Feed.Shift
	switch {
	case row.Verbatim != nil:
		rec.Value = append([]byte(nil), row.Verbatim...)
	case p.opt.Wire == WireAvro && r.Timestamp.Valid && r.VolumeVPH.V == int64(int32(r.VolumeVPH.V)):
		rec.Value = codecs.AppendRaw(make([]byte, 0, 96), p.opt.SchemaID, &r)
	default:
		rec.Value = codecs.AppendRawJSON(make([]byte, 0, 224), &r)
	}
	return rec
}

// key is the sensor's id, null where there is none.
func key(row *Row) []byte {
	if row.Reading.SensorID == "" {
		return nil
	}
	return []byte(row.Reading.SensorID)
}

func (p *Publisher) partition(row *Row) int32 {
	k := key(row)
	if k == nil {
		return int32(row.Number % int64(p.partitions))
	}
	return int32(p.place.Partition(&kgo.Record{Key: k}, p.partitions))
}

// CheckRetention refuses to publish records of the past that the topic would delete at once: a loss that nothing would
// show. First is the oldest record's timestamp.
func (p *Publisher) CheckRetention(ctx context.Context, first time.Time) error {
	configs, err := kadm.NewClient(p.client).DescribeTopicConfigs(ctx, p.opt.Topic)
	if err != nil {
		return fmt.Errorf("read the retention of %s: %w", p.opt.Topic, err)
	}
	c, err := configs.On(p.opt.Topic, nil)
	if err == nil {
		err = c.Err
	}
	if err != nil {
		return fmt.Errorf("read the retention of %s: %w", p.opt.Topic, err)
	}
	var retention int64 = math.MaxInt64
	for _, entry := range c.Configs {
		if entry.Key == "retention.ms" {
			fmt.Sscan(entry.MaybeValue(), &retention) // what is no number is no limit
		}
	}
	age := p.opt.Clock.Now().Sub(first)
	if retention < 0 || age.Milliseconds() < retention {
		return nil
	}
	return &RetentionError{Topic: p.opt.Topic, Age: age, Retention: time.Duration(retention) * time.Millisecond}
}

// RetentionError says that a topic deletes records of the age that was about to be published.
type RetentionError struct {
	Topic          string
	Age, Retention time.Duration
}

func (e *RetentionError) Error() string {
	return fmt.Sprintf("the first record would be %s old, and %s keeps records for %s: it would be deleted at once; "+
		"raise retention.ms of the topic, or publish a shorter file",
		e.Age.Round(time.Second), e.Topic, e.Retention)
}
