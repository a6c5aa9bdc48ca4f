package test

import (
	"path/filepath"
	"sync"
	"testing"
)

// undisturbed is what a run over a file ends with when nothing happens to it.
type undisturbed struct {
	path     string // of the file
	data     string // the folder that the run has left
	outcomes *outcomes
}

// undisturb runs over a file to its end.
func undisturb(t *testing.T, path, data string) *undisturbed {
	t.Helper()
	d := start(t, replaying(t, path, data))
	// The whole file is published, each of its records has an outcome, and each accepted reading is in a published window.
	seen := follow(t, d.Brokers(), func(o *outcomes) bool {
		return int64(len(o.readings)+len(o.rejects)) >= d.Total && o.counted() >= int64(len(o.readings))
	})
	archived(t, d.Brokers(), seen)
	d.stop()
	o, report := inspect(t, data)
	clean(t, report)
	archiveHolds(t, data, o)
	return &undisturbed{path: path, data: data, outcomes: o}
}

var undisturbedRun struct {
	sync.Once
	*undisturbed
}

// reference is the undisturbed run over mixed readings, the same for all tests.
func reference(t *testing.T) *undisturbed {
	t.Helper()
	undisturbedRun.Do(func() {
		u := undisturb(t, mixed(t, sharedDir, 5), filepath.Join(sharedDir, "reference"))
		o, rejects := u.outcomes, u.outcomes.reasons()
		t.Logf("undisturbed: %d readings, %d windows in %d revisions, rejects: %v", len(o.readings), len(o.final),
			len(o.windows), rejects)
		if rejects["duplicate"] == 0 || rejects["conflict"] == 0 || rejects["undecodable"] == 0 ||
			rejects["speed_range"] == 0 || rejects["too_old"] == 0 || len(o.windows) == len(o.final) {
			t.Error("the file does not hold what makes it hard")
		}
		undisturbedRun.undisturbed = u
	})
	if undisturbedRun.undisturbed == nil {
		t.Fatal("the undisturbed run has failed")
	}
	return undisturbedRun.undisturbed
}

// same compares a run over the same file with the undisturbed one: verdicts, readings with their numbers, and windows.
func (u *undisturbed) same(t *testing.T, o *outcomes) {
	t.Helper()
	compare(t, "readings", o.bySequence(), u.outcomes.bySequence())
	compare(t, "rejects", o.reasons(), u.outcomes.reasons())
	compare(t, "final windows", o.results(), u.outcomes.results())
}

// complete tells whether a run over the file has come to its end.
func (u *undisturbed) complete(o *outcomes) bool {
	if len(o.readings) < len(u.outcomes.readings) || len(o.rejects) < len(u.outcomes.rejects) ||
		len(o.final) < len(u.outcomes.final) {
		return false
	}
	return o.counted() >= u.outcomes.counted()
}

// counted is how many readings the final windows count.
func (o *outcomes) counted() (n int64) {
	for _, w := range o.final {
		n += int64(w.MessageCount)
	}
	return n
}
