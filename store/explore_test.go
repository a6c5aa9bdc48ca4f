package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	lstorage "github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The explorer runs the engine against a log in memory, one step at a time. A step reads a record, closes a round,
// sends what was released, appends a record in flight to the log, delivers an acknowledgement or flushes LevelDB. A
// schedule is a seed; each schedule is run once undisturbed and then again with a fault at every one of its steps.
// Afterwards everything is let through, and outputs and state must equal an obvious fold of the input.

const (
	topicOut   = "out"
	topicTable = "table"
	keyNone    = "" // a record that changes nothing and sends nothing
)

// counter is the state of the explorer's stage: it numbers and sums the records of a key.
type counter struct{ seq, sum int64 }

func (c *counter) AppendTo(b []byte) []byte {
	return binary.AppendVarint(binary.AppendVarint(b, c.seq), c.sum)
}

func decodeCounter(b []byte) (State, error) {
	seq, n := binary.Varint(b)
	if n <= 0 {
		return nil, errValue
	}
	sum, m := binary.Varint(b[n:])
	if m <= 0 {
		return nil, errValue
	}
	return &counter{seq, sum}, nil
}

type logged struct {
	key   string
	value string
}

// disk is a LevelDB that survives its process: it stays open, which differs from a reopened one in nothing but time.
type disk struct{ db *leveldb.DB }

func (w *world) newDisk() *disk {
	db, err := leveldb.Open(lstorage.NewMemStorage(), &opt.Options{WriteBuffer: 64 << 10})
	must(w.t, err)
	d := &disk{db}
	w.disks = append(w.disks, d)
	return d
}

func (w *world) copyOf(d *disk) *disk {
	to := w.newDisk()
	it := d.db.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		must(w.t, to.db.Put(it.Key(), it.Value(), nil))
	}
	return to
}

// flight is a record between Send and acknowledgement.
type flight struct {
	rec   *kgo.Record
	acked func(*kgo.Record, error)
}

// instance is a process that owns, or owned, the partition.
type instance struct {
	w      *world
	disk   *disk
	engine *Engine
	table  *Table
	lane   *Lane
	pos    int64               // next input offset to read
	sent   map[string][]flight // by topic, not in the log yet
	logged map[string][]flight // by topic, in the log, not acknowledged yet
	owner  bool
}

func (i *instance) Send(r *kgo.Record, acked func(*kgo.Record, error)) {
	i.sent[r.Topic] = append(i.sent[r.Topic], flight{r, acked})
}

func (i *instance) Close() {}

type world struct {
	t         *testing.T
	rng       *rand.Rand
	omit      omit
	input     []logged
	committed int64
	logs      map[string][]logged
	owner     *instance
	others    []*instance // paused or gone; what they had sent may still arrive
	disks     []*disk
	stale     *disk  // an older copy of the owner's disk
	meanwhile func() // what happens during the next recovery, behind what it reads

	watcher     *watcher
	watching    *rand.Rand // what the watcher does
	watcherOmit omit
}

func newWorld(t *testing.T, seed uint64, o, watcherOmit omit) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), omit: o, logs: make(map[string][]logged),
		watching: rand.New(rand.NewPCG(seed, 2)), watcherOmit: watcherOmit,
	}
	for n := range 14 {
		key := fmt.Sprintf("k%d", w.rng.IntN(3))
		if n > 3 && w.rng.IntN(3) == 0 {
			key = keyNone
		}
		w.input = append(w.input, logged{key: key, value: fmt.Sprint(n + 1)})
	}
	w.start(w.newDisk())
	w.watch(w.newDisk())
	return w
}

