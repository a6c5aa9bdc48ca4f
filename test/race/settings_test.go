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
