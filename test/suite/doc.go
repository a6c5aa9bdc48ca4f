// Package suite holds the tests that must come out the same whatever Gantry runs on: files go in, and what the topics,
// the archive and the ledger say in the end is compared with the files. The tests of package test run them on embedded
// servers, where a pipeline is a gantry dev; those of test/real on a real Kafka, registry and HDFS, where it is a
// gantry run with a replay beside it.
package suite

import (
	"testing"
	"time"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
)

// Suite runs its tests on one kind of servers.
type Suite struct {
	// Install gives a test an installation of its own, on which nothing is. What it keeps in files is in dir.
	Install func(t *testing.T, dir string) Installation
	// Copies gives a broker with traffic-raw and the outcome topics, empty, and the schemas of a run.
	Copies func(t *testing.T, u *Undisturbed) *Servers
	// Alone: there is one installation at a time, so that no two tests run at once.
	Alone bool

	reference reference
}

// Installation is what a pipeline needs from start to start: servers that keep topics, and folders.
type Installation interface {
	// Start starts a pipeline of every role, and its feed. A feed from a file goes on where it stopped the last time. It
	// ends with the test.
	Start(t *testing.T, f Feed) *Pipeline
	// Servers gives the servers to a test in which no pipeline of Start runs. They end with Close.
	Servers(t *testing.T) *Servers
	// StateDir is the folder of the pipeline's tables.
	StateDir() string
	// ArchiveURL is where the pipeline archives.
	ArchiveURL() string
}

// Feed is what the sensors send: a file at its own times or, where none is named, the simulator.
type Feed struct {
	File  string
	Speed feed.Speed // of the road's time; 0 is as fast as it goes

	Sensors int
	Rate    float64 // readings a second
}

// Pipeline is one that runs.
type Pipeline struct {
	Brokers []string
	Rows    int64  // of the file
	Stop    func() // as SIGTERM does; it is no error that it has been stopped already
}

// Servers are a Kafka and a registry.
type Servers struct {
	Brokers     []string
	RegistryURL string
	Close       func()
}

// Settings are the contract's defaults with silences and batches that tests need not wait for, and a free port. They are
// those of every pipeline and ledger here; where the servers are is to be added.
func Settings() config.Config {
	c := config.Default()
	c.HTTP.Listen = "127.0.0.1:0"
	c.Window.IdleTimeout, c.Archive.FlushInterval = time.Second, time.Second
	return c
}

// parallel lets a test run beside others where they do not share an installation.
func (s *Suite) parallel(t *testing.T) {
	if !s.Alone {
		t.Parallel()
	}
}
