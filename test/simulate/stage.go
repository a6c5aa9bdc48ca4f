package simulate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
	"gantry/store"
)

// role is what a partition is owned for; each role is a consumer group.
type role uint8

const (
	dedupRole role = iota
	windowRole
	archiveRole
	roles = iota
)

func (r role) String() string { return [...]string{"dedup", "window", "archive"}[r] }

func (r role) input() string {
	if r == dedupRole {
		return topicRaw
	}
	return topicEvents
}

func (r role) table() string {
	if r == dedupRole {
		return string(processors.DedupTable)
	}
	return string(processors.WindowTable)
}

// flight is a record between Send and its acknowledgement.
type flight struct {
	rec   *kgo.Record
	acked func(*kgo.Record, error)
}

// pipe is what one producer has in flight to one partition, in order. Between partitions there is no order.
type pipe struct {
	topic  string
	part   int32
	sent   []flight // not with the broker yet
	logged []flight // stored; the answer is on its way
}

// stage is a process's dedup or window group: one engine, with a lane for each partition that it owns.
type stage struct {
	w       *world
	proc    *process
	role    role
	handler processors.Handler
	engine  *store.Stepped
	lanes   [partitions]*lane
	pipes   []*pipe // in the order of their first use
}

var _ store.Transport = (*stage)(nil)

// lane is a partition of a stage: recovering first, then reading its input.
type lane struct {
	st        *stage
	part      int32
	disk      *disk
	table     *store.Table
	recovered bool
	next      int64 // input offset to read next
}

func (w *world) newStage(p *process, r role) *stage {
	st := &stage{w: w, proc: p, role: r, handler: w.handlers[r]}
	opts := store.DefaultOptions()
	opts.Group, opts.Table, opts.Dir = r.String(), r.table(), "no folder: the disks are in memory"
	opts.New, opts.Decode = st.handler.New, st.handler.Decode
	opts.FlushInterval = never
	opts.CellsMax = 2 // so that states are dropped and read back
	opts.TableEnd = func(part int32) (int64, error) { return w.log(r.table(), part).end(), nil }
	opts.Mark = func(_ int, part int32, next int64) { w.commit(st, part, next) }
	openDB := func(part int32) (*leveldb.DB, error) { return st.lanes[part].disk.open() }
	var err error
	st.engine, err = store.NewStepped(opts, st, openDB, w.engineWithout)
	w.must(err)
	return st
}

// Send implements store.Transport.
func (st *stage) Send(r *kgo.Record, acked func(*kgo.Record, error)) {
	p := st.pipe(r.Topic, r.Partition)
	p.sent = append(p.sent, flight{r, acked})
}

// Close implements store.Transport: what is in flight is dealt with by whoever ends the stage.
func (st *stage) Close() {}

func (st *stage) pipe(topic string, part int32) *pipe {
	for _, p := range st.pipes {
		if p.topic == topic && p.part == part {
			return p
		}
	}
	p := &pipe{topic: topic, part: part}
	st.pipes = append(st.pipes, p)
	return p
}

// open begins to own a partition.
func (st *stage) open(part int32) {
	l := &lane{st: st, part: part, disk: st.proc.disk(st.role, part)}
	st.lanes[part] = l
	l.table = st.engine.Table(part)
	st.w.must(l.table.Open())
}

// offset is that of the last changelog record that the table holds.
func (l *lane) offset() int64 {
	at, err := l.table.GetOffset(-1)
	l.st.w.must(err)
	return at
}

// never is longer than any schedule.
const never = 1000 * time.Hour

// everything is more records than any changelog holds.
const everything = 1 << 30

// recover reads up to n records of the changelog, and ends recovery where it ends.
func (l *lane) recover(n int) {
	w, log := l.st.w, l.st.w.log(l.st.role.table(), l.part)
	for at := l.offset() + 1; at < log.end(); at++ {
		if n == 0 {
			return
		}
		n--
		if r := log[at]; r != nil {
			w.must(l.table.Set(string(r.Key), r.Value))
		}
		w.must(l.table.SetOffset(at))
	}
	w.must(l.table.MarkRecovered())
	l.recovered, w.tender = true, l.st.proc
	l.next = w.committed[l.st.role][l.part]
	w.tell("%v has recovered %v/%d up to changelog offset %d, and reads on from %d", l.st.proc, l.st.role, l.part,
		l.offset(), l.next)
}

