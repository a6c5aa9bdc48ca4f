package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// commandPatience bounds a command, also one whose servers do not answer.
const commandPatience = 60 * time.Second

var build = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(SharedDir, "gantry")
	cmd := exec.Command("go", "build", "-o", path, "gantry/cmd/gantry")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})

// Gantry is the command, as a user has it.
func Gantry(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build gantry: %v", err)
	}
	return path
}

// Run runs a command line in a folder and returns its exit code.
func Run(t *testing.T, dir string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandPatience)
	defer cancel()
	return RunContext(ctx, t, dir, env, args...)
}

// RunContext is Run with another bound than its own.
func RunContext(
	ctx context.Context, t *testing.T, dir string, env []string, args ...string,
) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, Gantry(t), args...)
	cmd.Dir, cmd.Env = dir, append(environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("gantry %q: %v\n%s", args, err, errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// environ is this process's environment without GANTRY_*: those are keys to gantry, and settings of the tests here.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GANTRY_") })
}

// Process is a command that runs by itself.
type Process struct {
	Name    string
	Cmd     *exec.Cmd
	Started time.Time
	Out     bytes.Buffer  // what it has printed; to be read when it has exited
	Log     bytes.Buffer  // likewise; empty where it went elsewhere
	Exited  chan struct{} // closed when it has
}

// Launch starts a gantry in an empty folder, as Start does.
func Launch(t *testing.T, name string, env []string, args ...string) *Process {
	t.Helper()
	return Start(t, name, command(t, env, args))
}

// LaunchTo starts a gantry with its log in a file, and otherwise as Launch does.
func LaunchTo(t *testing.T, name string, log *os.File, env []string, args ...string) *Process {
	t.Helper()
	cmd := command(t, env, args)
	cmd.Stderr = log
	return start(t, name, cmd)
}

func command(t *testing.T, env, args []string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Gantry(t), args...)
	cmd.Dir, cmd.Env = t.TempDir(), append(environ(), env...)
	return cmd
}

// Start starts a command, which is killed at the end of the test. Its log is printed where the test has failed.
func Start(t *testing.T, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := start(t, name, cmd)
	t.Cleanup(func() { // after the process has ended: cleanups run from the last to the first
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.Log.String())
		}
	})
	return p
}

func start(t *testing.T, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, Cmd: cmd, Exited: make(chan struct{})}
	cmd.Stdout = &p.Out
	if cmd.Stderr == nil {
		cmd.Stderr = &p.Log
	}
	p.Started = time.Now()
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Cmd.Wait() // its state says how it ended
		close(p.Exited)
	}()
	t.Cleanup(func() { p.End(t, syscall.SIGKILL) })
	return p
}

// Kill ends it at once, after a life of its own; it is an error if it has ended by itself before.
func (p *Process) Kill(t *testing.T, life time.Duration) {
	t.Helper()
	select {
	case <-time.After(life):
		p.End(t, syscall.SIGKILL)
	case <-p.Exited:
		t.Fatalf("%s ended by itself: %s", p.Name, p.Log.String())
	}
}

// End sends a signal and waits for the end of the process.
func (p *Process) End(t *testing.T, signal os.Signal) {
	t.Helper()
	_ = p.Cmd.Process.Signal(signal) // it may have ended
	select {
	case <-p.Exited:
	case <-time.After(StopPatience):
		t.Errorf("%s has not ended within %v of %v", p.Name, StopPatience, signal)
		_ = p.Cmd.Process.Kill()
		<-p.Exited
	}
}

// Stop ends it as an operator does, and wants a clean end.
func (p *Process) Stop(t *testing.T) {
	t.Helper()
	p.End(t, syscall.SIGTERM)
	if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM %s ended with %d", p.Name, code)
	}
}
