package real

import (
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// kill -9 of gantry run at random moments under load changes nothing: not the readings and their numbers, not the final
// windows, not what HDFS holds. Moments between the start of the process and its first records are among them.
//
// GANTRY_KILLS asks for so many kills, GANTRY_SEED for certain moments.
func TestKill(t *testing.T) {
	kills := int(number(t, "GANTRY_KILLS", 5))
	seed := number(t, "GANTRY_SEED", uint64(time.Now().UnixNano()))
	t.Logf("GANTRY_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	freshCluster(t)
	createTopics(t)

	const lifeMax, speed = 4 * time.Second, 720
	// A life lasts lifeMax/2 on average: the feed goes on for a little longer than all of them, at 30 s a step.
	steps := int(time.Duration(kills+2) * lifeMax / 2 * speed / (30 * time.Second))
	path, m := mixed(t, seed, steps)
	state, archiveURL := t.TempDir(), freshArchive(t)
	feeding := replay(t, path, speed)
	for i := range kills {
		p := launch(t, "real-0", state, archiveURL, "--window.idleTimeout", "1s")
		life := time.Duration(random.Int64N(int64(lifeMax)))
		select {
		case <-time.After(life):
			p.end(t, syscall.SIGKILL)
		case <-p.exited:
			t.Fatalf("%s ended by itself", p.instance)
		}
		t.Logf("kill %d after %v", i+1, life)
	}
	p := launch(t, "real-0", state, archiveURL, "--window.idleTimeout", "1s")
	r := read(t)
	r.until(t, "the end", m.done)
	if err := <-feeding; err != nil {
		t.Fatalf("feed: %v", err)
	}
	archived(t, r.outcomes)
	p.stop(t)
	m.check(t, r.outcomes)
	archiveHolds(t, archiveURL, r.outcomes)
	clean(t, "--window.idleTimeout", "1s")
	t.Logf("%d readings, %d windows in %d revisions, %d repeats", len(r.readings), len(r.final), len(r.windows), r.repeats)
}
