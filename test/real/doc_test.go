// Package real runs Gantry on a real Kafka, a real schema registry and a real HDFS, and compares what they hold in the
// end with what was fed. The servers are those of GANTRY_KAFKA_BROKERS, GANTRY_REGISTRY_URL and GANTRY_ARCHIVE_URL,
// which make test-real sets; without them every test is skipped.
//
// What takes long, or is much like another test, is left out of a run unless GANTRY_LONG is set (make test-real-long).
//
// The names of groups and tables are fixed, so that each test deletes all topics and groups of Gantry at its start, and
// no two of them run at once. Never point it at servers whose data anybody needs.
package real

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gantry/store/archive"
	"gantry/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// setting returns how to reach a server, or skips the test.
func setting(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Skipf("%s is not set: this needs real servers (make servers test-real)", name)
	}
	return value
}

func brokers(t *testing.T) []string {
	t.Helper()
	return strings.Split(setting(t, "GANTRY_KAFKA_BROKERS"), ",")
}

// freshArchive is the URL of a folder that no run has used before.
func freshArchive(t *testing.T) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '#' {
			return '-'
		}
		return r
	}, t.Name())
	return fmt.Sprintf("%s/_tests/%s-%d", setting(t, "GANTRY_ARCHIVE_URL"), name, time.Now().UnixNano())
}

func openArchive(t *testing.T, url string) archive.FS {
	t.Helper()
	fsys, err := archive.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}
