package views

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gantry/codecs"
	"gantry/processors"
	"gantry/store/archive"
)

// flaky is a file system that can be made to refuse what it is given.
type flaky struct {
	archive.FS
	broken atomic.Bool
	failed atomic.Int64
}

var errBroken = errors.New("the namenode is away")

// MkdirAll is what a partition is opened with first.
func (f *flaky) MkdirAll(dir string) error {
	if f.broken.Load() {
		f.failed.Add(1)
		return errBroken
	}
	return f.FS.MkdirAll(dir)
}

func (f *flaky) WriteFile(name string, data []byte) error {
	if f.broken.Load() {
		f.failed.Add(1)
		return errBroken
	}
	return f.FS.WriteFile(name, data)
}

func newArchiver(b *broker, fs archive.FS) *Archiver {
	o := archive.DefaultOptions()
	o.FlushInterval, o.ProgressInterval = 100*time.Millisecond, 100*time.Millisecond
	return &Archiver{
		Kafka: b.kafka, Topic: string(b.topics.Events), FS: fs, Monitor: &monitor{updated: make(chan struct{})},
		Options: o, Logger: logger(b.t), Metrics: prometheus.NewRegistry(),
	}
}

// archived tells how often each reading (SENSOR/SEQUENCE) and each window (SENSOR@START/REVISION) is in the archive.
func archived(t *testing.T, fs archive.Reader) map[string]int {
	t.Helper()
	rows := make(map[string]int)
	for name, err := range archive.Walk(fs, archive.TableRaw) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := archive.ReadRaw(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			rows[fmt.Sprintf("%s/%d", r.SensorID, r.Sequence)]++
		}
	}
	for name, err := range archive.Walk(fs, archive.TableAggregates) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := archive.ReadAggregates(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			rows[fmt.Sprintf("%s@%d/%d", r.SensorID, (r.WindowStart-noon)/minute, r.Revision)]++
		}
	}
	return rows
}

// mustHold fails where the archive does not hold each row that was produced exactly once.
func (b *broker) mustHold(fs archive.Reader) {
	b.t.Helper()
	rows := archived(b.t, fs)
	want := 0
	for id, n := range b.numbers {
		want += int(n)
		for i := int64(1); i <= n; i++ {
			row := fmt.Sprintf("%s/%d", id, i)
			if sensor, ok := cutWindow(id); ok {
				row = fmt.Sprintf("%s@%d/1", sensor, 5*i)
			}
			if rows[row] != 1 {
				b.t.Errorf("%s is archived %d times", row, rows[row])
			}
		}
	}
	if len(rows) != want {
		b.t.Errorf("%d rows, not %d", len(rows), want)
	}
}

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Error(err)
	}
	return m.GetCounter().GetValue()
}

func cutWindow(id string) (string, bool) {
	const prefix = "window "
	if len(id) < len(prefix) || id[:len(prefix)] != prefix {
		return id, false
	}
	return id[len(prefix):], true
}

// offsets are the positions of the archiver's feeds.
func offsets(a *Archiver) map[int32]int64 {
	all := make(map[int32]int64)
	for _, p := range a.Role().Partitions {
		all[p.Partition] = p.Offset
	}
	return all
}

// reached tells whether the archiver has read all of these partitions up to the ends.
func reached(a *Archiver, ends map[int32]int64) bool {
	at := offsets(a)
	for p, end := range ends {
		if at[p] < end {
			return false
		}
	}
	return true
}

func (b *broker) produceMany(n int) {
	b.t.Helper()
	for i := range n {
		id := fmt.Sprintf("s%d", i%13)
		b.produce(b.reading(id))
		if i%10 == 0 {
			b.produce(b.window(id))
		}
	}
}

