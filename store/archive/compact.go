package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"
)

// Errors of Compact that callers tell apart. After each of them the archive is as exact as before.
var (
	// ErrRaced: another compaction of the hour was faster. There is nothing left to do.
	ErrRaced = errors.New("another compaction of this hour was faster")
	// ErrForeignFile: the hour's folder has a data file that no Gantry wrote. Move it away.
	ErrForeignFile = errors.New("a data file that Gantry did not write")
	// ErrRowDoubled, ErrUnsorted and ErrSealedFileDamaged: the files are not what was written. gantry verify --archive
	// says what is wrong with which.
	ErrRowDoubled        = errors.New("a row is in the archive twice")
	ErrUnsorted          = errors.New("rows are not in the order of their file")
	ErrSealedFileDamaged = errors.New("a sealed file is damaged")
	// ErrSealedFileLost: a manifest's file is under neither of its names.
	ErrSealedFileLost = errors.New("a sealed file is lost")
)

// CompactOptions of a Compactor.
type CompactOptions struct {
	ScratchDir   string // on this machine, for about twice the size of an hour's files; empty for the system's
	FanIn        int    // files that are merged at once, at least 2; each takes a few pages of memory
	RowGroupRows int    // rows of a Parquet row group, at most

	Version string           // stands in created_by of each file, and in the manifest
	Now     func() time.Time // the clock, for sealed_at
	Rand    io.Reader        // for names of temporary files
	Logger  *slog.Logger
}

// DefaultCompactOptions use the machine's clock.
func DefaultCompactOptions() CompactOptions {
	o := DefaultOptions()
	return CompactOptions{
		FanIn: 32, RowGroupRows: o.RowGroupRows, Version: o.Version, Now: o.Now, Rand: o.Rand, Logger: o.Logger,
	}
}

// Validate reports every value that is out of range.
func (o *CompactOptions) Validate() error {
	var errs []error
	if o.FanIn < 2 {
		errs = append(errs, fmt.Errorf("fanIn is %d: allowed is at least 2", o.FanIn))
	}
	if o.RowGroupRows < 1 {
		errs = append(errs, fmt.Errorf("rowGroupRows is %d: allowed is at least 1", o.RowGroupRows))
	}
	if o.Now == nil || o.Rand == nil || o.Logger == nil {
		errs = append(errs, errors.New("compaction needs a clock, randomness and a logger: begin with DefaultCompactOptions"))
	}
	return errors.Join(errs...)
}

// Compactor merges the files of an hour into one a table, and seals the hour. Archivers and other compactors may work
// in the same archive; see the package comment.
type Compactor struct {
	fs   FS
	opts CompactOptions
	log  *slog.Logger
}

// NewCompactor makes the folders that it needs, and finishes what others have committed and could not finish: the moves
// of the newest intents, and the seals whose compactor died.
func NewCompactor(ctx context.Context, fsys FS, opts CompactOptions) (*Compactor, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	c := &Compactor{fs: fsys, opts: opts, log: opts.Logger.With("component", "compact")}
	for _, dir := range []string{manifestDir, tempDir} {
		if err := fsys.MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("open the archive for compaction: %w", err)
		}
	}
	if err := finishCommits(fsys); err != nil {
		return nil, err
	}
	return c, c.finishSeals(ctx)
}

// finishCommits moves the files of the newest intent of each partition, as whoever opens the partition would.
func finishCommits(fsys FS) error {
	newest, err := newestIntents(fsys)
	if err != nil {
		return err
	}
	for _, in := range newest {
		if _, err := moveFiles(fsys, in); err != nil {
			return fmt.Errorf("finish the newest commit of partition %d: %w", in.partition, err)
		}
	}
	return nil
}

// finishSeals finishes every hour that has a merged file waiting for its name.
func (c *Compactor) finishSeals(ctx context.Context) error {
	newest, err := generations(c.fs)
	if err != nil {
		return err
	}
	entries, err := c.fs.List(tempDir)
	if err != nil {
		return fmt.Errorf("list leftovers: %w", err)
	}
	done := make(map[time.Time]bool)
	for _, e := range entries {
		base, ok := strings.CutPrefix(e.Name, sealPrefix)
		if !ok {
			continue
		}
		hour, generation, ok := parseSeal(base)
		if !ok || done[hour] || generation > newest[hour] {
			continue // a compaction that has not come to its commit, and may yet
		}
		done[hour] = true
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := readManifest(c.fs, hour, newest[hour])
		if err == nil {
			err = c.finish(m)
		}
		if err != nil {
			return fmt.Errorf("finish the seal of %s: %w", hour.Format(HourFormat), err)
		}
	}
	return nil
}

