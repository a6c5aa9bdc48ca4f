package real

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

// pauses measures how long no reading comes out of a partition of traffic-events.
type pauses struct {
	last    map[int32]time.Time
	longest map[int32]time.Duration // since the last reset
}

func (p *pauses) see(r *kgo.Record, at time.Time) {
	if codecs.Kind(harness.Header(r, codecs.HeaderKind)) != codecs.KindReading {
		return
	}
	if last, ok := p.last[r.Partition]; ok {
		p.longest[r.Partition] = max(p.longest[r.Partition], at.Sub(last))
	}
	p.last[r.Partition] = at
}

func (p *pauses) reset() { p.longest = make(map[int32]time.Duration) }

// since tells whether each of n partitions has given readings for so long behind a moment.
func (p *pauses) since(moment time.Time, n int, long time.Duration) bool {
	for _, at := range p.last {
		if at.Sub(moment) < long {
			return false
		}
	}
	return len(p.last) == n
}

func (p *pauses) String() string {
	var all []string
	for _, part := range slices.Sorted(maps.Keys(p.longest)) {
		all = append(all, fmt.Sprintf("%d: %.2fs", part, p.longest[part].Seconds()))
	}
	return strings.Join(all, "  ")
}

// steady feeds 200 readings a second, at the time of each, until it is stopped.
type steady struct {
	model  *harness.Model // complete when ended has been received from
	ended  chan error
	cancel context.CancelFunc
}

const (
	steadySensors  = 200
	steadyInterval = time.Second // of each sensor
	steadyWindow   = 10 * time.Second
)

func feedSteadily(t *testing.T, seed uint64) *steady {
	t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: brokers(t)}.Options(),
		kgo.DefaultProduceTopic(harness.RawTopic), kgo.ProducerLinger(0))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &steady{model: harness.NewModel(steadyWindow), ended: make(chan error, 1), cancel: cancel}
	sensors := make([]codecs.Sensor, steadySensors)
	for i := range sensors {
		sensors[i] = codecs.Sensor{SensorID: fmt.Sprintf("s%03d", i), Latitude: 34, Longitude: -118 - float64(i)/1000}
		record := &kgo.Record{
			Key: []byte(sensors[i].SensorID), Value: codecs.AppendSensorJSON(nil, &sensors[i]),
			Headers: []kgo.RecordHeader{{Key: codecs.HeaderKind, Value: []byte(codecs.KindSensor)}},
		}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		defer client.Close()
		s.ended <- s.run(ctx, client, sensors, rand.New(rand.NewPCG(seed, 1)))
	}()
	t.Cleanup(cancel)
	return s
}

func (s *steady) run(ctx context.Context, client *kgo.Client, sensors []codecs.Sensor, random *rand.Rand) error {
	failed := make(chan error, 1) // the first error
	tick := time.NewTicker(steadyInterval / steadySensors)
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % len(sensors) {
		select {
		case <-ctx.Done():
			return client.Flush(context.WithoutCancel(ctx))
		case err := <-failed:
			return err
		case <-tick.C:
		}
		now := time.Now().UnixMilli()
		r := codecs.RawReading{
			SensorID: sensors[i].SensorID, Timestamp: codecs.Some(now), SpeedMPH: codecs.Some(float64(random.IntN(700)) / 9),
			VolumeVPH: codecs.Some(random.Int64N(2000)), Latitude: codecs.Some(sensors[i].Latitude),
			Longitude: codecs.Some(sensors[i].Longitude),
		}
		s.model.Add(r, now)
		record := &kgo.Record{Key: []byte(r.SensorID), Value: codecs.AppendRawJSON(nil, &r)}
		client.Produce(context.WithoutCancel(ctx), record, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
}

// Three processes share the partitions under a steady load. One is stopped, one is killed, ones come back or are new,
// within the session time-out and beyond it; nothing of that changes a result. How long each partition pauses for each
// of these is printed.
func TestGroup(t *testing.T) {
	seed := harness.Seed(t)
	freshCluster(t)
	archiveURL, state := freshArchive(t), t.TempDir()
	windows := []string{
		"--window.length", steadyWindow.String(), "--window.grace", "1s", "--window.idleTimeout", "2s",
	}
	member := func(name string) *harness.Process { return launch(t, name, state, archiveURL, windows...) }

	// At once, on a cluster on which no topic is: each of them creates all.
	a, b, c := member("real-1"), member("real-2"), member("real-3")
	adm := harness.Admin(t, brokers(t))
	harness.Await(t, "the topics", func() bool {
		listed, err := adm.ListTopics(t.Context(), harness.RawTopic, harness.EventsTopic, harness.RejectsTopic)
		return err == nil && listed.Error() == nil
	})
	feeding := feedSteadily(t, seed)
	r := harness.NewReader(t, brokers(t))
	p := &pauses{last: make(map[int32]time.Time)}
	p.reset()
	r.Seen = p.see
	partitions := processors.DefaultTopics().Partitions
	calm := func() {
		from := time.Now()
		r.Until(t, "a calm group", func(*harness.Outcomes) bool { return p.since(from, partitions, 3*time.Second) })
	}
	measure := func(what string, change func()) {
		calm()
		p.reset()
		from := time.Now()
		change()
		// Longer than the session time-out: whoever is found missing is found missing by then.
		r.Until(t, what, func(*harness.Outcomes) bool { return p.since(from, partitions, 10*time.Second) })
		t.Logf("%-42s %v", what, p)
	}
	measure("nothing happens", func() {})
	measure("stopped, started again at once", func() { b.Stop(t); b = member("real-2") })
	measure("killed, started again at once", func() { c.End(t, syscall.SIGKILL); c = member("real-3") })
	measure("stopped for good", func() { a.Stop(t) })
	measure("another one added", func() { a = member("real-4") })
	measure("killed for good", func() { b.End(t, syscall.SIGKILL) })

	feeding.cancel()
	if err := <-feeding.ended; err != nil {
		t.Fatalf("feed: %v", err)
	}
	r.Until(t, "the end", feeding.model.Done)
	harness.Archived(t, brokers(t), r.Outcomes)
	a.Stop(t)
	c.Stop(t)
	feeding.model.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, archiveURL, r.Outcomes)
	clean(t, windows...)
	t.Logf("%d readings, %d windows in %d revisions, %d repeats", len(r.Readings), len(r.Final), len(r.Windows),
		r.Repeats)
}
