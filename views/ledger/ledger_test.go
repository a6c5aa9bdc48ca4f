package ledger

import "testing"

// A world that keeps all promises has no exception, and each of its raw records is counted as one fate.
func TestCleanDay(t *testing.T) {
	w := day()
	r := w.verify(t, w.extent())
	if !r.OK() || r.Verdict != VerdictClean {
		r.WriteText(t.Output())
		t.Fatal("exceptions in a clean world")
	}
	got := r.Totals
	if !got.Balanced() || got.Pending+got.Expired+got.Missing+got.Holes+got.WindowsPending+got.WindowsUnproved != 0 {
		t.Errorf("totals: %+v", got)
	}
	if got.Metadata != 6 || got.Windows == 0 || got.Revisions < 2 || got.Silences != 2 || len(got.RejectedBy) != 5 {
		t.Errorf("the day lacks something: %+v", got)
	}
}
