package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"gantry/codecs"
)

// Errors of Add, NoteHole and Flush that callers tell apart.
var (
	// ErrFull: the batch holds FlushRows rows. Flush, then add the record again.
	ErrFull = errors.New("the batch is full")
	// ErrReopen: the partition is closed, or another writer archived it and saw other holes than this one, so that what
	// was left out here cannot be judged again. Open the partition again and feed it from its NextOffset.
	ErrReopen = errors.New("the partition must be opened again")
	// ErrOffsetOrder: an offset that was added already and is not archived.
	ErrOffsetOrder = errors.New("offsets must increase")
)

// Record is a record of traffic-events. Strings of its event are not kept.
type Record struct {
	Offset  int64
	Event   *codecs.Event
	Source  codecs.Source // of a reading: header gantry-source
	Ordinal int64         // of a window: header gantry-ordinal
}

// Partition archives one partition of traffic-events. It is safe for concurrent use; while a flush waits for the file
// system, other calls wait for the flush.
type Partition struct {
	fs      FS
	id      int32
	opts    Options
	log     *slog.Logger
	metrics *Metrics
	encoder [tableCount]*encoder // made when first needed

	mu      sync.Mutex
	head    *intent // the newest intent, nil for none; without its files and marks
	attempt attempt
	settled bool  // head is known to be the newest, and its files are renamed
	reopen  bool  // closed, or ErrReopen has been returned
	next    int64 // lowest offset that Add takes
	marks   map[string]mark
	holes   []Hole // all that are known; the first len(head.holes) are in head
	batch   batch
	since   time.Time // when the first record that is not archived came; zero for none
	rowTime time.Time // when the first row of the batch came
}

// OpenPartition reads where the archive of a partition ends, and finishes the newest commit in case its writer could
// not. Another process may have the same partition open: each record is archived once all the same.
func OpenPartition(ctx context.Context, fsys FS, partition int32, opts Options) (*Partition, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	p := &Partition{
		fs:      fsys,
		id:      partition,
		opts:    opts,
		log:     opts.Logger.With("component", "archive", "partition", partition),
		metrics: opts.Metrics,
		marks:   make(map[string]mark),
	}
	if p.metrics == nil {
		p.metrics = newMetrics(opts.Now)
	}
	for _, dir := range []string{intentDir, tempDir} {
		if err := fsys.MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("open archive partition %d: %w", partition, err)
		}
	}
	if err := p.settle(ctx, nil); err != nil {
		return nil, fmt.Errorf("open archive partition %d: %w", partition, err)
	}
	return p, nil
}

// NextOffset is where a feed goes on after a restart: all below is archived. It is -1 while nothing is.
func (p *Partition) NextOffset() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == nil {
		return -1
	}
	return p.head.end
}

// Position is the lowest offset that Add takes next. Between it and NextOffset lies what waits for a flush.
func (p *Partition) Position() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// Holes are the ranges of the partition that retention deleted before they were archived.
func (p *Partition) Holes() []Hole {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.holes)
}

// Close gives the partition up, without a flush: call Flush before. What was not flushed is read again by the next
// owner.
func (p *Partition) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reopen = true
	p.metrics.setOldest(p, time.Time{})
}

// start is the start offset of the next intent. The first one of a partition starts at 0 whatever the log's first
// offset is: two writers that see different beginnings must contend for one name.
func (p *Partition) start() int64 {
	if p.head == nil {
		return 0
	}
	return p.head.end
}

// NoteHole says that retention deleted the offsets from ≤ offset < to, so that the next record comes from to or later.
// What is archived or added already is not affected. Offsets that Add does not see for another reason (control records
// of a transaction, say) are no hole and need no word.
func (p *Partition) NoteHole(from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteHole(from, to)
}

func (p *Partition) noteHole(from, to int64) {
	from = max(from, p.next)
	if from >= to {
		return
	}
	p.holes = append(p.holes, Hole{From: from, To: to})
	p.next = to
	p.touch()
	p.metrics.holes.Inc()
	p.metrics.offsetsLost.Add(float64(to - from))
	p.log.Error("retention deleted records before they were archived", "from", from, "to", to)
}

// touch notes that there is something that is not archived.
func (p *Partition) touch() {
	if p.since.IsZero() {
		p.since = p.opts.Now()
		p.metrics.setOldest(p, p.since)
	}
}

