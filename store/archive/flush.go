package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"gantry/codecs"
)

// Committed says what a flush has archived: the offsets Start ≤ offset < End, in files of this many rows and bytes. It
// is zero where nothing was due, or another writer had been faster.
type Committed struct {
	Start, End int64
	Tables     [tableCount]TableCount // by Table
}

// TableCount counts what one commit added to a table.
type TableCount struct {
	Files int
	Rows  int64
	Bytes int64
}

// Flush archives what was added since the last flush: the files of the batch under temporary names, then the intent,
// which is the commit, then the renames. A batch without rows is flushed only when it is due.
//
// After an error the batch is kept, and the next call finds out what has become of this one; where the commit itself is
// known to be done, Committed says so beside the error. The error is not logged here.
func (p *Partition) Flush(ctx context.Context) (Committed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := p.opts.Now()
	committed, err := p.flush(ctx)
	p.metrics.flushSeconds.Observe(p.opts.Now().Sub(begin).Seconds())
	if err != nil {
		p.metrics.failures.Inc()
		err = fmt.Errorf("flush archive partition %d: %w", p.id, err)
	}
	return committed, err
}

func (p *Partition) flush(ctx context.Context) (Committed, error) {
	if p.reopen {
		return Committed{}, ErrReopen
	}
	if !p.settled {
		err := p.settle(ctx, nil)
		if won := p.won(); err != nil || won != (Committed{}) {
			return won, err
		}
	}
	if due, ok := p.nextDue(); p.batch.rows() == 0 && (!ok || p.opts.Now().Before(due)) {
		return Committed{}, nil
	}
	id, err := newIntentID(p.opts.Rand)
	if err != nil {
		return Committed{}, err
	}
	in := &intent{id: id, partition: p.id, start: p.start(), end: p.next, holes: p.holes, marks: p.marks}
	if err := p.writeFiles(ctx, in); err != nil {
		p.discard(in)
		if errors.Is(err, fs.ErrNotExist) {
			err = p.overtaken(ctx, err)
		}
		return Committed{}, err
	}
	data, err := in.encode()
	if err != nil {
		return Committed{}, err
	}
	if err := ctx.Err(); err != nil {
		p.discard(in)
		return Committed{}, err
	}
	// From here on the files may be part of a commit, whatever the call says: only settle may remove them.
	p.settled = false
	p.attempt = attempt{id: in.id, committed: in.summary()}
	err = p.fs.CreateExclusive(intentName(p.id, in.start), data)
	switch {
	case err == nil:
		err = p.settle(ctx, in)
	case errors.Is(err, fs.ErrExist):
		err = p.settle(ctx, nil)
	default:
		return Committed{}, fmt.Errorf("create intent: %w", err)
	}
	won := p.won()
	if err == nil && won == (Committed{}) {
		p.metrics.racesLost.Inc()
	}
	return won, err
}

// overtaken finds out why a file vanished while it was written. If another writer has archived the same offsets, it has
// swept these files away as leftovers: a race that is lost, as it would have been at the intent.
func (p *Partition) overtaken(ctx context.Context, vanished error) error {
	before := p.head
	if err := p.settle(ctx, nil); err != nil {
		return err
	}
	if p.head == before {
		return vanished
	}
	p.metrics.racesLost.Inc()
	return nil
}

// attempt is the last intent that this partition tried to create.
type attempt struct {
	id        intentID
	committed Committed
}

// won returns, once, what the last attempt has archived; it is zero if it is not, or not known to be, the head.
func (p *Partition) won() Committed {
	if p.head == nil || p.head.id != p.attempt.id {
		return Committed{}
	}
	c := p.attempt.committed
	p.attempt = attempt{}
	p.metrics.committed(&c)
	return c
}

func (in *intent) summary() Committed {
	c := Committed{Start: in.start, End: in.end}
	for _, f := range in.files {
		t := &c.Tables[f.table]
		t.Files++
		t.Rows += f.rows
		t.Bytes += f.bytes
	}
	return c
}

// writeFiles writes the files of the batch under temporary names, one for each table and hour, and enters them.
func (p *Partition) writeFiles(ctx context.Context, in *intent) error {
	for rows := range byHour(p.batch.raw, compareRaw) {
		if err := writeFile(ctx, p, in, TableRaw, rows); err != nil {
			return err
		}
	}
	for rows := range byHour(p.batch.windows, compareWindows) {
		if err := writeFile(ctx, p, in, TableAggregates, rows); err != nil {
			return err
		}
	}
	return nil
}

func writeFile[E entry](ctx context.Context, p *Partition, in *intent, t Table, rows []E) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.encoder[t] == nil {
		p.encoder[t] = newEncoder(t, &p.opts)
	}
	data, err := encode(p.encoder[t], rows)
	if err != nil {
		return err
	}
	f := fileEntry{
		table: t,
		temp:  tempName(p.id, in.start, in.id, len(in.files)),
		final: finalName(t, rows[0].hour(), p.id, in.start, in.end),
		rows:  int64(len(rows)),
		bytes: int64(len(data)),
		crc:   checksum(data),
	}
	in.files = append(in.files, f)
	if err := p.fs.WriteFile(f.temp, data); err != nil {
		return fmt.Errorf("write %s: %w", f.final, err)
	}
	return nil
}

