package archive

import (
	"fmt"
	"path"
	"slices"
	"time"
)

// DataFile is a file that holds rows of a table.
type DataFile struct {
	Table  Table
	Hour   time.Time
	Name   string      // in its hour's folder: what it is judged by
	Path   string      // where it lies now; Name, but on its way there
	Bytes  int64       // 0 where it is on its way
	Sealed *SealedFile // of a sealed hour's merged file: what its manifest says; nil for the others
	Lost   bool        // a sealed file that is nowhere, or was merged into the next generation meanwhile
}

// Archived is an archive as its commits say, whichever of their steps have been done: each row is in exactly one of its
// files. A plain listing may show less while an hour is being sealed.
type Archived struct {
	Extents   []Extent // by partition
	Manifests map[time.Time]*Manifest
	Files     []DataFile
	Strays    []string // data files that Gantry did not write there
}

// ReadArchived reads what there is, and changes nothing. A file may have been merged and deleted before it is read;
// fs.ErrNotExist then says that it must be read again from here.
//
// The order matters: what a listing misses because it was moved or merged meanwhile, is found through what is read
// later. Files of newer commits than the extents are left out by their names, and a manifest that covers newer ones is
// reported by Ahead.
func ReadArchived(fsys Reader) (*Archived, error) {
	a := &Archived{}
	var err error
	if a.Extents, err = Extents(fsys); err != nil {
		return nil, err
	}
	ends := make(map[int32]int64)
	for _, x := range a.Extents {
		ends[x.Partition] = x.End
	}
	listed, err := listData(fsys)
	if err != nil {
		return nil, err
	}
	if a.Manifests, err = Manifests(fsys); err != nil {
		return nil, err
	}
	there := make(map[string]bool)
	for _, f := range listed {
		there[f.Name] = true
		partition, start, _, written := FileRange(f.Name)
		sealed := a.Manifests[f.Hour].file(f.Table)
		switch {
		case written && start >= ends[partition]: // committed since
		case written && sealed != nil && sealed.Covers(partition, start): // merged, and on its way out
		case written:
			a.Files = append(a.Files, f)
		case sealed != nil && f.Name == sealed.File:
			f.Sealed = sealed
			a.Files = append(a.Files, f)
		case !isSealedName(f.Name):
			a.Strays = append(a.Strays, f.Name)
		}
	}
	if err := a.addWaiting(fsys, there); err != nil {
		return nil, err
	}
	return a, nil
}

// addWaiting adds files of commits that were not in their folders when those were listed.
func (a *Archived) addWaiting(fsys Reader, there map[string]bool) error {
	for _, m := range a.Manifests {
		for t, s := range m.Tables {
			if there[s.File] {
				continue
			}
			p, found, err := locate(fsys, s.Temporary, s.File)
			if err != nil {
				return err
			}
			a.Files = append(a.Files, DataFile{
				Table: t, Hour: m.Hour, Name: s.File, Path: p, Bytes: s.Bytes, Sealed: s, Lost: !found,
			})
		}
	}
	for _, x := range a.Extents {
		for _, move := range x.Files {
			hour, _ := hourOfDir(move.Table, path.Dir(move.Final))
			sealed := a.Manifests[hour].file(move.Table)
			partition, start, _, _ := FileRange(move.Final)
			if there[move.Final] || sealed != nil && sealed.Covers(partition, start) {
				continue
			}
			p, found, err := locate(fsys, move.Temp, move.Final)
			if err != nil {
				return err
			}
			if found {
				a.Files = append(a.Files, DataFile{Table: move.Table, Hour: hour, Name: move.Final, Path: p})
			}
		}
	}
	return nil
}

// locate finds a file that is moved once, and may be moved now.
func locate(fsys Reader, temp, final string) (name string, found bool, err error) {
	for _, name := range []string{temp, final} {
		if name == "" {
			continue
		}
		there, err := fsys.Exists(name)
		if err != nil {
			return "", false, fmt.Errorf("look for %s: %w", name, err)
		}
		if there {
			return name, true, nil
		}
	}
	return final, false, nil
}

// Ahead tells whether an hour was sealed with records beyond the extents, because they were archived and merged after
// the extents were read. Read the archive again.
func (a *Archived) Ahead() bool {
	ends := make(map[int32]int64)
	for _, x := range a.Extents {
		ends[x.Partition] = x.End
	}
	for _, m := range a.Manifests {
		for _, s := range m.Tables {
			for _, r := range s.Events {
				if r.To > ends[r.Partition] {
					return true
				}
			}
		}
	}
	return false
}

// Unsealed lists the hours that have files which no seal covers, oldest first.
func (a *Archived) Unsealed() []time.Time {
	var hours []time.Time
	for _, f := range a.Files {
		if f.Sealed == nil {
			hours = append(hours, f.Hour)
		}
	}
	slices.SortFunc(hours, time.Time.Compare)
	return slices.Compact(hours)
}

// listData lists what readers of data sets take for data.
func listData(fsys Reader) (files []DataFile, err error) {
	for _, t := range Tables {
		walk(fsys, t.Dir(), func(name string, bytes int64, walkErr error) bool {
			hour, _ := hourOfDir(t, path.Dir(name))
			files = append(files, DataFile{Table: t, Hour: hour, Name: name, Path: name, Bytes: bytes})
			err = walkErr
			return err == nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
