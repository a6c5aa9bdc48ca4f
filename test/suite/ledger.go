package suite

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/cmd/gantry/app"
	"gantry/processors"
	"gantry/test/harness"
	"gantry/views/ledger"
)

// Inspect reads the topics that a stopped pipeline has left from beginning to end, and proves them.
func Inspect(t *testing.T, in Installation) (*harness.Outcomes, *ledger.Report) {
	t.Helper()
	servers := in.Servers(t)
	defer servers.Close()
	return read(t, servers)
}

// read reads the topics of servers to which nothing is added any more, and proves them.
func read(t *testing.T, s *Servers) (*harness.Outcomes, *ledger.Report) {
	t.Helper()
	return outcomes(t, readTopics(t, s.Brokers, harness.EventsTopic, harness.RejectsTopic)), prove(t, s)
}

// prove runs the ledger over the topics.
func prove(t *testing.T, s *Servers) *ledger.Report {
	t.Helper()
	c := Settings()
	c.Kafka.Brokers, c.Registry.URL = s.Brokers, s.RegistryURL
	k, err := app.KafkaOf(&c)
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := app.RegistryOf(&c)
	if err != nil {
		t.Fatal(err)
	}
	defer schemas.Close()
	report, err := ledger.Verify(t.Context(), app.VerifyOptions(&c, k, schemas))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Clean reports a ledger that has exceptions, or that proves less than all.
func Clean(t *testing.T, r *ledger.Report) {
	t.Helper()
	if !r.OK() || r.Verdict != ledger.VerdictClean || r.Totals.Pending+r.Totals.Expired+r.Totals.Holes > 0 {
		r.WriteText(t.Output())
		t.Errorf("the ledger is not clean")
	}
}

// recording is everything that gantry verify reads: three topics, and what the groups have committed.
type recording struct {
	records map[string][]*kgo.Record // by topic; those of a partition in order
	commits map[string]kadm.Offsets  // by group
}

var topics = []string{harness.RawTopic, harness.EventsTopic, harness.RejectsTopic}

func record(t *testing.T, brokers []string) *recording {
	t.Helper()
	r := &recording{records: readTopics(t, brokers, topics...), commits: make(map[string]kadm.Offsets)}
	adm := harness.Admin(t, brokers)
	for _, group := range []string{string(processors.DedupGroup), string(processors.WindowGroup)} {
		at, err := adm.FetchOffsets(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		r.commits[group] = at.Offsets()
	}
	return r
}

func outcomes(t *testing.T, records map[string][]*kgo.Record) *harness.Outcomes {
	t.Helper()
	o := harness.NewOutcomes()
	for _, topic := range []string{harness.EventsTopic, harness.RejectsTopic} {
		for _, r := range records[topic] {
			o.Add(t, r)
		}
	}
	return o
}

// readTopics reads what topics hold that nobody has written to in transactions: those of a partition in order.
func readTopics(t *testing.T, brokers []string, topics ...string) map[string][]*kgo.Record {
	t.Helper()
	ends, err := harness.Admin(t, brokers).ListEndOffsets(t.Context(), topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	var left int64
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset }) // nothing is ever deleted here: offsets begin at 0
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	client := harness.Consumer(t, brokers, topics...)
	defer client.Close()
	records := make(map[string][]*kgo.Record)
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %v: %v", topics, err)
		}
		for _, r := range fetches.Records() {
			records[r.Topic] = append(records[r.Topic], r)
			left--
		}
	}
	return records
}
