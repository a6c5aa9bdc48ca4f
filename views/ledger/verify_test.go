package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"gantry/codecs"
)

// cluster is an embedded broker that holds the topics of a world.
type cluster struct {
	t      *testing.T
	o      VerifyOptions
	client *kgo.Client
	adm    *kadm.Client
}

func startCluster(t *testing.T, w *world) *cluster {
	t.Helper()
	o := DefaultVerifyOptions()
	o.Ledger = w.o
	fake, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(partitions, w.o.RawTopic, w.o.EventsTopic, w.o.RejectsTopic, o.LoopTopic))
	if err != nil {
		t.Fatal(err)
	}
	o.Client = []kgo.Opt{kgo.SeedBrokers(fake.ListenAddrs()...)}
	o.Now = func() time.Time { return time.UnixMilli(w.clock) }
	client, err := kgo.NewClient(append(slices.Clone(o.Client), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, o: o, client: client, adm: kadm.NewClient(client)}
	t.Cleanup(func() {
		client.Close()
		fake.Close()
		goleak.VerifyNone(t)
	})
	for _, topic := range [][][]*kgo.Record{w.raw, w.events, w.rejects} {
		c.produce(slices.Concat(topic...)...)
	}
	return c
}

func (c *cluster) produce(records ...*kgo.Record) {
	c.t.Helper()
	for _, r := range records {
		p := &kgo.Record{
			Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers,
			Timestamp: r.Timestamp,
		}
		if err := c.client.ProduceSync(c.t.Context(), p).FirstErr(); err != nil {
			c.t.Fatal(err)
		}
		if p.Offset != r.Offset {
			c.t.Fatalf("%s/%d: offset %d, not %d", r.Topic, r.Partition, p.Offset, r.Offset)
		}
	}
}

func (c *cluster) commit(group, topic string, spans []Span) {
	c.t.Helper()
	var offsets kadm.Offsets = make(map[string]map[int32]kadm.Offset)
	for p, s := range spans {
		offsets.AddOffset(topic, int32(p), s.Committed, -1)
	}
	if err := c.adm.CommitAllOffsets(c.t.Context(), group, offsets); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) commitAll(w *world) {
	x := w.extent()
	c.commit(c.o.DedupGroup, w.o.RawTopic, x.Raw)
	c.commit(c.o.WindowGroup, w.o.EventsTopic, x.Events)
}

