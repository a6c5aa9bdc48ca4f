package real

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

var groups = []string{string(processors.DedupGroup), string(processors.WindowGroup), string(processors.ArchiveGroup)}

// freshCluster deletes what earlier runs have left: members that were killed, groups, topics.
func freshCluster(t *testing.T) {
	t.Helper()
	wipe(t, harness.Admin(t, brokers(t)))
}

func wipe(t *testing.T, adm *kadm.Client) {
	t.Helper()
	harness.Await(t, "the groups to be deleted", func() bool { return deleteGroups(t.Context(), adm) == nil })
	var topics []string
	for _, s := range processors.DefaultTopics().Specs(false) {
		topics = append(topics, s.Name)
	}
	topics = append(topics, string(processors.DedupLoop))
	harness.Await(t, "the topics to be deleted", func() bool {
		if _, err := adm.DeleteTopics(t.Context(), topics...); err != nil {
			return false
		}
		listed, err := adm.ListTopics(t.Context(), topics...)
		if err != nil {
			return false
		}
		for _, d := range listed {
			if !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
				return false
			}
		}
		return true
	})
}

// deleteGroups fails on a broker on which there has never been a group, until it has made a place for them.
func deleteGroups(ctx context.Context, adm *kadm.Client) error {
	described, err := adm.DescribeGroups(ctx, groups...)
	if err != nil {
		return err
	}
	for _, g := range described {
		var static []string
		for _, m := range g.Members {
			if m.InstanceID != nil {
				static = append(static, *m.InstanceID)
			}
		}
		if len(static) > 0 { // their processes are gone, their sessions may not be over
			if _, err := adm.LeaveGroup(ctx, kadm.LeaveGroup(g.Group).InstanceIDs(static...)); err != nil {
				return err
			}
		}
	}
	deleted, err := adm.DeleteGroups(ctx, groups...)
	if err != nil {
		return err
	}
	for _, d := range deleted {
		if d.Err != nil && !errors.Is(d.Err, kerr.GroupIDNotFound) {
			return d.Err
		}
	}
	return nil
}

// settings are the contract's defaults with silences and batches that a test need not wait for.
func settings(t *testing.T, archiveURL string) config.Config {
	t.Helper()
	c := config.Default()
	c.Kafka.Brokers, c.Registry.URL = brokers(t), setting(t, "GANTRY_REGISTRY_URL")
	c.Archive.URL, c.Archive.FlushInterval = archiveURL, time.Second
	c.HTTP.Listen, c.Instance, c.State.Dir = "127.0.0.1:0", "real-0", t.TempDir()
	c.Window.IdleTimeout = time.Second
	return c
}

// createTopics makes the topics as gantry topics create does, for a feed that begins before the pipeline.
func createTopics(t *testing.T) {
	t.Helper()
	createTopicsOf(t, processors.DefaultTopics())
}

func createTopicsOf(t *testing.T, topics processors.Topics) {
	t.Helper()
	adm := harness.Admin(t, brokers(t))
	if _, err := processors.EnsureTopics(t.Context(), adm, topics.Specs(false)); err != nil {
		t.Fatal(err)
	}
}

// rawSchema is the id of the schema of readings.
func rawSchema(t *testing.T) int32 {
	t.Helper()
	schemas := registryClient(t, setting(t, "GANTRY_REGISTRY_URL"))
	id, err := schemas.EnsureSubject(t.Context(), processors.DefaultTopics().RawSubject(), codecs.RawSchema)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// newReplay prepares the replay of a file at its own times, with its sensors, in Avro, from where it stopped the last
// time.
func newReplay(t *testing.T, path string, speed feed.Speed) (*feed.Publisher, feed.Source, int64) {
	t.Helper()
	file, err := feed.ReadFile(path, "")
	if err != nil {
		t.Fatal(err)
	}
	sensors, err := file.Sensors()
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := feed.NewReplay(t.Context(), processors.Kafka{Brokers: brokers(t)}.Options(), file,
		feed.ReplayOptions{
			Topic: harness.RawTopic, Wire: feed.WireAvro, SchemaID: rawSchema(t), Speed: speed, Rebase: feed.RebaseNone,
			WindowLength: 5 * time.Minute, Resume: true, Sensors: sensors, Clock: feed.SystemClock{},
		})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	return publisher, rows, file.Info.Rows
}

// rawClient returns a client that produces to traffic-raw; whoever asks for it closes it.
func rawClient(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts = slices.Concat(processors.Kafka{Brokers: brokers(t)}.Options(),
		[]kgo.Opt{kgo.DefaultProduceTopic(harness.RawTopic)}, opts)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// sensorRecord is a sensor's metadata as gantry sensors load publishes it.
func sensorRecord(s *codecs.Sensor) *kgo.Record {
	return &kgo.Record{
		Key: []byte(s.SensorID), Value: codecs.AppendSensorJSON(nil, s),
		Headers: []kgo.RecordHeader{{Key: codecs.HeaderKind, Value: []byte(codecs.KindSensor)}},
	}
}

// replay publishes a file in the background, at a multiple of the road's time.
func replay(t *testing.T, path string, speed feed.Speed) (ended chan error) {
	t.Helper()
	publisher, rows, _ := newReplay(t, path, speed)
	ended = make(chan error, 1)
	go func() {
		defer publisher.Close()
		defer rows.Close()
		ended <- publisher.Publish(t.Context(), rows)
	}()
	return ended
}

// clean proves the topics as a user does, and wants nothing left to prove.
func clean(t *testing.T, args ...string) {
	t.Helper()
	code, stdout, stderr := run(t, append([]string{"verify", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("verify: %d\n%s%s", code, stdout, stderr)
	}
	var report struct {
		Totals struct{ Records, Accepted, Pending, Expired, Holes int64 }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if n := report.Totals; n.Records == 0 || n.Accepted == 0 || n.Pending+n.Expired+n.Holes > 0 {
		t.Errorf("the ledger proves less than all: %+v", n)
	}
}
