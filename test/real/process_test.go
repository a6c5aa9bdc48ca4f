package real

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// commandPatience bounds a command, also one whose servers do not answer.
	commandPatience = 60 * time.Second
	// stopPatience bounds a stop, generously: it takes a second or two, and orchestrators kill after thirty.
	stopPatience = 15 * time.Second
)

var build = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(sharedDir, "gantry")
	cmd := exec.Command("go", "build", "-o", path, "gantry/cmd/gantry")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})

// gantry is the command, as a user has it.
func gantry(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build gantry: %v", err)
	}
	return path
}

// run runs a command line in an empty folder and returns its exit code. The servers are those of the environment.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, gantry(t), args...)
	cmd.Dir = t.TempDir()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("gantry %q: %v\n%s", args, err, errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// process is a gantry run of its own.
type process struct {
	instance string
	cmd      *exec.Cmd
	log      bytes.Buffer // to be read when it has exited
	exited   chan struct{}
}

// launch starts an instance; it keeps its state in a folder of state.
func launch(t *testing.T, instance, state, archiveURL string, args ...string) *process {
	t.Helper()
	p := &process{instance: instance, exited: make(chan struct{})}
	p.cmd = exec.Command(gantry(t), append([]string{
		"run", "--instance", instance, "--state.dir", filepath.Join(state, instance), "--archive.url", archiveURL,
		"--archive.flushInterval", "1s", "--http.listen", "127.0.0.1:0",
	}, args...)...)
	p.cmd.Dir, p.cmd.Stderr = t.TempDir(), &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its state says how it ended
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.end(t, syscall.SIGKILL)
		if t.Failed() {
			t.Logf("log of %s:\n%s", instance, p.log.String())
		}
	})
	return p
}

// end sends a signal and waits for the end of the process.
func (p *process) end(t *testing.T, signal os.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(signal) // it may have ended
	select {
	case <-p.exited:
	case <-time.After(stopPatience):
		t.Errorf("%s has not ended within %v of %v", p.instance, stopPatience, signal)
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// stop ends it as an operator does, and wants a clean end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.end(t, syscall.SIGTERM)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM %s ended with %d", p.instance, code)
	}
}