// Readings and windows come to the archive once each, although the topic repeats some; silences, and records that
// Gantry did not write, are passed over and hold up nothing. The group shows how far the archive is.
func TestArchiver(t *testing.T) {
	b := newBroker(t, 5)
	fs := archive.NewMemory()
	a := newArchiver(b, fs)
	if r := a.Role(); r.Ready {
		t.Error("ready before it runs")
	}
	running(t, a.Run)
	b.produceMany(60)
	first := b.reading("s1")
	b.numbers["s1"]--
	b.produce(first, b.reading("s1")) // the same reading twice
	foreign := b.reading("s2")
	b.numbers["s2"]--
	foreign.Value = []byte("no event")
	zero := b.event("s2", codecs.KindReading, codecs.AppendReading(nil, 1, &codecs.Reading{SensorID: "s2"}),
		codecs.HeaderSource, "traffic-raw/0/0")
	unnumbered := b.window("s2")
	unnumbered.Headers = unnumbered.Headers[:1]
	b.numbers["window s2"]--
	b.produce(foreign, zero, unnumbered, b.event("s2", codecs.KindSilence,
		codecs.AppendSilence(nil, 1, &codecs.SensorSilence{SensorID: "s2"}), "", ""))
	b.produceMany(60)
	ends := b.ends(a.Topic)
	until(t, "the group's offsets", func() bool {
		committed, err := b.adm.FetchOffsets(t.Context(), string(processors.ArchiveGroup))
		if err != nil {
			return false // nobody has joined yet
		}
		for p, end := range ends {
			if o, ok := committed.Lookup(a.Topic, p); end > 0 && (!ok || o.At != end) {
				return false
			}
		}
		return true
	})
	b.mustHold(fs)
	errs := processors.Errors(a.Metrics).WithLabelValues(processors.ErrorEvent)
	if n := count(t, errs); n != 3 {
		t.Errorf("%v records of others are counted, not 3", n)
	}
}

// The archiver is ready when it has read what was in the log when it began, and not before; a backlog that comes later
// does not take that back. Its partitions say where they began, where they are, and where the log ended.
func TestArchiverReadiness(t *testing.T) {
	b := newBroker(t, 2)
	fs := &flaky{FS: archive.NewMemory()}
	a := newArchiver(b, fs)
	m := a.Monitor.(*monitor)
	stop := running(t, a.Run)
	p := processors.PartitionOf("s1", 2)
	b.produceMany(20)
	ends := b.ends(a.Topic)
	until(t, "the rows", func() bool { return reached(a, ends) })
	if r := a.Role(); r.Ready {
		t.Error("ready although nobody knows where the log ends")
	}
	stop()

	a = newArchiver(b, fs)
	a.Options.FlushRows = 10
	a.Monitor = m
	running(t, a.Run)
	target := maps.Clone(ends)
	target[p]++ // the log is said to hold one record more than there is
	m.publish(&processors.Offsets{Ends: map[string]map[int32]int64{a.Topic: target}})
	until(t, "the target", func() bool {
		parts := a.Role().Partitions
		return len(parts) == 2 && parts[p].End == target[p]
	})
	if r := a.Role(); r.Ready || r.Partitions[p].Ready || !r.Partitions[1-p].Ready {
		t.Errorf("ready before the end: %+v", r)
	}
	if part := a.Role().Partitions[p]; part.Start != ends[p] || part.Offset != ends[p] {
		t.Errorf("it began at %d and is at %d, not at %d", part.Start, part.Offset, ends[p])
	}
	b.produce(b.reading("s1"))
	until(t, "readiness", func() bool { return a.Role().Ready })
	fs.broken.Store(true)
	b.produceMany(100)
	until(t, "a failure", func() bool { return fs.failed.Load() > 0 })
	if r := a.Role(); !r.Ready {
		t.Errorf("a backlog takes readiness back: %+v", r)
	}
	fs.broken.Store(false)
}

// What was read is archived when the archiver stops; the next one goes on behind it, and reads nothing again.
func TestArchiverRestart(t *testing.T) {
	b := newBroker(t, 3)
	fs := archive.NewMemory()
	for range 3 {
		before := b.ends(string(b.topics.Events))
		b.cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.cluster.KeepControl()
			for _, topic := range req.(*kmsg.FetchRequest).Topics {
				for _, p := range topic.Partitions {
					if p.FetchOffset < before[p.Partition] {
						t.Errorf("partition %d is read from offset %d, and %d are archived", p.Partition, p.FetchOffset,
							before[p.Partition])
					}
				}
			}
			return nil, nil, false
		})
		a := newArchiver(b, fs)
		a.Options.FlushInterval, a.Options.ProgressInterval = time.Hour, time.Hour
		stop := running(t, a.Run)
		b.produceMany(40)
		until(t, "the feeds", func() bool { return reached(a, b.ends(a.Topic)) })
		stop()
		b.mustHold(fs)
	}
}

