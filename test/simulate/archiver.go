package simulate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// archiver feeds the archive of one partition. It is a coroutine that hands control back before each call to the file
// system and between records, so that the scheduler interleaves archivers call by call, and may leave one asleep in the
// middle of a flush for as long as it likes.
type archiver struct {
	w    *world
	proc *process
	part int32
	fs   *fstest.Faulty

	resume func() (struct{}, bool)
	stop   func()
	ended  bool

	call    string        // the call that it is at; "" between records
	verdict fstest.Fault  // what becomes of that call
	late    bool          // … its effect comes later, and the caller sees an error
	leaving bool          // it has been told to give the partition up
	asleep  int           // it hangs in the file system until this step
	waited  time.Duration // how far its clock is beyond the world's
	next    int64         // where the archive ends, as it knows
	read    int64         // how far it has read
}

func (a *archiver) String() string { return fmt.Sprintf("%v: archive/%d", a.proc, a.part) }

func (w *world) newArchiver(p *process, part int32) *archiver {
	a := &archiver{w: w, proc: p, part: part, next: -1}
	a.resume, a.stop = iter.Pull(func(yield func(struct{}) bool) { a.run(yield) })
	return a
}

// step lets the archiver go on to its next call or record.
func (a *archiver) step() {
	if _, ok := a.resume(); !ok {
		a.ended = true
	}
}

// die ends the archiver at the call where it stands, with this fate of the call.
func (a *archiver) die(fate fstest.Fault) {
	if !a.ended && a.call != "" {
		a.verdict = fate
		a.w.tell("%v ends at %s: %v", a, a.call, fate)
		a.step()
	}
	a.stop()
	a.ended = true
}

func (a *archiver) run(yield func(struct{}) bool) {
	gone := false
	wait := func(call string) {
		a.call = call
		gone = gone || !yield(struct{}{})
	}
	a.fs = &fstest.Faulty{
		FS: a.w.archiveWithout(&deferring{FS: a.w.files, a: a}),
		Decide: func(op, name string) fstest.Fault {
			wait(op + " " + name)
			if gone {
				return fstest.CrashBefore
			}
			v := a.verdict
			a.verdict = fstest.None
			return v
		},
	}
	opts := archive.DefaultOptions()
	opts.FlushRows, opts.IntentsKept = a.w.flushRows, 1
	opts.ProgressInterval = opts.FlushInterval
	opts.Now, opts.Rand = func() time.Time { return a.w.now().Add(a.waited) }, a.w.bytes()
	for !gone && !a.fs.Dead() {
		a.follow(opts, wait, func() bool { return gone || a.fs.Dead() })
		if a.leaving {
			return
		}
		wait("")
	}
}

// follow opens the partition and archives it until something ends that.
func (a *archiver) follow(opts archive.Options, wait func(call string), dead func() bool) {
	part, err := archive.OpenPartition(context.Background(), a.fs, a.part, opts)
	if err != nil {
		a.w.tell("%v cannot open the partition: %v", a, err)
		return
	}
	defer part.Close()
	a.note(part)
	for {
		wait("")
		a.waited += time.Second // a batch without rows is due some time later
		if dead() {
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

func (a *archiver) note(part *archive.Partition) {
	a.next, a.read = max(a.next, part.NextOffset()), part.Position()
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

// changes tells whether the call that the archiver is at changes the file system in a way that can come late.
func (a *archiver) changes() bool {
	op, _, _ := strings.Cut(a.call, " ")
	return slices.Contains([]string{"WriteFile", "CreateExclusive", "Rename", "Remove"}, op)
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

// deferring is a file system whose answer may overtake the effect: the caller sees an error, and what it asked for
// happens at some later time, also when the caller is long gone.
type deferring struct {
	archive.FS
	a *archiver
}

// lateCall is a call whose effect is still to come.
type lateCall struct {
	what string
	do   func() error
}

func (d *deferring) do(op, name string, call func() error) error {
	if !d.a.late {
		return call()
	}
	d.a.late = false
	d.a.w.lateCalls = append(d.a.w.lateCalls, lateCall{fmt.Sprintf("%s %s by %v", op, name, d.a), call})
	return fstest.ErrFault
}

func (d *deferring) WriteFile(name string, data []byte) error {
	data = clone(data) // the caller uses its buffer again
	return d.do("WriteFile", name, func() error { return d.FS.WriteFile(name, data) })
}

func (d *deferring) CreateExclusive(name string, data []byte) error {
	data = clone(data)
	return d.do("CreateExclusive", name, func() error { return d.FS.CreateExclusive(name, data) })
}

func (d *deferring) Rename(oldName, newName string) error {
	return d.do("Rename", newName, func() error { return d.FS.Rename(oldName, newName) })
}

func (d *deferring) Remove(name string) error {
	return d.do("Remove", name, func() error { return d.FS.Remove(name) })
}

// never is longer than any schedule.
const never = 1000 * time.Hour
