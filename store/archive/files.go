package archive

import (
	"fmt"
	"maps"
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
	Lost   bool        // a file of a manifest, or of a partition's newest commit, that is under neither of its names
}

// Archived is an archive as its commits say, whichever of their steps have been done: each row is in exactly one of its
// files. A plain listing may show less while an hour is being sealed.
type Archived struct {
	Extents   []Extent // by partition
	Manifests map[time.Time]*Manifest
	Files     []DataFile
	// Strays are data files that readers of the folders take for the archive's, and that no commit accounts for: foreign
	// ones, and merged ones that somebody has put back beside the file that holds their rows.
	Strays []string
}

// ReadArchived reads what there is, and changes nothing. A file may have been merged and deleted before it is read;
// fs.ErrNotExist then says that it must be read again from here.
//
// The order matters: what a listing misses because it was moved or merged meanwhile, is found through what is read
// later. Files of newer commits than the extents are left out by their names, and a manifest that covers newer ones is
// reported by Ahead. What is nowhere in the end, is lost if no hour was sealed meanwhile; else it may have been merged,
// and all is read again.
func ReadArchived(fsys Reader) (*Archived, error) {
	for {
		a, err := readArchived(fsys)
		if err != nil || !slices.ContainsFunc(a.Files, func(f DataFile) bool { return f.Lost }) {
			return a, err
		}
		newest, err := generations(fsys)
		if err != nil {
			return nil, err
		}
		known := make(map[time.Time]int, len(a.Manifests))
		for hour, m := range a.Manifests {
			known[hour] = m.Generation
		}
		if maps.Equal(newest, known) {
			return a, nil
		}
	}
}

func readArchived(fsys Reader) (*Archived, error) {
	a := &Archived{}
	var err error
	if a.Extents, err = Extents(fsys); err != nil {
		return nil, err
	}
	ends := endsOf(a.Extents)
	listed, err := listData(fsys)
	if err != nil {
		return nil, err
	}
	if a.Manifests, err = Manifests(fsys); err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(listed))
	for _, f := range listed {
		there[f.Name] = true
	}
	var unaccounted []DataFile
	for _, f := range listed {
		partition, start, _, written := FileRange(f.Name)
		sealed := a.Manifests[f.Hour].file(f.Table)
		switch {
		case written && start < ends[partition] && (sealed == nil || !sealed.Covers(partition, start)):
			a.Files = append(a.Files, f)
		case sealed != nil && f.Name == sealed.File:
			f.Sealed = sealed
			a.Files = append(a.Files, f)
		default:
			unaccounted = append(unaccounted, f)
		}
	}
	if err := a.addStrays(fsys, unaccounted, there); err != nil {
		return nil, err
	}
	return a, a.addWaiting(fsys, there)
}

// endsOf are the ends of extents by partition.
func endsOf(extents []Extent) map[int32]int64 {
	ends := make(map[int32]int64, len(extents))
	for _, x := range extents {
		ends[x.Partition] = x.End
	}
	return ends
}

// addStrays adds those of the files that were listed, and that no commit known so far accounts for, which none accounts
// for now. Two sorts are in order:
//
//   - Files that were committed since the extents were read. They have got their names behind their intents, so that
//     extents which are read now hold them.
//   - Files that were merged, and are on their way out. They go before the merged file gets its name: where that was
//     listed, one that still exists has come back.
func (a *Archived) addStrays(fsys Reader, files []DataFile, there map[string]bool) error {
	if len(files) == 0 {
		return nil
	}
	now, err := Extents(fsys)
	if err != nil {
		return err
	}
	ends := endsOf(now)
	known := endsOf(a.Extents)
	for _, f := range files {
		m := a.Manifests[f.Hour]
		sealed := m.file(f.Table)
		partition, start, _, written := FileRange(f.Name)
		generation, merged := sealedGeneration(f.Name)
		switch {
		case written && start >= known[partition]:
			if start < ends[partition] {
				continue
			}
		case sealed != nil && (written || merged && generation <= m.Generation):
			if !there[sealed.File] {
				continue
			}
			still, err := fsys.Exists(f.Name)
			if err != nil {
				return fmt.Errorf("look for %s: %w", f.Name, err)
			}
			if !still {
				continue
			}
		}
		a.Strays = append(a.Strays, f.Name)
	}
	return nil
}

// addWaiting adds files of commits that were not in their folders when those were listed.
func (a *Archived) addWaiting(fsys Reader, there map[string]bool) error {
	add := func(f DataFile, temp string) error {
		name, found, err := locate(fsys, temp, f.Name)
		f.Path, f.Lost = name, !found
		a.Files = append(a.Files, f)
		return err
	}
	for _, m := range a.Manifests {
		for t, s := range m.Tables {
			if there[s.File] {
				continue
			}
			f := DataFile{Table: t, Hour: m.Hour, Name: s.File, Bytes: s.Bytes, Sealed: s}
			if err := add(f, s.Temporary); err != nil {
				return err
			}
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
			if err := add(DataFile{Table: move.Table, Hour: hour, Name: move.Final}, move.Temp); err != nil {
				return err
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
	ends := endsOf(a.Extents)
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

// Unsealed lists the hours that have files which no seal covers, oldest first. Lost files are none.
func (a *Archived) Unsealed() []time.Time {
	var hours []time.Time
	for _, f := range a.Files {
		if f.Sealed == nil && !f.Lost {
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