// discard removes the files of a batch whose intent was not created. Where one cannot be removed now, the file system is
// away, and all are swept later.
func (p *Partition) discard(in *intent) {
	for _, f := range in.files {
		if p.remove(f.temp) != nil {
			return
		}
	}
}

// remove clears what nothing depends on; if it fails, somebody sweeps again.
func (p *Partition) remove(name string) error {
	if err := p.fs.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// settle makes the newest intent the head, and its files visible. Whatever happened before, a crash of anybody, a lost
// answer, a lost race or an own commit, this is all there is to find out: the newest intent is the end of the archive,
// and every one before it is done.
//
// own is the intent that this partition has just created, nil for none. If it is not the newest, it counts for nothing:
// either it was taken for real, and finished, by whoever built the newest on it; or its name was free only because the
// intent of that start had been pruned, and this writer slept through all that came after. It is the next to be pruned.
func (p *Partition) settle(ctx context.Context, own *intent) error {
	p.settled = false
	if err := ctx.Err(); err != nil && own == nil {
		return err // what was just committed is finished, though
	}
	starts, leftovers, err := p.listIntents()
	if err != nil {
		return err
	}
	if len(starts) == 0 {
		if p.head != nil {
			return fmt.Errorf("the intents of the partition are gone from %s; the last one ended at offset %d", intentDir,
				p.head.end)
		}
		p.settled = true
		return nil
	}
	newest := own
	if own == nil || own.start != starts[len(starts)-1] {
		if newest, starts, leftovers, err = p.readNewest(starts); err != nil {
			return err
		}
	}
	if err := p.adopt(newest, newest == own); err != nil {
		return err
	}
	if err := p.rename(newest); err != nil {
		return err
	}
	p.settled = true
	p.sweep(starts, leftovers)
	return nil
}

// readNewest reads the newest of the intents that were listed, and lists them again: what was read counts only if it is
// still the newest. Else newer ones may have been made before it was read, the name may have been pruned, and a writer
// that slept through all of that may have created it anew, with an intent that counts for nothing.
func (p *Partition) readNewest(listed []int64) (in *intent, starts []int64, leftovers []string, err error) {
	for {
		start := listed[len(listed)-1]
		in, readErr := readIntent(p.fs, p.id, start)
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			return nil, nil, nil, readErr
		}
		if starts, leftovers, err = p.listIntents(); err != nil {
			return nil, nil, nil, err
		}
		switch {
		case len(starts) == 0:
			return nil, nil, nil, fmt.Errorf("the intents of the partition are gone from %s", intentDir)
		case starts[len(starts)-1] == start:
			return in, starts, leftovers, readErr
		}
		listed = starts
	}
}

// listIntents returns the start offsets of the partition's intents, rising, and the names that were left beside them by
// attempts to create one.
func (p *Partition) listIntents() (starts []int64, leftovers []string, err error) {
	entries, err := p.fs.List(intentDir)
	if err != nil {
		return nil, nil, fmt.Errorf("list intents: %w", err)
	}
	for _, e := range entries {
		base, hidden := strings.CutPrefix(e.Name, ".")
		partition, start, rest, ok := parseStart(base)
		switch {
		case !ok || partition != p.id:
		case hidden:
			leftovers = append(leftovers, e.Name)
		case rest == "":
			starts = append(starts, start)
		}
	}
	slices.Sort(starts)
	return starts, leftovers, nil
}

func readIntent(fsys Reader, partition int32, start int64) (*intent, error) {
	name := intentName(partition, start)
	data, err := fsys.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read intent: %w", err)
	}
	in, err := decodeIntent(data)
	if err != nil {
		return nil, fmt.Errorf("read intent %s: %w", name, err)
	}
	if in.partition != partition || in.start != start {
		return nil, fmt.Errorf("read intent %s: %w: it is that of partition %d from offset %d", name, ErrIntentCorrupt,
			in.partition, in.start)
	}
	return in, nil
}

// adopt goes on from the end of an intent, an own one or another's.
func (p *Partition) adopt(in *intent, own bool) error {
	if p.head != nil && p.head.id == in.id {
		return nil
	}
	if in.end < p.start() {
		return fmt.Errorf("the newest intent ends at offset %d, before the %d that was archived", in.end, p.start())
	}
	previous := p.head
	p.head = &intent{id: in.id, partition: in.partition, start: in.start, end: in.end, holes: slices.Clone(in.holes)}
	if own {
		p.batch.reset()
		p.since = time.Time{}
	} else if err := p.rejudge(previous, in); err != nil {
		return err
	}
	p.metrics.setOldest(p, p.since)
	return nil
}