// start lets a new process own the partition, with this disk.
func (w *world) start(d *disk) {
	w.t.Helper()
	i := &instance{w: w, disk: d, sent: make(map[string][]flight), logged: make(map[string][]flight), owner: true}
	opts := DefaultOptions()
	opts.Table, opts.manual = topicTable, true
	opts.New = func() State { return new(counter) }
	opts.Decode = decodeCounter
	opts.FlushInterval = time.Hour
	opts.openDB = func(int32) (*leveldb.DB, error) { return d.db, nil }
	opts.TableEnd = func(int32) (int64, error) { return int64(len(w.logs[topicTable])), nil }
	opts.Mark = func(_ int, _ int32, next int64) {
		if i.owner { // the group refuses the commit of a member that is not in it
			w.committed = next
		}
	}
	i.engine = NewEngine(opts, i)
	i.engine.omit = w.omit
	i.table = i.engine.openTable(0)
	must(w.t, i.table.Open())
	from, _ := i.table.GetOffset(noOffset)
	for off := from + 1; off < int64(len(w.logs[topicTable])); off++ {
		r := w.logs[topicTable][off]
		must(w.t, i.table.Set(r.key, []byte(r.value)))
		must(w.t, i.table.SetOffset(off))
	}
	if f := w.meanwhile; f != nil {
		w.meanwhile = nil
		f()
	}
	must(w.t, i.table.MarkRecovered())
	lane, err := i.engine.Lane(0)
	must(w.t, err)
	i.lane, i.pos = lane, w.committed
	w.owner = i
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crash ends the owner as kill -9 does: what is in LevelDB stays, nothing more is sent. What was sent is with the
// broker: some of it was appended.
func (w *world) crash() {
	i := w.owner
	i.owner = false
	i.stopTable()
	for topic, fl := range i.sent {
		n := w.rng.IntN(len(fl) + 1)
		for _, f := range fl[:n] {
			w.append(topic, f.rec)
		}
	}
	i.sent, i.logged = nil, nil
}

// stopTable ends the table without the flush of a clean stop.
func (i *instance) stopTable() { i.table.Abandon() }

// pause takes the partition from the owner, as a session time-out does; what it has sent arrives later, or when it
// wakes up.
func (w *world) pause() {
	w.owner.owner = false
	w.others = append(w.others, w.owner)
}

func (w *world) append(topic string, r *kgo.Record) int64 {
	w.logs[topic] = append(w.logs[topic], logged{string(r.Key), string(r.Value)})
	return int64(len(w.logs[topic]) - 1)
}

func (i *instance) read() {
	if i.engine.Err() != nil || i.pos >= int64(len(i.w.input)) {
		return
	}
	in := i.w.input[i.pos]
	must(i.w.t, i.lane.Begin())
	defer i.lane.End()
	defer func() { i.pos++ }()
	i.lane.Handled(0, i.pos)
	if in.key == keyNone {
		return
	}
	c, err := i.lane.Cell(in.key)
	must(i.w.t, err)
	if i.pos > c.Applied() {
		s := c.State.(*counter)
		n := int64(0)
		fmt.Sscan(in.value, &n)
		s.seq, s.sum = s.seq+1, s.sum+n
		o := i.lane.Output(topicOut, 0)
		o.SetKeyString(in.key)
		o.Value = fmt.Appendf(nil, "%d %d", s.seq, s.sum)
		i.lane.Emit(o)
		i.lane.Applied(c, i.pos)
	}
}

func (i *instance) deliver(topic string) bool {
	fl := i.sent[topic]
	if len(fl) == 0 {
		return false
	}
	i.sent[topic] = fl[1:]
	fl[0].rec.Offset = i.w.append(topic, fl[0].rec)
	i.logged[topic] = append(i.logged[topic], fl[0])
	return true
}

func (i *instance) ack(topic string) bool {
	fl := i.logged[topic]
	if len(fl) == 0 {
		return false
	}
	i.logged[topic] = fl[1:]
	fl[0].acked(fl[0].rec, nil)
	return true
}

// step does one random thing.
func (w *world) step() {
	i := w.owner
	if len(w.others) > 0 && w.rng.IntN(4) == 0 {
		i = w.others[w.rng.IntN(len(w.others))]
	}
	topic := topicOut
	if w.rng.IntN(2) == 0 {
		topic = topicTable
	}
	switch w.rng.IntN(8) {
	case 0, 1:
		i.read()
	case 2:
		i.closeRound()
	case 3:
		i.lane.sendReleased()
	case 4, 5:
		i.deliver(topic)
	case 6:
		i.ack(topic)
	case 7:
		must(w.t, i.table.Flush())
	}
	w.rebuild()
	w.watcher.step()
}

func (i *instance) closeRound() {
	i.lane.mu.Lock()
	i.lane.close()
	i.lane.mu.Unlock()
}

// rebuild is the supervisor: an engine that has stopped is built anew, on the same disk.
func (w *world) rebuild() {
	if w.owner.engine.Err() == nil {
		return
	}
	d := w.owner.disk
	w.crash()
	w.start(d)
}

// settle lets everything through.
func (w *world) settle() {
	for range 3 { // an overtaken owner starts again, once for each stranger
		for again := true; again; {
			again = false
			for _, i := range append(w.others, w.owner) {
				if i.owner && i.pos < int64(len(w.input)) {
					i.read()
					again = true
				}
				if i.owner {
					i.closeRound()
				}
				i.lane.sendReleased()
				for _, topic := range []string{topicOut, topicTable} {
					again = i.deliver(topic) || again
					again = i.ack(topic) || again
				}
			}
			if w.owner.engine.Err() != nil {
				w.rebuild()
				again = true
			}
		}
	}
}

// fault is what happens at one step of a schedule.
type fault struct {
	name string
	do   func(w *world)
}

var faults = []fault{
	{"crash, disk kept", func(w *world) { d := w.owner.disk; w.crash(); w.start(d) }},
	{"crash, disk lost", func(w *world) { w.crash(); w.start(w.newDisk()) }},
	{"crash, disk stale", func(w *world) {
		d := w.stale
		w.crash()
		if d == nil {
			d = w.newDisk()
		}
		w.start(d)
	}},
	{"paused, taken over on an empty disk", func(w *world) { w.pause(); w.start(w.newDisk()) }},
	{"paused, taken over, given back on its own disk", func(w *world) {
		first := w.owner
		w.pause()
		w.start(w.newDisk())
		w.others = slices.DeleteFunc(w.others, func(i *instance) bool { return i == first })
		for range 80 {
			w.step()
		}
		w.giveBack(first)
	}},
	{"paused, taken over, given back, crash before the repair", func(w *world) {
		first := w.owner
		w.pause()
		w.start(w.newDisk())
		for range 80 {
			w.step()
		}
		w.giveBack(first)
		must(w.t, w.owner.table.Flush())
		w.crash()
		w.start(first.disk)
	}},
	{"paused, taken over, writes while the other recovers", func(w *world) {
		first := w.owner
		w.pause()
		w.meanwhile = func() {
			first.closeRound()
			for first.deliver(topicOut) || first.ack(topicOut) {
			}
			first.lane.sendReleased()
			for first.deliver(topicTable) {
			}
		}
		w.start(w.newDisk())
	}},
	{"an output fails for good, later ones do not", func(w *world) {
		fl := w.owner.sent[topicOut]
		if len(fl) == 0 {
			return
		}
		w.owner.sent[topicOut] = fl[1:]
		fl[0].acked(fl[0].rec, errors.New("record too large"))
		w.rebuild()
	}},
}

// giveBack wakes up an instance that was paused: what it had buffered is acknowledged and flushed, and it takes the
// partition again.
func (w *world) giveBack(i *instance) {
	w.wake(i)
	w.crash()
	w.start(i.disk)
}

// wake ends the pause of an instance: what it had buffered is acknowledged and flushed, and it learns that it owns
// nothing any more.
func (w *world) wake(i *instance) {
	w.others = slices.DeleteFunc(w.others, func(o *instance) bool { return o == i })
	for _, topic := range []string{topicOut, topicTable} {
		for i.deliver(topic) || i.ack(topic) {
		}
	}
	must(w.t, i.table.Flush())
	i.stopTable()
}

const stepsPerSchedule = 60

// run plays a schedule with a fault at one step (none if at < 0) and returns what is wrong afterwards.
func run(t *testing.T, seed uint64, o, watcherOmit omit, f fault, at int, readAll bool) error {
	w := newWorld(t, seed, o, watcherOmit)
	defer func() {
		w.watcher.stop()
		for _, i := range append(w.others, w.owner) {
			i.stopTable()
		}
		for _, d := range w.disks {
			d.db.Close()
		}
	}()
	for n := range stepsPerSchedule {
		if n == at/2 && at >= 0 {
			w.owner.stopTable()
			w.stale = w.copyOf(w.owner.disk)
			w.crash()
			w.start(w.owner.disk)
		}
		if n == at {
			f.do(w)
		}
		w.step()
	}
	w.settle()
	return w.check(readAll)
}

// check compares the world with a fold of its input. readAll makes the reader of the outputs count repeats.
func (w *world) check(readAll bool) error {
	want := make(map[string]*counter)
	history := make(map[string][]string)
	for n, in := range w.input {
		if in.key == keyNone {
			continue
		}
		c := want[in.key]
		if c == nil {
			c = new(counter)
			want[in.key] = c
		}
		c.seq, c.sum = c.seq+1, c.sum+int64(n+1)
		history[in.key] = append(history[in.key], fmt.Sprintf("%d %d", c.seq, c.sum))
	}
	if w.committed != int64(len(w.input)) {
		return fmt.Errorf("committed %d of %d", w.committed, len(w.input))
	}
	seen := make(map[string]int)
	for n, r := range w.logs[topicOut] {
		var seq, sum int
		fmt.Sscanf(r.value, "%d %d", &seq, &sum)
		if seq > len(history[r.key]) || history[r.key][seq-1] != r.value {
			return fmt.Errorf("output %d of %s is %q", n, r.key, r.value)
		}
		if seq == seen[r.key]+1 || readAll {
			seen[r.key]++
		}
	}
	for k, h := range history {
		if seen[k] != len(h) {
			return fmt.Errorf("%d of %d outputs of %s", seen[k], len(h), k)
		}
	}
	// Compaction keeps the last record of a key. Looked at first: each recovery from the changelog mends it.
	last := make(map[string]string)
	for _, r := range w.logs[topicTable] {
		last[r.key] = r.value
	}
	for k, c := range want {
		_, enc, err := SplitValue([]byte(last[k]))
		if err != nil {
			return fmt.Errorf("after compaction: %s: %w", k, err)
		}
		s, err := decodeCounter(enc)
		must(w.t, err)
		if *s.(*counter) != *c {
			return fmt.Errorf("after compaction: %s is %v, want %v", k, s, c)
		}
	}
	// The owner's memory, a standby, the owner's disk after a restart, and the changelog alone must agree.
	if err := w.compare("memory", want); err != nil {
		return err
	}
	if err := w.checkStandby(want); err != nil {
		return err
	}
	d := w.owner.disk
	must(w.t, w.owner.table.Flush())
	w.crash()
	w.start(d)
	w.settle()
	if err := w.compare("disk", want); err != nil {
		return err
	}
	w.crash()
	w.start(w.newDisk())
	w.settle()
	if err := w.compare("changelog", want); err != nil {
		return err
	}
	return nil
}

func (w *world) compare(where string, want map[string]*counter) error {
	for k, c := range want {
		cell, err := w.owner.lane.Cell(k)
		must(w.t, err)
		if *cell.State.(*counter) != *c {
			return fmt.Errorf("%s: %s is %v, want %v", where, k, cell.State, c)
		}
	}
	return nil
}

// TestOrderHolds: whatever happens at whatever step, every record of the input is in the outputs, in order, with the
// content of an undisturbed run, and in the state once.
func TestOrderHolds(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		for _, f := range slices.Concat(faults, standbyFaults) {
			for at := range stepsPerSchedule {
				if err := run(t, seed, 0, 0, f, at, false); err != nil {
					t.Fatalf("seed %d, %s at step %d: %v", seed, f.name, at, err)
				}
			}
		}
	}
}

