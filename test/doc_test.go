// Package test runs the whole of Gantry from outside: files go in, and what the topics, the archive, HTTP and the
// commands say in the end is compared with the files. Brokers, registry and archive are embedded, each test has its own
// and takes whatever ports are free.
package test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds every wait. It is far beyond what a wait takes, so that a test which runs into it has hung.
const patience = 90 * time.Second

// sharedDir holds what several tests use: the binary, the undisturbed run.
var sharedDir string

// Whatever the tests have started and stopped in this process has ended with its goroutines.
func TestMain(m *testing.M) {
	// These tests wait much more than they work: more of them at once than there are processors.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse() // -parallel on the command line goes before it
	var err error
	if sharedDir, err = os.MkdirTemp("", "gantry-test-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m,
		goleak.Cleanup(func(code int) {
			os.RemoveAll(sharedDir)
			os.Exit(code)
		}),
		// One for the process, which sarama's metrics start and nothing can stop.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		// It ends a second after its database was closed. One that was not closed has others.
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// trafficData finds a file of the published data sets, or skips the test.
func trafficData(t *testing.T, file string) string {
	t.Helper()
	dirs := []string{os.Getenv("GANTRY_TRAFFIC_DATA")}
	if dirs[0] == "" { // beside the repository, or above a work tree of it
		dirs = []string{"../../shared/data", "../../../shared/data"}
	}
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skipf("%s is in none of %q: set GANTRY_TRAFFIC_DATA to the folder that holds metr-la and portal", file, dirs)
	return ""
}
