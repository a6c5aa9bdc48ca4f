package archive_test

import (
	"testing"

	"gantry/store/archive"
)

// What the partitions of a process hold together is ten full batches, however many they are; each holds a row at least.
func TestBound(t *testing.T) {
	for _, c := range []struct{ flushRows, partitions, want int }{
		{100_000, 1, 100_000},
		{100_000, 10, 100_000},
		{100_000, 20, 50_000},
		{100_000, 1000, 1000},
		{1, 100, 1},
		{100_000, 0, 100_000},
	} {
		o := archive.DefaultOptions()
		o.FlushRows = c.flushRows
		o.Bound(c.partitions)
		if o.FlushRows != c.want {
			t.Errorf("%d rows, %d partitions: %d, not %d", c.flushRows, c.partitions, o.FlushRows, c.want)
		}
	}
}
