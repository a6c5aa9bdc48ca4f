package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrManifestCorrupt reports a manifest whose bytes are not what was written. A commit is never half visible, so this
// is damage to the storage. The data files are not affected, and archivers go on; until the manifest is restored from a
// copy nothing is compacted, and nothing proved.
var ErrManifestCorrupt = errors.New("a manifest of the archive is damaged")

const manifestVersion = 1

// Manifest is the seal of one hour of event time: the files that hold its rows, and what they were made from. The one
// with the highest generation counts; those before it stay, since pruning them would let a slow compaction create a
// generation a second time.
type Manifest struct {
	Version    int                   `json:"version"`
	Hour       time.Time             `json:"hour"`       // its start, UTC
	Generation int                   `json:"generation"` // 1, 2, 3 …
	SealedAt   time.Time             `json:"sealed_at"`
	SealedBy   string                `json:"sealed_by"` // the program's version
	Tables     map[Table]*SealedFile `json:"tables"`    // without those that have no row in this hour
	Checksum   string                `json:"checksum"`  // CRC-32C of the manifest without it
}

// SealedFile is the file of one table of a sealed hour.
type SealedFile struct {
	File             string         `json:"file"`      // its name below the archive's root
	Temporary        string         `json:"temporary"` // where it waited for its manifest
	Rows             int64          `json:"rows"`
	Bytes            int64          `json:"bytes"`
	SHA256           string         `json:"sha256"`            // of the content, in hexadecimal
	MinTime          time.Time      `json:"min_time"`          // of timestamp, or window_start
	MaxTime          time.Time      `json:"max_time"`          // inclusive
	DroppedRevisions int64          `json:"dropped_revisions"` // rows of superseded revisions, of all generations
	Events           []OffsetRange  `json:"events"`            // of traffic-events: the hour's rows among them are here
	Sources          []SourceExtent `json:"sources,omitempty"` // of traffic-raw; raw alone
	// Inputs are the base names of the files in the hour's folder that this one replaces. They are deleted before it
	// gets its name.
	Inputs []string `json:"inputs"`
}

// OffsetRange are the offsets from ≤ offset < to of a partition.
type OffsetRange struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"`
	To        int64 `json:"to"`
}

// SourceExtent says which raw records of a partition the rows are of: Rows of them, between two offsets.
type SourceExtent struct {
	Partition int32 `json:"partition"`
	First     int64 `json:"first"`
	Last      int64 `json:"last"` // inclusive
	Rows      int64 `json:"rows"`
}

// Covers tells whether a record of traffic-events at this place was archived before the seal, so that its row is in the
// file, or was dropped as a superseded revision.
func (s *SealedFile) Covers(partition int32, offset int64) bool {
	n, found := slices.BinarySearchFunc(s.Events, offset, func(r OffsetRange, offset int64) int {
		switch {
		case r.Partition < partition, r.Partition == partition && r.To <= offset:
			return -1
		case r.Partition > partition || r.From > offset:
			return 1
		}
		return 0
	})
	return found && s.Events[n].Partition == partition
}

// MarshalText writes the table's name.
func (t Table) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads it.
func (t *Table) UnmarshalText(text []byte) error {
	n := slices.Index(tableNames[:], string(text))
	if n < 0 {
		return fmt.Errorf("%q is not a table of the archive", text)
	}
	*t = Table(n)
	return nil
}

// encode sets the checksum.
func (m *Manifest) encode() ([]byte, error) {
	m.Checksum = ""
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	m.Checksum = fmt.Sprintf("%08x", checksum(data))
	if data, err = json.MarshalIndent(m, "", " "); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return append(data, '\n'), nil
}

func decodeManifest(data []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifestCorrupt, err)
	}
	if m.Version > manifestVersion {
		return nil, fmt.Errorf("manifest of format version %d: this program reads version %d", m.Version, manifestVersion)
	}
	written := m.Checksum
	if _, err := m.encode(); err != nil {
		return nil, err
	}
	if m.Checksum != written {
		return nil, fmt.Errorf("%w: its checksum does not match", ErrManifestCorrupt)
	}
	for t, f := range m.Tables {
		if f == nil || path.Dir(f.File) != HourDir(t, m.Hour) {
			return nil, fmt.Errorf("%w: the file of table %s is not in the folder of its hour", ErrManifestCorrupt, t)
		}
	}
	return m, nil
}

