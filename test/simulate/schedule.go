package simulate

import (
	"slices"

	"gantry/store/archive/fstest"
)

// Run plays a schedule: steps with mishaps between them, then healing, then the checks.
func Run(o Options) (res Result) {
	w := newWorld(o)
	defer func() {
		if v := recover(); v != nil {
			broken, ok := v.(violation)
			if !ok {
				panic(v)
			}
			res.Violation = string(broken)
		}
		res.Story, res.Steps = w.story, w.steps
		for _, logs := range w.logs {
			for _, l := range logs {
				res.Records += len(l)
			}
		}
		w.abandon()
	}()
	for w.step = 1; w.step <= w.steps; w.step++ {
		w.mishaps()
		w.act()
	}
	w.heal()
	w.check()
	return res
}

// abandon ends what a run that broke off has left.
func (w *world) abandon() {
	for _, p := range w.processes {
		for _, a := range p.archivers {
			a.stop()
		}
		for _, st := range p.stages {
			if st == nil {
				continue
			}
			for _, l := range st.lanes {
				if l != nil && l.table != nil {
					l.table.Abandon()
					_ = l.disk.release()
				}
			}
		}
	}
}

// act does one step of one of those that are alive.
func (w *world) act() {
	switch n := w.some(100); {
	case n < 10:
		w.arrive()
	case n < 14:
		w.group()
	case n < 18:
		w.stragglers()
	case n < 34:
		w.archivers()
	default:
		w.stages()
	}
}

// group is what membership brings: a process that is down comes up again, one that is paused wakes up, a partition
// whose owner does not answer is taken from it, one without an owner is assigned, a process learns what it has lost.
func (w *world) group() {
	p := w.processes[w.some(len(w.processes))]
	r, part := role(w.some(roles)), int32(w.some(partitions))
	owner := w.owner[r][part]
	switch n := w.some(4); {
	case owner != nil && owner.cond != up && n < 2:
		w.tell("%v/%d is taken from %v, which does not answer", r, part, owner)
		w.owner[r][part] = nil
	case owner == nil && p.canTake(r, part):
		p.assign(r, part)
	case p.cond == down:
		w.restart(p)
	case p.cond == paused && n == 2:
		w.tell("%v wakes up", p)
		p.cond = up
	case p.cond == up:
		p.learn()
	}
}

// stragglers are effects whose cause is gone.
func (w *world) stragglers() {
	if n := len(w.ghosts); n > 0 {
		w.arriveGhost(w.some(n))
	}
	if n := len(w.lateCalls); n > 0 && w.some(3) == 0 {
		w.doLateCall(w.some(n))
	}
}

func (w *world) arriveGhost(i int) {
	g := w.ghosts[i]
	w.append(g.from+", some time ago", g.records[0])
	if g.records = g.records[1:]; len(g.records) == 0 {
		w.ghosts = slices.Delete(w.ghosts, i, i+1)
	}
}

func (w *world) doLateCall(i int) {
	c := w.lateCalls[i]
	w.lateCalls = slices.Delete(w.lateCalls, i, i+1)
	err := c.do()
	w.tell("the effect of %s comes: %v", c.what, err)
}

// archivers lets one archiver go on, for a few calls at most.
func (w *world) archivers() {
	p := w.processes[w.some(len(w.processes))]
	if p.cond != up || len(p.archivers) == 0 {
		return
	}
	a := p.archivers[w.some(len(p.archivers))]
	for n := 1 + w.some(8); n > 0 && !a.ended && w.step >= a.asleep; n-- {
		if a.call != "" {
			w.fateOfCall(a)
		}
		a.step()
	}
	p.dropEnded()
}

// stages lets one lane do something.
func (w *world) stages() {
	p := w.processes[w.some(len(w.processes))]
	r, part := role(w.some(int(archiveRole))), w.some(partitions)
	if p.cond == down || p.cond == paused {
		if p.cond == paused { // what it had sent is on its way, whatever it does
			st := p.stages[r]
			if i := w.some(8); i < len(st.pipes) {
				st.deliver(st.pipes[i])
			}
		}
		return
	}
	st := p.stages[r]
	l := st.lanes[part]
	switch n := w.some(12); {
	case l == nil:
	case !l.recovered && n < 10:
		l.recover(1 + w.some(12))
	case n < 3:
		l.read(1 + w.some(4))
	case n < 5:
		l.closeRound()
	case n < 6:
		l.sendReleased()
	case n < 7:
		w.must(l.table.Flush())
	}
	for range 2 {
		if i := w.some(6); i < len(st.pipes) {
			for range 1 + w.some(3) {
				if w.some(2) == 0 {
					st.deliver(st.pipes[i])
				} else {
					st.ack(st.pipes[i])
				}
			}
		}
	}
	st.rebuild()
}

// heal lets everything end well: whoever sleeps wakes up, what is on its way arrives, no further fault happens, and the
// rest of the input arrives and is processed.
func (w *world) heal() {
	w.healing = true
	w.tell("from here on nothing goes wrong any more")
	for _, p := range w.processes {
		if p.cond == paused {
			w.tell("%v wakes up", p)
			p.cond = up
		}
	}
	for len(w.ghosts) > 0 || len(w.lateCalls) > 0 {
		w.stragglers()
	}
	w.settle(false) // zombies too, which have not learned yet that they are
	for _, p := range w.processes {
		if p.cond == down {
			w.restart(p)
		}
		p.learn()
	}
	for r := range w.owner {
		for part, owner := range w.owner[r] {
			if owner == nil {
				w.processes[w.some(len(w.processes))].assign(role(r), int32(part))
			}
		}
	}
	w.settle(true)
	for w.arrive() {
		if w.some(5) == 0 {
			w.settle(true)
		}
	}
	w.settle(true)
	for _, s := range sensors {
		w.closeWindows(s.id)
	}
	w.settle(true)
}

// settle runs everything that is up until nothing more happens.
func (w *world) settle(all bool) {
	for again := true; again; {
		again = false
		for _, p := range w.processes {
			if p.cond != up {
				continue
			}
			for r := range p.stages {
				again = p.stages[r].settle() || again
			}
		}
	}
	for _, p := range w.processes {
		for _, a := range p.archivers {
			w.settleArchiver(a, all)
		}
		p.dropEnded()
	}
}

// settle reports whether anything happened.
func (st *stage) settle() (again bool) {
	for _, l := range st.lanes {
		switch {
		case l == nil:
		case !l.recovered:
			l.recover(everything)
			again = true
		default:
			again = l.read(5) || again
			again = l.closeRound() || again
			l.sendReleased()
		}
	}
	for _, p := range st.pipes {
		again = st.deliver(p) || again
		again = st.ack(p) || again
	}
	if st.engine.Err() != nil {
		st.rebuild()
		again = true
	}
	return again
}

// settleArchiver lets an archiver go on until it has archived the log, or, where it is not the owner, has left.
func (w *world) settleArchiver(a *archiver, all bool) {
	const stepsMax = 20_000
	for n := 0; !a.ended; n++ {
		end := w.log(topicEvents, a.part).end()
		if !a.leaving && (!all && n > 40 || a.next == end || end == 0) {
			return
		}
		if n == stepsMax {
			w.fail("%v does not come to an end: it has archived up to %d of %d", a, a.next, end)
		}
		a.verdict = fstest.None
		a.step()
	}
}
