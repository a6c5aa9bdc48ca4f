package real

import (
	"math/rand/v2"
	"testing"
	"time"

	"gantry/test/harness"
)

// kill -9 of gantry run at random moments under load changes nothing: not the readings and their numbers, not the final
// windows, not what HDFS holds. Moments between the start of the process and its first records are among them.
//
// GANTRY_KILLS asks for so many kills, GANTRY_SEED for certain moments.
func TestKill(t *testing.T) {
	kills := int(harness.Number(t, "GANTRY_KILLS", 5))
	seed := harness.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	freshCluster(t)
	createTopics(t)

	const lifeMax, speed = 4 * time.Second, 720
	// A life lasts lifeMax/2 on average: the feed goes on for a little longer than all of them, at 30 s a step.
	steps := int(time.Duration(kills+2) * lifeMax / 2 * speed / (30 * time.Second))
	path, m := harness.Mixed(t, seed, steps)
	state, archiveURL := t.TempDir(), freshArchive(t)
	feeding := replay(t, path, speed)
	for i := range kills {
		p := launch(t, "real-0", state, archiveURL, "--window.idleTimeout", "1s")
		life := time.Duration(random.Int64N(int64(lifeMax)))
		p.Kill(t, life)
		t.Logf("kill %d after %v", i+1, life)
	}
	p := launch(t, "real-0", state, archiveURL, "--window.idleTimeout", "1s")
	r := harness.NewReader(t, brokers(t))
	r.Until(t, "the end", m.Done)
	if err := <-feeding; err != nil {
		t.Fatalf("feed: %v", err)
	}
	harness.Archived(t, brokers(t), r.Outcomes)
	p.Stop(t)
	m.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, archiveURL, r.Outcomes)
	clean(t, "--window.idleTimeout", "1s")
	t.Logf("%d readings, %d windows in %d revisions, %d repeats", len(r.Readings), len(r.Final), len(r.Windows),
		r.Repeats)
}