// rejudge drops the rows below the end of another writer's intent, and judges those beyond it by what that writer
// remembers. What was left out here as a repeat or a gap is gone; it would be left out again, since a verdict is a
// function of the log and of the holes in it. If the other saw other holes this does not hold: ErrReopen.
func (p *Partition) rejudge(previous, in *intent) error {
	pending := p.holes
	if previous != nil {
		pending = pending[len(previous.holes):]
	}
	var ahead []Hole
	for _, h := range pending {
		if h.To > in.end {
			ahead = append(ahead, Hole{From: max(h.From, in.end), To: h.To})
		}
	}
	if p.next > in.end && len(p.holes)-len(ahead) != len(in.holes) {
		p.reopen = true
		return ErrReopen
	}
	p.next = max(p.next, in.end)
	p.holes = append(slices.Clone(in.holes), ahead...)
	p.marks = in.marks
	holesAt := func(offset int64) int64 {
		n := len(in.holes)
		for _, h := range ahead {
			if h.To <= offset {
				n++
			}
		}
		return int64(n)
	}
	p.batch.retain(func(e *rawEntry) bool {
		if e.offset < in.end {
			return false
		}
		_, ok := p.judge(e.SensorID, codecs.KindReading, e.Sequence, holesAt(e.offset))
		return ok
	}, func(e *windowEntry) bool {
		if e.offset < in.end {
			return false
		}
		_, ok := p.judge(e.SensorID, codecs.KindWindow, e.ordinal, holesAt(e.offset))
		return ok
	})
	if p.next == in.end {
		p.since = time.Time{}
	}
	return nil
}

// rename makes the files of an intent visible.
func (p *Partition) rename(in *intent) error {
	missing, err := moveFiles(p.fs, in)
	if err != nil || len(missing) == 0 {
		return err
	}
	if missing, err = notMerged(p.fs, missing); err != nil {
		return err
	}
	for _, f := range missing {
		p.metrics.filesMissing.Inc()
		p.log.Error("a file of the newest intent is under neither of its names, and was not merged: it is lost",
			"name", f.final, "rows", f.rows)
	}
	return nil
}

// moveFiles moves the files of an intent to their names. Each may have been moved already, by this writer or another.
// missing are those under neither of their names: moved, and merged with others since, or lost.
func moveFiles(fsys FS, in *intent) (missing []fileEntry, err error) {
	for _, f := range in.files {
		if err := fsys.MkdirAll(path.Dir(f.final)); err != nil {
			return nil, fmt.Errorf("create folder of %s: %w", f.final, err)
		}
		err := fsys.Rename(f.temp, f.final)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("rename to %s: %w", f.final, err)
		}
		there, err := fsys.Exists(f.final)
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", f.final, err)
		}
		if !there {
			missing = append(missing, f)
		}
	}
	return missing, nil
}

// notMerged returns the files that no sealed hour holds the rows of.
func notMerged(fsys Reader, files []fileEntry) (lost []fileEntry, err error) {
	newest, err := generations(fsys)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		var sealed *SealedFile
		if hour, ok := hourOfDir(f.table, path.Dir(f.final)); ok && newest[hour] > 0 {
			m, err := readManifest(fsys, hour, newest[hour])
			if err != nil && !errors.Is(err, ErrManifestCorrupt) { // which must not stop the archiver
				return nil, err
			}
			sealed = m.file(f.table)
		}
		partition, start, _, _ := FileRange(f.final)
		if sealed == nil || !sealed.Covers(partition, start) {
			lost = append(lost, f)
		}
	}
	return lost, nil
}

// sweep removes what nobody can need any more: all but the newest intents, and leftovers of a start offset at or before
// the newest intent's, whose own files have just been renamed. A temporary file that starts at the end of the newest
// intent may belong to the next commit of a slower writer, so it stays until that commit is done, by whomever.
//
// It ends at the first name that cannot be removed: a file system that is away would be waited for at each.
func (p *Partition) sweep(starts []int64, leftovers []string) {
	var names []string
	for _, start := range starts[:max(0, len(starts)-p.opts.IntentsKept)] {
		names = append(names, intentName(p.id, start))
	}
	for _, name := range leftovers {
		if p.leftover(strings.TrimPrefix(name, ".")) {
			names = append(names, path.Join(intentDir, name))
		}
	}
	entries, err := p.fs.List(tempDir)
	for _, e := range entries {
		if p.leftover(strings.TrimPrefix(e.Name, "p")) {
			names = append(names, path.Join(tempDir, e.Name))
		}
	}
	for i := 0; i < len(names) && err == nil; i++ {
		err = p.remove(names[i])
	}
	if err != nil {
		p.log.Warn("leftovers of the archive are not removed; the next flush tries again", "error", err)
	}
}

// leftover tells whether a temporary name, without its prefix, is one of this partition that nobody needs.
func (p *Partition) leftover(base string) bool {
	partition, start, _, ok := parseStart(base)
	return ok && partition == p.id && start <= p.head.start
}
