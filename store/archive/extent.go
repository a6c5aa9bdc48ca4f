package archive

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Extent says how far a partition of traffic-events is archived, by its newest intent.
type Extent struct {
	Partition int32
	End       int64  // all offsets below it are archived, but for those in holes
	Holes     []Hole // what retention deleted before it was archived
	Files     []Move // of the newest commit: its writer may not have come to move them yet
}

// Move is a data file that has its temporary name until its commit is finished.
type Move struct {
	Table       Table
	Temp, Final string
}

// Extents reads how far each partition is archived, by partition, and changes nothing. Files that are committed later
// begin at or behind these ends. A partition that was never archived has no extent.
func Extents(fsys Reader) ([]Extent, error) {
	newest, err := newestIntents(fsys)
	if err != nil {
		return nil, err
	}
	var extents []Extent
	for _, in := range newest {
		x := Extent{Partition: in.partition, End: in.end, Holes: in.holes}
		for _, f := range in.files {
			x.Files = append(x.Files, Move{Table: f.table, Temp: f.temp, Final: f.final})
		}
		extents = append(extents, x)
	}
	return extents, nil
}

// newestIntents reads the newest intent of each partition, by partition. As in readNewest, what was read counts only if a
// listing afterwards still shows the same: else a name may have been pruned and created anew by a writer that slept.
func newestIntents(fsys Reader) ([]*intent, error) {
	listed, err := newestStarts(fsys)
	if err != nil {
		return nil, err
	}
	newest := make(map[int32]*intent, len(listed))
	for {
		var missing error
		for p, start := range listed {
			if in := newest[p]; in != nil && in.start == start {
				continue
			}
			in, err := readIntent(fsys, p, start)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			newest[p], missing = in, errors.Join(missing, err)
		}
		again, err := newestStarts(fsys)
		if err != nil {
			return nil, err
		}
		if !maps.Equal(listed, again) {
			listed = again
			continue
		}
		if missing != nil {
			return nil, missing // it was not pruned: it is still listed
		}
		return slices.SortedFunc(maps.Values(newest), func(a, b *intent) int {
			return cmp.Compare(a.partition, b.partition)
		}), nil
	}
}

// newestStarts lists the start offset of each partition's newest intent.
func newestStarts(fsys Reader) (map[int32]int64, error) {
	entries, err := fsys.List(intentDir)
	if err != nil {
		return nil, fmt.Errorf("list intents: %w", err)
	}
	starts := make(map[int32]int64)
	for _, e := range entries {
		p, start, rest, ok := parseStart(e.Name)
		if !ok || rest != "" {
			continue
		}
		if known, ok := starts[p]; !ok || start > known {
			starts[p] = start
		}
	}
	return starts, nil
}

// FileRange reads from the name of a data file which offsets of which partition its rows come from.
func FileRange(name string) (partition int32, start, end int64, ok bool) {
	base, ok := strings.CutPrefix(strings.TrimSuffix(path.Base(name), dataExt), "p")
	if !ok {
		return 0, 0, 0, false
	}
	partition, start, rest, ok := parseStart(base)
	if !ok {
		return 0, 0, 0, false
	}
	if _, err := fmt.Sscanf(rest, "-%020d", &end); err != nil || end <= start {
		return 0, 0, 0, false
	}
	return partition, start, end, true
}
