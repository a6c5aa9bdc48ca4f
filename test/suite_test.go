package test

import (
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"gantry/codecs/registry"
	"gantry/test/harness"
	"gantry/test/suite"
)

// embeddedSuite runs on servers in this process, of which each test has its own.
var embeddedSuite = &suite.Suite{Install: install, Copies: copies}

func TestMetrLA(t *testing.T)        { embeddedSuite.MetrLA(t) }
func TestPortal(t *testing.T)        { embeddedSuite.Portal(t) }
func TestGroup(t *testing.T)         { embeddedSuite.Group(t) }
func TestRestart(t *testing.T)       { embeddedSuite.Restart(t) }
func TestStopUnderLoad(t *testing.T) { embeddedSuite.StopUnderLoad(t) }
func TestVerifyCopies(t *testing.T)  { embeddedSuite.VerifyCopies(t) }

// folder is the data folder of a dev. Its servers run while a dev does, or while somebody has asked for them.
type folder string

var _ suite.Installation = folder("")

func install(_ *testing.T, dir string) suite.Installation { return folder(dir) }

// referenceFolder is what the reference run has left.
func referenceFolder(t *testing.T) string {
	return string(embeddedSuite.Reference(t).Installation.(folder))
}

func (f folder) Start(t *testing.T, feed suite.Feed) *suite.Pipeline {
	t.Helper()
	o := simulating(t, string(f), feed.Sensors, feed.Rate)
	if feed.File != "" {
		o = replaying(t, feed.File, string(f))
		o.Speed = feed.Speed
	}
	d := start(t, o)
	return &suite.Pipeline{Brokers: d.Brokers(), Rows: d.Total, Stop: d.Stop}
}

func (f folder) Servers(t *testing.T) *suite.Servers {
	t.Helper()
	e := embedded(t, string(f))
	return &suite.Servers{Brokers: e.Kafka.ListenAddrs(), RegistryURL: e.Registry.URL(), Close: e.Close}
}

func (f folder) StateDir() string   { return filepath.Join(string(f), "state") }
func (f folder) ArchiveURL() string { return "file://" + filepath.Join(string(f), "archive") }

// copies starts a broker without a folder, and a registry on a copy of a run's schemas.
func copies(t *testing.T, u *suite.Undisturbed) *suite.Servers {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(5, harness.RawTopic, harness.EventsTopic, harness.RejectsTopic))
	if err != nil {
		t.Fatal(err)
	}
	schemas := filepath.Join(t.TempDir(), "registry")
	suite.CopyFolder(t, filepath.Join(string(u.Installation.(folder)), "registry"), schemas)
	r, err := registry.StartEmbedded("127.0.0.1:0", schemas)
	if err != nil {
		kafka.Close()
		t.Fatal(err)
	}
	return &suite.Servers{Brokers: kafka.ListenAddrs(), RegistryURL: r.URL(), Close: func() {
		kafka.Close()
		if err := r.Close(); err != nil {
			t.Errorf("close the registry: %v", err)
		}
	}}
}
