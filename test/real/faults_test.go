package real

import (
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// sessionTimeout is how long the brokers wait for a member of a group; then its partitions move.
const sessionTimeout = 6 * time.Second

// fault is something that happens to a member that runs.
type fault struct {
	name   string
	weight int
	strike func(f *fleet, m *member, random *rand.Rand)
}

// faults, by how often they happen.
var faults = []fault{
	{"at a random moment, restarted at once", 8, (*fleet).crash},
	{"restarted later, or after its session", 3, (*fleet).crashForLong},
	{"and again in the first second", 3, (*fleet).crashTwice},
	{"and again while it recovers, state folder lost", 3, (*fleet).crashInRecovery},
	{"while another instance joins or goes", 4, (*fleet).crashInRebalance},
	{"in the middle of a shutdown", 4, (*fleet).crashInShutdown},
	{"state folder lost", 2, (*fleet).loseState},
	{"older copy of the state put back", 3, (*fleet).restoreState},
	{"state files torn", 3, (*fleet).tearState},
	{"state of another cluster put in", 1, (*fleet).swapState},
	{"paused past its session, then killed or not", 3, (*fleet).sleepwalk},
}

// pickFault chooses by weight.
func pickFault(random *rand.Rand) *fault {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	n := random.IntN(total)
	for i := range faults {
		if n -= faults[i].weight; n < 0 {
			return &faults[i]
		}
	}
	panic("unreachable: the weights add up")
}

func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d)))
}

// crash also keeps a copy of the state now and then, for restoreState.
func (f *fleet) crash(m *member, random *rand.Rand) {
	f.kill(m)
	if !m.copied && random.IntN(2) == 0 {
		f.copyAside(m)
	}
	f.start(m)
}

func (f *fleet) copyAside(m *member) {
	if _, err := os.Stat(f.state(m)); err != nil {
		return // it was killed before it made one
	}
	copyState(f.t, f.state(m), f.state(m)+".old")
	m.copied = true
}

func (f *fleet) crashForLong(m *member, random *rand.Rand) {
	f.kill(m)
	f.after(upTo(random, 2*sessionTimeout), func() { f.start(m) })
}

func (f *fleet) crashTwice(m *member, random *rand.Rand) {
	f.kill(m)
	f.start(m)
	f.wait(upTo(random, time.Second))
	f.kill(m)
	f.start(m)
}

// crashInRecovery takes everything from the changelogs, so that recovery takes a while, and waits until it begins.
func (f *fleet) crashInRecovery(m *member, random *rand.Rand) {
	f.kill(m)
	wipeState(f.t, f.state(m))
	f.start(m)
	for end := time.Now().Add(sessionTimeout); time.Now().Before(end) && !m.says(f.t, "partitions assigned"); {
		f.wait(10 * time.Millisecond)
	}
	f.wait(upTo(random, 200*time.Millisecond))
	f.kill(m)
	f.start(m)
}

// crashInRebalance makes the partitions move by a member that comes or goes, and kills another one meanwhile.
func (f *fleet) crashInRebalance(m *member, random *rand.Rand) {
	guest := f.guest
	if guest == nil {
		guest = f.add()
		f.guest = guest
	}
	if guest.process == nil {
		f.start(guest)
		f.wait(upTo(random, 2*time.Second))
	} else if guest != m && !guest.stopped {
		f.kill(guest) // its partitions move when its session is over
		f.after(sessionTimeout+upTo(random, time.Second), func() { f.killAndStart(m) })
	}
	f.killAndStart(m)
}

// killAndStart leaves alone what does not run: somebody else will start it.
func (f *fleet) killAndStart(m *member) {
	if m.process != nil {
		f.kill(m)
		f.start(m)
	}
}

func (f *fleet) crashInShutdown(m *member, random *rand.Rand) {
	_ = m.process.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.process.Exited:
		if code := m.process.Cmd.ProcessState.ExitCode(); code != 0 {
			f.t.Errorf("after SIGTERM %s ended with %d; its log is %s", m.name, code, m.log.Name())
		}
	case <-time.After(upTo(random, 500*time.Millisecond)):
	}
	f.kill(m)
	f.start(m)
}

func (f *fleet) loseState(m *member, _ *rand.Rand) {
	f.kill(m)
	wipeState(f.t, f.state(m))
	f.start(m)
}

// restoreState puts an older copy of the state back; where there is none yet it makes one.
func (f *fleet) restoreState(m *member, _ *rand.Rand) {
	f.kill(m)
	if m.copied {
		copyState(f.t, f.state(m)+".old", f.state(m))
		m.copied = false
	} else {
		f.copyAside(m)
	}
	f.start(m)
}

func (f *fleet) tearState(m *member, random *rand.Rand) {
	f.kill(m)
	tearState(f.t, f.state(m), random)
	f.start(m)
}

// swapState puts in the state of another cluster. The process must refuse it and say what to do; that is done.
func (f *fleet) swapState(m *member, _ *rand.Rand) {
	f.kill(m)
	if foreignState(f.t, f.state(m)) {
		f.refused(m)
		wipeState(f.t, f.state(m))
	}
	f.start(m)
}

// refused starts a member and wants it to end with an error that names the other cluster.
func (f *fleet) refused(m *member) {
	f.start(m)
	select {
	case <-m.process.Exited:
	case <-time.After(20 * time.Second):
		f.t.Errorf("%s runs with the state of another cluster; its log is %s", m.name, m.log.Name())
		f.kill(m)
		return
	}
	if code := m.process.Cmd.ProcessState.ExitCode(); code != 1 || !m.says(f.t, "another-cluster") {
		f.t.Errorf("%s met the state of another cluster and ended with %d; its log is %s", m.name, code, m.log.Name())
	}
	m.process = nil
}

// sleepwalk pauses a member past its session: others take its partitions, and it goes on with what it had buffered. Now
// and then it is killed soon after.
func (f *fleet) sleepwalk(m *member, random *rand.Rand) {
	f.pause(m)
	f.after(sessionTimeout+time.Second+upTo(random, 3*time.Second), func() {
		f.resume(m)
		if random.IntN(2) == 0 {
			f.after(upTo(random, time.Second), func() { f.killAndStart(m) })
		}
	})
}
