package archive_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// actor is a process whose every call waits for its turn, so that a test chooses the order of all calls of all.
type actor struct {
	fs    *fstest.Faulty
	ready chan struct{} // the actor is at a call
	turn  chan fstest.Fault
	done  chan error
	ended bool
	err   error
}

// start runs an archiver up to its first call.
func start(fsys archive.FS, log []archive.Record, flushRows int) *actor {
	return startProcess(fsys, func(fsys archive.FS) error { return feed(fsys, log, flushRows) })
}

// startProcess runs any process up to its first call.
func startProcess(fsys archive.FS, run func(archive.FS) error) *actor {
	a := &actor{ready: make(chan struct{}), turn: make(chan fstest.Fault), done: make(chan error, 1)}
	a.fs = &fstest.Faulty{FS: fsys, Decide: func(string, string) fstest.Fault {
		a.ready <- struct{}{}
		return <-a.turn
	}}
	go func() { a.done <- run(a.fs) }()
	a.wait()
	return a
}

func (a *actor) wait() {
	select {
	case <-a.ready:
	case a.err = <-a.done:
		a.ended = true
	}
}

// step does up to n calls.
func (a *actor) step(n int, fault fstest.Fault) {
	for ; n > 0 && !a.ended; n-- {
		a.turn <- fault
		a.wait()
	}
}

// finish lets every call pass until the archiver is done.
func (a *actor) finish() {
	for !a.ended {
		a.step(1, fstest.None)
	}
}

// settleAndCheck lets all end, starts a last process, and compares with the model.
func settleAndCheck(store archive.FS, log []archive.Record, actors ...*actor) error {
	for _, a := range actors {
		a.finish()
		if a.err != nil && !a.fs.Dead() {
			return a.err
		}
	}
	if err := feed(store, log, 5); err != nil {
		return err
	}
	return checkOnce(store, log)
}

// pairEverywhere runs two archivers of one partition in every order with up to four changes between them: the first
// does i calls, the second j, the first k, then the second ends, then the first. It returns the first violation.
func pairEverywhere(log []archive.Record, wrap func(archive.FS) archive.FS) error {
	for i := 0; ; i++ {
		for j := 0; ; j++ {
			for k := 1; ; k += 4 {
				store := archive.NewMemory()
				a, b := start(wrap(store), log, 4), start(wrap(store), log, 3)
				a.step(i, fstest.None)
				endI := a.ended
				b.step(j, fstest.None)
				endJ := b.ended
				a.step(k, fstest.None)
				endK := a.ended
				if err := settleAndCheck(wrap(store), log, b, a); err != nil {
					return fmt.Errorf("schedule %d, %d, %d:\n%w", i, j, k, err)
				}
				if endI {
					return nil
				}
				if endK || endJ {
					if endJ {
						goto next
					}
					break
				}
			}
		}
	next:
	}
}

// pairRandomly runs up to three archivers in random order, with faults now and then.
func pairRandomly(rounds int, wrap func(archive.FS) archive.FS) error {
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(uint64(round), 4))
		log := eventLog(rnd, 8+rnd.IntN(20))
		store := archive.NewMemory()
		actors := make([]*actor, 2+rnd.IntN(2))
		for i := range actors {
			actors[i] = start(wrap(store), log[:1+rnd.IntN(len(log))], 1+rnd.IntN(6))
		}
		for range 300 {
			fault := fstest.None
			if rnd.IntN(40) == 0 {
				fault = fstest.Faults[rnd.IntN(len(fstest.Faults))]
			}
			actors[rnd.IntN(len(actors))].step(1+rnd.IntN(12), fault)
		}
		if err := settleAndCheck(wrap(store), log, actors...); err != nil {
			return fmt.Errorf("seed %d:\n%w", round, err)
		}
	}
	return nil
}

// Two processes own one partition for a while, since nothing fences a paused one. Whatever the order of their calls,
// each identity is archived once.
func TestTwoArchivers(t *testing.T) {
	skipExhaustive(t)
	if err := pairEverywhere(eventLog(rand.New(rand.NewPCG(5, 6)), 5), plain); err != nil {
		t.Error(err)
	}
}

func TestArchiversRandomly(t *testing.T) {
	if err := pairRandomly(rounds(400), plain); err != nil {
		t.Error(err)
	}
}

// The mechanisms of the protocol, each taken out: the explorations above must find that it is missing.
func TestMechanismsAreNeeded(t *testing.T) {
	skipExhaustive(t)
	log := eventLog(rand.New(rand.NewPCG(7, 8)), 14)
	crash := func(wrap func(archive.FS) archive.FS) error { return crashEverywhere(log, wrap) }
	pair := func(wrap func(archive.FS) archive.FS) error { return pairRandomly(400, wrap) }
	for _, c := range []struct {
		name    string
		explore func(func(archive.FS) archive.FS) error
		without func(archive.FS) archive.FS
	}{
		{fstest.ExclusiveIntents, pair, without(fstest.ExclusiveIntents)},
		{"memory of repeats", crash, func(f archive.FS) archive.FS { return forgetful{f} }},
		{fstest.NewerIntents, pair, without(fstest.NewerIntents)},
		{fstest.RepeatedRenames, crash, without(fstest.RepeatedRenames)},
		{fstest.SparingSweep, pair, without(fstest.SparingSweep)},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.explore(c.without)
			if err == nil {
				t.Fatal("no violation was found without it")
			}
			t.Log(err)
		})
	}
}

// without wraps a file system for who is to lack one of fstest's mechanisms.
func without(mechanism string) func(archive.FS) archive.FS {
	return func(f archive.FS) archive.FS { return fstest.Without(mechanism, f) }
}

// forgetful keeps intents without what tells repeats.
type forgetful struct{ archive.FS }

func (f forgetful) CreateExclusive(name string, data []byte) error {
	data, err := archive.WithoutMarks(data)
	return errors.Join(err, f.FS.CreateExclusive(name, data))
}
