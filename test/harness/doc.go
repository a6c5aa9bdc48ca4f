// Package harness is what the suites that run Gantry from outside share: the command as a process, what the topics and
// the archive say in the end, and an independent model of what they must say. It knows no servers: the suites of test
// start embedded ones, those of test/real are told where the real ones are.
package harness

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// Patience bounds every wait. It is far beyond what a wait takes, so that a test which runs into it has hung.
	Patience = 120 * time.Second
	// StopPatience bounds a stop, generously: it takes a second or two, and orchestrators kill after thirty.
	StopPatience = 15 * time.Second
)

// SharedDir is a folder for the life of the test process: it holds what several tests use, such as the binary.
var SharedDir string

// Main runs the tests of a package. Whatever they have started and stopped in this process has ended with its
// goroutines.
func Main(m *testing.M) {
	var err error
	if SharedDir, err = os.MkdirTemp("", "gantry-test-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m,
		goleak.Cleanup(func(code int) {
			os.RemoveAll(SharedDir)
			os.Exit(code)
		}),
		// One for the process, which sarama's metrics start and nothing can stop.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		// It ends a second after its database was closed. One that was not closed has others.
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// LogTo makes a log of warnings that appears with the output of the test.
func LogTo(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Await asks for a condition that nothing announces, until it holds.
func Await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", Patience, what)
		case <-tick.C:
		}
	}
}
