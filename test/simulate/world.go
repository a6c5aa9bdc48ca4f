package simulate

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/dedup"
	"gantry/processors/window"
	"gantry/store/archive"
)

// Options say which schedule is run. Equal options give equal runs, step by step.
type Options struct {
	Seed    uint64
	Mask    Mask   // faults that do not happen
	Steps   int    // after so many steps healing begins; 0: when the seed says
	Stages  bool   // the stages alone, without archivers
	Without string // one of Mechanisms that is taken out, "" for none
	Story   bool   // keep the story
}

// Result is what came of a run.
type Result struct {
	Violation string // the guarantee that was broken, "" where all hold
	Story     []string
	Steps     int // before healing began
	Records   int // that were appended to all topics
}

// world is everything: brokers, machines, the archive's file system, the clock, and who does something next.
type world struct {
	*broker
	o     Options
	rng   *rand.Rand
	rates [faultKinds]int
	mask  Mask

	step    int
	steps   int
	healing bool
	clock   int64 // epoch milliseconds
	story   []string

	feed      []*arrival             // that are still to come
	arrived   [partitions][]*arrival // by offset of traffic-raw
	processes []*process
	tender    *process // that recovered last
	owner     [roles][partitions]*process
	ghosts    []*ghost
	files     *archive.Memory
	lateCalls []lateCall
	archiving bool
	flushRows int
	speed     int // of the network, in records a step

	handlers      [archiveRole]processors.Handler
	engineWithout string
	watch         *observer
}

const processCount = 3

// Rules that are quick to reach the edges of: a schedule is about twenty minutes of traffic.
var (
	windowRules = window.Options{
		Length: time.Minute, Grace: 10 * time.Second, IdleTimeout: time.Minute, Retention: 6 * time.Minute,
		DefaultInterval: 20 * time.Second,
	}
	dedupRules = func() dedup.Options {
		o := dedup.DefaultOptions()
		o.Rules.MaxAge, o.Rules.MaxAhead = 4*time.Minute, time.Minute
		o.WindowLength, o.WindowRetention = windowRules.Length, windowRules.Retention
		return o
	}()
)

const eventSchema = 1

func newWorld(o Options) *world {
	w := &world{
		broker: newBroker(), o: o, rng: rand.New(rand.NewPCG(o.Seed, 9)), mask: o.Mask, files: archive.NewMemory(),
		clock: time.Date(2026, 11, 24, 8, 52, 0, 0, time.UTC).UnixMilli(),
	}
	w.watch = newObserver(w)
	w.drawRates()
	w.steps = 150 + w.some(450)
	w.speed = 1 + w.some(4)
	if o.Steps > 0 {
		w.steps = o.Steps
	}
	w.archiving = w.some(2) == 0 && !o.Stages
	w.flushRows = 4 + w.some(20)
	w.handlers = newHandlers()
	if o.Without != "" {
		w.must(w.takeOut(o.Without))
	}
	w.feed = w.drawFeed(20 + w.some(50))
	for id := range processCount {
		w.processes = append(w.processes, &process{w: w, id: id + 1, cond: down})
	}
	return w
}

func newHandlers() [archiveRole]processors.Handler {
	log := slog.New(slog.DiscardHandler)
	return [archiveRole]processors.Handler{
		dedupRole: dedup.NewHandler(dedup.HandlerOptions{
			Topics: topics, Rules: dedupRules, EventSchema: eventSchema, Logger: log,
		}),
		windowRole: window.NewHandler(window.HandlerOptions{
			Topics: topics, Rules: windowRules, EventSchema: eventSchema, Logger: log,
		}),
	}
}

// some draws a number from 0 to n, without n; 0 where n is not above 0.
func (w *world) some(n int) int {
	if n <= 0 {
		return 0
	}
	return w.rng.IntN(n)
}

// bytes is the seeded source of what the product draws itself.
func (w *world) bytes() io.Reader { return bytesOf{w.rng} }

type bytesOf struct{ rng *rand.Rand }

func (b bytesOf) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b.rng.Uint32())
	}
	return len(p), nil
}

func (w *world) now() time.Time { return time.UnixMilli(w.clock) }

// tell adds a line to the story. It draws nothing: a run with its story is the run without it.
func (w *world) tell(format string, args ...any) {
	if w.o.Story {
		w.story = append(w.story, fmt.Sprintf("%4d. ", w.step)+fmt.Sprintf(format, args...))
	}
}

// violation ends a run: a guarantee was broken.
type violation string

func (w *world) fail(format string, args ...any) { panic(violation(fmt.Sprintf(format, args...))) }

