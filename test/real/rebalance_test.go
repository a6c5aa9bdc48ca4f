package real

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"gantry/processors"
	"gantry/test/harness"
)

// installation are the processes that share the partitions.
type installation struct {
	t      *testing.T
	random *rand.Rand
	launch func(name string) *harness.Process
	adm    *kadm.Client
	groups int // that each process is a member of
	run    map[string]*harness.Process
	ended  []*harness.Process
	named  int // processes so far
}

func (i *installation) add() {
	i.named++
	name := fmt.Sprintf("real-%d", i.named)
	i.run[name] = i.launch(name)
}

// any is one of the processes.
func (i *installation) any() string {
	var names []string
	for name := range i.run {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[i.random.IntN(len(names))]
}

func (i *installation) end(name string, how func(p *harness.Process)) {
	p := i.run[name]
	how(p)
	delete(i.run, name)
	i.ended = append(i.ended, p)
}

func (i *installation) start(name string) { i.run[name] = i.launch(name) }

// shares says who has which partitions: by group and instance.
type shares map[[2]string]processors.Member

// shared waits until every process that runs has partitions of every group, and nobody else has. A process that was
// started again has joined when it is another member than before.
func (i *installation) shared(before shares, again string) shares {
	i.t.Helper()
	has := make(shares)
	harness.Await(i.t, "partitions for every process", func() bool {
		clear(has)
		members, settled, err := processors.Members(i.t.Context(), i.adm)
		if err != nil || !settled || len(members) != i.groups*len(i.run) {
			return false
		}
		for _, m := range members {
			key := [2]string{m.Group, m.Instance}
			if i.run[m.Instance] == nil || len(m.Partitions) == 0 || m.Instance == again && before[key].ID == m.ID {
				return false
			}
			has[key] = m
		}
		return true
	})
	return has
}

// partitions leaves out what changes while nothing moves.
func (s shares) partitions() map[[2]string]string {
	all := make(map[[2]string]string)
	for who, m := range s {
		all[who] = fmt.Sprint(m.Partitions)
	}
	return all
}

// change is what an operator or a failure does to one of the processes.
type change struct {
	name string
	do   func(i *installation) (again string) // the process that was started again
	gone bool                                 // one process fewer afterwards
	// found is by when the others have noticed; the pauses are looked at for longer.
	found time.Duration
}

const session = 6 * time.Second

var changes = []change{
	{name: "stopped, started again", do: func(i *installation) string {
		name := i.any()
		i.end(name, func(p *harness.Process) { p.Stop(i.t) })
		i.start(name)
		return name
	}},
	{name: "killed, started again", do: func(i *installation) string {
		name := i.any()
		i.end(name, func(p *harness.Process) { p.End(i.t, syscall.SIGKILL) })
		i.start(name)
		return name
	}},
	{name: "stopped for good", gone: true, do: func(i *installation) string {
		i.end(i.any(), func(p *harness.Process) {
			p.End(i.t, syscall.SIGUSR1)
			if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
				i.t.Errorf("after SIGUSR1 %s ended with %d", p.Name, code)
			}
		})
		return ""
	}},
	{name: "stopped, then removed by command", gone: true, do: func(i *installation) string {
		name := i.any()
		i.end(name, func(p *harness.Process) { p.Stop(i.t) })
		if code, out, errs := run(i.t, "members", "remove", name); code != 0 || !strings.Contains(out, "is now with real-") {
			i.t.Errorf("members remove: %d\n%s%s", code, out, errs)
		}
		return ""
	}},
	{name: "killed for good", gone: true, found: session, do: func(i *installation) string {
		i.end(i.any(), func(p *harness.Process) { p.End(i.t, syscall.SIGKILL) })
		return ""
	}},
}

var another = change{name: "another one added", do: func(i *installation) string {
	i.add()
	return ""
}}

// plan is a random order of all changes, with another process for each that is gone.
func plan(random *rand.Rand) (all []change) {
	for _, n := range random.Perm(len(changes)) {
		all = append(all, changes[n])
		if changes[n].gone {
			all = append(all, another)
		}
	}
	return all
}

