package simulate

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/window"
	"gantry/store"
	"gantry/store/archive"
)

// Mechanisms names what a run can take out, to show that the simulation sees what it prevents: those of the engine, the
// numbers by which the window stage tells repeats and gaps, and those of the archive's commits and seals.
func Mechanisms() []string {
	return append(store.Mechanisms(), numbersFilter, exclusiveIntents, newerIntents, repeatedRenames, sparingSweep,
		exclusiveManifests, lastingManifests, namedInputs)
}

const (
	numbersFilter    = "sequence filter"
	exclusiveIntents = "exclusive intents"
	newerIntents     = "look for newer intents"
	repeatedRenames  = "repeated renames"
	sparingSweep     = "sweep that spares the next commit"

	exclusiveManifests = "exclusive manifests"
	lastingManifests   = "manifests that stay"
	namedInputs        = "inputs of the commit alone"
)

// ofStages tells whether a mechanism is one of the stages, which are there without archivers too.
func ofStages(mechanism string) bool {
	return mechanism == numbersFilter || slices.Contains(store.Mechanisms(), mechanism)
}

// takeOut takes a mechanism out. Those of the archive are taken out of the file system that its writers see.
func (w *world) takeOut(mechanism string) error {
	switch {
	case !slices.Contains(Mechanisms(), mechanism):
		return fmt.Errorf("no mechanism %q: there are %q", mechanism, Mechanisms())
	case mechanism == numbersFilter:
		w.handlers[windowRole] = unfiltered{w.handlers[windowRole]}
	case ofStages(mechanism):
		w.engineWithout = mechanism
	}
	return nil
}

// unfiltered is the window stage without its filter: it gives each reading the number that the sensor expects, so that
// none is a repeat and none stands beyond a gap.
type unfiltered struct{ processors.Handler }

func (h unfiltered) Handle(ctx context.Context, l *store.Lane, input int, b *processors.Batch) error {
	for _, r := range b.Records {
		r, err := renumber(l, r)
		if err != nil {
			return err
		}
		one := processors.NewBatch(b.Topic, b.Partition, []*kgo.Record{r})
		if err := h.Handler.Handle(ctx, l, input, one); err != nil {
			return err
		}
	}
	return nil
}

func renumber(l *store.Lane, r *kgo.Record) (*kgo.Record, error) {
	var v codecs.Reading
	if kindOf(r) != codecs.KindReading {
		return r, nil
	}
	if err := codecs.DecodeReading(r.Value, &v); err != nil {
		return nil, err
	}
	if err := l.Begin(); err != nil {
		return nil, err
	}
	defer l.End()
	c, err := l.Cell(v.SensorID)
	if err != nil {
		return nil, err
	}
	v.Sequence = c.State.(*window.State).Sequence() + 1
	changed := *r
	changed.Value = codecs.AppendReading(nil, eventSchema, &v)
	return &changed, nil
}

// archiveWithout takes a mechanism of the archive out, which is easiest to do to the file system that a writer sees.
func (w *world) archiveWithout(fsys archive.FS) archive.FS {
	switch w.o.Without {
	case exclusiveIntents:
		return overwriting{fsys, intents}
	case exclusiveManifests:
		return overwriting{fsys, manifests}
	case lastingManifests:
		return pruning{fsys}
	case namedInputs:
		return greedy{fsys}
	case newerIntents:
		return &blind{FS: fsys}
	case repeatedRenames:
		return &selfish{FS: fsys}
	case sparingSweep:
		return eager{fsys}
	}
	return fsys
}

const (
	intents   = "_intents"
	manifests = "_manifests"
	temporary = "_temporary"
)

// overwriting lets the last creator of a commit win, in one folder.
type overwriting struct {
	archive.FS
	dir string
}

func (f overwriting) CreateExclusive(name string, data []byte) error {
	if path.Dir(name) == f.dir {
		_ = f.Remove(name)
	}
	return f.FS.CreateExclusive(name, data)
}

// blind hides newer intents from who has just created one.
type blind struct {
	archive.FS
	created string
}

func (f *blind) CreateExclusive(name string, data []byte) error {
	err := f.FS.CreateExclusive(name, data)
	if err == nil {
		f.created = name
	}
	return err
}

func (f *blind) List(dir string) ([]archive.Entry, error) {
	entries, err := f.FS.List(dir)
	if dir != intents || f.created == "" {
		return entries, err
	}
	created := f.created
	f.created = ""
	return slices.DeleteFunc(entries, func(e archive.Entry) bool { return dir+"/"+e.Name > created }), err
}

// selfish finishes the commits of its own process only.
type selfish struct {
	archive.FS
	created bool
}

func (f *selfish) CreateExclusive(name string, data []byte) error {
	f.created = true
	return f.FS.CreateExclusive(name, data)
}

func (f *selfish) Rename(oldName, newName string) error {
	if !f.created {
		return nil
	}
	return f.FS.Rename(oldName, newName)
}

// eager sweeps every temporary file.
type eager struct{ archive.FS }

func (f eager) List(dir string) ([]archive.Entry, error) {
	entries, err := f.FS.List(dir)
	if dir == temporary {
		for _, e := range entries {
			_ = f.Remove(dir + "/" + e.Name)
		}
	}
	return entries, err
}

// pruning removes the older manifests of an hour when the next is created.
type pruning struct{ archive.FS }

func (f pruning) CreateExclusive(name string, data []byte) error {
	err := f.FS.CreateExclusive(name, data)
	if err != nil || path.Dir(name) != manifests {
		return err
	}
	entries, err := f.List(manifests)
	hour := path.Base(name)[:len("2026-11-24T08")]
	for _, e := range entries {
		if strings.HasPrefix(e.Name, hour) && e.Name < path.Base(name) {
			_ = f.Remove(path.Join(manifests, e.Name))
		}
	}
	return err
}

// greedy removes whatever stands in the folder of an hour when its merged file comes.
type greedy struct{ archive.FS }

func (f greedy) Rename(oldName, newName string) error {
	if strings.HasPrefix(path.Base(newName), "sealed-") {
		entries, _ := f.List(path.Dir(newName))
		for _, e := range entries {
			_ = f.Remove(path.Join(path.Dir(newName), e.Name))
		}
	}
	return f.FS.Rename(oldName, newName)
}