// Compact merges the files of an hour, and the sealed file that stands among them, into one of each table, and seals
// the hour with the next generation of its manifest. sealed is false where there was nothing to merge; the manifest is
// the one that holds then, nil for none. Where the commit is done and only its last steps failed there is a manifest
// beside the error; whoever opens the archive next, or reads it through Manifests, goes on from it.
func (c *Compactor) Compact(ctx context.Context, hour time.Time) (m *Manifest, sealed bool, err error) {
	hour = hour.UTC().Truncate(time.Hour)
	m, sealed, err = c.compact(ctx, hour)
	if err != nil {
		err = fmt.Errorf("compact %s: %w", hour.Format(HourFormat), err)
	}
	return m, sealed, err
}

func (c *Compactor) compact(ctx context.Context, hour time.Time) (*Manifest, bool, error) {
	previous, err := c.newest(hour)
	if err != nil {
		return nil, false, err
	}
	if previous != nil {
		if err := c.finish(previous); err != nil {
			return previous, false, err
		}
	}
	p, err := c.plan(hour, previous)
	if err != nil || !p.needed {
		return previous, false, c.raced(p, err)
	}
	m, err := c.write(ctx, p)
	if err != nil {
		return previous, false, c.raced(p, err)
	}
	data, err := m.encode()
	if err != nil {
		return previous, false, err
	}
	if err := ctx.Err(); err != nil {
		c.discard(m)
		return previous, false, err
	}
	// From here on the files may be part of a commit, whatever the call says: only the sweep may remove them.
	err = c.fs.CreateExclusive(manifestName(hour, m.Generation), data)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) { // the name is taken, or the attempt swept away
		c.discard(m)
		return previous, false, c.raced(p, err)
	}
	if err != nil {
		return previous, false, fmt.Errorf("create manifest: %w", err)
	}
	return m, true, c.finish(m)
}

// raced explains an error by what another compaction of the hour has done meanwhile: files that were to be merged are
// gone, or there are others.
func (c *Compactor) raced(p plan, err error) error {
	if err == nil {
		return nil
	}
	newest, listErr := generations(c.fs)
	if listErr == nil && newest[p.hour] > p.previous.generation() {
		return ErrRaced
	}
	return err
}

func (c *Compactor) newest(hour time.Time) (*Manifest, error) {
	newest, err := generations(c.fs)
	if err != nil || newest[hour] == 0 {
		return nil, err
	}
	return readManifest(c.fs, hour, newest[hour])
}

// plan is what a compaction is going to merge.
type plan struct {
	hour     time.Time
	previous *Manifest // nil for none
	inputs   [tableCount][]Entry
	needed   bool
}

func (c *Compactor) plan(hour time.Time, previous *Manifest) (p plan, err error) {
	p = plan{hour: hour, previous: previous}
	for _, t := range Tables {
		entries, err := c.fs.List(HourDir(t, hour))
		if err != nil {
			return p, fmt.Errorf("list files: %w", err)
		}
		sealed := previous.file(t)
		if sealed != nil && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == path.Base(sealed.File) }) {
			// Merging what is left would make a manifest of an hour without these rows, and prove that nothing is missing.
			return p, fmt.Errorf("%w: %s", ErrSealedFileLost, sealed.File)
		}
		for _, e := range entries {
			if !isData(e) {
				continue
			}
			_, _, _, archived := FileRange(e.Name)
			switch {
			case archived:
				p.needed = true
			case sealed == nil || e.Name != path.Base(sealed.File):
				return p, fmt.Errorf("%w: %s", ErrForeignFile, path.Join(HourDir(t, hour), e.Name))
			}
			p.inputs[t] = append(p.inputs[t], e)
		}
	}
	return p, nil
}

func (m *Manifest) generation() int {
	if m == nil {
		return 0
	}
	return m.Generation
}

// file is the sealed file of a table, nil for none.
func (m *Manifest) file(t Table) *SealedFile {
	if m == nil {
		return nil
	}
	return m.Tables[t]
}

// write merges each table's files under a temporary name. A table that has nothing new keeps its file.
func (c *Compactor) write(ctx context.Context, p plan) (*Manifest, error) {
	m := &Manifest{
		Version: manifestVersion, Hour: p.hour, Generation: p.previous.generation() + 1,
		SealedAt: c.opts.Now().UTC().Truncate(time.Millisecond), SealedBy: c.opts.Version,
		Tables: make(map[Table]*SealedFile),
	}
	id, err := newIntentID(c.opts.Rand)
	if err != nil {
		return nil, err
	}
	for _, t := range Tables {
		sealed := p.previous.file(t)
		if len(p.inputs[t]) == 0 && sealed == nil {
			continue
		}
		if len(p.inputs[t]) == 1 && sealed != nil && p.inputs[t][0].Name == path.Base(sealed.File) {
			kept := *sealed
			kept.Temporary, kept.Inputs = "", nil
			m.Tables[t] = &kept
			continue
		}
		f := &SealedFile{
			File:      sealedName(t, p.hour, m.Generation),
			Temporary: sealTempName(t, p.hour, m.Generation, id),
		}
		m.Tables[t] = f
		if err := c.writeTable(ctx, t, p, f); err != nil {
			c.discard(m)
			return nil, err
		}
	}
	return m, nil
}