// Three processes share the partitions under a steady load. They are stopped, killed, removed, started again, within
// the session time-out and for good, and others are added, in random order. None of that changes a result; what comes
// back within its session moves no partition; and no partition idles. How long each pauses is printed by kind of change.
//
// GANTRY_ROUNDS asks for so many rounds of all changes, GANTRY_RATE for so many readings a second, GANTRY_SEED for a
// certain order.
func TestRebalance(t *testing.T) {
	seed := harness.Seed(t)
	rounds := int(harness.Number(t, "GANTRY_ROUNDS", 1))
	rate := int(harness.Number(t, "GANTRY_RATE", 500))
	freshCluster(t)
	archiveURL, state := freshArchive(t), t.TempDir()
	windows := steadyArgs()
	i := &installation{
		t: t, random: rand.New(rand.NewPCG(seed, 2)), adm: harness.Admin(t, brokers(t)),
		launch: func(name string) *harness.Process { return launch(t, name, state, archiveURL, windows...) },
		groups: len(processors.Groups), run: make(map[string]*harness.Process),
	}
	for range 3 { // at once, on a cluster on which no topic is: each of them creates all
		i.add()
	}
	i.shared(nil, "")
	feeding := feedAt(t, seed, rate)
	r := harness.NewReader(t, brokers(t))
	p := newPauses()
	r.Seen = p.see
	partitions := processors.DefaultTopics().Partitions
	table := make(pauseTable)
	var still []interval
	for range rounds {
		for _, c := range plan(i.random) {
			calm := time.Now()
			r.Until(t, "a calm group", func(*harness.Outcomes) bool { return p.since(calm, partitions, time.Second) })
			had := i.shared(nil, "")
			p.reset()
			from := time.Now()
			again := c.do(i)
			has := i.shared(had, again)
			back := again != "" && time.Since(from) < session
			switch {
			case back:
				harness.Compare(t, c.name+": who has what", has.partitions(), had.partitions())
				still = append(still, interval{c.name, from, time.Time{}})
			case again != "":
				t.Logf("%s: it was back after %v, when its session was over", c.name, time.Since(from))
			}
			until := from.Add(c.found)
			if now := time.Now(); now.After(until) {
				until = now
			}
			r.Until(t, c.name, func(*harness.Outcomes) bool { return p.since(until, partitions, 2*time.Second) })
			if back {
				still[len(still)-1].to = time.Now()
			}
			table.add(c.name, p.longest)
		}
	}
	feeding.cancel()
	if err := <-feeding.ended; err != nil {
		t.Fatalf("feed: %v", err)
	}
	r.Until(t, "the end", feeding.model.Done)
	harness.Archived(t, brokers(t), r.Outcomes)
	for len(i.run) > 0 {
		i.end(i.any(), func(p *harness.Process) { p.Stop(t) })
	}
	feeding.model.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, archiveURL, r.Outcomes)
	clean(t, windows...)
	nothingMoved(t, i.ended, still)
	t.Logf("%d readings, %d windows in %d revisions, %d repeats; longest pause of a partition by kind of change:\n%v",
		len(r.Readings), len(r.Final), len(r.Windows), r.Repeats, table)
	for kind, pauses := range table {
		if most := slices.Max(pauses); most > session+30*time.Second {
			t.Errorf("%s: a partition idled for %v", kind, most)
		}
	}
}

// interval is the time of a change that moves nothing.
type interval struct {
	name     string
	from, to time.Time
}

// nothingMoved reads in the logs when the groups began a generation with a partition: not while something came back
// within its session, except for the one that did, which learns what it has.
func nothingMoved(t *testing.T, processes []*harness.Process, still []interval) {
	t.Helper()
	for _, p := range processes {
		for line := range bytes.Lines(p.Log.Bytes()) {
			var entry struct {
				Time  time.Time
				Msg   string
				Group string
			}
			if json.Unmarshal(line, &entry) != nil || entry.Msg != "partitions assigned" {
				continue
			}
			for _, s := range still {
				if entry.Time.After(s.from) && entry.Time.Before(s.to) && p.Started.Before(s.from) {
					t.Errorf("%s: %s was assigned partitions of %s at %v", s.name, p.Name, entry.Group, entry.Time)
				}
			}
		}
	}
}

// pauseTable holds the longest pause of each partition, one entry for each partition and change of a kind.
type pauseTable map[string][]time.Duration

func (t pauseTable) add(kind string, longest map[int32]time.Duration) {
	for _, d := range longest {
		t[kind] = append(t[kind], d)
	}
}

func (t pauseTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-34s %8s %8s %8s %8s\n", "", "n", "median", "90 %", "most")
	for _, c := range append(slices.Clone(changes), another) {
		all := slices.Sorted(slices.Values(t[c.name]))
		if len(all) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-34s %8d %7.2fs %7.2fs %7.2fs\n", c.name, len(all), all[len(all)/2].Seconds(),
			all[len(all)*9/10].Seconds(), all[len(all)-1].Seconds())
	}
	return b.String()
}