// read hands up to n records to the stage's handler. It reports whether there were any.
func (l *lane) read(n int) bool {
	w, log := l.st.w, l.st.w.log(l.st.role.input(), l.part)
	end := min(log.end(), l.next+int64(n))
	if !l.recovered || l.next >= end || l.st.engine.Err() != nil {
		return false
	}
	b := processors.NewBatch(l.st.role.input(), l.part, append([]*kgo.Record(nil), log[l.next:end]...))
	w.tell("%v: %v/%d reads offsets %d to %d", l.st.proc, l.st.role, l.part, l.next, end-1)
	eng, err := l.st.engine.Lane(l.part)
	w.must(err)
	if err := l.st.handler.Handle(context.Background(), eng, 0, b); err != nil && l.st.engine.Err() == nil {
		w.fail("%v: %v/%d stopped at offset %d: %v", l.st.proc, l.st.role, l.part, l.next, err)
	}
	l.next = end
	return true
}

func (l *lane) closeRound() bool {
	if !l.recovered {
		return false
	}
	closed, err := l.st.engine.CloseRound(l.part)
	l.st.w.must(err)
	return closed
}

func (l *lane) sendReleased() {
	if l.recovered {
		l.st.w.must(l.st.engine.SendReleased(l.part))
	}
}

// deliver lets the next record of a pipe reach the broker.
func (st *stage) deliver(p *pipe) bool {
	if len(p.sent) == 0 {
		return false
	}
	f := p.sent[0]
	p.sent = p.sent[1:]
	f.rec.Offset = st.w.append(st.proc.String(), f.rec)
	p.logged = append(p.logged, f)
	return true
}

// ack lets the answer to the oldest stored record arrive.
func (st *stage) ack(p *pipe) bool {
	if len(p.logged) == 0 {
		return false
	}
	f := p.logged[0]
	p.logged = p.logged[1:]
	f.acked(f.rec, nil)
	return true
}

// errRefused is why a record fails for good.
var errRefused = errors.New("the broker refuses the record")

// refuse fails the next record of a pipe for good, stored or not: a producer that gives up does not know.
func (st *stage) refuse(p *pipe, stored bool) {
	f := p.sent[0]
	p.sent = p.sent[1:]
	if stored {
		st.w.append(st.proc.String(), f.rec)
	}
	f.acked(f.rec, errRefused)
}

// strand ends the stage's producer. What it had sent may still be on its way: up to some record of each partition it
// becomes a ghost, which arrives later and is acknowledged to nobody.
func (st *stage) strand() {
	for _, p := range st.pipes {
		if n := st.w.some(len(p.sent)); n > 0 && st.w.allowed(lateRecords) {
			g := &ghost{from: st.proc.String()}
			for _, f := range p.sent[:n] {
				g.records = append(g.records, st.w.copyRecord(f.rec))
			}
			st.w.ghosts = append(st.w.ghosts, g)
			st.w.tell("%d records of %v for %s/%d are still on their way", n, st.proc, p.topic, p.part)
		}
	}
	st.pipes = nil
}

// drain lets everything that the lane has done be acknowledged, as a clean end does.
func (st *stage) drain(l *lane) {
	for again := true; again && st.engine.Err() == nil; {
		again = l.closeRound()
		l.sendReleased()
		for _, p := range st.pipes {
			for st.deliver(p) || st.ack(p) {
				again = true
			}
		}
	}
}

// giveUp closes a lane as a rebalance does.
func (st *stage) giveUp(l *lane) {
	st.w.must(l.table.Close())
	st.w.must(l.disk.release())
	st.lanes[l.part] = nil
}

// rebuild is the supervisor: a stage whose engine has stopped is built anew, on the same disks.
func (st *stage) rebuild() {
	err := st.engine.Err()
	if err == nil {
		return
	}
	st.w.tell("%v: %v stopped, and is built anew: %v", st.proc, st.role, err)
	for _, l := range st.lanes {
		if l != nil {
			st.giveUp(l)
		}
	}
	st.strand()
	next := st.w.newStage(st.proc, st.role)
	st.proc.stages[st.role] = next
	next.openOwned()
}

func (st *stage) openOwned() {
	for part := range int32(partitions) {
		if st.w.owner[st.role][part] == st.proc {
			st.open(part)
		}
	}
}

// die ends the stage as kill -9 does.
func (st *stage) die() {
	for _, l := range st.lanes {
		if l != nil {
			l.table.Abandon()
			st.w.must(l.disk.release())
		}
	}
	st.strand()
}

func (l *lane) String() string { return fmt.Sprintf("%v: %v/%d", l.st.proc, l.st.role, l.part) }
