package real

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"gantry/test/harness"
)

// The broker is away when gantry run starts; under load it is killed and started at once, is away for longer, and stops
// answering for seconds, again and again. The process lives through all of it: it says why it is not ready, and which
// broker it waits for, goes on by itself, and nothing of that changes a result. How many lines it logs meanwhile, and
// what memory it takes, is printed.
//
// GANTRY_OUTAGE is how many seconds the broker is away, GANTRY_STALLS how often it stands still; GANTRY_SEED asks for
// certain lengths of that.
func TestBrokerOutage(t *testing.T) {
	away := time.Duration(harness.Number(t, "GANTRY_OUTAGE", 5)) * time.Second
	stalls := harness.Number(t, "GANTRY_STALLS", 1)
	random := rand.New(rand.NewPCG(harness.Seed(t), 2))
	b := ownBroker(t)
	freshCluster(t)
	createTopics(t)
	address := strings.TrimSpace(setting(t, "GANTRY_KAFKA_BROKERS"))
	windows := steadyArgs()
	archiveURL := "file://" + t.TempDir()

	b.kill()
	s := serve(t, t.TempDir(), archiveURL, windows...)
	t.Logf("not ready: %s", s.unready("cannot start", address))
	if s.errors("broker") == 0 {
		t.Error("errors of the type broker are not counted while it waits for its start")
	}
	b.start()
	s.ready()
	feeding := feedSteadily(t, random.Uint64())
	r := harness.NewReader(t, brokers(t))
	recovers := func(what string) {
		t.Helper()
		from := time.Now()
		flows(t, r, what)
		s.ready()
		t.Logf("%.1fs until readings came and it was ready, %s", time.Since(from).Seconds(), what)
	}
	recovers("before anything happens")

	if away > 10*time.Second { // else that is about the same
		b.kill()
		b.start()
		recovers("after a kill and a start")
	}

	before, from := s.megabytes(), time.Now()
	b.kill()
	t.Logf("not ready: %s", s.unready("Kafka cannot be used", address))
	peak := before
	for range int(away / time.Second) {
		time.Sleep(time.Second) // the length of the outage is what is tested
		s.alive("the broker")
		peak = max(peak, s.megabytes())
	}
	to := time.Now()
	if s.errors("broker") == 0 {
		t.Error("errors of the type broker are not counted while the broker is away")
	}
	b.start()
	recovers("after an outage")
	t.Logf("the broker was away for %v: memory from %.0f to at most %.0f MiB", to.Sub(from).Round(time.Second), before, peak)

	for range stalls {
		pause := 2*time.Second + time.Duration(random.Int64N(int64(6*time.Second)))
		b.signal(syscall.SIGSTOP)
		time.Sleep(pause) // the broker's, which is what is tested
		b.signal(syscall.SIGCONT)
		t.Logf("the broker stood still for %v", pause.Round(100*time.Millisecond))
		recovers("after the broker stood still")
	}

	feeding.cancel()
	if err := <-feeding.ended; err != nil {
		t.Fatalf("feed: %v", err)
	}
	r.Until(t, "the end", feeding.model.Done)
	harness.Archived(t, brokers(t), r.Outcomes)
	s.Stop(t)
	lines := s.logged(from, to)
	t.Logf("%d lines logged in %v of outage", lines, to.Sub(from).Round(time.Second))
	if most := 20 + int(to.Sub(from)/time.Second); lines > most {
		t.Errorf("that is a flood: more than %d\n%s", most, s.Log.String())
	}
	feeding.model.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, archiveURL, r.Outcomes)
	clean(t, append(windows, "--archive", "--archive.url", archiveURL)...)
	t.Logf("%d readings, %d windows in %d revisions, %d repeats", len(r.Readings), len(r.Final), len(r.Windows), r.Repeats)
}
