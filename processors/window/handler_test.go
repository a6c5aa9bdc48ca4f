package window_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gantry/codecs"
	"gantry/processors"
	. "gantry/processors/processorstest"
)

const (
	second = int64(1000)
	minute = 60 * second
)

// event returns a reading as the dedup stage publishes it.
func event(p *Pipeline, sensor string, sequence, ms int64, speed float64) *kgo.Record {
	v := codecs.Reading{
		SensorID: sensor, Timestamp: ms, SpeedMPH: codecs.Some(speed), Latitude: 34.1, Longitude: -118.2,
		ReceivedAt: ms + 2*second, Sequence: sequence, IntervalS: codecs.Some(int32(30)),
	}
	part := processors.PartitionOf(sensor, p.Topics.Partitions)
	return &kgo.Record{
		Topic: string(p.Topics.Events), Partition: part, Key: []byte(sensor), Timestamp: time.UnixMilli(ms + 2*second),
		Value: codecs.AppendReading(nil, p.EventSchema, &v),
		Headers: []kgo.RecordHeader{
			Header(codecs.HeaderKind, "reading"), Header(codecs.HeaderSource, fmt.Sprintf("traffic-raw/%d/%d", part, sequence)),
		},
	}
}

// TestSequence: a crash of the dedup stage repeats a run of readings, each counts once; and a reading behind a gap is
// not taken before the missing one has come.
func TestSequence(t *testing.T) {
	p := New(t, true)
	var log []*kgo.Record
	for i := range int64(10) {
		log = append(log, event(p, "s-1", i+1, Noon+i*30*second, float64(40+i)))
	}
	closing := event(p, "s-1", 11, Noon+10*minute, 60)
	p.Produce(log[:6]...)
	p.Produce(log[3:6]...) // repeated
	p.Produce(log[7:]...)  // behind a gap
	p.Produce(closing)     // likewise: it closes nothing
	m := p.Start(t.TempDir())
	p.Await()
	if w := p.Results().Windows; len(w) != 0 {
		t.Fatalf("windows were published across a gap: %v", w)
	}
	p.Produce(log[6:]...) // the dedup stage sends again from the missing one on
	p.Produce(closing)
	p.Await()
	windows := p.Results().Windows
	if len(windows) != 1 {
		t.Fatalf("%d windows, want 1: %v", len(windows), windows)
	}
	for id, w := range windows {
		if w.MessageCount != 10 || w.AvgSpeed.V != 44.5 || w.Revision != 1 {
			t.Errorf("%s: %d readings, mean %v, revision %d", id, w.MessageCount, w.AvgSpeed.V, w.Revision)
		}
	}
	skipped := func(why string) float64 {
		return Counter(t, m.Metrics, "stream_processor_events_skipped_total", why)
	}
	if r, g := skipped("repeat"), skipped("gap"); r != 3 || g != 4 {
		t.Errorf("%v repeats and %v behind a gap were skipped, want 3 and 4", r, g)
	}
}

// TestForeignEvents: what cannot be read on traffic-events is skipped, and a silence closes what is over.
func TestForeignEvents(t *testing.T) {
	p := New(t, true)
	bad := event(p, "s-1", 2, Noon+30*second, 1)
	bad.Value = bad.Value[:9]
	unknown := event(p, "s-1", 2, Noon+30*second, 1)
	unknown.Headers = []kgo.RecordHeader{Header(codecs.HeaderKind, "other")}
	silence := event(p, "s-1", 0, 0, 0)
	silence.Headers = []kgo.RecordHeader{Header(codecs.HeaderKind, "silence")}
	silence.Value = codecs.AppendSilence(nil, p.EventSchema, &codecs.SensorSilence{
		SensorID: "s-1", Since: Noon + 2*second, Watermark: Noon, AsOf: Noon + 6*minute,
	})
	p.Produce(event(p, "s-1", 1, Noon, 50), bad, unknown, silence)
	m := p.Start(t.TempDir())
	Eventually(t, "the silence has closed the window", func() bool {
		return Counter(t, m.Metrics, "stream_processor_windows_published_total", "silence") == 1
	})
	if n := Counter(t, m.Metrics, "stream_processor_events_skipped_total", "foreign"); n != 1 {
		t.Errorf("%v records could not be read, want 1", n)
	}
}

