package archive_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// compactRandomly runs compactors against each other and against archivers in random order, with faults now and then.
// Between any two calls a reader of Parquet files must see no row twice, and in the end each must be there.
func compactRandomly(rounds int, wrap func(archive.FS) archive.FS) error {
	for round := range rounds {
		if err := compactRound(uint64(round), wrap); err != nil {
			return fmt.Errorf("seed %d: %w", round, err)
		}
	}
	return nil
}

func compactRound(seed uint64, wrap func(archive.FS) archive.FS) error {
	rnd := rand.New(rand.NewPCG(seed, 11))
	log := revisions(rnd, 12+rnd.IntN(24))
	store := archive.NewMemory()
	if err := feed(store, log[:4], 3); err != nil {
		return err
	}
	faulted := make(map[*actor]bool)
	var actors []*actor
	for n := 1 + rnd.IntN(2); n > 0; n-- {
		actors = append(actors, start(wrap(store), log[:4+rnd.IntN(len(log)-4)], 2+rnd.IntN(4)))
	}
	for n := 1 + rnd.IntN(3); n > 0; n-- {
		actors = append(actors, startProcess(wrap(store), func(fsys archive.FS) error {
			for range 2 { // the second finds what was archived meanwhile
				if err := compactAll(fsys); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for n := range 60 {
		fault := fstest.None
		a := actors[rnd.IntN(len(actors))]
		if rnd.IntN(30) == 0 {
			fault = fstest.Faults[rnd.IntN(len(fstest.Faults))]
			faulted[a] = true
		}
		a.step(1+rnd.IntN(12), fault)
		if n%6 == 0 {
			if err := onlyOnce(store); err != nil {
				return err
			}
		}
	}
	for _, a := range actors {
		a.finish()
		if a.err != nil && !faulted[a] {
			return a.err
		}
	}
	if err := onlyOnce(store); err != nil {
		return err
	}
	// A process that starts now finishes what was left.
	return errors.Join(feed(store, log, 5), compactAll(store), checkSealed(store, log))
}

func onlyOnce(fsys archive.Reader) error {
	c, err := globbed(fsys)
	for id, n := range c {
		if n > 1 {
			err = errors.Join(err, fmt.Errorf("%d times: %s", n, id))
		}
	}
	return err
}

func TestCompactorsAndArchivers(t *testing.T) {
	if err := compactRandomly(rounds(60), plain); err != nil {
		t.Error(err)
	}
}

// overtakeEverywhere stops a compactor at each of its calls, while others archive and compact twice, and lets it go on.
func overtakeEverywhere(wrap func(archive.FS) archive.FS) error {
	log := revisions(rand.New(rand.NewPCG(8, 8)), 30)
	first := archive.NewMemory()
	if err := feed(first, log[:15], 4); err != nil {
		return err
	}
	for pause := 0; ; pause++ {
		store := first.Clone()
		slow := startProcess(wrap(store), compactAll)
		slow.step(pause, fstest.None)
		ended := slow.ended
		other := wrap(store)
		err := errors.Join(onlyOnce(store), feed(other, log[:20], 4), compactAll(other), feed(other, log, 4),
			compactAll(other))
		slow.finish()
		if err := errors.Join(err, slow.err, onlyOnce(store), compactAll(other), checkSealed(store, log)); err != nil {
			return fmt.Errorf("after call %d: %w", pause, err)
		}
		if left, err := leftovers(store); err != nil || len(left) > 0 {
			return fmt.Errorf("after call %d: left under temporary names: %v, %w", pause, left, err)
		}
		if ended {
			return nil
		}
	}
}

// What is archived while a compactor works is no input of it, and stays; a compactor that was overtaken leaves nothing.
func TestCompactorIsOvertaken(t *testing.T) {
	skipExhaustive(t)
	if err := overtakeEverywhere(plain); err != nil {
		t.Error(err)
	}
}

// The mechanisms of compaction, each taken out: the explorations must find that it is missing.
func TestCompactMechanismsAreNeeded(t *testing.T) {
	skipExhaustive(t)
	random := func(wrap func(archive.FS) archive.FS) error { return compactRandomly(100, wrap) }
	for _, c := range []struct {
		name    string
		explore func(func(archive.FS) archive.FS) error
		without func(archive.FS) archive.FS
	}{
		{fstest.ExclusiveManifests, random, without(fstest.ExclusiveManifests)},
		{fstest.LastingManifests, overtakeEverywhere, without(fstest.LastingManifests)},
		{"inputs that go first", overtakeEverywhere, func(f archive.FS) archive.FS { return &hasty{FS: f} }},
		{fstest.NamedInputs, random, without(fstest.NamedInputs)},
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

// hasty removes the inputs of a merged file after it has got its name.
type hasty struct {
	archive.FS
	later   []string
	renamed bool
}

func (f *hasty) Remove(name string) error {
	if path.Ext(name) != ".parquet" {
		return f.FS.Remove(name)
	}
	f.later = append(f.later, name)
	return nil
}

func (f *hasty) Rename(oldName, newName string) error {
	f.renamed = f.renamed || strings.Contains(newName, "sealed-")
	return f.FS.Rename(oldName, newName)
}

func (f *hasty) List(dir string) ([]archive.Entry, error) {
	if f.renamed {
		for _, name := range f.later {
			_ = f.FS.Remove(name)
		}
		f.renamed, f.later = false, nil
	}
	return f.FS.List(dir)
}
