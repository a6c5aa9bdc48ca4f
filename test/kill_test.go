package test

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"gantry/test/harness"
	"gantry/test/suite"
)

// kill -9 of gantry dev at random moments of a replay changes nothing: not the readings and their numbers, not the
// final windows, not what the archive holds. Moments between the start of the process and its first records are among
// them.
//
// GANTRY_KILLS asks for so many kills of a replay of the whole METR-LA file, GANTRY_SEED for certain moments.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := harness.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))

	var u *suite.Undisturbed
	kills, speed, lifeMax := 3, "2400x", 2*time.Second
	if os.Getenv("GANTRY_KILLS") != "" {
		kills = int(harness.Number(t, "GANTRY_KILLS", 10))
		speed, lifeMax = "20000x", 4*time.Second
		u = embeddedSuite.Undisturb(t, suite.TrafficData(t, "metr-la/los_speed.csv"), folder(t.TempDir()))
	} else {
		u = embeddedSuite.Reference(t)
	}
	data, kafka := t.TempDir(), harness.FreeAddress(t)
	for i := range kills {
		p := launch(t, u.Path, data, kafka, speed)
		life := time.Duration(random.Int64N(int64(lifeMax)))
		p.Kill(t, life)
		t.Logf("kill %d after %v", i+1, life)
	}
	p := launch(t, u.Path, data, kafka, "max")
	seen := harness.Follow(t, []string{kafka}, u.Complete)
	harness.Archived(t, []string{kafka}, seen)
	p.Stop(t)
	if code, stdout, stderr := run(t, "verify", "--data", data, "--window.idleTimeout", "1s"); code != 0 {
		t.Errorf("verify: %d\n%s%s", code, stdout, stderr)
	}
	o, report := suite.Inspect(t, folder(data))
	suite.Clean(t, report)
	u.Same(t, o)
	harness.ArchiveHolds(t, folder(data).ArchiveURL(), o)
	t.Logf("%d records were repeated", o.Repeats)
}

func launch(t *testing.T, path, data, kafka, speed string) *harness.Process {
	t.Helper()
	return harness.Launch(t, "dev", nil, "dev", "--input", path, "--data", data, "--rebase", "none", "--speed", speed,
		"--http", "127.0.0.1:0", "--kafka.brokers", kafka, "--registry.url", "http://"+harness.FreeAddress(t),
		"--window.idleTimeout", "1s", "--archive.flushInterval", "1s")
}
