package real

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/processors"
	"gantry/test/harness"
	"gantry/test/suite"
)

// The end-to-end tests of the embedded servers, unchanged. All share the one cluster.
var realSuite = &suite.Suite{Install: install, Copies: copies, Alone: true}

func TestMetrLA(t *testing.T)        { onServers(t).MetrLA(t) }
func TestPortal(t *testing.T)        { onServers(t).Portal(t) }
func TestGroup(t *testing.T)         { onServers(t).Group(t) }
func TestRestart(t *testing.T)       { onServers(t).Restart(t) }
func TestStopUnderLoad(t *testing.T) { onServers(t).StopUnderLoad(t) }
func TestVerifyCopies(t *testing.T)  { onServers(t).VerifyCopies(t) }

// onServers skips the test without servers, before it begins what others go on with.
func onServers(t *testing.T) *suite.Suite {
	t.Helper()
	brokers(t)
	return realSuite
}

// deployment is what is on the cluster: a pipeline in this process with static members, and a feed beside it.
type deployment struct{ config config.Config }

var _ suite.Installation = (*deployment)(nil)

// install empties the cluster. Topics keep their records for good: those of the suite's files bear times of years ago.
func install(t *testing.T, dir string) suite.Installation {
	t.Helper()
	freshCluster(t)
	adm := harness.Admin(t, brokers(t))
	if _, err := processors.EnsureTopics(t.Context(), adm, processors.DefaultTopics().Specs(true)); err != nil {
		t.Fatal(err)
	}
	c := suite.Settings()
	c.Kafka.Brokers, c.Registry.URL = brokers(t), setting(t, "GANTRY_REGISTRY_URL")
	c.Archive.URL, c.State.Dir, c.Instance = freshArchive(t), dir, "real-0"
	// The roads of all files: Portland and Los Angeles.
	c.Validate.LatMin, c.Validate.LatMax, c.Validate.LonMin, c.Validate.LonMax = 33, 46, -123, -117
	return &deployment{c}
}

func (d *deployment) StateDir() string   { return d.config.State.Dir }
func (d *deployment) ArchiveURL() string { return d.config.Archive.URL }

func (d *deployment) Servers(*testing.T) *suite.Servers {
	return &suite.Servers{Brokers: d.config.Kafka.Brokers, RegistryURL: d.config.Registry.URL, Close: func() {}}
}

func (d *deployment) Start(t *testing.T, f suite.Feed) *suite.Pipeline {
	t.Helper()
	publisher, source, rows := newFeed(t, f)
	a, err := app.New(app.Options{
		Config: d.config, Roles: app.AllRoles, Forever: true, Version: "test", Logger: harness.LogTo(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	pipeline := runApp(t, a)
	ctx, cancel := context.WithCancel(context.Background())
	fed := make(chan error, 1)
	go func() {
		defer publisher.Close()
		defer source.Close()
		fed <- publisher.Publish(ctx, source)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-fed; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("feed: %v", err)
		}
		pipeline.Stop()
	})
	t.Cleanup(stop)
	return &suite.Pipeline{Brokers: d.config.Kafka.Brokers, Rows: rows, Stop: stop}
}

// newFeed prepares a feed, of whose source it returns the number of rows too, 0 where that has no end.
func newFeed(t *testing.T, f suite.Feed) (publisher *feed.Publisher, source feed.Source, rows int64) {
	t.Helper()
	if f.File != "" {
		return newReplay(t, f.File, f.Speed)
	}
	o := feed.DefaultSimulateOptions()
	o.Sensors, o.Rate, o.Start = f.Sensors, f.Rate, time.Now()
	simulation, err := feed.NewSimulation(o)
	if err != nil {
		t.Fatal(err)
	}
	publisher, err = feed.NewPublisher(t.Context(), processors.Kafka{Brokers: brokers(t)}.Options(), feed.PublishOptions{
		Topic: harness.RawTopic, Feed: feed.Identity{ID: simulation.ID()}, Wire: feed.WireAvro, SchemaID: rawSchema(t),
		Live: true, Clock: feed.SystemClock{},
	})
	if err == nil {
		err = publisher.PublishSensors(t.Context(), simulation.Sensors())
	}
	if err != nil {
		t.Fatal(err)
	}
	return publisher, simulation, 0
}

// copies empties the cluster. Its registry has the schemas of every run.
func copies(t *testing.T, _ *suite.Undisturbed) *suite.Servers {
	t.Helper()
	return install(t, t.TempDir()).Servers(t)
}