// must ends the run at an error that the product must not meet, whatever happens around it.
func (w *world) must(err error) {
	if err != nil {
		w.fail("an error that no fault explains: %v", err)
	}
}

// append lets a record reach the broker, whoever sent it.
func (w *world) append(from string, r *kgo.Record) int64 {
	stored := w.broker.append(r, w.clock)
	w.tell("%s/%d/%d is written by %s: %s", r.Topic, r.Partition, stored.Offset, from, w.describe(stored))
	w.watch.appended(stored)
	return stored.Offset
}

func (w *world) copyRecord(r *kgo.Record) *kgo.Record {
	c := *r
	c.Key, c.Value, c.Headers = clone(r.Key), clone(r.Value), nil
	for _, h := range r.Headers {
		c.Headers = append(c.Headers, kgo.RecordHeader{Key: h.Key, Value: clone(h.Value)})
	}
	return &c
}

// commit takes a group's commit; the brokers refuse that of a member which is no longer the owner.
func (w *world) commit(st *stage, part int32, next int64) {
	if w.owner[st.role][part] != st.proc {
		w.tell("%v: the commit of %v/%d up to %d is refused", st.proc, st.role, part, next)
		return
	}
	w.tell("%v commits %v/%d up to %d", st.proc, st.role, part, next)
	w.watch.committed(st.role, part, w.committed[st.role][part], next)
	w.committed[st.role][part] = next
}

// move gives a partition to another process; who had it learns of that later.
func (w *world) move(r role, part int32) {
	to := w.processes[w.some(len(w.processes))]
	if from := w.owner[r][part]; from != nil && from.cond == up && from != to && to.canTake(r, part) {
		if w.some(2) == 0 { // gracefully: the partition is given up before it is taken
			w.owner[r][part] = nil
			from.learn()
		}
		to.assign(r, part)
	}
}

// day lets so much time pass that everything which works is acknowledged, and the changelog of a partition is
// compacted. min.compaction.lag.ms is longer than it takes an owner to notice a stranger's records and to write its own
// values again; that an owner notices takes one write of its own, so a partition where nothing is written is not
// compacted here (see the package comment).
func (w *world) day(r role, part int32) {
	p := w.owner[r][part]
	if p == nil || p.cond != up {
		return
	}
	for range 2 { // a lane that was overtaken starts once more
		if l := p.stages[r].lanes[part]; l != nil {
			if !l.recovered {
				l.recover(everything)
			}
			p.stages[r].drain(l)
		}
		p.stages[r].rebuild()
	}
	l := p.stages[r].lanes[part]
	if l == nil || !l.recovered || l.offset() != w.log(r.table(), part).end()-1 {
		return
	}
	w.checkMended(r, part)
	w.tell("the changelog of %v/%d is compacted, %d records go", r, part, w.logs[r.table()][part].compact())
}

// lastOnes is how many records arrive only when the last zombie is gone: an owner notices what a zombie has written
// when it writes itself. They are of one sensor of each partition: the others' values must be mended without.
const lastOnes = 2 * partitions

// arrive lets the next raw record arrive.
func (w *world) arrive() bool {
	if len(w.feed) == 0 || !w.healing && len(w.feed) <= lastOnes {
		return false
	}
	a := w.feed[0]
	w.feed = w.feed[1:]
	r := a.record
	w.clock = max(w.clock, r.Timestamp.UnixMilli())
	w.arrived[r.Partition] = append(w.arrived[r.Partition], a)
	stored := w.broker.append(r, w.clock)
	w.tell("%s/%d/%d arrives: %s", r.Topic, r.Partition, stored.Offset, w.describe(stored))
	return true
}

// silence publishes that a sensor is silent, as a detector does whose view may be behind.
func (w *world) silence() {
	s := sensors[w.some(len(sensors))]
	seen := w.watch.sensor(s.id)
	if len(seen.readings) == 0 {
		return
	}
	v := codecs.SensorSilence{
		SensorID: s.id, Watermark: seen.watermark, Since: w.clock,
		AsOf: w.clock + int64(w.some(120_000)),
	}
	w.sendSilence(&v)
}

func (w *world) sendSilence(v *codecs.SensorSilence) {
	w.append("a detector", &kgo.Record{
		Topic: topicEvents, Partition: processors.PartitionOf(v.SensorID, partitions), Key: []byte(v.SensorID),
		Value:   codecs.AppendSilence(nil, eventSchema, v),
		Headers: []kgo.RecordHeader{{Key: codecs.HeaderKind, Value: []byte(codecs.KindSilence)}},
	})
}
