package archive_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// late is a server that hangs now and then: a change fails for the caller, who has a time limit, and is made later,
// between two calls of anybody, or never.
type late struct {
	archive.FS
	rnd     *rand.Rand
	pending []func() error
	carried int // out late, with an effect
}

// change makes a change now, or fails and keeps it for later.
func (l *late) change(call func() error) error {
	for i := 0; i < len(l.pending); i++ {
		if l.rnd.IntN(10) == 0 {
			l.carryOut(i)
		}
	}
	if l.rnd.IntN(15) > 0 {
		return call()
	}
	l.pending = append(l.pending, call)
	return fstest.ErrFault
}

func (l *late) carryOut(i int) {
	if l.pending[i]() == nil {
		l.carried++
	}
	l.pending = append(l.pending[:i], l.pending[i+1:]...)
}

func (l *late) WriteFile(name string, data []byte) error {
	data = append([]byte(nil), data...) // the caller's buffer is used again
	return l.change(func() error { return l.FS.WriteFile(name, data) })
}

func (l *late) CreateExclusive(name string, data []byte) error {
	return l.change(func() error { return l.FS.CreateExclusive(name, data) })
}

func (l *late) Rename(oldName, newName string) error {
	return l.change(func() error { return l.FS.Rename(oldName, newName) })
}

func (l *late) Remove(name string) error {
	return l.change(func() error { return l.FS.Remove(name) })
}

// A namenode that wakes up carries out what its callers have given up long ago, behind what they and others have done
// since. Each identity is archived once all the same.
func TestLateEffects(t *testing.T) {
	carried := 0
	for round := range rounds(300) {
		rnd := rand.New(rand.NewPCG(uint64(round), 11))
		log := eventLog(rnd, 8+rnd.IntN(20))
		store := archive.NewMemory()
		server := &late{FS: store, rnd: rnd}
		actors := make([]*actor, 1+rnd.IntN(3))
		for i := range actors {
			actors[i] = start(server, log, 1+rnd.IntN(6))
		}
		for range 300 {
			actors[rnd.IntN(len(actors))].step(1+rnd.IntN(12), fstest.None)
		}
		for _, a := range actors {
			a.finish()
			if a.err != nil && !errors.Is(a.err, fstest.ErrFault) {
				t.Fatalf("seed %d: %v", round, a.err)
			}
		}
		for len(server.pending) > 0 {
			server.carryOut(rnd.IntN(len(server.pending)))
		}
		if err := errors.Join(feed(store, log, 5), checkOnce(store, log)); err != nil {
			t.Fatal(fmt.Errorf("seed %d:\n%w", round, err))
		}
		carried += server.carried
	}
	if carried == 0 {
		t.Error("nothing was carried out late")
	}
	t.Logf("%d changes were carried out late", carried)
}
