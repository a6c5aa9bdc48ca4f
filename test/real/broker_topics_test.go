package real

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

// brokerPipeline is a gantry run on fresh topics, with an archive folder of its own.
type brokerPipeline struct {
	*service
	t          *testing.T
	adm        *kadm.Client
	state      string
	archiveURL string
	args       []string
}

func newBrokerPipeline(t *testing.T) *brokerPipeline {
	t.Helper()
	freshCluster(t)
	createTopics(t)
	p := &brokerPipeline{
		t: t, adm: harness.Admin(t, brokers(t)), state: t.TempDir(), archiveURL: "file://" + t.TempDir(),
		args: steadyArgs(),
	}
	p.begin()
	return p
}

func (p *brokerPipeline) begin() {
	p.t.Helper()
	p.service = serve(p.t, p.state, p.archiveURL, p.args...)
	p.ready()
}

// set changes a setting of a topic; "" takes it back.
func (p *brokerPipeline) set(topic, key, value string) {
	p.t.Helper()
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value}
	if value == "" {
		change = kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key}
	}
	resp, err := p.adm.AlterTopicConfigs(p.t.Context(), []kadm.AlterConfig{change}, topic)
	if err == nil {
		_, err = resp.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// recreate deletes a topic and makes it again, as a script does that wants it empty.
func (p *brokerPipeline) recreate(topic string) {
	p.t.Helper()
	if _, err := p.adm.DeleteTopic(p.t.Context(), topic); err != nil {
		p.t.Fatal(err)
	}
	harness.Await(p.t, "the new topic", func() bool {
		_, err := p.adm.CreateTopic(p.t.Context(), int32(processors.DefaultTopics().Partitions), 1, nil, topic)
		return err == nil
	})
}

// refuses waits for the end of the process, by itself, with a last line that says all of this.
func (p *brokerPipeline) refuses(says ...string) {
	p.t.Helper()
	select {
	case <-p.Exited:
	case <-time.After(harness.Patience):
		p.t.Fatalf("it runs on; it should say %q and end", says)
	}
	lines := strings.Split(strings.TrimSpace(p.Log.String()), "\n")
	last := lines[len(lines)-1]
	p.t.Logf("refused: %s", last)
	if code := p.Cmd.ProcessState.ExitCode(); code != 1 {
		p.t.Errorf("it ended with %d, not with 1", code)
	}
	for _, text := range says {
		if !strings.Contains(last, text) {
			p.t.Errorf("its last line does not say %q", text)
		}
	}
}

// A topic that is deleted and created again, while gantry runs or while it does not, is refused with what to do: its
// offsets start anew, and whoever took it for the old one would take its first records for repeats.
func TestBrokerTopicRecreated(t *testing.T) {
	for _, topic := range []string{harness.RawTopic, harness.EventsTopic, string(processors.WindowTable)} {
		t.Run(topic, func(t *testing.T) {
			p := newBrokerPipeline(t)
			feeding := feedSteadily(t, 1)
			r := harness.NewReader(t, brokers(t))
			r.Until(t, "readings", func(o *harness.Outcomes) bool { return len(o.Readings) > steadySensors })
			feeding.cancel()
			<-feeding.ended
			p.recreate(topic)
			p.refuses(topic, "created again", "delete")
			p.service = serve(t, p.state, p.archiveURL, p.args...)
			p.refuses(topic, "created again", "delete")
		})
	}
}

// So is traffic-events for a process that only archives, which has no state that could tell: the archive does.
func TestBrokerTopicRecreatedForArchiver(t *testing.T) {
	p := newBrokerPipeline(t)
	feeding := feedSteadily(t, 1)
	r := harness.NewReader(t, brokers(t))
	r.Until(t, "readings", func(o *harness.Outcomes) bool { return len(o.Readings) > steadySensors })
	harness.Archived(t, brokers(t), r.Outcomes)
	feeding.cancel()
	<-feeding.ended
	p.Stop(t)
	p.recreate(harness.EventsTopic)
	p.service = serve(t, t.TempDir(), p.archiveURL, append(p.args, "--roles", "archive")...)
	p.refuses(harness.EventsTopic, "created again", "set another archive.url")
}

// More partitions move sensors away from their state: refused, while gantry runs and when it starts.
func TestBrokerPartitionsAdded(t *testing.T) {
	for _, topic := range []string{harness.RawTopic, string(processors.DedupTable)} {
		t.Run(topic, func(t *testing.T) {
			p := newBrokerPipeline(t)
			if _, err := p.adm.CreatePartitions(t.Context(), 1, topic); err != nil {
				t.Fatal(err)
			}
			p.refuses(topic, "6 partitions", "topics.partitions is 5")
			p.service = serve(t, p.state, p.archiveURL, p.args...)
			p.refuses(topic, "6 partitions", "topics.partitions is 5")
		})
	}
}

// An operator asks for more replicas in sync than there are, and takes it back; lowers what a topic takes below what
// lies in flight, and raises it again. The pipeline says what is wrong, goes on by itself, and has lost nothing.
func TestBrokerSettings(t *testing.T) {
	harness.Long(t)
	p := newBrokerPipeline(t)
	feeding := feedSteadily(t, 2)
	r := harness.NewReader(t, brokers(t))
	flows(t, r, "before anything happens")

	for _, topic := range []string{harness.EventsTopic, string(processors.WindowTable)} {
		p.set(topic, "min.insync.replicas", "2")
		t.Logf("not ready: %s", p.unready(topic, "min.insync.replicas is 2"))
		if p.errors("replicas") == 0 {
			t.Error("errors of the type replicas are not counted")
		}
		p.set(topic, "min.insync.replicas", "")
		flows(t, r, "with enough replicas again")
		p.ready()
	}

	// Every record fits, no batch does: it goes on with smaller ones.
	for _, topic := range []string{harness.EventsTopic, string(processors.DedupTable)} {
		p.set(topic, "max.message.bytes", "1500")
		flows(t, r, "with small batches for "+topic)
		p.ready()
	}
	// No record fits: it waits.
	p.set(harness.EventsTopic, "max.message.bytes", "100")
	t.Logf("not ready: %s", p.unready(harness.EventsTopic, "max.message.bytes"))
	if p.errors("record_size") == 0 {
		t.Error("errors of the type record_size are not counted")
	}
	p.set(harness.EventsTopic, "max.message.bytes", "")
	p.set(string(processors.DedupTable), "max.message.bytes", "")
	flows(t, r, "with large records again")
	p.ready()

	feeding.cancel()
	if err := <-feeding.ended; err != nil {
		t.Fatalf("feed: %v", err)
	}
	r.Until(t, "the end", feeding.model.Done)
	harness.Archived(t, brokers(t), r.Outcomes)
	p.Stop(t)
	feeding.model.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, p.archiveURL, r.Outcomes)
	clean(t, append(p.args, "--archive", "--archive.url", p.archiveURL)...)
}

