package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"
)

// Status is what there is in an archive, and what is missing.
type Status struct {
	Hours      []HourStatus      `json:"hours"`      // oldest first
	Partitions []PartitionStatus `json:"partitions"` // that were ever archived
	Lost       []string          `json:"lost"`       // files that a commit names and that are gone, or of another size
	Strays     []string          `json:"strays"`     // data files that no commit accounts for
	Temporary  int               `json:"temporary"`  // files on their way, or left by a process that died
}

// HourStatus is an hour of event time.
type HourStatus struct {
	Hour       time.Time              `json:"hour"`
	State      string                 `json:"state"`
	Why        string                 `json:"why,omitempty"`        // not sealed yet, where that is known
	Generation int                    `json:"generation,omitempty"` // of its manifest
	SealedAt   *time.Time             `json:"sealed_at,omitempty"`
	Tables     map[Table]*TableStatus `json:"tables"`
}

// The states of an hour.
const (
	StateOpen   = "open"   // never sealed
	StateSealed = "sealed" // one file of each table, and its manifest
	StateLate   = "late"   // sealed, and there is more since: the next compaction merges it in
)

// TableStatus counts files, the sealed one and those beside it.
type TableStatus struct {
	Files int   `json:"files"`
	Late  int   `json:"late"` // of them, those beside the sealed one
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`
}

// PartitionStatus says how far a partition of traffic-events is archived.
type PartitionStatus struct {
	Partition int32  `json:"partition"`
	Archived  int64  `json:"archived"` // all offsets below are, but for those in holes
	End       *int64 `json:"end"`      // of the topic; null where it was not asked
	Lag       *int64 `json:"lag"`
	Holes     []Hole `json:"holes"` // offsets that retention deleted before they were archived
}

// OK tells whether nothing is missing, and nothing is there that should not be.
func (s *Status) OK() bool {
	return len(s.Lost) == 0 && len(s.Strays) == 0 &&
		!slices.ContainsFunc(s.Partitions, func(p PartitionStatus) bool { return len(p.Holes) > 0 })
}

// AddEnds says where the partitions of traffic-events end, by partition; those that were never archived are added.
func (s *Status) AddEnds(ends []int64) {
	known := make(map[int32]int)
	for i, p := range s.Partitions {
		known[p.Partition] = i
	}
	for n, end := range ends {
		i, ok := known[int32(n)]
		if !ok {
			i = len(s.Partitions)
			s.Partitions = append(s.Partitions, PartitionStatus{Partition: int32(n), Holes: []Hole{}})
		}
		p := &s.Partitions[i]
		lag := max(0, end-p.Archived)
		p.End, p.Lag = &end, &lag
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int { return int(a.Partition) - int(b.Partition) })
}

// Extents are how far each partition is archived.
func (s *Status) Extents() []Extent {
	extents := make([]Extent, len(s.Partitions))
	for i, p := range s.Partitions {
		extents[i] = Extent{Partition: p.Partition, End: p.Archived, Holes: p.Holes}
	}
	return extents
}

// ReadStatus reads listings, manifests, and the intents that are kept, and of older files that are not merged the rows'
// number. It changes nothing. Whether rows are what they should be is for verify to say.
func ReadStatus(ctx context.Context, fsys Reader) (*Status, error) {
	a, err := ReadArchived(fsys)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Hours: []HourStatus{}, Partitions: []PartitionStatus{}, Lost: []string{}, Strays: append([]string{}, a.Strays...),
	}
	for _, x := range a.Extents {
		s.Partitions = append(s.Partitions, PartitionStatus{
			Partition: x.Partition, Archived: x.End, Holes: append([]Hole{}, x.Holes...),
		})
	}
	rows, err := s.readIntents(ctx, fsys, a)
	if err != nil {
		return nil, err
	}
	temporary, err := fsys.List(tempDir)
	if err != nil {
		return nil, fmt.Errorf("list leftovers: %w", err)
	}
	s.Temporary = len(temporary)
	return s, s.countFiles(ctx, fsys, a, rows)
}

// readIntents looks for the files of all commits that are remembered, and returns how many rows each has.
func (s *Status) readIntents(ctx context.Context, fsys Reader, a *Archived) (rows map[string]int64, err error) {
	rows = make(map[string]int64)
	there := make(map[string]bool)
	for _, f := range a.Files {
		there[f.Name] = true // or lost, which countFiles says
	}
	err = keptIntents(ctx, fsys, a.Extents, func(in *intent) {
		for _, f := range in.files {
			rows[f.final] = f.rows
			hour, _ := hourOfDir(f.table, path.Dir(f.final))
			sealed := a.Manifests[hour].file(f.table)
			if !there[f.final] && (sealed == nil || !sealed.Covers(in.partition, in.start)) {
				s.Lost = append(s.Lost, f.final)
			}
		}
	})
	return rows, err
}

// keptIntents visits the intents that led to the extents, as far back as they are kept. One that does not end where the
// next begins was created by a writer that had slept through others' commits, and counts for nothing.
func keptIntents(ctx context.Context, fsys Reader, extents []Extent, visit func(*intent)) error {
	entries, err := fsys.List(intentDir)
	if err != nil {
		return fmt.Errorf("list intents: %w", err)
	}
	end := endsOf(extents)
	for _, e := range slices.Backward(entries) { // by partition, and start
		partition, start, rest, ok := parseStart(e.Name)
		if !ok || rest != "" || start >= end[partition] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		in, err := readIntent(fsys, partition, start)
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned since
		}
		if err != nil {
			return err
		}
		if in.end == end[partition] {
			visit(in)
			end[partition] = in.start
		}
	}
	return nil
}

func (s *Status) countFiles(ctx context.Context, fsys Reader, a *Archived, rows map[string]int64) error {
	hours := make(map[time.Time]*HourStatus)
	for _, f := range a.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.Sealed == nil && f.Lost {
			s.Lost = append(s.Lost, f.Name)
			continue
		}
		h := hours[f.Hour]
		if h == nil {
			h = newHourStatus(f.Hour, a.Manifests[f.Hour])
			hours[f.Hour] = h
		}
		n, known := rows[f.Name]
		switch {
		case f.Sealed != nil:
			n = f.Sealed.Rows
			if f.Lost || f.Bytes != f.Sealed.Bytes {
				s.Lost = append(s.Lost, f.Name)
			}
		case !known:
			var err error
			if n, err = countRows(fsys, f.Path); errors.Is(err, fs.ErrNotExist) {
				continue // merged since
			} else if err != nil {
				return err
			}
		}
		h.add(f, n)
	}
	for _, hour := range slices.SortedFunc(maps.Keys(hours), time.Time.Compare) {
		s.Hours = append(s.Hours, *hours[hour])
	}
	return nil
}

func newHourStatus(hour time.Time, m *Manifest) *HourStatus {
	h := &HourStatus{Hour: hour, State: StateOpen, Tables: make(map[Table]*TableStatus)}
	if m != nil {
		h.State, h.Generation, h.SealedAt = StateSealed, m.Generation, &m.SealedAt
	}
	return h
}

func (h *HourStatus) add(f DataFile, rows int64) {
	t := h.Tables[f.Table]
	if t == nil {
		t = &TableStatus{}
		h.Tables[f.Table] = t
	}
	t.Files++
	t.Rows += rows
	t.Bytes += f.Bytes
	if f.Sealed == nil && h.State != StateOpen {
		t.Late++
		h.State = StateLate
	}
}
