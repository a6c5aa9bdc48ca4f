package test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/test/harness"
	"gantry/views/ledger"
)

// settings are the contract's defaults, on free ports, and with silences and batches that tests need not wait for. They
// are those of every pipeline and ledger here.
func settings() config.Config {
	c := config.Default()
	c.Kafka.Brokers, c.Registry.URL = []string{"127.0.0.1:0"}, "http://127.0.0.1:0"
	c.HTTP.Listen = "127.0.0.1:0"
	c.Window.IdleTimeout, c.Archive.FlushInterval = time.Second, time.Second
	return c
}

// developing describes a dev on free ports.
func developing(t *testing.T, data string) app.DevOptions {
	free := map[string]bool{"kafka.brokers": true, "registry.url": true, "http.listen": true}
	return app.DevOptions{
		Config: settings(), Fixed: func(key string) bool { return free[key] }, Data: data, Wire: feed.WireAvro,
		Logger: harness.LogTo(t),
	}
}

// replaying describes a dev that replays a file at its own times. Those lie in the past, so that every window is over
// once its sensor is silent.
func replaying(t *testing.T, path, data string) app.DevOptions {
	t.Helper()
	o := developing(t, data)
	o.Rebase = feed.RebaseNone
	var err error
	if o.Input, err = feed.ReadFile(path, ""); err != nil {
		t.Fatal(err)
	}
	return o
}

// paced is a replay that takes a few seconds, so that there is a middle in which something can happen.
func paced(t *testing.T, path, data string) app.DevOptions {
	t.Helper()
	o := replaying(t, path, data)
	o.Speed = 3600
	return o
}

// simulating describes a dev that is fed by the simulator, with rate readings a second.
func simulating(t *testing.T, data string, sensors int, rate float64) app.DevOptions {
	o := developing(t, data)
	o.Sim = feed.DefaultSimulateOptions()
	o.Sim.Sensors, o.Sim.Rate = sensors, rate
	return o
}

// running is a dev that runs until it is stopped.
type running struct {
	*app.Dev
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, o app.DevOptions) *running {
	t.Helper()
	d, err := app.NewDev(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Dev: d, t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- d.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

// stop ends the dev as SIGTERM does. It is no error that it has been stopped already.
func (r *running) stop() {
	r.t.Helper()
	if r.ended == nil {
		return
	}
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("dev ended with %v", err)
		}
	case <-time.After(harness.StopPatience):
		r.t.Errorf("dev has not stopped within %v", harness.StopPatience)
	}
	r.ended = nil
}

// inspect reads the topics that a stopped dev has left from beginning to end, and proves them.
func inspect(t *testing.T, data string) (*harness.Outcomes, *ledger.Report) {
	t.Helper()
	e := embedded(t, data)
	defer e.Close()
	return read(t, e)
}

// read reads the topics of servers to which nothing is added any more, and proves them.
func read(t *testing.T, e *app.Embedded) (*harness.Outcomes, *ledger.Report) {
	t.Helper()
	o := harness.NewOutcomes()
	for _, topic := range []string{harness.EventsTopic, harness.RejectsTopic} {
		for _, r := range readTopic(t, e.Kafka.ListenAddrs(), topic) {
			o.Add(t, r)
		}
	}
	return o, prove(t, e)
}

func embedded(t *testing.T, data string) *app.Embedded {
	t.Helper()
	e, err := app.StartEmbedded(app.EmbeddedOptions{
		Dir: data, KafkaAddr: "127.0.0.1:0", RegistryAddr: "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// prove runs the ledger over the topics of embedded servers.
func prove(t *testing.T, e *app.Embedded) *ledger.Report {
	t.Helper()
	c := settings()
	c.Kafka.Brokers, c.Registry.URL = e.Kafka.ListenAddrs(), e.Registry.URL()
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

// clean reports a ledger that has exceptions, or that proves less than all.
func clean(t *testing.T, r *ledger.Report) {
	t.Helper()
	if !r.OK() || r.Verdict != ledger.VerdictClean || r.Totals.Pending+r.Totals.Expired+r.Totals.Holes > 0 {
		r.WriteText(t.Output())
		t.Errorf("the ledger is not clean")
	}
}

// readTopic reads what a topic holds, in the order of each partition.
func readTopic(t *testing.T, brokers []string, topic string) (records []*kgo.Record) {
	t.Helper()
	ends, err := harness.Admin(t, brokers).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var left int64
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset }) // nothing is ever deleted here: offsets begin at 0
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	client := harness.Consumer(t, brokers, topic)
	defer client.Close()
	for int64(len(records)) < left {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s: %v", topic, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// archiveURL is the archive of a data folder.
func archiveURL(data string) string { return "file://" + filepath.Join(data, "archive") }
