package real

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

// A pipeline with all roles outlives HDFS. A namenode that hangs does not hold up its stop. It starts again although
// there is no namenode, gives every reading its outcome and publishes every window, and says what it lacks: it is not
// ready, the role names the reason, a metric counts the seconds. When HDFS is back, the archive catches up by itself and
// equals the topics.
func TestHDFSAway(t *testing.T) {
	ownServers(t, "namenode", "datanode")
	freshCluster(t)
	createTopics(t)
	path, m := harness.Mixed(t, 7, 120)
	c := settings(t, freshArchive(t))
	pipeline := start(t, c)
	feeding := replay(t, path, 600)
	r := harness.NewReader(t, brokers(t))
	r.Until(t, "the first readings", func(o *harness.Outcomes) bool { return len(o.Readings) >= len(m.Readings)/4 })
	servers(t, "pause", "namenode")
	begin := time.Now()
	pipeline.Stop()
	t.Logf("stopped in %v while the namenode hung", time.Since(begin).Round(time.Millisecond))

	servers(t, "kill", "namenode")
	pipeline = start(t, c)
	r.Until(t, "the end", m.Done)
	if err := <-feeding; err != nil {
		t.Fatalf("feed: %v", err)
	}
	if status, body := harness.Get(t, pipeline.Address(), "/readyz"); status != http.StatusServiceUnavailable ||
		!strings.Contains(string(body), "connect to HDFS") {
		t.Errorf("readyz without HDFS: %d %s", status, body)
	}
	if s := metric(t, pipeline.Address(), "stream_processor_archive_failing_seconds"); s <= 0 {
		t.Errorf("the archive has failed for %v s", s)
	}
	servers(t, "start", "namenode", "datanode")
	harness.Archived(t, brokers(t), r.Outcomes)
	harness.Await(t, "readiness", func() bool {
		status, _ := harness.Get(t, pipeline.Address(), "/readyz")
		return status == http.StatusOK
	})
	if s := metric(t, pipeline.Address(), "stream_processor_archive_failing_seconds"); s != 0 {
		t.Errorf("the archive works, and is said to have failed for %v s", s)
	}
	pipeline.Stop()
	m.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, c.Archive.URL, r.Outcomes)
	clean(t, "--window.idleTimeout", "1s")
}

// metric is the value of a metric without labels.
func metric(t *testing.T, address, name string) float64 {
	t.Helper()
	_, body := harness.Get(t, address, "/metrics")
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// While HDFS hangs, an archiver with a long backlog holds no more in memory than full batches. Afterwards it archives
// the backlog.
//
// GANTRY_BACKLOG and GANTRY_OUTAGE ask for more readings and for a longer outage in seconds.
func TestHDFSMemory(t *testing.T) {
	harness.Long(t)
	const (
		residentMax = 700 << 20
		first       = 2000
	)
	readings := int64(harness.Number(t, "GANTRY_BACKLOG", 300_000))
	outage := time.Duration(harness.Number(t, "GANTRY_OUTAGE", 5)) * time.Second
	ownServers(t, "namenode", "datanode")
	freshCluster(t)
	createTopics(t)
	adm := harness.Admin(t, brokers(t))
	p := launch(t, "real-0", t.TempDir(), freshArchive(t), "--roles", "archive")
	peak := 0
	archive := func(readings int64) {
		t.Helper()
		harness.Await(t, fmt.Sprintf("%d readings", readings), func() bool {
			peak = max(peak, resident(t, p.Cmd.Process.Pid))
			at, err := adm.FetchOffsets(t.Context(), string(processors.ArchiveGroup))
			if err != nil {
				return false
			}
			sum := int64(0)
			at.Each(func(o kadm.OffsetResponse) { sum += o.At })
			return sum >= readings
		})
	}
	produceReadings(t, 0, first)
	archive(first)
	idle := resident(t, p.Cmd.Process.Pid)

	servers(t, "pause", "namenode")
	produceReadings(t, first, readings)
	deadline := time.After(outage)
	for sampling := true; sampling; {
		select {
		case <-deadline:
			sampling = false
		case <-time.After(100 * time.Millisecond):
		}
		peak = max(peak, resident(t, p.Cmd.Process.Pid))
	}
	away := peak
	servers(t, "resume", "namenode")
	archive(readings)
	p.Stop(t)
	t.Logf("%d readings behind, %v without HDFS: %d MiB resident before, at most %d in the outage, %d to its end",
		readings, outage, idle>>20, away>>20, peak>>20)
	if peak > residentMax {
		t.Errorf("more than %d MiB", residentMax>>20)
	}
}

// resident is the resident memory of a process in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	return 0
}

// produceReadings fills traffic-events, as the dedup stage does, with the readings from the first number up to the second.
func produceReadings(t *testing.T, from, to int64) {
	t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: brokers(t)}.Options(),
		kgo.DefaultProduceTopic(harness.EventsTopic))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const sensors = 1000
	start := time.Now().Truncate(time.Hour).UnixMilli()
	for i := from; i < to; i++ {
		r := codecs.Reading{
			SensorID: fmt.Sprintf("s%04d", i%sensors), Timestamp: start + i/sensors*1000, Latitude: 34,
			Longitude: -118, SpeedMPH: codecs.Some(float64(i % 70)), VolumeVPH: codecs.Some(int32(i % 2000)),
			Occupancy: codecs.Some(float64(i%100) / 7), ReceivedAt: start, Sequence: i/sensors + 1,
		}
		source := codecs.Source{Topic: harness.RawTopic, Partition: 0, Offset: i}
		client.Produce(t.Context(), &kgo.Record{
			Key: []byte(r.SensorID), Value: codecs.AppendReading(nil, 1, &r),
			Headers: []kgo.RecordHeader{
				{Key: codecs.HeaderKind, Value: []byte(codecs.KindReading)},
				{Key: codecs.HeaderSource, Value: []byte(source.String())},
			},
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}
