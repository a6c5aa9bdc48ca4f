package race

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gantry/test/harness"
)

// checkStreams has the generator's side read what the Kafka Streams job wrote, in its own format.
func checkStreams(r *rig, tr *truth) string {
	r.t.Helper()
	file := filepath.Join(r.state, "truth.json")
	if err := os.WriteFile(file, tr.json, 0o644); err != nil {
		r.t.Fatal(err)
	}
	p := r.java("check", "Check", "--truth", file)
	r.ended(p)
	var said struct{ Check, Differences string }
	if err := json.Unmarshal(p.Out.Bytes(), &said); err != nil {
		r.t.Fatalf("Check said %q: %v", p.Out.Bytes(), err)
	}
	if said.Check != "ok" {
		return said.Differences
	}
	return ""
}

// checkGantry has the ledger prove what Gantry wrote, and compares it with the generator's truth.
func checkGantry(r *rig, tr *truth) string {
	r.t.Helper()
	return r.verify(tr) + checkOutcomes(r, tr)
}

// checkGantryArchive compares the archive as well.
func checkGantryArchive(r *rig, tr *truth) string {
	r.t.Helper()
	return r.verify(tr, "--archive") + checkOutcomes(r, tr)
}

func (r *rig) verify(tr *truth, args ...string) (differences string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), commandPatience)
	defer cancel()
	code, out, errs := harness.RunContext(ctx, r.t, r.t.TempDir(), nil,
		slices.Concat([]string{"verify", "--json"}, r.gantryFlags(), args)...)
	var report struct {
		Totals struct {
			Records, Accepted, Windows int64
			RejectedBy                 map[string]int64 `json:"rejected_by"`
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		return fmt.Sprintf("gantry verify ended with %d: %s%.4000s; ", code, errs, out)
	}
	totals := report.Totals
	return differ("records", tr.Readings, totals.Records) +
		differ("accepted", tr.Accepted+tr.Late, totals.Accepted) +
		differ("duplicates", tr.Duplicates, totals.RejectedBy["duplicate"]) +
		differ("out of range", tr.Invalid, totals.RejectedBy["speed_range"]) +
		differ("windows", tr.RevisedWindows, totals.Windows)
}

// checkOutcomes reads what Gantry or stock goka wrote, repeats left out by their identity, and compares it with the
// truth.
func checkOutcomes(r *rig, tr *truth) string {
	r.t.Helper()
	o := r.outcomes("traffic-events", "traffic-windows", "traffic-rejects")
	windows, windowed, speedSum := o.closed()
	differences := differ("readings", tr.Accepted+tr.Late, o.readings) +
		differ("duplicates", tr.Duplicates, o.duplicates) +
		differ("invalid", tr.Invalid, int64(len(o.rejects))-o.duplicates) +
		differ("windows", tr.RevisedWindows, windows) +
		differ("windowed", tr.RevisedWindowed, windowed)
	if math.Abs(speedSum-tr.RevisedSpeedSum) > 1e-6*max(1, tr.RevisedSpeedSum) {
		differences += fmt.Sprintf("speed sum: true %f, found %f; ", tr.RevisedSpeedSum, speedSum)
	}
	return differences
}

// checkCopies counts what the ceiling copied.
func checkCopies(r *rig, tr *truth) string {
	r.t.Helper()
	return differ("first copies", tr.Readings, r.ends([]string{"traffic-events"})) +
		differ("second copies", tr.Readings, r.ends([]string{"traffic-windows"}))
}

func differ(what string, want, found int64) string {
	if want == found {
		return ""
	}
	return fmt.Sprintf("%s: true %d, found %d; ", what, want, found)
}
