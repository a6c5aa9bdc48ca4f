package simulate

import (
	"fmt"
	"slices"
	"strings"

	"gantry/store/archive/fstest"
)

// faultKind is a kind of mishap. Each seed draws which kinds it has, and how often: schedules with a few kinds go where
// those with all of them never come. A kind can be masked, which shortens the story of a seed that fails without it.
type faultKind uint8

const (
	crashes     faultKind = iota // a process dies
	pauses                       // a process stops for a while, and goes on as a zombie
	moves                        // a partition is given to another process
	tornDisks                    // a process comes back after a power cut
	emptyDisks                   // … with its disk lost
	staleDisks                   // … with an older copy of its disk
	lateRecords                  // what a producer that is gone had in flight arrives later
	refusals                     // a record fails for good, and those behind it do not
	compaction                   // the changelogs are compacted
	failedCalls                  // a call to the file system fails, with its effect or without
	lateEffects                  // … fails, and its effect comes later
	silences                     // a sensor is found silent
	seals                        // the archive is compacted, and its hours are sealed
	faultKinds  = iota
)

var faultNames = [faultKinds]string{
	"crashes", "pauses", "moves", "torn-disks", "empty-disks", "stale-disks", "late-records", "refusals", "compaction",
	"failed-calls", "late-effects", "silences", "seals",
}

func (k faultKind) String() string { return faultNames[k] }

// Mask is a set of kinds of faults that do not happen.
type Mask uint32

func (m Mask) has(k faultKind) bool  { return m&(1<<k) != 0 }
func (m Mask) with(k faultKind) Mask { return m | 1<<k }
func (m Mask) String() string {
	var names []string
	for k := range faultKind(faultKinds) {
		if m.has(k) {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, ",")
}

// ParseMask reads the names of kinds of faults, with commas between them.
func ParseMask(text string) (m Mask, err error) {
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		k := slices.Index(faultNames[:], name)
		if k < 0 {
			return 0, fmt.Errorf("no faults %q: there are %s", name, strings.Join(faultNames[:], ", "))
		}
		m = m.with(faultKind(k))
	}
	return m, nil
}

// drawRates says how often each kind happens: once in so many steps, 0 for never.
func (w *world) drawRates() {
	for k := range w.rates {
		rate := []int{25, 70, 200}[w.some(3)]
		if w.some(2) == 0 {
			rate = 0
		}
		w.rates[k] = rate
	}
}

// allowed tells whether faults of a kind happen in this schedule.
func (w *world) allowed(k faultKind) bool { return w.rates[k] > 0 && !w.mask.has(k) && !w.healing }

// strikes tells whether one happens now. It draws whatever the answer, so that a mask does not change the rest.
func (w *world) strikes(k faultKind) bool {
	rate := w.rates[k]
	return rate > 0 && w.some(rate) == 0 && w.allowed(k)
}

// mishaps are what may go wrong between two steps. They fall more often on the process that recovered last, which has
// something to repair perhaps.
func (w *world) mishaps() {
	p := w.processes[w.some(len(w.processes))]
	if w.tender != nil && w.some(2) == 0 {
		p = w.tender
	}
	part := int32(w.some(partitions))
	r := role(w.some(roles))
	if w.strikes(crashes) && p.cond != down {
		p.crash()
	}
	if w.strikes(pauses) && p.cond == up {
		w.tell("%v pauses", p)
		p.cond = paused
		if w.some(2) == 0 {
			w.expire(p)
		}
	}
	if w.strikes(moves) && r < w.roles() {
		w.move(r, part)
	}
	if w.strikes(compaction) && r != archiveRole {
		w.day(r, part)
	}
	if w.strikes(seals) && w.archiving && p.cond == up && p.compactor == nil {
		w.tell("%v compacts the archive", p)
		p.compactor = w.newCompactor(p)
	}
	if w.strikes(silences) {
		w.silence()
	}
	if w.strikes(refusals) && r != archiveRole && p.cond == up {
		st := p.stages[r]
		if i := w.some(len(st.pipes)); i < len(st.pipes) && len(st.pipes[i].sent) > 0 {
			stored := w.some(2) == 0
			w.tell("a record of %v for %s/%d fails for good%s", p, st.pipes[i].topic, st.pipes[i].part,
				map[bool]string{true: ", although it is stored"}[stored])
			st.refuse(st.pipes[i], stored)
		}
	}
}

// fateOfCall decides on a call to the file system.
func (w *world) fateOfCall(a *writer) {
	switch {
	case w.strikes(failedCalls):
		a.verdict = []fstest.Fault{fstest.FailBefore, fstest.FailAfter}[w.some(2)]
		w.tell("%v: %s: %v", a, a.call, a.verdict)
	case w.strikes(lateEffects) && a.changes():
		a.late = true
		w.tell("%v: %s fails, and its effect may come later", a, a.call)
	case w.strikes(pauses):
		a.asleep = w.step + w.some(300)
		w.tell("%v hangs at %s", a, a.call)
	}
}

// restart brings a process that is down up again, with what a mishap has left of its disks.
func (w *world) restart(p *process) {
	fate := w.some(8)
	for r := range p.disks {
		for part, d := range p.disks[r] {
			if d == nil {
				continue
			}
			name := fmt.Sprintf("the disk of %v for %v/%d", p, role(r), part)
			switch {
			case fate == 0 && w.allowed(emptyDisks):
				w.tell("%s is empty", name)
				p.disks[r][part] = nil
			case fate == 1 && w.allowed(staleDisks) && len(d.past) > 0:
				w.tell("%s is an older copy", name)
				w.must(d.putBack(d.past[w.some(len(d.past))]))
			case fate < 4 && w.allowed(tornDisks):
				w.must(d.tear(func(size int) int {
					n := size - w.some(min(size, 400)+1)
					w.tell("%s lost the last %d bytes of its journal", name, size-n)
					return n
				}))
			}
		}
	}
	w.tell("%v starts", p)
	p.start()
}
