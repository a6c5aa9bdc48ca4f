package real

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/processors"
	"gantry/test/harness"
)

const chaosWindow = 10 * time.Second

var (
	chaosArgs = []string{"--window.length", chaosWindow.String(), "--window.grace", "1s", "--window.idleTimeout", "3s"}
	flushSoon = []string{"--archive.flushInterval", "1s"}
)

// Several gantry run share the partitions under a live load that has everything in it, and kill -9 hits them at random
// moments: while they start and recover, while partitions move, while they stop. Others lose their state folder, find
// an older copy of it, torn files or that of another cluster, or are paused until others have taken their partitions.
// Nothing of that changes a result: readings, their numbers, rejects and final windows are those of an independent
// computation, the ledger is clean, and HDFS holds each reading and revision once.
//
// GANTRY_KILLS asks for so many kills, GANTRY_SEED for certain faults at certain moments, GANTRY_INSTANCES and
// GANTRY_RATE for processes and readings a second; GANTRY_KEYED=0 for a traffic-raw that is keyed by something else.
// What happened is printed as a table.
func TestChaos(t *testing.T) {
	seed := harness.Seed(t)
	kills := int(harness.Number(t, "GANTRY_KILLS", 10))
	rate := int(harness.Number(t, "GANTRY_RATE", 1000))
	instances := int(harness.Number(t, "GANTRY_INSTANCES", 3))
	topics, args := processors.DefaultTopics(), chaosArgs
	if topics.Keyed = harness.Number(t, "GANTRY_KEYED", 1) != 0; !topics.Keyed {
		// Metadata overtakes a backlog, not another partition whose router is ahead.
		args = slices.Concat(args, []string{"--raw.keyed=false", "--validate.knownSensorsOnly=false"})
	}
	freshCluster(t)
	createTopicsOf(t, topics)
	r := chaosReport{struck: make(map[string]int), began: time.Now()}
	t.Cleanup(func() {
		if r.outcomes != nil && r.caughtUp.IsZero() { // it did not come so far
			r.topics = r.feed.model.Check(t, r.outcomes)
		}
		fmt.Fprint(t.Output(), r.String())
	})

	archiveURL := freshArchive(t)
	feed := newTraffic(t, seed, rate, chaosWindow, time.Now())
	if !topics.Keyed {
		feed.placed = "station of "
	}
	feed.live(t)
	r.feed = feed
	f := newFleet(t, chaosFolder(t), archiveURL, instances, slices.Concat(args, flushSoon)...)
	r.fleet = f
	for step := uint64(0); f.kills < kills; step++ {
		random := rand.New(rand.NewPCG(seed, step))
		f.wait(upTo(random, 2*time.Second))
		running := f.running()
		if len(running) == 0 {
			continue
		}
		fault, victim := pickFault(random), running[random.IntN(len(running))]
		fmt.Fprintf(victim.log, "--- step %d: %s\n", step, fault.name)
		r.struck[fault.name]++
		fault.strike(f, victim, random)
	}
	f.settle()
	feed.stop(t)
	r.fed = time.Now()

	reader := harness.NewReader(t, brokers(t))
	r.outcomes = reader.Outcomes
	reader.Until(t, "the end", feed.model.Done)
	harness.Archived(t, brokers(t), reader.Outcomes)
	f.stopAll()
	r.caughtUp = time.Now()
	r.topics = feed.model.Check(t, reader.Outcomes)
	r.archive = harness.ArchiveHolds(t, archiveURL, reader.Outcomes)
	clean(t, slices.Concat(args, []string{"--archive", "--archive.url", archiveURL})...)
	r.ended = time.Now()
}

// chaosFolder holds states and logs. It stays where the test has failed.
func chaosFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gantry-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("states and logs are kept in %s", dir)
		} else {
			os.RemoveAll(dir)
		}
	})
	return dir
}

// chaosReport is what has happened, as far as the test has come.
type chaosReport struct {
	struck                      map[string]int
	fleet                       *fleet
	began, fed, caughtUp, ended time.Time
	feed                        *traffic
	outcomes                    *harness.Outcomes
	topics, archive             harness.Diff
}

func (r *chaosReport) String() string {
	var b strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&b, "%-50s %v\n", name, value) }
	if r.fleet == nil {
		return ""
	}
	row("kill -9 of a process that was alive", r.fleet.kills)
	for _, f := range faults {
		row("  "+f.name, r.struck[f.name])
	}
	if o := r.outcomes; o != nil {
		row("messages", r.feed.sent)
		row("readings accepted", len(o.Readings))
		row("rejects", len(o.Rejects))
		row("windows", len(o.Final))
		row("revisions of windows", len(o.Windows))
		row("repeats on the topics", o.Repeats)
		d := r.topics.Plus(r.archive)
		row("lost", d.Missing)
		row("doubled", d.TooMuch)
		row("different", d.Different)
	}
	if r.ended.IsZero() {
		row("NOT FINISHED, after", time.Since(r.began).Round(time.Second))
		return b.String()
	}
	row("chaos", r.fed.Sub(r.began).Round(100*time.Millisecond))
	row("caught up after", r.caughtUp.Sub(r.fed).Round(100*time.Millisecond))
	row("all", r.ended.Sub(r.began).Round(100*time.Millisecond))
	return b.String()
}