func (c *Compactor) writeTable(ctx context.Context, t Table, p plan, f *SealedFile) error {
	dir := HourDir(t, p.hour)
	var inputs []input
	sealed := p.previous.file(t)
	for _, e := range p.inputs[t] {
		in := input{name: path.Join(dir, e.Name)}
		if partition, from, to, ok := FileRange(e.Name); ok {
			f.Events = append(f.Events, OffsetRange{Partition: partition, From: from, To: to})
		} else {
			in.sha256 = sealed.SHA256
			f.Events = append(f.Events, sealed.Events...)
			f.DroppedRevisions += sealed.DroppedRevisions
		}
		f.Inputs = append(f.Inputs, e.Name)
		inputs = append(inputs, in)
	}
	f.Events = mergeRanges(f.Events)
	merge := &merger{
		fs: c.fs, table: t, scratch: c.opts.ScratchDir, fanIn: c.opts.FanIn,
		rowGroupRows: c.opts.RowGroupRows, version: c.opts.Version,
	}
	merged, err := merge.merge(ctx, inputs)
	if err != nil {
		return err
	}
	defer merged.Close()
	f.DroppedRevisions += merge.dropped
	y := &merge.merged
	f.Rows, f.Sources = y.rows, y.extents()
	f.MinTime, f.MaxTime = time.UnixMilli(y.minTime).UTC(), time.UnixMilli(y.maxTime).UTC()
	sum := sha256.New()
	if _, err := merged.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read merged file: %w", err)
	}
	if f.Bytes, err = io.Copy(sum, merged); err != nil {
		return fmt.Errorf("read merged file: %w", err)
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if _, err := merged.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read merged file: %w", err)
	}
	if err := c.fs.WriteFrom(f.Temporary, merged, f.Bytes); err != nil {
		return fmt.Errorf("write %s: %w", f.File, err)
	}
	return nil
}

// discard removes the files of a manifest that was not created.
func (c *Compactor) discard(m *Manifest) {
	for _, f := range m.Tables {
		if f.Temporary != "" {
			c.remove(f.Temporary)
		}
	}
}

// remove clears what nothing depends on; if it fails, somebody sweeps again.
func (c *Compactor) remove(name string) {
	if err := c.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("a leftover of a compaction was not removed", "name", name, "error", err)
	}
}

// finish makes a committed manifest visible: of each table first the inputs go, and then the merged file gets its name,
// so that nobody ever lists a row twice. Each step may have been done, by this compactor or another, and can be
// repeated at any time later: the names of inputs and temporary files are never used again.
func (c *Compactor) finish(m *Manifest) error {
	for _, t := range Tables {
		f := m.file(t)
		if f == nil || f.Temporary == "" {
			continue
		}
		err := c.exchange(f)
		if errors.Is(err, ErrSealedFileLost) {
			// Unless others have finished this generation and merged its file into the next one.
			newest, listErr := generations(c.fs)
			if listErr == nil && newest[m.Hour] > m.Generation {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
	c.sweep(m)
	return nil
}

// exchange removes no input unless the merged file is there, under its first name.
func (c *Compactor) exchange(f *SealedFile) error {
	waiting, err := c.fs.Exists(f.Temporary)
	if err != nil {
		return fmt.Errorf("look for %s: %w", f.Temporary, err)
	}
	if waiting {
		dir := path.Dir(f.File)
		for _, name := range f.Inputs {
			if err := c.fs.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove merged file %s: %w", path.Join(dir, name), err)
			}
		}
		if err := c.fs.MkdirAll(dir); err != nil {
			return fmt.Errorf("create folder of %s: %w", f.File, err)
		}
		switch err := c.fs.Rename(f.Temporary, f.File); {
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("rename to %s: %w", f.File, err)
		}
	}
	there, err := c.fs.Exists(f.File)
	if err != nil {
		return fmt.Errorf("look for %s: %w", f.File, err)
	}
	if !there {
		return fmt.Errorf("%w: it is neither at %s nor at %s", ErrSealedFileLost, f.File, f.Temporary)
	}
	return nil
}

// sweep removes what compactions of the hour left that have lost: merged files, and what an interrupted CreateExclusive
// leaves of a manifest, of this generation and those before.
func (c *Compactor) sweep(m *Manifest) {
	for _, left := range []struct{ dir, prefix string }{{tempDir, sealPrefix}, {manifestDir, "."}} {
		entries, err := c.fs.List(left.dir)
		if err != nil {
			c.log.Warn("leftovers of compactions were not listed", "error", err)
		}
		for _, e := range entries {
			base, ok := strings.CutPrefix(e.Name, left.prefix)
			if !ok {
				continue
			}
			if hour, generation, ok := parseSeal(base); ok && hour.Equal(m.Hour) && generation <= m.Generation {
				c.remove(path.Join(left.dir, e.Name))
			}
		}
	}
}
