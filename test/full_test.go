package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gantry/cmd/gantry/app"
	"gantry/test/harness"
	"gantry/test/suite"
)

// A dev whose disk is full ends, and says which folder it is and what to do; so does one that is started then. With
// space it goes on where it was, and everything adds up: nothing that was acknowledged is lost, nothing is there twice.
func TestDevDiskFull(t *testing.T) {
	t.Parallel()
	disk := harness.SmallDisk(t, 24)
	data := filepath.Join(disk, "data")
	o := simulating(t, data, 100, 2000)
	d := start(t, o)
	harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool { return len(o.Readings) >= 1000 })
	free := harness.FillDisk(t, disk)
	says := func(err error) {
		t.Helper()
		for _, part := range []string{data, "no space left on device", "bytes are free"} {
			if !strings.Contains(fmt.Sprint(err), part) {
				t.Errorf("%q is not in: %v", part, err)
			}
		}
	}
	says(d.End())
	_, err := app.NewDev(t.Context(), o)
	says(err)

	free()
	d = start(t, o)
	harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool { return len(o.Readings) >= 10000 })
	d.Stop()
	_, report := suite.Inspect(t, folder(data))
	if !report.OK() || report.Totals.Accepted < 10000 {
		report.WriteText(t.Output())
		t.Error("the ledger does not add up")
	}
}
