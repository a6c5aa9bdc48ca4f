package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

const topic = "traffic-raw"

func cluster(t *testing.T, opts ...kfake.Opt) []kgo.Opt {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(5, topic))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

// consume reads everything that a topic holds.
func consume(t *testing.T, conn []kgo.Opt) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(conn...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	spans, err := listSpans(t.Context(), client, topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := readSpans(t.Context(), conn, topic, spans, func(r *kgo.Record) { records = append(records, r) }); err != nil {
		t.Fatal(err)
	}
	return records
}

// rows is a source of n rows of a few sensors, some of them without a key.
type rows struct {
	n, next int64
	onNext  func(number int64)
}

func (s *rows) Next() (Row, error) {
	if s.next == s.n {
		return Row{}, io.EOF
	}
	if s.onNext != nil {
		s.onNext(s.next)
	}
	row := Row{Number: s.next, Arrival: 1_000_000 + s.next}
	if s.next%10 == 9 {
		row.Verbatim = fmt.Appendf(nil, "broken %d", s.next)
	} else {
		row.Reading = codecs.RawReading{
			SensorID:  fmt.Sprintf("s%d", s.next*7919%23),
			Timestamp: codecs.Some(row.Arrival),
			SpeedMPH:  codecs.Some(60.0),
		}
	}
	s.next++
	return row, nil
}

func (s *rows) Close() error { return nil }

func options(shift int64) PublishOptions {
	return PublishOptions{
		Topic: topic, Feed: Identity{ID: "feed", Shift: shift}, Wire: WireJSON, Clock: SystemClock{},
	}
}

func publisher(t *testing.T, conn []kgo.Opt, opt PublishOptions) *Publisher {
	t.Helper()
	p, err := NewPublisher(t.Context(), conn, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Records are where the Java client puts them. The hashes are those of Kafka's own test of Utils.murmur2.
func TestPlacement(t *testing.T) {
	p := Publisher{partitions: 1 << 30, place: kgo.StickyKeyPartitioner(nil).ForTopic(topic)}
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string":                       -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		row := Row{Reading: codecs.RawReading{SensorID: key}}
		if got, want := p.partition(&row), hash&0x7fffffff%(1<<30); got != want {
			t.Errorf("%s: partition %d, not %d", key, got, want)
		}
	}
}

// A published record has the reading's key, wire format, moved times and number; a broken one its own bytes.
func TestRecords(t *testing.T) {
	conn := cluster(t)
	opt := options(500)
	opt.Wire, opt.SchemaID = WireAvro, 7
	p := publisher(t, conn, opt)
	if err := p.PublishSensors(t.Context(), []codecs.Sensor{{SensorID: "s0", Latitude: 34, Longitude: -118}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), &rows{n: 20}); err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveSensors(t.Context(), []string{"s0"}); err != nil {
		t.Fatal(err)
	}
	records := consume(t, conn)
	if len(records) != 22 || p.Published.Load() != 20 {
		t.Fatalf("%d records, %d published", len(records), p.Published.Load())
	}
	sensors := 0
	for _, r := range records {
		if r.Headers[0].Key == codecs.HeaderKind {
			if string(r.Headers[0].Value) != "sensor" || string(r.Key) != "s0" || (sensors == 1) != (r.Value == nil) {
				t.Errorf("metadata %s: %v = %s", r.Headers[0].Value, r.Key, r.Value)
			}
			sensors++
			continue
		}
		feed, number, ok := parseHeader(string(r.Headers[0].Value))
		if !ok || feed != opt.Feed || r.Headers[0].Key != HeaderFeed {
			t.Fatalf("header %v", r.Headers)
		}
		if r.Timestamp.UnixMilli() != 1_000_000+number+500 {
			t.Errorf("row %d has the time %d", number, r.Timestamp.UnixMilli())
		}
		if number%10 == 9 {
			if r.Key != nil || string(r.Value) != fmt.Sprintf("broken %d", number) || int64(r.Partition) != number%5 {
				t.Errorf("row %d: %s = %s", number, r.Key, r.Value)
			}
			continue
		}
		id, _, err := codecs.SplitWire(r.Value)
		if err != nil || id != 7 || string(r.Key) != fmt.Sprintf("s%d", number*7919%23) {
			t.Errorf("row %d: key %s, schema %d, %v", number, r.Key, id, err)
		}
	}
	if sensors != 2 {
		t.Errorf("%d records of metadata", sensors)
	}
}

// A reading that Avro cannot hold is JSON, with its time moved all the same.
func TestWireFallsBackToJSON(t *testing.T) {
	opt := options(1000)
	opt.Wire = WireAvro
	s := Publisher{opt: opt, partitions: 1, place: kgo.StickyKeyPartitioner(nil).ForTopic(topic)}
	rec := s.record(&Row{Reading: codecs.RawReading{
		SensorID: "a", Timestamp: codecs.Some[int64](0), VolumeVPH: codecs.Some[int64](1 << 40),
	}})
	var d codecs.RawDecoder
	var r codecs.RawReading
	if err := d.Decode(rec.Value, &r); err != nil || r.Timestamp.V != 1000 || r.VolumeVPH.V != 1<<40 {
		t.Errorf("%s: %+v, %v", rec.Value, r, err)
	}
}

// No record is stamped later than now, which brokers refuse and ages are counted from.
func TestNoFutureTimestamps(t *testing.T) {
	opt := options(0)
	opt.Clock = &steps{now: time.UnixMilli(999_000)}
	s := Publisher{opt: opt, partitions: 1}
	if rec := s.record(&Row{Arrival: 1_000_000}); rec.Timestamp.UnixMilli() != 999_000 {
		t.Errorf("stamped %d", rec.Timestamp.UnixMilli())
	}
}

// A publisher is killed at random moments and started again until the feed is through: each row is in the topic exactly
// once, in order, with one shift. Kills are of both kinds: told to stop, and gone without a word.
func TestKilledPublisherResumes(t *testing.T) {
	const n = 20_000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	conn := cluster(t)
	for attempt := range 200 {
		pos, err := Resume(t.Context(), conn, topic, "feed")
		if err != nil {
			t.Fatal(err)
		}
		if attempt == 0 && pos.Found {
			t.Fatal("an empty topic holds the feed")
		}
		if !pos.Found {
			pos.Shift = 777
		}
		opt := options(pos.Shift)
		opt.Position = pos
		p := publisher(t, conn, opt)
		ctx, cancel := context.WithCancel(t.Context())
		kill := random.Int64N(4000)
		abrupt := random.IntN(2) == 0
		var fresh atomic.Int64
		skippedBefore := int64(-1)
		src := &rows{n: n, onNext: func(int64) {
			if s := p.Skipped.Load(); s != skippedBefore { // only rows that are sent count
				skippedBefore = s
				return
			}
			if fresh.Add(1) != kill {
				return
			}
			if abrupt {
				p.Close()
			} else {
				cancel()
			}
		}}
		err = p.Publish(ctx, src)
		cancel()
		if err == nil {
			break
		}
		if !abrupt && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	var numbers []int64
	last := make(map[int32]int64)
	for _, r := range consume(t, conn) {
		feed, number, ok := parseHeader(string(r.Headers[0].Value))
		if !ok || feed.Shift != 777 {
			t.Fatalf("header %v", r.Headers)
		}
		if before, ok := last[r.Partition]; ok && number <= before {
			t.Fatalf("partition %d: row %d after row %d", r.Partition, number, before)
		}
		last[r.Partition] = number
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	if len(numbers) != n || numbers[0] != 0 || numbers[n-1] != n-1 || len(slices.Compact(numbers)) != n {
		t.Errorf("%d rows in the topic, not each of %d once", len(numbers), n)
	}
}

// A feed is found under any amount of other records, and a newer replay of it counts, not an older one.
func TestResumeFindsTheNewestReplay(t *testing.T) {
	conn := cluster(t)
	for _, run := range []struct {
		id       string
		shift, n int64
	}{{"feed", 1000, 500}, {"feed", 2000, 3}, {"other", 9000, 30_000}} {
		opt := options(run.shift)
		opt.Feed.ID = run.id
		if err := publisher(t, conn, opt).Publish(t.Context(), &rows{n: run.n}); err != nil {
			t.Fatal(err)
		}
	}
	pos, err := Resume(t.Context(), conn, topic, "feed")
	if err != nil {
		t.Fatal(err)
	}
	var last []int64
	for _, number := range pos.Last {
		last = append(last, number)
	}
	slices.Sort(last)
	if !pos.Found || pos.Shift != 2000 || len(last) == 0 || last[len(last)-1] != 2 {
		t.Errorf("%+v", pos)
	}
	if pos, err = Resume(t.Context(), conn, topic, "nothing"); err != nil || pos.Found || len(pos.Last) > 0 {
		t.Errorf("%+v, %v", pos, err)
	}
}

// A source's error ends the feed, and is returned; what was sent before it is in the topic.
func TestSourceErrorStops(t *testing.T) {
	conn := cluster(t)
	p := publisher(t, conn, options(0))
	bad := errors.New("line 50")
	err := p.Publish(t.Context(), &failing{rows: rows{n: 50}, err: bad})
	if !errors.Is(err, bad) || p.Published.Load() != 50 || len(consume(t, conn)) != 50 {
		t.Errorf("%v after %d rows", err, p.Published.Load())
	}
}

type failing struct {
	rows
	err error
}

func (f *failing) Next() (Row, error) {
	row, err := f.rows.Next()
	if err != nil {
		err = f.err
	}
	return row, err
}

// The broker refuses a record for good: the feed ends with that error, and no row that follows it on its partition is
// in the topic, because a Resume would then take the refused one for published.
func TestBrokerErrorStops(t *testing.T) {
	conn := cluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	p := publisher(t, conn, options(0))
	const refused = 400
	err := p.Publish(t.Context(), &oversized{rows: &rows{n: 50_000}, at: refused})
	if !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("%v", err)
	}
	for _, r := range consume(t, conn) {
		if _, number, _ := parseHeader(string(r.Headers[0].Value)); r.Partition == refused%5 && number >= refused {
			t.Fatalf("row %d is in the topic", number)
		}
	}
}

type oversized struct {
	*rows
	at int64
}

func (o *oversized) Next() (Row, error) {
	row, err := o.rows.Next()
	if row.Number == o.at {
		noise := make([]byte, 200_000) // a batch of it does not become small by compression
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		row.Verbatim = noise
	}
	return row, err
}

// Records that the topic would delete at once are refused, with both durations.
func TestRetention(t *testing.T) {
	p := publisher(t, cluster(t), options(0))
	hour := "3600000"
	if _, err := kadm.NewClient(p.client).AlterTopicConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &hour}}, topic); err != nil {
		t.Fatal(err)
	}
	var refused *RetentionError
	if err := p.CheckRetention(t.Context(), time.Now().Add(-2*time.Hour)); !errors.As(err, &refused) ||
		refused.Retention != time.Hour {
		t.Errorf("two hours old: %v", err)
	}
	if err := p.CheckRetention(t.Context(), time.Now().Add(-time.Minute)); err != nil {
		t.Errorf("a minute old: %v", err)
	}
}

// A topic that does not exist is an error that says what to do, not a topic that is created by the way.
func TestMissingTopic(t *testing.T) {
	opt := options(0)
	opt.Topic = "none"
	_, err := NewPublisher(t.Context(), cluster(t), opt)
	if !errors.Is(err, kerr.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "gantry topics create") {
		t.Error(err)
	}
}