// A raw record that is as large as traffic-raw takes is rejected whole, with headers besides. Where an operator has
// lowered what traffic-rejects takes, the pipeline waits until it is raised again: it would have to cut the record.
func TestBrokerLargeReject(t *testing.T) {
	p := newBrokerPipeline(t)
	producer := newProducer(t)
	r := harness.NewReader(t, brokers(t))
	large := []byte(strings.Repeat("x", 1<<20-200))
	producer.large(large)
	r.Until(t, "the reject", func(o *harness.Outcomes) bool { return len(o.Rejects) == 1 })
	p.set(harness.RejectsTopic, "max.message.bytes", "100000")
	producer.large(large)
	t.Logf("not ready: %s", p.unready(harness.RejectsTopic, "max.message.bytes"))
	p.set(harness.RejectsTopic, "max.message.bytes", "2000000")
	r.Until(t, "the reject of what fits again", func(o *harness.Outcomes) bool { return len(o.Rejects) == 2 })
	p.ready()
	producer.sensor("s0")
	producer.plain("s0")
	r.Until(t, "a reading behind it", func(o *harness.Outcomes) bool { return len(o.Readings) == 1 && o.Counted() == 1 })
	p.Stop(t)
	clean(t, p.args...)
}

// large sends a value that the client would refuse by its defaults, and the broker does not.
func (p *producer) large(value []byte) {
	p.t.Helper()
	client := rawClient(p.t, kgo.ProducerBatchMaxBytes(2<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	if err := client.ProduceSync(p.t.Context(), kgo.StringRecord(string(value))).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// plain sends a reading in JSON.
func (p *producer) plain(id string) {
	r := codecs.RawReading{
		SensorID: id, Timestamp: codecs.Some(time.Now().UnixMilli()), SpeedMPH: codecs.Some(60.0),
		Latitude: codecs.Some(34.0), Longitude: codecs.Some(-118.0),
	}
	p.send(id, codecs.AppendRawJSON(nil, &r))
}

// Retention deletes raw records while gantry does not run. What follows them is processed; that they have no outcome is
// logged with their offsets and counted, and the ledger names them.
func TestBrokerRetentionHole(t *testing.T) {
	p := newBrokerPipeline(t)
	producer := newProducer(t)
	r := harness.NewReader(t, brokers(t))
	partition := producer.sensor("s0")
	producer.plain("s0")
	r.Until(t, "a reading", func(o *harness.Outcomes) bool { return len(o.Readings) == 1 })
	p.committed(partition, 2)
	p.Stop(t)
	for range 10 {
		producer.plain("s0")
	}
	p.deleteBefore(harness.RawTopic, partition, 9)
	p.begin()
	r.Until(t, "what lies behind the hole", func(o *harness.Outcomes) bool { return len(o.Readings)+len(o.Rejects) == 4 })
	if lost := p.metric(`stream_processor_records_lost_total{topic="traffic-raw"}`); lost != 7 {
		t.Errorf("%v records are counted as lost, not 7", lost)
	}
	if p.errors("lost") == 0 {
		t.Error("errors of the type lost are not counted")
	}
	p.committed(partition, 12)
	p.Stop(t)
	if text := fmt.Sprintf(`"partition":%d,"from":2,"to":9,"records":7`, partition); !strings.Contains(p.Log.String(), text) {
		t.Errorf("the log does not say %s", text)
	}
	p.begin() // another session carries the note on
	producer.plain("s0")
	p.committed(partition, 13)
	p.Stop(t)
	code, out, _ := run(t, append([]string{"verify"}, p.args...)...)
	if text := fmt.Sprintf("%s/%d/2 deleted_unread: offsets 2 to 8", harness.RawTopic, partition); code != 1 ||
		!strings.Contains(out, text) {
		t.Errorf("verify ends with %d and does not say %q:\n%s", code, text, out)
	}
}

// Retention deletes readings of traffic-events before the window stage has read them, while another process numbers on.
// Their windows are incomplete, and that is said; the sensor's later readings are counted, although they are numbered
// behind a gap that never closes.
func TestBrokerRetentionHoleInEvents(t *testing.T) {
	harness.Long(t)
	p := newBrokerPipeline(t)
	producer := newProducer(t)
	r := harness.NewReader(t, brokers(t))
	partition := producer.sensor("s0")
	readings := func(n int) func(*harness.Outcomes) bool {
		return func(o *harness.Outcomes) bool { return len(o.Readings)+len(o.Rejects) == n }
	}
	producer.plain("s0")
	r.Until(t, "a window", func(o *harness.Outcomes) bool { return o.Counted() == 1 })
	p.committedBy(processors.WindowGroup, harness.EventsTopic, partition, 2)
	p.Stop(t)
	dedup := serve(t, p.state, p.archiveURL, append(p.args, "--roles", "dedup")...)
	dedup.ready()
	for i := range 5 {
		producer.plain("s0")
		r.Until(t, "readings that nobody folds", readings(i+2))
	}
	dedup.Stop(t)
	p.deleteBefore(harness.EventsTopic, partition, r.Last[partition])
	p.begin()
	r.Until(t, "a window behind the hole", func(o *harness.Outcomes) bool { return o.Counted() >= 2 })
	if lost := p.metric(`stream_processor_records_lost_total{topic="traffic-events"}`); lost == 0 {
		t.Error("no record of traffic-events is counted as lost")
	}
	if n := p.metric("stream_processor_sensors_resumed_total"); n != 1 {
		t.Errorf("%v sensors went on behind the hole, not 1", n)
	}
	producer.plain("s0")
	r.Until(t, "windows that go on", func(o *harness.Outcomes) bool { return o.Counted() >= 3 })
	p.Stop(t)
}

// committed waits until the dedup group has committed an offset.
func (p *brokerPipeline) committed(partition int32, next int64) {
	p.t.Helper()
	p.committedBy(processors.DedupGroup, harness.RawTopic, partition, next)
}

func (p *brokerPipeline) committedBy(group goka.Group, topic string, partition int32, next int64) {
	p.t.Helper()
	harness.Await(p.t, "a commit", func() bool {
		at, err := p.adm.FetchOffsets(p.t.Context(), string(group))
		if err != nil {
			return false
		}
		c, ok := at.Lookup(topic, partition)
		return ok && c.At >= next
	})
}

// deleteBefore deletes the records of a partition below an offset, as retention does.
func (p *brokerPipeline) deleteBefore(topic string, partition int32, offset int64) {
	p.t.Helper()
	var o kadm.Offsets
	o.AddOffset(topic, partition, offset, -1)
	resp, err := p.adm.DeleteRecords(p.t.Context(), o)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
