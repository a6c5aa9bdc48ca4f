// Package test runs the whole of Gantry from outside: files go in, and what the topics, the archive, HTTP and the
// commands say in the end is compared with the files. Brokers, registry and archive are embedded, each test has its own
// and takes whatever ports are free.
package test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"gantry/test/harness"
)

func TestMain(m *testing.M) {
	// These tests wait much more than they work: more of them at once than there are processors.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse() // -parallel on the command line goes before it
	harness.Main(m)
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
