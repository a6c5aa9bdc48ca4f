package suite

import (
	"os"
	"path/filepath"
	"testing"

	"gantry/test/harness"
)

// pace lets a replay of the mixed readings take a few seconds, so that there is a middle in which something can happen.
const pace = 3600

// Restart: a pipeline that is stopped in the middle of a file goes on where it was, also when its state is lost, or is
// that of an earlier time: the tables are in Kafka, and what is on disk is only a copy of them.
func (s *Suite) Restart(t *testing.T) {
	s.parallel(t)
	for name, meanwhile := range map[string]func(t *testing.T, state, old string){
		"state kept":    func(*testing.T, string, string) {},
		"state removed": func(t *testing.T, state, _ string) { remove(t, state) },
		"state stale":   func(t *testing.T, state, old string) { CopyFolder(t, old, state) },
	} {
		t.Run(name, func(t *testing.T) {
			s.parallel(t)
			u := s.Reference(t)
			in, old := s.Install(t, t.TempDir()), filepath.Join(t.TempDir(), "old")
			for i, share := range []int{4, 2} { // a quarter, then a half of the readings
				p := in.Start(t, Feed{File: u.Path, Speed: pace})
				seen := harness.Follow(t, p.Brokers, func(o *harness.Outcomes) bool {
					return len(o.Readings) >= len(u.Outcomes.Readings)/share
				})
				p.Stop()
				if u.Complete(seen) {
					t.Error("the replay is over: this is no stop in the middle")
				}
				if i == 0 {
					CopyFolder(t, in.StateDir(), old)
				}
			}
			meanwhile(t, in.StateDir(), old)

			p := in.Start(t, Feed{File: u.Path})
			harness.Archived(t, p.Brokers, harness.Follow(t, p.Brokers, u.Complete))
			p.Stop()
			o, report := Inspect(t, in)
			Clean(t, report)
			u.Same(t, o)
			harness.ArchiveHolds(t, in.ArchiveURL(), o)
		})
	}
}

// StopUnderLoad: a pipeline that is stopped under load stops within the time that orchestrators give, and what it has
// done adds up.
func (s *Suite) StopUnderLoad(t *testing.T) {
	s.parallel(t)
	in := s.Install(t, t.TempDir())
	p := in.Start(t, Feed{Sensors: 2000, Rate: 20000})
	harness.Follow(t, p.Brokers, func(o *harness.Outcomes) bool { return len(o.Readings) >= 20000 })
	p.Stop()
	o, report := Inspect(t, in)
	if !report.OK() || report.Totals.Accepted < 20000 || report.Totals.Accepted != int64(len(o.Readings)) {
		report.WriteText(t.Output())
		t.Errorf("the ledger does not add up to the %d readings", len(o.Readings))
	}
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}
