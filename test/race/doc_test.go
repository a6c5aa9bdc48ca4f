// Package race measures Gantry against the same job on Kafka Streams (streams, exactly once and at least once), on
// stock goka (stockgoka), and against the same two passes through Kafka without any work (ceiling): on one real broker,
// with the same readings, on the same cores, in turn. make race runs it; without GANTRY_RACE all of it is skipped.
//
// Everything is measured from outside, alike for all: by the end offsets of the outputs and the committed offsets of
// the groups (watch), by a reader that compares its clock with the time at which a reading was due (latency), by /proc.
// Each run has a fresh broker that holds the same readings, and its outputs are compared with what the generator says
// must come out; a run with other outputs fails the race.
//
// What differs: Gantry publishes a window again for a late reading where the others turn it down, numbers and enriches
// readings, encodes them anew and writes headers. Nobody compresses. Rates of different machines, or of a machine that
// does something else meanwhile, do not compare; machine_busy_s beside the CPU seconds of program and broker, and
// machine_steal_s, say whether a run had the machine to itself.
package race

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// settings of a race.
type settings struct {
	Readings int      `json:"readings"` // of the backlog
	Sensors  int      `json:"sensors"`  // that sent it
	Runs     int      `json:"runs"`
	Rate     int      `json:"rate"`    // of the latency, readings a second
	Seconds  int      `json:"seconds"` // for which latency is measured
	Base     int64    `json:"base"`    // event time of the backlog's first reading, epoch milliseconds
	parts    []string // of measures that are taken; empty: all
	names    []string // of contenders that run; empty: all
	dir      string   // holds everything that is written
}

// readSettings reads them from the environment, where make race puts them, or skips the test.
func readSettings(t *testing.T) *settings {
	t.Helper()
	if os.Getenv("GANTRY_RACE") == "" {
		t.Skip("GANTRY_RACE does not say how many readings (make race N=3000000)")
	}
	number := func(name string, otherwise uint64) int { return int(harness.Number(t, name, otherwise)) }
	s := &settings{
		Readings: number("GANTRY_RACE", 0), Sensors: 2000, Runs: number("GANTRY_RUNS", 3),
		Rate: number("GANTRY_RATE", 5000), Seconds: number("GANTRY_SECONDS", 60),
		parts: list("GANTRY_PARTS"), names: list("GANTRY_CONTENDERS"),
	}
	s.Base = time.Now().Add(-time.Duration(s.Readings/s.Sensors) * cadence).UnixMilli()
	var err error
	if s.dir, err = filepath.Abs(filepath.Join("..", "..", ".race")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// cadence is how often a sensor of the generator sends, in event time.
const cadence = 30 * time.Second

func list(name string) []string {
	return strings.FieldsFunc(os.Getenv(name), func(c rune) bool { return c == ',' })
}

// wants tells whether a measure is taken.
func (s *settings) wants(measure string) bool {
	return len(s.parts) == 0 || slices.Contains(s.parts, measure)
}