// A topic that was deleted and created again while no archiver ran is refused: what is in it has offsets that the
// archive holds already, and would be left out. The old archive stays as it is, and another one takes the new topic.
func TestArchiverRefusesAnotherTopic(t *testing.T) {
	b := newBroker(t, 2)
	fs := archive.NewMemory()
	a := newArchiver(b, fs)
	stop := running(t, a.Run)
	b.produceMany(20)
	until(t, "the rows", func() bool { return reached(a, b.ends(a.Topic)) })
	stop()
	b.mustHold(fs)
	before := archived(t, fs)

	if _, err := b.adm.DeleteTopic(t.Context(), a.Topic); err != nil {
		t.Fatal(err)
	}
	if _, err := processors.EnsureTopics(t.Context(), b.adm, b.topics.Specs(true)); err != nil {
		t.Fatal(err)
	}
	clear(b.numbers)
	b.client.PurgeTopicsFromClient(a.Topic) // it knows the old id
	b.produceMany(5)
	a = newArchiver(b, fs)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := a.Run(ctx)
	if !errors.Is(err, archive.ErrForeign) || !strings.Contains(err.Error(), "created again") {
		t.Fatalf("it ended with %v", err)
	}
	if n := count(t, processors.Errors(a.Metrics).WithLabelValues(processors.ErrorTopic)); n == 0 {
		t.Error("no error is counted")
	}
	if now := archived(t, fs); !maps.Equal(now, before) {
		t.Errorf("%d rows, and there were %d", len(now), len(before))
	}

	fs = archive.NewMemory()
	a = newArchiver(b, fs)
	running(t, a.Run)
	want := 0
	for _, n := range b.numbers {
		want += int(n)
	}
	until(t, "the rows of the new topic", func() bool { return len(archived(t, fs)) == want })
	b.mustHold(fs)
}

// Two archivers share the partitions; while one joins and while one leaves, each row is archived once, and in the end
// the one that stays has all of them.
func TestTwoArchivers(t *testing.T) {
	b := newBroker(t, 4)
	fs := archive.NewMemory()
	one, two := newArchiver(b, fs), newArchiver(b, fs)
	running(t, one.Run)
	until(t, "the first alone", func() bool { return len(one.owned()) == 4 })
	b.produceMany(50)
	stop := running(t, two.Run)
	until(t, "a share each", func() bool { return len(one.owned()) == 2 && len(two.owned()) == 2 })
	b.produceMany(50)
	stop()
	b.produceMany(50)
	until(t, "the first alone again", func() bool { return len(one.owned()) == 4 && len(two.owned()) == 0 })
	ends := b.ends(one.Topic)
	until(t, "the rows", func() bool {
		return reached(one, ends) && len(archived(t, fs)) == 165
	})
	b.mustHold(fs)
}

// While the file system fails, a feed reads no more than a batch: traffic-events is the buffer. What was refused is
// archived when it works again.
func TestArchiverWhileFileSystemFails(t *testing.T) {
	b := newBroker(t, 1)
	fs := &flaky{FS: archive.NewMemory()}
	fs.broken.Store(true)
	a := newArchiver(b, fs)
	a.Options.FlushRows = 10
	running(t, a.Run)
	for range 100 {
		b.produce(b.reading("a"))
	}
	until(t, "a second try", func() bool { return fs.failed.Load() >= 2 })
	if at := offsets(a)[0]; at > 10 {
		t.Errorf("%d records are read, and 10 fit", at)
	}
	if r := a.Role(); r.Partitions[0].Detail == "" {
		t.Error("the role does not say what is wrong")
	}
	fs.broken.Store(false)
	until(t, "the rows", func() bool { return len(archived(t, fs)) == 100 })
	b.mustHold(fs)
}

