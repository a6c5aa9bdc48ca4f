package simulate

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors/dedup"
	"gantry/processors/window"
	"gantry/store"
	"gantry/store/archive"
	"gantry/views/ledger"
)

// check is run when all is healed and processed.
func (w *world) check() {
	w.tell("everything is processed; the checks begin")
	for r := range archiveRole {
		for part := range int32(partitions) {
			if got, end := w.broker.committed[r][part], w.log(r.input(), part).end(); got != end {
				w.fail("%v/%d is committed up to %d of %d", r, part, got, end)
			}
		}
	}
	m := w.model()
	m.checkOutcomes(w)
	m.checkWindows(w)
	w.checkLedger()
	w.checkArchive()
	w.checkStates(m)
}

// decoder is the product's, for the ledger.
type decoder struct{ codecs.RawDecoder }

func (d *decoder) Decode(_ context.Context, data []byte, r *codecs.RawReading) error {
	return d.RawDecoder.Decode(data, r)
}

// checkLedger asks the product's own proof, which computes every window and revision again.
func (w *world) checkLedger() {
	o := ledger.DefaultOptions()
	o.Length, o.Grace, o.Retention = windowRules.Length, windowRules.Grace, windowRules.Retention
	o.DefaultInterval, o.MaxAhead = windowRules.DefaultInterval, dedupRules.Rules.MaxAhead
	o.Decoder, o.ParseSensor = &decoder{}, codecs.ParseSensor
	l, err := ledger.New(o, ledger.Extent{
		Raw: w.spans(topicRaw, dedupRole), Events: w.spans(topicEvents, windowRole),
		Rejects: w.spans(topicRejects, dedupRole),
	})
	w.must(err)
	w.each(topicRaw, func(r *kgo.Record) { w.must(l.Raw(context.Background(), r)) })
	w.each(topicEvents, l.Event)
	w.each(topicRejects, l.Reject)
	report := l.Close()
	if !report.OK() {
		w.fail("the ledger has exceptions; the first: %+v", report.Exceptions[0])
	}
	if t := report.Totals; !t.Balanced() || t.Pending+t.Missing+t.Expired+t.WindowsPending+t.WindowsUnproved > 0 {
		w.fail("the ledger does not add up: %+v", t)
	}
}

func (w *world) spans(topic string, r role) []ledger.Span {
	all := make([]ledger.Span, partitions)
	for part, log := range w.logs[topic] {
		all[part] = ledger.Span{End: log.end(), Committed: w.broker.committed[r][part]}
	}
	return all
}

func (w *world) each(topic string, do func(*kgo.Record)) {
	for _, log := range w.logs[topic] {
		for _, r := range log {
			do(r)
		}
	}
}

// checkArchive compares the archive with traffic-events: each identity once, with its columns, and all of them.
func (w *world) checkArchive() {
	extents, err := archive.Extents(w.files)
	w.must(err)
	spans := make([]ledger.ArchiveSpan, partitions)
	for part, log := range w.logs[topicEvents] {
		spans[part].End = log.end()
	}
	for _, x := range extents {
		spans[x.Partition].Archived, spans[x.Partition].Holes = x.End, x.Holes
	}
	for part, s := range spans {
		if s.Archived != s.End || len(s.Holes) > 0 {
			w.fail("archive/%d holds what is before %d of %d, but for %v", part, s.Archived, s.End, s.Holes)
		}
	}
	a, err := ledger.NewArchive(topicEvents, spans)
	w.must(err)
	w.each(topicEvents, a.Event)
	for name, err := range archive.Walk(w.files, archive.TableRaw) {
		w.must(err)
		rows, err := archive.ReadRaw(w.files, name)
		w.must(err)
		a.Raw(name, rows)
	}
	for name, err := range archive.Walk(w.files, archive.TableAggregates) {
		w.must(err)
		rows, err := archive.ReadAggregates(w.files, name)
		w.must(err)
		a.Aggregates(name, rows)
	}
	if report := a.Close(); !report.OK() {
		w.fail("the archive has exceptions; the first: %+v", report.Exceptions[0])
	}
}

// checkStates compares the state of each sensor in the owner's memory, as the last record of the changelog, as its disk
// gives it back, and as an empty disk recovers it; and with a fold of the topics.
func (w *world) checkStates(m *model) {
	memory := w.states("in memory", m)
	for r := range archiveRole {
		last := make(map[string][]byte)
		w.each(r.table(), func(rec *kgo.Record) {
			if rec != nil {
				last[string(rec.Key)] = rec.Value
			}
		})
		for _, s := range sensors {
			_, state, err := store.SplitValue(last[s.id])
			w.must(err)
			w.equal("as the last record of the changelog", r, s.id, string(state), memory[r][s.id])
		}
	}
	for _, disks := range []string{"kept", "empty"} {
		for _, p := range w.processes {
			if p.cond == up {
				p.crash()
			}
			if disks == "empty" {
				p.disks = [archiveRole][partitions]*disk{}
			}
			p.start()
		}
		w.settle(false)
		again := w.states("after a restart with the disk "+disks, m)
		for r := range again {
			for _, s := range sensors {
				w.equal("after a restart with the disk "+disks, role(r), s.id, again[r][s.id], memory[r][s.id])
			}
		}
	}
}

func (w *world) equal(where string, r role, id, got, want string) {
	if got != want {
		w.fail("the state of %s for %v is another %s:\n%x\nthan in memory:\n%x", id, r, where, got, want)
	}
}

// states returns the encoded states of all sensors as their owners have them.
func (w *world) states(where string, m *model) (all [archiveRole]map[string]string) {
	for r := range archiveRole {
		all[r] = make(map[string]string)
		for _, s := range sensors {
			l, err := w.owner[r][s.part].stages[r].engine.Lane(s.part)
			w.must(err)
			w.must(l.Begin())
			c, err := l.Cell(s.id)
			w.must(err)
			all[r][s.id] = string(c.State.AppendTo(nil))
			w.fold(where, s.id, c.State, m)
			l.End()
		}
	}
	return all
}

// fold compares a state with what the topics say without an engine.
func (w *world) fold(where, id string, state store.State, m *model) {
	want := m.sensors[id]
	switch st := state.(type) {
	case *dedup.State:
		if at, _ := st.Watermark(); st.Sequence() != int64(len(want.readings)) || at != want.watermark {
			w.fail("the state of %s for dedup %s is at reading %d and %d, and should be at %d and %d", id, where,
				st.Sequence(), at, len(want.readings), want.watermark)
		}
	case *window.State:
		if folded := &w.watch.sensor(id).state; string(st.AppendTo(nil)) != string(folded.AppendTo(nil)) {
			w.fail("the state of %s for window %s is not the fold of traffic-events: %s", id, where,
				fmt.Sprintf("reading %d, window %d; %d, %d", st.Sequence(), st.Ordinal(), folded.Sequence(), folded.Ordinal()))
		}
	}
}
