package simulate

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/store/archive/fstest"
)

// condition of a process.
type condition uint8

const (
	up condition = iota
	paused
	down
)

// process is one instance on one machine: all roles, for the partitions that it owns.
type process struct {
	w         *world
	id        int
	cond      condition
	stages    [archiveRole]*stage
	archivers []*archiver
	compactor *compactor // while one runs
	disks     [archiveRole][partitions]*disk
}

func (p *process) String() string { return fmt.Sprintf("process %d", p.id) }

func (p *process) disk(r role, part int32) *disk {
	if p.disks[r][part] == nil {
		p.disks[r][part] = newDisk()
	}
	return p.disks[r][part]
}

// start brings the process up, with whatever its disks hold. What it owned before, and has not been given to another
// meanwhile, it still owns: a member with a static id that comes back in time.
func (p *process) start() {
	p.cond = up
	for r := range p.stages {
		p.stages[r] = p.w.newStage(p, role(r))
		p.stages[r].openOwned()
	}
	for part := range int32(partitions) {
		if p.w.owner[archiveRole][part] == p {
			p.archivers = append(p.archivers, p.w.newArchiver(p, part))
		}
	}
}

// crash ends the process as kill -9 does. A call to the file system that it is at fails, half succeeds, or succeeds.
func (p *process) crash() {
	p.w.tell("%v crashes", p)
	p.cond = down
	for r, st := range p.stages {
		st.die()
		p.stages[r] = nil
	}
	for _, x := range p.writers() {
		fates := []fstest.Fault{fstest.CrashBefore, fstest.CrashHalf, fstest.CrashAfter}
		x.die(fates[p.w.some(len(fates))])
	}
	p.dropEnded()
}

// writers are those of the process that work in the archive.
func (p *process) writers() (all []*writer) {
	for _, a := range p.archivers {
		all = append(all, &a.writer)
	}
	if p.compactor != nil {
		all = append(all, &p.compactor.writer)
	}
	return all
}

// wake lets the process go on from where it was paused, with all that it had in memory.
func (p *process) wake() {
	p.w.tell("%v wakes up", p)
	p.cond = up
}

// assign makes the process the owner of a partition in one role.
func (p *process) assign(r role, part int32) {
	p.w.owner[r][part] = p
	p.w.tell("%v owns %v/%d", p, r, part)
	if r == archiveRole {
		p.archivers = append(p.archivers, p.w.newArchiver(p, part))
	} else {
		p.stages[r].open(part)
	}
}

// canTake tells whether the process may be given a partition: it is up and has no lane left from an earlier time that
// it has not given up yet. An archiver that hangs in the file system is left behind, beside its successor.
func (p *process) canTake(r role, part int32) bool {
	return p.cond == up && (r == archiveRole || p.stages[r].lanes[part] == nil)
}

// giveUp is what a process does that learns that a partition is another's: it closes the lane, drained or not.
func (p *process) giveUp(r role, part int32, clean bool) {
	p.w.tell("%v gives up %v/%d%s", p, r, part, map[bool]string{true: ", drained"}[clean])
	if r == archiveRole {
		for _, a := range p.archivers {
			a.leaving = a.leaving || a.part == part
		}
		return
	}
	st := p.stages[r]
	if clean {
		st.drain(st.lanes[part])
	}
	if st.lanes[part] != nil {
		st.giveUp(st.lanes[part])
	}
	st.rebuild()
}

// learn lets the process give up what it no longer owns. It reports whether there was anything.
func (p *process) learn() (any bool) {
	for r := range p.stages {
		for part := range int32(partitions) {
			if p.stages[r].lanes[part] != nil && p.w.owner[r][part] != p {
				p.giveUp(role(r), part, p.w.some(2) == 0)
				any = true
			}
		}
	}
	for _, a := range p.archivers {
		if p.w.owner[archiveRole][a.part] != p && !a.leaving {
			p.giveUp(archiveRole, a.part, false)
			any = true
		}
	}
	return any
}

func (p *process) dropEnded() {
	if p.compactor != nil && p.compactor.ended {
		p.compactor = nil
	}
	p.archivers = slices.DeleteFunc(p.archivers, func(a *archiver) bool { return a.ended })
}

// ghost is what a producer that is gone had in flight to one partition: it still arrives, in its order.
type ghost struct {
	from    string
	records []*kgo.Record
}
