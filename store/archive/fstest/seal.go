package fstest

import (
	"testing"

	"gantry/store/archive"
)

// Seal compacts every hour that has something new.
func Seal(t *testing.T, fsys archive.FS) {
	t.Helper()
	c, err := archive.NewCompactor(t.Context(), fsys, archive.DefaultCompactOptions())
	must(t, err)
	now, err := archive.ReadArchived(fsys)
	must(t, err)
	for _, hour := range now.Unsealed() {
		_, _, err := c.Compact(t.Context(), hour)
		must(t, err)
	}
}
