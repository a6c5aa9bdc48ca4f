package test

import (
	"os"
	"path/filepath"
	"testing"

	"gantry/test/harness"
)

// A dev that is stopped in the middle of a file goes on where it was, also when its state is lost, or is that of an
// earlier time: the tables are in Kafka, and what is on disk is only a copy of them.
func TestRestart(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, state, old string){
		"state kept":    func(*testing.T, string, string) {},
		"state removed": func(t *testing.T, state, _ string) { remove(t, state) },
		"state stale":   func(t *testing.T, state, old string) { copyFolder(t, old, state) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := reference(t)
			data, old := t.TempDir(), filepath.Join(t.TempDir(), "old")
			for i, share := range []int{4, 2} { // a quarter, then a half of the readings
				d := start(t, paced(t, u.path, data))
				seen := harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool {
					return len(o.Readings) >= len(u.outcomes.Readings)/share
				})
				d.stop()
				if u.complete(seen) {
					t.Error("the replay is over: this is no stop in the middle")
				}
				if i == 0 {
					copyFolder(t, filepath.Join(data, "state"), old)
				}
			}
			meanwhile(t, filepath.Join(data, "state"), old)

			d := start(t, replaying(t, u.path, data))
			harness.Archived(t, d.Brokers(), harness.Follow(t, d.Brokers(), u.complete))
			d.stop()
			o, report := inspect(t, data)
			clean(t, report)
			u.same(t, o)
			harness.ArchiveHolds(t, archiveURL(data), o)
		})
	}
}

// A dev that is stopped under load stops within the time that orchestrators give, and what it has done adds up.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	d := start(t, simulating(t, data, 2000, 20000))
	harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool { return len(o.Readings) >= 20000 })
	d.stop()
	o, report := inspect(t, data)
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
