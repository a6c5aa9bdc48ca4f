package simulate

import (
	"slices"
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
	for range w.some(len(w.feed)) { // a backlog
		w.arrive()
	}
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
		for _, x := range p.writers() {
			x.stop()
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
	case n < 8:
		w.arrive()
	case n < 16:
		w.group()
	case n < 20:
		w.stragglers()
	case n < 32:
		w.archive()
	default:
		w.stages()
	}
}

// group is what membership brings: a process that is down comes up again, one that is paused wakes up, a partition
// whose owner does not answer is taken from it, one without an owner is assigned, a process learns what it has lost.
// One of what may happen does; a zombie takes its time.
func (w *world) group() {
	var may []func()
	for _, p := range w.processes {
		switch {
		case p.cond == down:
			may = append(may, func() { w.restart(p) })
		case p.cond == paused && w.some(3) == 0:
			may = append(may, func() { p.wake() })
		case p.cond == up && w.some(3) == 0:
			may = append(may, func() { p.learn() })
		}
	}
	for r := range w.roles() {
		for part, owner := range w.owner[r] {
			part := int32(part)
			to := w.processes[w.some(len(w.processes))]
			switch {
			case owner == nil && to.canTake(r, part):
				may = append(may, func() { to.assign(r, part) })
			case owner != nil && owner.cond != up:
				may = append(may, func() { w.expire(owner) })
			}
		}
	}
	if len(may) > 0 {
		may[w.some(len(may))]()
	}
}

// roles are those that are filled in this schedule. Archivers cost most of a run's time, and what the stages do does
// not depend on them.
func (w *world) roles() role {
	if w.archiving {
		return roles
	}
	return archiveRole
}

// expire is the end of a process's sessions: it does not answer, so its partitions are taken from it.
func (w *world) expire(p *process) {
	for r := range w.owner {
		for part, owner := range w.owner[r] {
			if owner == p {
				w.tell("%v/%d is taken from %v, which does not answer", role(r), part, p)
				w.owner[r][part] = nil
			}
		}
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

// archive lets one of those who work in the archive go on, for a few calls at most.
func (w *world) archive() {
	var awake []*writer
	for _, p := range w.processes {
		for _, x := range p.writers() {
			if p.cond == up && w.step >= x.asleep {
				awake = append(awake, x)
			}
		}
	}
	if len(awake) > 0 {
		x := awake[w.some(len(awake))]
		x.steps(1 + w.some(8))
		x.proc.dropEnded()
	}
}

// stages lets one lane do something, and the network of its stage.
func (w *world) stages() {
	var lanes []*lane
	for _, p := range w.processes {
		for _, st := range p.stages {
			if st == nil {
				continue
			}
			for _, l := range st.lanes {
				if l != nil {
					lanes = append(lanes, l)
				}
			}
		}
	}
	if len(lanes) == 0 {
		return
	}
	l := lanes[w.some(len(lanes))]
	if l.st.proc.cond == up {
		w.lane(l)
	} else if w.some(4) > 0 {
		return // a paused process sends nothing, but for what stands in the buffers of its machine
	}
	l.st.network(w.some(2 * w.speed))
	l.st.rebuild()
}

func (w *world) lane(l *lane) {
	switch n := w.some(8); {
	case !l.recovered:
		l.recover(1 + w.some(12))
	case n < 4:
		l.read(1 + w.some(4))
	case n < 6:
		l.closeRound()
	case n < 7:
		l.sendReleased()
	default:
		w.must(l.table.Flush())
	}
}

// network delivers and acknowledges n records of the stage, in any order between partitions.
func (st *stage) network(n int) {
	for ; n > 0 && len(st.pipes) > 0; n-- {
		p := st.pipes[st.w.some(len(st.pipes))]
		if st.w.some(2) == 0 || !st.ack(p) {
			st.deliver(p)
		}
	}
}

// heal lets everything end well: whoever sleeps wakes up, what is on its way arrives, no further fault happens, and the
// rest of the input arrives and is processed.
func (w *world) heal() {
	w.healing = true
	w.tell("from here on nothing goes wrong any more")
	for _, p := range w.processes {
		if p.cond == paused {
			p.wake()
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
	for r := range w.roles() {
		for part, owner := range w.owner[r] {
			if owner == nil {
				w.processes[w.some(len(w.processes))].assign(r, int32(part))
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
	w.checkChangelogs()
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
		if p.compactor != nil && p.cond == up {
			p.compactor.finish()
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
	for n := 0; !a.ended; n++ {
		end := w.log(topicEvents, a.part).end()
		if !a.leaving && (!all && n > 40 || a.next == end || end == 0) {
			return
		}
		if n == stepsMax {
			w.fail("%v does not come to an end: it has archived up to %d of %d", a, a.next, end)
		}
		a.step()
	}
}
