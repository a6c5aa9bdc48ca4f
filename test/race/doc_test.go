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
	"testing"

	"gantry/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
