package real

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"gantry/test/harness"
)

// fleet is a number of gantry run processes that share the partitions, and of things that are still to be done to them.
type fleet struct {
	t       *testing.T
	dir     string // for each member its state and its log
	archive string
	args    []string
	members []*member
	guest   *member // comes and goes; nil as long as it has never come
	due     []deed
	kills   int // kill -9 of a process that was alive
}

// member is an instance of the fleet through all its lives.
type member struct {
	name    string
	args    []string // its own, besides those of the fleet
	log     *os.File
	process *harness.Process // nil while there is none
	stopped bool             // SIGSTOP
	copied  bool             // an older copy of its state lies beside it
}

// deed is done when its time has come.
type deed struct {
	at time.Time
	do func()
}

// newFleet starts instances chaos-0, chaos-1 and so on, with these arguments besides those of launch.
func newFleet(t *testing.T, dir, archiveURL string, instances int, args ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: dir, archive: archiveURL, args: args}
	for range instances {
		f.start(f.add())
	}
	return f
}

// add gives the fleet a member that does not run yet.
func (f *fleet) add() *member {
	f.t.Helper()
	m := &member{name: fmt.Sprintf("chaos-%d", len(f.members))}
	var err error
	if m.log, err = os.Create(filepath.Join(f.dir, m.name+".log")); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { m.log.Close() })
	f.members = append(f.members, m)
	return m
}

func (f *fleet) state(m *member) string { return filepath.Join(f.dir, m.name) }

// says tells whether a text stands in the log of the member's present or last life.
func (m *member) says(t *testing.T, text string) bool {
	t.Helper()
	log, err := os.ReadFile(m.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(log[max(0, bytes.LastIndex(log, []byte(lifeMark))):], []byte(text))
}

const lifeMark = "--- starts "

func (f *fleet) start(m *member) {
	f.t.Helper()
	if m.process != nil {
		return
	}
	fmt.Fprintln(m.log, lifeMark+time.Now().UTC().Format(time.RFC3339Nano))
	m.process = harness.LaunchTo(f.t, m.name, m.log, reach(f.t), append([]string{
		"run", "--instance", m.name, "--state.dir", f.state(m), "--archive.url", f.archive, "--http.listen", "127.0.0.1:0",
	}, slices.Concat(f.args, m.args)...)...)
}

// kill ends a process at once, if it has not ended.
func (f *fleet) kill(m *member) {
	f.t.Helper()
	if m.process == nil {
		return
	}
	m.process.End(f.t, syscall.SIGKILL)
	if m.process.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		f.kills++
	}
	m.process, m.stopped = nil, false
}

// stop ends a process as an operator does.
func (f *fleet) stop(m *member) {
	f.t.Helper()
	if m.process != nil {
		m.process.Stop(f.t)
		m.process = nil
	}
}

// pause stops a process without its knowing, resume lets it go on.
func (f *fleet) pause(m *member) {
	f.t.Helper()
	if err := m.process.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		f.t.Fatalf("pause %s: %v", m.name, err)
	}
	m.stopped = true
}

func (f *fleet) resume(m *member) {
	f.t.Helper()
	if !m.stopped {
		return
	}
	if err := m.process.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		f.t.Fatalf("resume %s: %v", m.name, err)
	}
	m.stopped = false
}

// running are the members that live and are not paused.
func (f *fleet) running() []*member {
	var all []*member
	for _, m := range f.members {
		if m.process != nil && !m.stopped {
			all = append(all, m)
		}
	}
	return all
}

// after does something when a time has passed, while the fleet waits for it.
func (f *fleet) after(d time.Duration, do func()) {
	f.due = append(f.due, deed{time.Now().Add(d), do})
	slices.SortStableFunc(f.due, func(a, b deed) int { return a.at.Compare(b.at) })
}

// wait lets time pass, does what is due meanwhile, and fails where a process has ended by itself.
func (f *fleet) wait(d time.Duration) {
	f.t.Helper()
	end := time.Now().Add(d)
	for len(f.due) > 0 && !f.due[0].at.After(end) {
		next := f.due[0]
		f.due = f.due[1:]
		time.Sleep(time.Until(next.at))
		next.do()
	}
	time.Sleep(time.Until(end))
	for _, m := range f.running() {
		select {
		case <-m.process.Exited:
			f.t.Fatalf("%s ended by itself: %v; its log is %s", m.name, m.process.Cmd.ProcessState, m.log.Name())
		default:
		}
	}
}

// settle does all that is due, and starts and resumes every member.
func (f *fleet) settle() {
	f.t.Helper()
	for len(f.due) > 0 {
		f.wait(max(0, time.Until(f.due[0].at)))
	}
	for _, m := range f.members {
		f.resume(m)
		f.start(m)
	}
}

// stopAll ends every process as an operator does.
func (f *fleet) stopAll() {
	f.t.Helper()
	for _, m := range f.members {
		f.stop(m)
	}
}