// metrLike returns the log of a road network: a reading of each sensor every 30 s, some missing, doubled, in conflict,
// out of order or late. With un-keyed input each sensor's readings lie on a partition that is not its own.
func metrLike(p *Pipeline, sensors int, span time.Duration) (metadata, log []*kgo.Record) {
	random := rand.New(rand.NewPCG(7, 8))
	place := func(r *kgo.Record, sensor int) *kgo.Record {
		if !p.Topics.Keyed {
			r.Key, r.Partition = nil, int32(sensor%p.Topics.Partitions)
		}
		return r
	}
	name := func(s int) string { return fmt.Sprintf("s-%d", s) }
	for s := range sensors {
		metadata = append(metadata, p.Metadata(name(s)))
	}
	for ms := Noon; ms < Noon+span.Milliseconds(); ms += 30 * second {
		for s := range sensors {
			v := ReadingOf(name(s), ms)
			v.SpeedMPH.V = 70 * random.Float64()
			switch random.IntN(25) {
			case 0:
				continue
			case 1:
				v.Timestamp.V -= random.Int64N(40 * minute)
			}
			r := place(p.Raw(v), s)
			r.Timestamp = time.UnixMilli(ms + 2*second)
			log = append(log, r)
			if random.IntN(40) == 0 {
				again := *r
				log = append(log, &again)
			}
			if random.IntN(40) == 0 {
				v.SpeedMPH.V++
				other := place(p.Raw(v), s)
				other.Timestamp = r.Timestamp
				log = append(log, other)
			}
		}
	}
	return metadata, log
}

// TestCrashes: whatever a crash in the middle leaves of the disk (all, nothing, or an old copy), with the offsets
// committed last lost, every reading, reject and revision of a window equals that of an undisturbed run. With un-keyed
// input the router repeats itself on the loop besides.
func TestCrashes(t *testing.T) {
	for _, keyed := range []bool{true, false} {
		t.Run(fmt.Sprintf("keyed=%v", keyed), func(t *testing.T) {
			undisturbed := New(t, keyed)
			metadata, log := metrLike(undisturbed, 12, 90*time.Minute)
			undisturbed.Produce(metadata...)
			undisturbed.Produce(log...)
			undisturbed.Start(t.TempDir())
			undisturbed.Await()
			want := undisturbed.Results()
			if len(want.Windows) < 12*17 {
				t.Fatalf("only %d windows", len(want.Windows))
			}
			for _, disk := range []string{"kept", "lost", "stale"} {
				t.Run(disk, func(t *testing.T) {
					got := crash(t, keyed, disk)
					if !maps.Equal(got.Readings, want.Readings) {
						t.Errorf("%d readings differ from the undisturbed run's %d", len(got.Readings), len(want.Readings))
					}
					if !maps.Equal(got.Rejects, want.Rejects) {
						t.Errorf("%d rejects differ from the undisturbed run's %d", len(got.Rejects), len(want.Rejects))
					}
					if !maps.Equal(got.Windows, want.Windows) {
						t.Errorf("%d windows differ from the undisturbed run's %d", len(got.Windows), len(want.Windows))
					}
				})
			}
		})
	}
}

// crash runs the log of metrLike with a stop after a third, and a crash after two thirds.
func crash(t *testing.T, keyed bool, disk string) Results {
	p := New(t, keyed)
	metadata, log := metrLike(p, 12, 90*time.Minute)
	dir, copied := t.TempDir(), t.TempDir()
	p.Produce(metadata...)
	p.Produce(log[:len(log)/3]...)
	m := p.Start(dir)
	p.Await()
	m.Stop()
	if err := os.CopyFS(filepath.Join(copied, "state"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}

	// From here on commits fail, so that what was done without one is read again, as after a crash.
	var refusing atomic.Bool
	refusing.Store(true)
	p.Cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		p.Cluster.KeepControl()
		if !refusing.Load() {
			return nil, nil, false
		}
		return refused(req.(*kmsg.OffsetCommitRequest)), nil, true
	})
	m = p.Start(dir)
	p.Produce(log[len(log)/3 : 2*len(log)/3]...)
	last := SourceOf(log[2*len(log)/3-1])
	Eventually(t, "the second third is judged", func() bool {
		for _, topic := range []string{string(p.Topics.Events), string(p.Topics.Rejects)} {
			for _, r := range p.Read(topic) {
				if source, _ := HeaderOf(r, codecs.HeaderSource); source == last {
					return true
				}
			}
		}
		return false
	})
	m.Stop()
	refusing.Store(false)
	switch disk {
	case "lost":
		dir = t.TempDir()
	case "stale":
		dir = filepath.Join(copied, "state")
	}
	m = p.Start(dir)
	p.Produce(log[2*len(log)/3:]...)
	p.Await()
	if n := Counter(t, m.Metrics, "stream_processor_messages_processed_total", "repeat"); n == 0 {
		t.Error("nothing was read again: the crash was none")
	}
	if !keyed {
		if n := len(p.Read(string(processors.DedupLoop))); n <= len(metadata)+len(log) {
			t.Errorf("%d records on the loop of %d: the router has repeated nothing", n, len(metadata)+len(log))
		}
	}
	return p.Results()
}

func refused(req *kmsg.OffsetCommitRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, rt := range req.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			part := kmsg.NewOffsetCommitResponseTopicPartition()
			part.Partition, part.ErrorCode = rp.Partition, kerr.UnknownServerError.Code
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}