// HourFormat is how an hour of event time is named, in the names of files and on the command line; UTC.
const HourFormat = "2006-01-02T15"

// manifestName holds the generation: of two compactions that start from one state, one creates it.
func manifestName(hour time.Time, generation int) string {
	return path.Join(manifestDir, fmt.Sprintf("%s-%05d.json", hour.UTC().Format(HourFormat), generation))
}

// sealedName is the name of a merged file; the generation tells it from the one that it replaces.
func sealedName(t Table, hour time.Time, generation int) string {
	name := fmt.Sprintf("sealed-%s-%05d%s", hour.UTC().Format(HourFormat), generation, dataExt)
	return path.Join(HourDir(t, hour), name)
}

// sealedGeneration reads the generation from the name of a data file that is named as a merged one.
func sealedGeneration(name string) (generation int, ok bool) {
	base, ok := strings.CutPrefix(path.Base(name), "sealed-")
	if ok {
		_, generation, ok = parseSeal(base)
	}
	return generation, ok
}

// sealPrefix begins the names of merged files that wait for their manifest.
const sealPrefix = "seal-"

// sealTempName is where a merged file waits for its manifest. The id tells attempts apart.
func sealTempName(t Table, hour time.Time, generation int, id intentID) string {
	return path.Join(tempDir, fmt.Sprintf("%s%s-%05d-%x-%s%s",
		sealPrefix, hour.UTC().Format(HourFormat), generation, id, t, tempExt))
}

// parseSeal reads hour and generation from the base name of a manifest or, without its prefix, of a merged file.
func parseSeal(base string) (hour time.Time, generation int, ok bool) {
	if len(base) < len(HourFormat)+6 || base[len(HourFormat)] != '-' {
		return time.Time{}, 0, false
	}
	hour, err := time.Parse(HourFormat, base[:len(HourFormat)])
	if err != nil {
		return time.Time{}, 0, false
	}
	n, err := strconv.ParseUint(base[len(HourFormat)+1:len(HourFormat)+6], 10, 31)
	return hour, int(n), err == nil
}

// Manifests reads the newest manifest of every sealed hour, by hour. Inputs are left out: only a compaction asks for
// them, and the names of all files that ever were do not fit into memory.
func Manifests(fsys Reader) (map[time.Time]*Manifest, error) {
	newest, err := generations(fsys)
	if err != nil {
		return nil, err
	}
	all := make(map[time.Time]*Manifest, len(newest))
	for hour, generation := range newest {
		m, err := readManifest(fsys, hour, generation)
		if err != nil {
			return nil, err
		}
		for _, f := range m.Tables {
			f.Inputs = nil
		}
		all[hour] = m
	}
	return all, nil
}

// generations lists the newest generation of each sealed hour.
func generations(fsys Reader) (map[time.Time]int, error) {
	entries, err := fsys.List(manifestDir)
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	newest := make(map[time.Time]int)
	for _, e := range entries {
		if strings.HasPrefix(e.Name, ".") {
			continue
		}
		hour, generation, ok := parseSeal(e.Name)
		if ok {
			newest[hour] = max(newest[hour], generation)
		}
	}
	return newest, nil
}

func readManifest(fsys Reader, hour time.Time, generation int) (*Manifest, error) {
	name := manifestName(hour, generation)
	data, err := fsys.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := decodeManifest(data)
	if err == nil && (!m.Hour.Equal(hour) || m.Generation != generation) {
		err = fmt.Errorf("%w: it is that of %s, generation %d", ErrManifestCorrupt, m.Hour.Format(HourFormat), m.Generation)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", name, err)
	}
	return m, nil
}

// mergeRanges returns the union of ranges, by partition and offset, neighbours joined.
func mergeRanges(ranges []OffsetRange) []OffsetRange {
	slices.SortFunc(ranges, func(a, b OffsetRange) int {
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return int(min(1, max(-1, a.From-b.From)))
	})
	var union []OffsetRange
	for _, r := range ranges {
		if n := len(union) - 1; n >= 0 && union[n].Partition == r.Partition && r.From <= union[n].To {
			union[n].To = max(union[n].To, r.To)
			continue
		}
		union = append(union, r)
	}
	return union
}
