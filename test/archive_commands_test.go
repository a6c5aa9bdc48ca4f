package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gantry/store/archive"
	"gantry/test/suite"
	"gantry/views/ledger"
)

// The commands of the archive, on the folder that a dev has left: what is there, what would be sealed, sealing it, and
// the proof of what was sealed, which one changed byte ends.
func TestArchiveCommands(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	suite.CopyFolder(t, referenceFolder(t), data)
	status := func() (s archive.Status) {
		t.Helper()
		code, out, errs := run(t, "archive", "status", "--data", data, "--json")
		if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 {
			t.Fatalf("status: %d, %v: %s%s", code, err, out, errs)
		}
		return s
	}
	type compacted struct {
		Hours []struct {
			Sealed bool
			Tables map[string]struct{ Files, Rows, Dropped int }
		}
	}
	compact := func(flags ...string) (c compacted) {
		t.Helper()
		code, out, errs := run(t, append([]string{"archive", "compact", "--data", data, "--json"}, flags...)...)
		if err := json.Unmarshal([]byte(out), &c); err != nil || code != 0 {
			t.Fatalf("compact: %d, %v: %s%s", code, err, out, errs)
		}
		return c
	}
	verify := func() (code int, a *ledger.ArchiveReport, out string) {
		t.Helper()
		code, out, errs := run(t, "verify", "--archive", "--data", data, "--json", "--window.idleTimeout", "1s")
		var r ledger.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Archive == nil {
			t.Fatalf("verify: %d, %v: %s%s", code, err, out, errs)
		}
		return code, r.Archive, out
	}

	before := status()
	if len(before.Hours) == 0 || before.Hours[0].State != archive.StateOpen || len(before.Partitions) == 0 ||
		before.Partitions[0].End == nil {
		t.Fatalf("status: %+v", before)
	}
	hours := len(before.Hours)
	if c := compact("--dry-run"); len(c.Hours) != hours || c.Hours[0].Sealed {
		t.Errorf("a dry run: %+v", c)
	}
	first := before.Hours[0].Hour.Format("2006-01-02T15")
	if c := compact("--hour", first); len(c.Hours) != 1 || !c.Hours[0].Sealed {
		t.Errorf("one hour: %+v", c)
	}
	if c := compact(); len(c.Hours) != hours-1 {
		t.Errorf("the others: %+v", c)
	}
	if c := compact(); len(c.Hours) != 0 {
		t.Errorf("again: %+v", c)
	}
	for _, h := range status().Hours {
		if h.State != archive.StateSealed || h.Tables[archive.TableRaw].Files != 1 {
			t.Errorf("after sealing: %+v", h)
		}
	}
	code, a, out := verify()
	if n := a.Totals; code != 0 || n.Sealed != int64(hours) || n.Superseded == 0 || n.Missing != 0 {
		t.Errorf("verify: %d: %s", code, out)
	}

	hour := filepath.Join(data, "archive", archive.HourDir(archive.TableRaw, before.Hours[0].Hour))
	sealed, err := filepath.Glob(filepath.Join(hour, "*"))
	if err != nil || len(sealed) != 1 {
		t.Fatalf("%v, %v", sealed, err)
	}
	content, err := os.ReadFile(sealed[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/3] ^= 1
	if err := os.WriteFile(sealed[0], content, 0o644); err != nil {
		t.Fatal(err)
	}
	code, a, out = verify()
	if code != 1 || a.ExceptionsByKind[ledger.KindSealBroken] != 1 || !strings.Contains(out, filepath.Base(sealed[0])) {
		t.Errorf("verify of a changed file: %d: %s", code, out)
	}
	if err := os.Remove(sealed[0]); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := run(t, "archive", "status", "--data", data); code != 1 || !strings.Contains(out, "lost: raw/") {
		t.Errorf("status without a sealed file: %d: %s", code, out)
	}
}
