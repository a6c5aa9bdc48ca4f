package fstest

import (
	"path"
	"slices"
	"strings"

	"gantry/store/archive"
)

// The mechanisms that keep the archive exact, which tests take out to see that they would notice.
const (
	ExclusiveIntents   = "exclusive intents"
	NewerIntents       = "look for newer intents"
	RepeatedRenames    = "repeated renames"
	SparingSweep       = "sweep that spares the next commit"
	ExclusiveManifests = "exclusive manifests"
	LastingManifests   = "manifests that stay"
	NamedInputs        = "inputs of the commit alone"
)

// Mechanisms lists them, those of intents first.
func Mechanisms() []string {
	return []string{
		ExclusiveIntents, NewerIntents, RepeatedRenames, SparingSweep, ExclusiveManifests, LastingManifests, NamedInputs,
	}
}

// Without takes a mechanism out of an archiver or compactor, which is easiest to do to the file system that it sees. Each
// of them gets a file system of its own.
func Without(mechanism string, fsys archive.FS) archive.FS {
	switch mechanism {
	case ExclusiveIntents:
		return overwriting{fsys, intents}
	case NewerIntents:
		return &blind{FS: fsys}
	case RepeatedRenames:
		return &selfish{FS: fsys}
	case SparingSweep:
		return eager{fsys}
	case ExclusiveManifests:
		return overwriting{fsys, manifests}
	case LastingManifests:
		return pruning{fsys}
	case NamedInputs:
		return greedy{fsys}
	}
	return fsys
}

// Folders of the archive.
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