// Add takes the next record; offsets must increase, and those that are archived already are passed over. full says that
// the batch must be flushed before the next record; while it is, Add takes nothing and returns ErrFull.
//
// Of each sensor the reading and the window that follow the last one are kept. A repeat is dropped. A number beyond the
// next is left out: what is missing, and then the same number, come later in the log. Silences are not archived.
//
// Where the first record of a partition that was never archived is not at offset 0, retention has been there first:
// NoteHole is implied.
func (p *Partition) Add(r Record) (full bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.reopen:
		return false, ErrReopen
	case r.Offset < p.start():
		return p.full(), nil
	case r.Offset < p.next:
		return false, fmt.Errorf("add offset %d of partition %d after %d: %w", r.Offset, p.id, p.next-1, ErrOffsetOrder)
	case p.full():
		return true, ErrFull
	}
	if err := checkNumber(r); err != nil {
		return false, fmt.Errorf("add offset %d of partition %d: %w", r.Offset, p.id, err)
	}
	if p.head == nil && p.next == 0 && r.Offset > 0 {
		p.noteHole(0, r.Offset)
	}
	p.take(r)
	p.next = r.Offset + 1
	p.touch()
	return p.full(), nil
}

// checkNumber refuses what cannot be judged; only a foreign writer of traffic-events makes such records.
func checkNumber(r Record) error {
	switch {
	case r.Event.Kind == codecs.KindReading && r.Event.Reading.Sequence < 1:
		return fmt.Errorf("a reading has the sequence %d", r.Event.Reading.Sequence)
	case r.Event.Kind == codecs.KindWindow && r.Ordinal < 1:
		return fmt.Errorf("a window has the %s %d", codecs.HeaderOrdinal, r.Ordinal)
	}
	return nil
}

func (p *Partition) take(r Record) {
	if r.Event.Kind != codecs.KindReading && r.Event.Kind != codecs.KindWindow {
		return
	}
	if p.batch.rows() == 0 {
		p.rowTime = p.opts.Now()
	}
	id, holes := r.Event.SensorID(), int64(len(p.holes))
	switch r.Event.Kind {
	case codecs.KindReading:
		if id, ok := p.judge(id, r.Event.Kind, r.Event.Reading.Sequence, holes); ok {
			p.batch.addReading(id, &r.Event.Reading, r.Source, r.Offset)
		}
	case codecs.KindWindow:
		if id, ok := p.judge(id, r.Event.Kind, r.Ordinal, holes); ok {
			p.batch.addWindow(id, &r.Event.Window, r.Ordinal, r.Offset)
		}
	}
}

// judge decides on number n of a sensor's readings or windows, behind so many holes, and remembers it where it is
// taken. It returns the sensor's id as it is kept: id may alias a buffer.
func (p *Partition) judge(id string, kind codecs.Kind, n, holes int64) (kept string, ok bool) {
	m, known := p.marks[id]
	c := &m.reading
	if kind == codecs.KindWindow {
		c = &m.window
	}
	switch c.judge(n, holes) {
	case verdictRepeat:
		p.metrics.repeats.WithLabelValues(string(kind)).Inc()
		return "", false
	case verdictGap:
		p.metrics.gaps.WithLabelValues(string(kind)).Inc()
		return "", false
	}
	*c = counter{last: n, holes: holes}
	if known {
		id = m.id
	} else {
		id = strings.Clone(id)
		m.id = id
	}
	p.marks[id] = m
	return id, true
}

func (p *Partition) full() bool { return p.batch.rows() >= p.opts.FlushRows }

// Due tells whether Flush should be called now: the batch is full, its first row is FlushInterval old, or, where there
// are no rows, the first record is ProgressInterval old. After a failed flush it stays due: call again after a pause.
func (p *Partition) Due(now time.Time) bool {
	due, ok := p.NextDue()
	return ok && !now.Before(due)
}

// NextDue is when the next flush is due as things stand; ok is false while there is nothing to flush.
func (p *Partition) NextDue() (due time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nextDue()
}

func (p *Partition) nextDue() (due time.Time, ok bool) {
	switch {
	case !p.settled, p.full():
		return p.since, true
	case p.batch.rows() > 0:
		return p.rowTime.Add(p.opts.FlushInterval), true
	case !p.since.IsZero():
		return p.since.Add(p.opts.ProgressInterval), true
	default:
		return time.Time{}, false
	}
}
