package test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// kill -9 of gantry dev at random moments of a replay changes nothing: not the readings and their numbers, not the
// final windows, not what the archive holds. Moments between the start of the process and its first records are among
// them.
//
// GANTRY_KILLS asks for so many kills of a replay of the whole METR-LA file, GANTRY_SEED for certain moments.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GANTRY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("GANTRY_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	var u *undisturbed
	kills, speed, lifeMax := 3, "2400x", 2*time.Second
	if text := os.Getenv("GANTRY_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		speed, lifeMax = "20000x", 4*time.Second
		u = undisturb(t, trafficData(t, "metr-la/los_speed.csv"), t.TempDir())
	} else {
		u = reference(t)
	}
	data, kafka := t.TempDir(), freeAddress(t)
	for i := range kills {
		p := launch(t, u.path, data, kafka, speed)
		life := time.Duration(random.Int64N(int64(lifeMax)))
		select {
		case <-time.After(life):
			p.end(t, syscall.SIGKILL)
		case <-p.exited:
			t.Fatalf("dev ended by itself: %s", p.stderr.String())
		}
		t.Logf("kill %d after %v", i+1, life)
	}
	p := launch(t, u.path, data, kafka, "max")
	seen := follow(t, []string{kafka}, u.complete)
	archived(t, []string{kafka}, seen)
	p.end(t, syscall.SIGTERM)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM dev ended with %d: %s", code, p.stderr.String())
	}
	if code, stdout, stderr := run(t, "verify", "--data", data, "--window.idleTimeout", "1s"); code != 0 {
		t.Errorf("verify: %d\n%s%s", code, stdout, stderr)
	}
	o, report := inspect(t, data)
	clean(t, report)
	u.same(t, o)
	archiveHolds(t, data, o)
	t.Logf("%d records were repeated", o.repeats)
}

// process is a gantry dev of its own.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer // to be read when it has exited
	exited chan struct{}
}

func launch(t *testing.T, path, data, kafka, speed string) *process {
	t.Helper()
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command(gantry(t), "dev", "--input", path, "--data", data, "--rebase", "none", "--speed", speed,
		"--http", "127.0.0.1:0", "--kafka.brokers", kafka, "--registry.url", "http://"+freeAddress(t),
		"--window.idleTimeout", "1s", "--archive.flushInterval", "1s")
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = t.TempDir(), environ(), &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its state says how it ended
		close(p.exited)
	}()
	t.Cleanup(func() { p.end(t, syscall.SIGKILL) })
	return p
}

// end sends a signal and waits for the end of the process.
func (p *process) end(t *testing.T, signal os.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(signal) // it may have ended
	select {
	case <-p.exited:
	case <-time.After(stopPatience):
		t.Fatalf("dev has not ended within %v of %v", stopPatience, signal)
	}
}
