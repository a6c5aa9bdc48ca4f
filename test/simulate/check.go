package simulate

import (
	"context"
	"crypto/sha256"

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
	if w.archiving {
		w.checkArchive()
	}
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

// checkArchive compares the archive with traffic-events, each identity once, with its columns, and all of them; as it
// is, and, in a schedule with seals, again when all hours are sealed.
func (w *world) checkArchive() {
	w.compareArchive()
	if w.rates[seals] == 0 || w.mask.has(seals) {
		return
	}
	w.newCompactor(w.processes[0]).finish()
	if archived := w.compareArchive(); len(archived.Unsealed()) > 0 {
		w.fail("%v are not sealed by a compaction that nothing disturbed", archived.Unsealed())
	}
}

func (w *world) compareArchive() *archive.Archived {
	archived, err := archive.ReadArchived(w.files)
	w.must(err)
	spans := make([]ledger.ArchiveSpan, partitions)
	for part, log := range w.logs[topicEvents] {
		spans[part].End = log.end()
	}
	for _, x := range archived.Extents {
		spans[x.Partition].Archived, spans[x.Partition].Holes = x.End, x.Holes
	}
	for part, s := range spans {
		if s.Archived != s.End || len(s.Holes) > 0 {
			w.fail("archive/%d holds what is before %d of %d, but for %v", part, s.Archived, s.End, s.Holes)
		}
	}
	a, err := ledger.NewArchive(topicEvents, spans, archived.Manifests)
	w.must(err)
	w.each(topicEvents, a.Event)
	for _, f := range archived.Files {
		w.compareFile(a, f)
	}
	for _, name := range archived.Strays {
		a.Stray(name)
	}
	if report := a.Close(); !report.OK() {
		w.fail("the archive has exceptions; the first: %+v", report.Exceptions[0])
	}
	return archived
}

func (w *world) compareFile(a *ledger.Archive, f archive.DataFile) {
	if f.Lost {
		a.Lost(f.Name)
		return
	}
	data, err := w.files.ReadFile(f.Path)
	w.must(err)
	if f.Sealed != nil {
		a.Seal(f.Name, f.Sealed, int64(len(data)), sha256.Sum256(data))
	}
	if f.Table == archive.TableRaw {
		rows, err := archive.ReadRaw(w.files, f.Path)
		w.must(err)
		a.Raw(f.Name, rows)
		return
	}
	rows, err := archive.ReadAggregates(w.files, f.Path)
	w.must(err)
	a.Aggregates(f.Name, rows)
}

// checkMended fails where the last record of a key is not its newest value, although the owner has settled on the
// changelog as it is: compaction would keep the old one alone.
func (w *world) checkMended(r role, part int32) {
	last := make(map[string]int64)
	for _, rec := range w.log(r.table(), part) {
		if rec != nil {
			applied, _, err := store.SplitValue(rec.Value)
			w.must(err)
			last[string(rec.Key)] = applied
		}
	}
	for _, s := range sensors {
		if newest, ok := w.watch.applied[r][s.id]; ok && s.part == part && last[s.id] != newest {
			w.fail("the last record of %s in the changelog of %v/%d is as of %d, and an earlier one as of %d", s.id, r, part,
				last[s.id], newest)
		}
	}
}

// checkChangelogs compares the last record of each key, which is what compaction keeps, with the owner's memory.
func (w *world) checkChangelogs() {
	for r := range archiveRole {
		last := make(map[string][]byte)
		w.each(r.table(), func(rec *kgo.Record) {
			if rec != nil {
				last[string(rec.Key)] = rec.Value
			}
		})
		memory := w.states(r)
		for _, s := range sensors {
			var state []byte
			if last[s.id] != nil {
				var err error
				_, state, err = store.SplitValue(last[s.id])
				w.must(err)
			} else {
				state = w.handlers[r].New().AppendTo(nil)
			}
			w.equal("as the last record of the changelog", r, s.id, string(state), encoded(memory[s.id]))
		}
	}
}

// checkStates compares the state of each sensor in the owner's memory, as its disk gives it back, and as an empty disk
// recovers it, with each other and with a fold of the topics.
func (w *world) checkStates(m *model) {
	var memory [archiveRole]map[string]store.State
	for r := range archiveRole {
		memory[r] = w.states(r)
		for _, s := range sensors {
			w.fold(s.id, memory[r][s.id], m)
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
		for r := range archiveRole {
			again := w.states(r)
			for _, s := range sensors {
				w.equal("after a restart with the disk "+disks, r, s.id, encoded(again[s.id]), encoded(memory[r][s.id]))
			}
		}
	}
}

func encoded(s store.State) string { return string(s.AppendTo(nil)) }

func (w *world) equal(where string, r role, id, got, want string) {
	if got != want {
		w.fail("the state of %s for %v is another %s (%x) than in memory (%x)", id, r, where, got, want)
	}
}

// states returns the states of all sensors as their owners have them.
func (w *world) states(r role) map[string]store.State {
	all := make(map[string]store.State)
	for _, s := range sensors {
		l, err := w.owner[r][s.part].stages[r].engine.Lane(s.part)
		w.must(err)
		w.must(l.Begin())
		c, err := l.Cell(s.id)
		w.must(err)
		all[s.id] = c.State
		l.End()
	}
	return all
}

// fold compares a state with what the topics say without an engine.
func (w *world) fold(id string, state store.State, m *model) {
	want := m.sensors[id]
	switch st := state.(type) {
	case *dedup.State:
		if at, _ := st.Watermark(); st.Sequence() != int64(len(want.readings)) || at != want.watermark {
			w.fail("the state of %s for dedup is at reading %d and %d, and should be at %d and %d", id, st.Sequence(), at,
				len(want.readings), want.watermark)
		}
	case *window.State:
		if folded := &w.watch.sensor(id).state; encoded(st) != encoded(folded) {
			w.fail("the state of %s for window is at reading %d and window %d, and a fold of traffic-events at %d and %d", id,
				st.Sequence(), st.Ordinal(), folded.Sequence(), folded.Ordinal())
		}
	}
}
