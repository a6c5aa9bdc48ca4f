package simulate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/store/archive"
)

// archiver feeds the archive of one partition.
type archiver struct {
	writer
	part    int32
	leaving bool          // it has been told to give the partition up
	next    int64         // where the archive ends, as it knows
	waited  time.Duration // how far its clock is beyond the world's
}

func (w *world) newArchiver(p *process, part int32) *archiver {
	a := &archiver{part: part, next: -1}
	a.start(p, fmt.Sprintf("archive/%d", part), a.run)
	return a
}

func (a *archiver) run() {
	opts := archive.DefaultOptions()
	opts.FlushRows, opts.IntentsKept = a.w.flushRows, 1
	opts.ProgressInterval = opts.FlushInterval
	opts.Now, opts.Rand = func() time.Time { return a.w.now().Add(a.waited) }, a.w.bytes()
	for !a.dead() {
		a.follow(opts)
		if a.leaving {
			return
		}
		a.wait("")
	}
}

// follow opens the partition and archives it until something ends that.
func (a *archiver) follow(opts archive.Options) {
	part, err := archive.OpenPartition(context.Background(), a.fs, a.part, opts)
	if err != nil {
		a.w.tell("%v cannot open the partition: %v", a, err)
		return
	}
	defer part.Close()
	a.note(part)
	for {
		a.wait("")
		a.waited += time.Second // a batch without rows is due some time later
		if a.dead() {
			return
		}
		full, err := a.feed(part)
		if err == nil && (full || a.leaving || a.w.some(4) == 0) {
			err = a.flush(part)
		}
		a.note(part)
		if errors.Is(err, archive.ErrReopen) || a.leaving {
			return
		}
	}
}

// note remembers how far the archive is.
func (a *archiver) note(part *archive.Partition) {
	a.next = max(a.next, part.NextOffset())
}

// feed adds up to a few records; full says that the batch must be flushed before the next.
func (a *archiver) feed(part *archive.Partition) (full bool, err error) {
	log := a.w.log(topicEvents, a.part)
	for n := 1 + a.w.some(6); n > 0 && part.Position() < log.end() && !full; n-- {
		rec, err := archiveRecord(log[part.Position()])
		a.w.must(err)
		if full, err = part.Add(rec); errors.Is(err, archive.ErrFull) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return full, nil
}

func (a *archiver) flush(part *archive.Partition) error {
	c, err := part.Flush(context.Background())
	switch {
	case err != nil:
		a.w.tell("%v: a flush failed: %v", a, err)
	case c != (archive.Committed{}):
		a.w.tell("%v has archived offsets %d to %d", a, c.Start, c.End-1)
	}
	return err
}

// archiveRecord reads what the archive needs of a record of traffic-events.
func archiveRecord(r *kgo.Record) (archive.Record, error) {
	rec := archive.Record{Offset: r.Offset, Event: new(codecs.Event)}
	err := codecs.DecodeEvent(r.Value, rec.Event)
	switch {
	case err != nil:
	case rec.Event.Kind == codecs.KindReading:
		rec.Source, err = codecs.ParseSource(header(r, codecs.HeaderSource))
	case rec.Event.Kind == codecs.KindWindow:
		rec.Ordinal, err = ordinalOf(r)
	}
	return rec, err
}
