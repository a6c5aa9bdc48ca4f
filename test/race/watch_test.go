package race

import (
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"gantry/test/harness"
)

const (
	watchInterval = 50 * time.Millisecond
	// settled is after how long without growth an output is taken to be complete, for the CPU seconds: waiting costs
	// some too. quiet is that for the end of the run.
	settled       = 4 * watchInterval
	quiet         = 2 * time.Second
	watchPatience = 20 * time.Minute
)

// watched is what a run looks like from outside.
type watched struct {
	firstOutput float64 // seconds from the program's start to the first record
	seconds     float64 // from there to the last record
	program     usage   // until the last record
	broker      usage   // between start and last record; peak since the broker's start
	machine     machine // between start and last record
}

// watch follows a contender until it has processed the backlog. Its outputs grow from the first record to the last, as
// a reader of what is committed sees them; it is done when its groups have committed up to the end as well.
func (r *rig) watch(c *contender, p *harness.Process, readings int) (w watched) {
	r.t.Helper()
	brokerBefore, machineBefore := usageOf(r.t, r.brokerPID), machineUsage(r.t)
	var first, last time.Time
	sampled := true
	ends := r.ends(c.outputs)
	deadline := time.Now().Add(watchPatience)
	for {
		r.tick(p, deadline, func() int64 { return r.lag(c, readings) })
		now := time.Now()
		if grown := r.ends(c.outputs); grown != ends {
			if first.IsZero() {
				first = now
			}
			last, ends, sampled = now, grown, false
		}
		if !sampled && now.Sub(last) > settled {
			w.program, w.broker, w.machine, sampled = usageOf(r.t, p.Cmd.Process.Pid), usageOf(r.t, r.brokerPID),
				machineUsage(r.t), true
		}
		if !last.IsZero() && now.Sub(last) > quiet && r.lag(c, readings) == 0 {
			break
		}
	}
	w.broker.cpu -= brokerBefore.cpu
	w.machine.busy -= machineBefore.busy
	w.machine.steal -= machineBefore.steal
	w.firstOutput, w.seconds = first.Sub(p.Started).Seconds(), last.Sub(first).Seconds()
	return w
}

// await waits until a program is no longer behind.
func (r *rig) await(p *harness.Process, behind func() int64) {
	r.t.Helper()
	deadline := time.Now().Add(watchPatience)
	for behind() > 0 {
		r.tick(p, deadline, behind)
	}
}

// tick lets some time pass, and ends the race where the program has ended or hangs.
func (r *rig) tick(p *harness.Process, deadline time.Time, lag func() int64) {
	r.t.Helper()
	select {
	case <-p.Exited:
		r.t.Fatalf("%s has ended by itself, %d behind", p.Name, lag())
	case <-time.After(watchInterval):
	}
	if time.Now().After(deadline) {
		r.t.Fatalf("%s is still %d behind after %v", p.Name, lag(), watchPatience)
	}
}

// ends sums the end offsets of topics. Markers of transactions count.
func (r *rig) ends(topics []string) (sum int64) {
	r.t.Helper()
	ends, err := r.adm.ListCommittedOffsets(r.t.Context(), topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum
}

// lag is how many records a contender has to process yet.
func (r *rig) lag(c *contender, readings int) (lag int64) {
	r.t.Helper()
	if c.copies != "" {
		return int64(readings) - r.ends([]string{c.copies})
	}
	for group, topic := range c.groups {
		lag += r.behind(group, topic)
	}
	return lag
}

// behind is how many records of a topic a group has not committed.
func (r *rig) behind(group, topic string) int64 {
	r.t.Helper()
	committed, err := r.adm.FetchOffsets(r.t.Context(), group)
	if err != nil {
		r.t.Fatal(err)
	}
	behind := r.ends([]string{topic})
	committed.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic {
			behind -= max(0, o.At)
		}
	})
	return behind
}
