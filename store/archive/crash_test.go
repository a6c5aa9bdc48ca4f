package archive_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// atStep injects one fault at the n-th call; reached tells whether there was one.
func atStep(n int, fault fstest.Fault, reached *bool) func(op, name string) fstest.Fault {
	step := 0
	return func(string, string) fstest.Fault {
		step++
		if step-1 != n {
			return fstest.None
		}
		*reached = true
		return fault
	}
}

// leftovers lists what is under temporary names.
func leftovers(fsys archive.Reader) ([]archive.Entry, error) { return fsys.List("_temporary") }

// crashEverywhere runs a log with each fault at each step, restarts after it, and returns the first violation.
func crashEverywhere(log []archive.Record, wrap func(archive.FS) archive.FS) error {
	for _, fault := range fstest.Faults {
		for step := 0; ; step++ {
			store := archive.NewMemory()
			reached := false
			first := &fstest.Faulty{FS: wrap(store), Decide: atStep(step, fault, &reached)}
			if err := feed(first, log, 3); err != nil && !first.Dead() {
				return fmt.Errorf("%s at step %d: %w", fault, step, err)
			}
			if err := feed(wrap(store), log, 4); err != nil {
				return fmt.Errorf("restart after %s at step %d: %w", fault, step, err)
			}
			if err := checkOnce(store, log); err != nil {
				return fmt.Errorf("%s at step %d:\n%w", fault, step, err)
			}
			if left, err := leftovers(store); err != nil || len(left) > 0 {
				return fmt.Errorf("%s at step %d: left under temporary names: %v, %v", fault, step, left, err)
			}
			if !reached {
				break
			}
		}
	}
	return nil
}

func plain(fsys archive.FS) archive.FS { return fsys }

// Whatever call of the protocol fails, loses its answer, or is the last one of the process, after a restart the archive
// holds each identity once, and nothing is left over.
func TestCrashAtEachStep(t *testing.T) {
	skipExhaustive(t)
	log := eventLog(rand.New(rand.NewPCG(1, 2)), 14)
	if err := crashEverywhere(log, plain); err != nil {
		t.Fatal(err)
	}
}

// Logs, faults and restarts at random, several in a row.
func TestCrashRandomly(t *testing.T) {
	for round := range rounds(150) {
		rnd := rand.New(rand.NewPCG(uint64(round), 3))
		log := eventLog(rnd, 5+rnd.IntN(40))
		store := archive.NewMemory()
		for range rnd.IntN(6) {
			process := &fstest.Faulty{FS: store, Decide: func(string, string) fstest.Fault {
				if rnd.IntN(20) > 0 {
					return fstest.None
				}
				return fstest.Faults[rnd.IntN(len(fstest.Faults))]
			}}
			if err := feed(process, log[:rnd.IntN(len(log)+1)], 1+rnd.IntN(8)); err != nil && !process.Dead() {
				t.Fatalf("seed %d: %v", round, err)
			}
		}
		if err := feed(store, log, 5); err != nil {
			t.Fatalf("seed %d: %v", round, err)
		}
		if err := checkOnce(store, log); err != nil {
			t.Fatalf("seed %d:\n%v", round, err)
		}
	}
}
