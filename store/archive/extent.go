package archive

import (
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

// newestIntents reads the newest intent of each partition, by partition.
func newestIntents(fsys Reader) (newest []*intent, err error) {
	// One that is pruned before it is read was not the newest any more: its partition has gone on, a thousand times with
	// DefaultOptions.
	const triesMax = 10
	for range triesMax {
		if newest, err = tryNewestIntents(fsys); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return newest, err
}

func tryNewestIntents(fsys Reader) ([]*intent, error) {
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
	newest := make([]*intent, 0, len(starts))
	for _, p := range slices.Sorted(maps.Keys(starts)) {
		in, err := readIntent(fsys, p, starts[p])
		if err != nil {
			return nil, err
		}
		newest = append(newest, in)
	}
	return newest, nil
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
