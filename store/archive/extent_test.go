package archive_test

import (
	"slices"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// The extents are the ends and holes of the newest intents, also where the commit was not finished; reading them changes
// nothing. The range of a file is in its name.
func TestExtents(t *testing.T) {
	mem := archive.NewMemory()
	if got, err := archive.Extents(mem); err != nil || len(got) != 0 {
		t.Errorf("of an empty archive: %v, %v", got, err)
	}
	crash := fstest.None
	commit := func(fsys archive.FS, from int64, last fstest.Fault) {
		p := open(t, fsys, archive.DefaultOptions())
		for n := from; n < from+10; n++ {
			add(t, p, reading(n, "a", n))
		}
		crash = last
		_, _ = p.Flush(bg)
	}
	commit(mem, 5, fstest.None) // offsets 0 to 4 are gone
	crashing := &fstest.Faulty{FS: mem, Decide: func(op, _ string) fstest.Fault {
		if op == "Rename" {
			return crash
		}
		return fstest.None
	}}
	commit(crashing, 15, fstest.CrashBefore)
	got, err := archive.Extents(mem)
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	x := got[0]
	if x.Partition != 0 || x.End != 25 || !slices.Equal(x.Holes, []archive.Hole{{From: 0, To: 5}}) || len(x.Files) != 1 {
		t.Errorf("%+v", x)
	}
	if there, _ := mem.Exists(x.Files[0].Temp); !there {
		t.Error("the file that waits for its rename is gone")
	}
	if p, start, end, ok := archive.FileRange(x.Files[0].Final); !ok || p != 0 || start != 15 || end != 25 {
		t.Errorf("range of %s: %d, %d to %d, %v", x.Files[0].Final, p, start, end, ok)
	}
	if _, _, _, ok := archive.FileRange("raw/merged.parquet"); ok {
		t.Error("any name has a range")
	}
}
