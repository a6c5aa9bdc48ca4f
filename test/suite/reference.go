package suite

import (
	"path/filepath"
	"sync"
	"testing"

	"gantry/test/harness"
)

// Undisturbed is what a run over a file ends with when nothing happens to it.
type Undisturbed struct {
	Path         string // of the file
	Installation Installation
	Outcomes     *harness.Outcomes
	recording    *recording
}

// Undisturb runs over a file to its end, and wants topics, ledger and archive in order.
func (s *Suite) Undisturb(t *testing.T, path string, in Installation) *Undisturbed {
	t.Helper()
	p := in.Start(t, Feed{File: path})
	// The file is published, each of its records has an outcome, and each accepted reading is in a published window.
	seen := harness.Follow(t, p.Brokers, func(o *harness.Outcomes) bool {
		return int64(len(o.Readings)+len(o.Rejects)) >= p.Rows && o.Counted() >= int64(len(o.Readings))
	})
	harness.Archived(t, p.Brokers, seen)
	p.Stop()
	servers := in.Servers(t)
	defer servers.Close()
	r := record(t, servers.Brokers)
	o := outcomes(t, r.records)
	Clean(t, prove(t, servers))
	harness.ArchiveHolds(t, in.ArchiveURL(), o)
	return &Undisturbed{Path: path, Installation: in, Outcomes: o, recording: r}
}

// reference is a run that is made once.
type reference struct {
	once sync.Once
	run  *Undisturbed
}

// Reference is the undisturbed run over mixed readings, the same for all tests.
func (s *Suite) Reference(t *testing.T) *Undisturbed {
	t.Helper()
	s.reference.once.Do(func() {
		u := s.Undisturb(t, mixed(t, harness.SharedDir, 5), s.Install(t, filepath.Join(harness.SharedDir, "reference")))
		o, rejects := u.Outcomes, u.Outcomes.Reasons()
		t.Logf("undisturbed: %d readings, %d windows in %d revisions, rejects: %v", len(o.Readings), len(o.Final),
			len(o.Windows), rejects)
		if rejects["duplicate"] == 0 || rejects["conflict"] == 0 || rejects["undecodable"] == 0 ||
			rejects["speed_range"] == 0 || rejects["too_old"] == 0 || len(o.Windows) == len(o.Final) {
			t.Error("the file does not hold what makes it hard")
		}
		s.reference.run = u
	})
	if s.reference.run == nil {
		t.Fatal("the undisturbed run has failed")
	}
	return s.reference.run
}

// Same compares a run over the same file with the undisturbed one: verdicts, readings with their numbers, and windows.
func (u *Undisturbed) Same(t *testing.T, o *harness.Outcomes) {
	t.Helper()
	harness.Compare(t, "readings", o.BySequence(), u.Outcomes.BySequence())
	harness.Compare(t, "rejects", o.Reasons(), u.Outcomes.Reasons())
	harness.Compare(t, "final windows", o.Results(), u.Outcomes.Results())
}

// Complete tells whether a run over the file has come to its end.
func (u *Undisturbed) Complete(o *harness.Outcomes) bool {
	if len(o.Readings) < len(u.Outcomes.Readings) || len(o.Rejects) < len(u.Outcomes.Rejects) ||
		len(o.Final) < len(u.Outcomes.Final) {
		return false
	}
	return o.Counted() >= u.Outcomes.Counted()
}
