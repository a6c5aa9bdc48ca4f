package main

import (
	"testing"
	"time"

	"gantry/store/archive"
)

// An hour was listed because of a file of a commit that is being finished, and nothing stands in its folder yet: there
// is nothing to merge, no manifest, and no mistake.
func TestCompactHourOnItsWay(t *testing.T) {
	compactor, err := archive.NewCompactor(t.Context(), archive.NewMemory(), archive.DefaultCompactOptions())
	if err != nil {
		t.Fatal(err)
	}
	h := compactHour{Hour: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	if err := h.compact(t.Context(), compactor); err != nil || h.Sealed || h.Why == "" || h.Error != "" {
		t.Errorf("%+v, %v", h, err)
	}
}
