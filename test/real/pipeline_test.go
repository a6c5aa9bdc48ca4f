package real

import (
	"context"
	"testing"
	"time"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/test/harness"
)

// running is a pipeline in this process.
type running struct {
	*app.App
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, c config.Config) *running {
	t.Helper()
	a, err := app.New(t.Context(), app.Options{Config: c, Roles: app.AllRoles, Version: "test", Logger: harness.LogTo(t)})
	if err != nil {
		t.Fatal(err)
	}
	return runApp(t, a)
}

func runApp(t *testing.T, a *app.App) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{App: a, t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- a.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

// stop ends the pipeline as SIGTERM does. It is no error that it has been stopped already.
func (r *running) stop() {
	r.t.Helper()
	if r.ended == nil {
		return
	}
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("the pipeline ended with %v", err)
		}
	case <-time.After(harness.StopPatience):
		r.t.Errorf("the pipeline has not stopped within %v", harness.StopPatience)
	}
	r.ended = nil
}

// A pipeline with all roles turns a file into exactly the readings, rejects and windows that the contract promises, the
// ledger proves it, and HDFS holds the same; also when it is stopped in the middle and started again.
func TestPipeline(t *testing.T) {
	freshCluster(t)
	createTopics(t)
	path, m := harness.Mixed(t, 5, 240)
	c := settings(t, freshArchive(t))
	pipeline := start(t, c)
	feeding := replay(t, path, 600)
	r := harness.NewReader(t, brokers(t))
	r.Until(t, "the middle", func(o *harness.Outcomes) bool { return len(o.Readings) >= len(m.Readings)/2 })
	pipeline.stop()
	if m.Done(r.Outcomes) {
		t.Error("the replay is over: this is no stop in the middle")
	}
	pipeline = start(t, c)
	r.Until(t, "the end", m.Done)
	if err := <-feeding; err != nil {
		t.Fatalf("feed: %v", err)
	}
	harness.Archived(t, brokers(t), r.Outcomes)
	pipeline.stop()
	t.Logf("%d readings, %d windows in %d revisions, rejects %v, %d repeats", len(r.Readings), len(r.Final),
		len(r.Windows), r.Reasons(), r.Repeats)
	m.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, c.Archive.URL, r.Outcomes)
	clean(t, "--window.idleTimeout", "1s")
}
