package test

import (
	"path/filepath"
	"sync"
	"testing"

	"gantry/test/harness"
)

// undisturbed is what a run over a file ends with when nothing happens to it.
type undisturbed struct {
	path     string // of the file
	data     string // the folder that the run has left
	outcomes *harness.Outcomes
}

// undisturb runs over a file to its end.
func undisturb(t *testing.T, path, data string) *undisturbed {
	t.Helper()
	d := start(t, replaying(t, path, data))
	// The file is published, each of its records has an outcome, and each accepted reading is in a published window.
	seen := harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool {
		return int64(len(o.Readings)+len(o.Rejects)) >= d.Total && o.Counted() >= int64(len(o.Readings))
	})
	harness.Archived(t, d.Brokers(), seen)
	d.stop()
	o, report := inspect(t, data)
	clean(t, report)
	harness.ArchiveHolds(t, archiveURL(data), o)
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
		u := undisturb(t, mixed(t, harness.SharedDir, 5), filepath.Join(harness.SharedDir, "reference"))
		o, rejects := u.outcomes, u.outcomes.Reasons()
		t.Logf("undisturbed: %d readings, %d windows in %d revisions, rejects: %v", len(o.Readings), len(o.Final),
			len(o.Windows), rejects)
		if rejects["duplicate"] == 0 || rejects["conflict"] == 0 || rejects["undecodable"] == 0 ||
			rejects["speed_range"] == 0 || rejects["too_old"] == 0 || len(o.Windows) == len(o.Final) {
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
func (u *undisturbed) same(t *testing.T, o *harness.Outcomes) {
	t.Helper()
	harness.Compare(t, "readings", o.BySequence(), u.outcomes.BySequence())
	harness.Compare(t, "rejects", o.Reasons(), u.outcomes.Reasons())
	harness.Compare(t, "final windows", o.Results(), u.outcomes.Results())
}

// complete tells whether a run over the file has come to its end.
func (u *undisturbed) complete(o *harness.Outcomes) bool {
	if len(o.Readings) < len(u.outcomes.Readings) || len(o.Rejects) < len(u.outcomes.Rejects) ||
		len(o.Final) < len(u.outcomes.Final) {
		return false
	}
	return o.Counted() >= u.outcomes.Counted()
}