// truncate deletes the first records of each partition of a topic.
func (c *cluster) truncate(topic string, starts ...int64) {
	c.t.Helper()
	var offsets kadm.Offsets = make(map[string]map[int32]kadm.Offset)
	for p, at := range starts {
		offsets.AddOffset(topic, int32(p), at, -1)
	}
	deleted, err := c.adm.DeleteRecords(c.t.Context(), offsets)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) verify() *Report {
	c.t.Helper()
	r, err := Verify(c.t.Context(), c.o)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// What Verify reads is what was written: the report equals that of a ledger which was given the records.
func TestVerify(t *testing.T) {
	w := day()
	c := startCluster(t, w)
	c.commitAll(w)
	var told int64
	c.o.Progress = func(_ string, done, total int64) {
		if done > total {
			t.Errorf("progress %d of %d", done, total)
		}
		told = max(told, total)
	}
	r := c.verify()
	want := w.verify(t, w.extent())
	if !r.OK() || r.Totals.Accepted != want.Totals.Accepted || r.Totals.Rejected != want.Totals.Rejected ||
		r.Totals.Windows != want.Totals.Windows || r.Verdict != VerdictClean {
		r.WriteText(t.Output())
		t.Errorf("totals %+v, not %+v", r.Totals, want.Totals)
	}
	if told == 0 {
		t.Error("no progress was told")
	}

	again := double(w.events, w.event(codecs.KindReading, "100", 5))
	editReading(again, func(v *codecs.Reading) { v.SpeedMPH.V++ })
	c.produce(again)
	if r := c.verify(); r.OK() || !(finding{KindUnequalRepeat, place(again)}).in(r) {
		t.Errorf("a record that was doubled with other content is not found: %v", r.Exceptions)
	}
}

// Commits bound the range. Where there are none, in a copy of the topics or before the first, the outcomes do.
func TestVerifyBeforeCommit(t *testing.T) {
	w := day()
	w.addRaw("100", []byte("{}")) // still to be processed
	c := startCluster(t, w)
	if r := c.verify(); !r.OK() || r.Totals.Pending != 1 || r.Verdict != VerdictClean || !r.Copied {
		t.Errorf("before any commit: %+v", r)
	}
	c.commitAll(w)
	if r := c.verify(); r.OK() || r.Totals.Missing != 1 {
		t.Errorf("committed without an outcome: %+v", r)
	}
}

// With raw.keyed: false what waits on the loop is pending, and what the loop's group has committed is not.
func TestVerifyLoop(t *testing.T) {
	w := day()
	w.o.Keyed = false
	raw := w.addRaw("100", []byte("{}"))
	c := startCluster(t, w)
	c.commitAll(w)
	c.produce(&kgo.Record{Topic: c.o.LoopTopic, Timestamp: raw.Timestamp, Headers: []kgo.RecordHeader{
		{Key: codecs.HeaderSource, Value: []byte(place(raw))},
	}})
	if r := c.verify(); !r.OK() || r.Totals.Pending != 1 {
		t.Errorf("on the loop: %+v", r)
	}
	c.commit(c.o.DedupGroup, c.o.LoopTopic, []Span{{Committed: 1}})
	if r := c.verify(); r.OK() || !(finding{KindMissingOutcome, place(raw)}).in(r) {
		t.Errorf("through the loop: %+v", r)
	}
}

// Topics may have lost their beginnings, or all that they held.
func TestVerifyTruncated(t *testing.T) {
	w := day()
	c := startCluster(t, w)
	c.commitAll(w)
	x := w.extent()
	c.truncate(w.o.EventsTopic, x.Events[0].End/3, x.Events[1].End/3, x.Events[2].End/3)
	r := c.verify()
	if !r.OK() || r.Totals.Expired == 0 || r.Verdict != VerdictClean {
		r.WriteText(t.Output())
		t.Errorf("truncated events: %+v", r.Totals)
	}
	c.truncate(w.o.RawTopic, x.Raw[0].End/2, x.Raw[1].End/2, x.Raw[2].End/2)
	if r := c.verify(); !r.OK() || r.Totals.RawExpired == 0 {
		r.WriteText(t.Output())
		t.Errorf("truncated raw: %+v", r.Totals)
	}
	// A partition that is empty was deleted longer ago than its retention, which is longer than this day.
	c.truncate(w.o.RejectsTopic, x.Rejects[0].End, x.Rejects[1].End, x.Rejects[2].End)
	if r := c.verify(); r.Totals.Expired == 0 && r.OK() {
		t.Errorf("no reject is left, and nothing expired or missing: %+v", r.Totals)
	}
	c.unlimited(w.o.RejectsTopic)
	if r := c.verify(); !r.OK() || r.Verdict != VerdictNothing {
		r.WriteText(t.Output())
		t.Errorf("deleted by hand: %+v", r.Totals)
	}
}

func (c *cluster) unlimited(topic string) {
	c.t.Helper()
	forever := "-1"
	_, err := c.adm.AlterTopicConfigs(c.t.Context(), []kadm.AlterConfig{{
		Op: kadm.SetConfig, Name: "retention.ms",
		Value: &forever,
	}}, topic)
	if err != nil {
		c.t.Fatal(err)
	}
}

// A producer of traffic-raw may use transactions: their markers and what they aborted are holes.
func TestVerifyTransactions(t *testing.T) {
	w := newWorld()
	c := startCluster(t, w)
	producer, err := kgo.NewClient(append(slices.Clone(c.o.Client), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionalID("sensors"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	write := func(commit kgo.TransactionEndTry, values ...string) {
		t.Helper()
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			r := &kgo.Record{Topic: w.o.RawTopic, Value: []byte(v)}
			if err := producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if commit {
				w.reject(r, "undecodable")
			}
		}
		if err := producer.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	write(kgo.TryCommit, "{", "[")
	write(kgo.TryAbort, "{", "{", "{")
	write(kgo.TryCommit, "(")
	c.produce(slices.Concat(w.rejects...)...)
	c.commit(c.o.DedupGroup, w.o.RawTopic, []Span{{Committed: 9}})
	if r := c.verify(); !r.OK() || r.Totals.Records != 3 || r.Totals.Rejected != 3 || r.Totals.Holes != 6 {
		r.WriteText(t.Output())
		t.Errorf("totals: %+v", r.Totals)
	}
}

// Nothing is proved, and it is said why, where a topic does not exist or gives nothing.
func TestVerifyErrors(t *testing.T) {
	w := newWorld()
	c := startCluster(t, w)
	c.o.Ledger.RejectsTopic = "absent"
	if _, err := Verify(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a topic that does not exist: %v", err)
	}
	c.o.Stall = time.Millisecond
	err := c.o.read(t.Context(), "raw records", map[string][]Span{w.o.RawTopic: {{End: 5}}},
		func(*kgo.Record) (bool, error) { return false, nil })
	if !errors.Is(err, errStalled) || !strings.Contains(err.Error(), "traffic-raw/0 from offset 0 to 5") {
		t.Errorf("a partition that gives nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, c.o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