// TestEveryMechanismIsNeeded takes one mechanism out at a time and expects the explorer to see what it prevents.
func TestEveryMechanismIsNeeded(t *testing.T) {
	for _, m := range []struct {
		name    string
		omit    omit
		standby omit // what the standby alone omits
		readAll bool
		from    uint64 // the first seed: a rare one is not looked for again in each run
	}{
		{"barrier", omitBarrier, 0, false, 0},
		{"ordered commit", omitOrder, 0, false, 0},
		{"stop at the first error", omitStop, 0, false, 0},
		{"merge by applied", omitMerge, 0, false, 0},
		{"contiguous changelog offset", omitContiguous, 0, false, 0},
		{"rewrite of overwritten keys", omitRewrite, 0, false, 0},
		{"hold of the stored offset", omitHold, 0, false, 249},
		{"merge in the standby", 0, omitMerge, false, 26},
		{"hold of the standby's stored offset", 0, omitHold, false, 0},
		{"reader's sequence", 0, 0, true, 0},
	} {
		t.Run(m.name, func(t *testing.T) {
			for seed := m.from; seed < m.from+300; seed++ {
				for _, f := range slices.Concat(standbyFaults, faults) {
					for at := 0; at < stepsPerSchedule; at += 3 {
						if err := run(t, seed, m.omit, m.standby, f, at, m.readAll); err != nil {
							t.Logf("seed %d, %s at step %d: %v", seed, f.name, at, err)
							return
						}
					}
				}
			}
			t.Fatal("nothing went wrong without it")
		})
	}
}