// Records that retention deleted before they were archived are a hole that the archive names, and what follows is
// archived although numbers are missing: also where the broker does not say at once where the log begins.
func TestArchiverHole(t *testing.T) {
	b := newBroker(t, 1)
	fs := archive.NewMemory()
	a := newArchiver(b, fs)
	stop := running(t, a.Run)
	for range 20 {
		b.produce(b.reading("a"))
	}
	until(t, "the first rows", func() bool { return len(archived(t, fs)) == 20 })
	stop()
	for range 40 {
		b.produce(b.reading("a"))
	}
	offsets := make(kadm.Offsets)
	offsets.AddOffset(a.Topic, 0, 45, -1)
	if _, err := b.adm.DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}

	a = newArchiver(b, fs)
	errs := processors.Errors(a.Metrics).WithLabelValues(processors.ErrorBroker)
	b.cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		r := req.(*kmsg.ListOffsetsRequest)
		if r.Version < 8 || count(t, errs) > 0 { // goka's sarama asks in an older version
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, asked := range r.Topics {
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = asked.Topic
			for _, p := range asked.Partitions {
				part := kmsg.NewListOffsetsResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, kerr.UnknownServerError.Code
				topic.Partitions = append(topic.Partitions, part)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
	stop = running(t, a.Run)
	until(t, "the rows behind the hole", func() bool { return len(archived(t, fs)) == 35 })
	stop()
	p, err := archive.OpenPartition(t.Context(), fs, 0, a.Options)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Holes(); !slices.Equal(got, []archive.Hole{{From: 20, To: 45}}) {
		t.Errorf("holes %v", got)
	}
	if count(t, errs) == 0 {
		t.Error("the broker answered at once: nothing was tested")
	}
}

// A process that was ready stays so when it takes over a partition whose archive cannot be opened: what it serves and
// processes does not depend on the archive. The partition's detail and a metric say what is wrong. A process that starts
// in the outage is not ready until it has caught up.
func TestArchiverReadyInOutage(t *testing.T) {
	b := newBroker(t, 2)
	fs := &flaky{FS: archive.NewMemory()}
	one, two := newArchiver(b, fs), newArchiver(b, fs)
	ends := map[string]map[int32]int64{one.Topic: {0: 0, 1: 0}}
	one.Monitor.(*monitor).publish(&processors.Offsets{Ends: ends})
	two.Monitor.(*monitor).publish(&processors.Offsets{Ends: ends})
	stop := running(t, two.Run)
	until(t, "the second alone", func() bool { return len(two.owned()) == 2 && two.Role().Ready })
	running(t, one.Run)
	until(t, "a share each", func() bool { return len(one.owned()) == 1 && one.Role().Ready })
	fs.broken.Store(true)
	stop()
	until(t, "the takeover", func() bool { return len(one.owned()) == 2 && fs.failed.Load() > 0 })
	until(t, "the reason", func() bool {
		r := one.Role()
		if !r.Ready {
			t.Fatalf("an outage takes readiness back: %+v", r)
		}
		return r.Partitions[0].Detail != "" || r.Partitions[1].Detail != ""
	})
	if one.outage.seconds() == 0 {
		t.Error("the metric says that the archive works")
	}

	late := newArchiver(b, fs)
	late.Monitor.(*monitor).publish(&processors.Offsets{Ends: ends})
	running(t, late.Run)
	until(t, "its share", func() bool { return len(late.owned()) == 1 })
	if r := late.Role(); r.Ready {
		t.Errorf("ready without an archive: %+v", r)
	}
	fs.broken.Store(false)
	until(t, "its readiness", func() bool { return late.Role().Ready })
}

// A feed that does not end, since its file system hangs, delays the group by less than a session.
func TestArchiverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled := false
		f := &feed{done: make(chan struct{}), cancel: func() { cancelled = true }}
		a := &Archiver{feeds: map[int32]*feed{3: f}, Logger: logger(t)}
		began := time.Now()
		a.end([]int32{3, 4})
		if d := time.Since(began); d != giveUpMax || d >= 6*time.Second || !cancelled || len(a.owned()) != 0 {
			t.Errorf("given up after %v, cancelled %v, owned %v", d, cancelled, a.owned())
		}
	})
}
