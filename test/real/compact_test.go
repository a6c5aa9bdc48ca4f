package real

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
	"gantry/test/harness"
)

// An archive on HDFS whose compaction dies after one call, then after two, after three …, in the middle of a call or
// with its answer lost, and is started again each time: no reading is ever listed twice, and in the end each is there
// once, in one file an hour. A last batch comes when the hours are sealed, and is merged in.
func TestHDFSCompactionDies(t *testing.T) {
	const seed, readings = 5, 300
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fsys := openArchive(t, freshArchive(t))
	defer fsys.Close()
	log := eventLog(readings)
	for _, end := range []int{len(log) * 3 / 4, len(log)} {
		if err := archiveUpTo(t, fsys, log[:end]); err != nil {
			t.Fatal(err)
		}
		deaths := 0
		for alive := 1; ; alive++ {
			calls, fault := 0, fstest.Faults[random.IntN(len(fstest.Faults))]
			err := sealAll(t, &fstest.Faulty{FS: fsys, Decide: func(string, string) fstest.Fault {
				if calls++; calls < alive {
					return fstest.None
				}
				return fault
			}})
			if err == nil && calls < alive {
				break
			}
			deaths++
			for offset, n := range listedReadings(t, fsys) {
				if n > 1 {
					t.Fatalf("death %d, %s: the reading of offset %d is listed %d times", deaths, fault, offset, n)
				}
			}
		}
		t.Logf("sealed after %d deaths", deaths)
		want := make(map[int64]int)
		for _, r := range log[:end] {
			want[r.Source.Offset] = 1
		}
		harness.Compare(t, "sealed readings", listedReadings(t, fsys), want)
		s, err := archive.ReadStatus(t.Context(), fsys)
		if err != nil || !s.OK() || s.Temporary > 0 {
			t.Errorf("status %+v, %v", s, err)
		}
		for _, h := range s.Hours {
			if h.State != archive.StateSealed || h.Tables[archive.TableRaw].Files != 1 {
				t.Errorf("%v is %s", h.Hour, h.State)
			}
		}
	}
}

// Compactors and archivers that run at the same time, each with a connection of its own, leave each reading once.
func TestHDFSCompactionRace(t *testing.T) {
	const readings = 300
	url := freshArchive(t)
	log := eventLog(readings)
	done := make(chan error)
	compact := func() error {
		fsys, err := archive.Open(url)
		if err != nil {
			return err
		}
		defer fsys.Close()
		return sealAll(t, fsys)
	}
	for range 2 {
		go func() {
			var err error
			for range 6 {
				err = errors.Join(err, compact())
			}
			done <- err
		}()
	}
	for n := range 10 {
		if err := archiveSome(t, url, log, 10, 2); err != nil {
			t.Errorf("archiver %d: %v", n, err)
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(archiveSome(t, url, log, 100, readings), compact()); err != nil {
		t.Fatal(err)
	}
	fsys := openArchive(t, url)
	defer fsys.Close()
	want := make(map[int64]int)
	for _, r := range log {
		want[r.Source.Offset] = 1
	}
	harness.Compare(t, "sealed readings", listedReadings(t, fsys), want)
}

// sealAll compacts every hour that has something new.
func sealAll(t *testing.T, fsys archive.FS) error {
	c, err := archive.NewCompactor(t.Context(), fsys, archive.DefaultCompactOptions())
	if err != nil {
		return err
	}
	now, err := archive.ReadArchived(fsys)
	if err != nil {
		return err
	}
	for _, hour := range now.Unsealed() {
		if _, _, err := c.Compact(t.Context(), hour); err != nil && !errors.Is(err, archive.ErrRaced) {
			return fmt.Errorf("seal %v: %w", hour, err)
		}
	}
	return nil
}

// archiveUpTo archives a log in small files.
func archiveUpTo(t *testing.T, fsys archive.FS, log []archive.Record) error {
	o := archive.DefaultOptions()
	o.FlushRows = 25
	p, err := archive.OpenPartition(t.Context(), fsys, 0, o)
	if err != nil {
		return err
	}
	defer p.Close()
	for _, r := range log[p.Position():] {
		full, err := p.Add(r)
		if err == nil && full {
			_, err = p.Flush(t.Context())
		}
		if err != nil {
			return err
		}
	}
	_, err = p.Flush(t.Context())
	return err
}

// listedReadings counts the readings that a reader of Parquet files finds, by source offset.
func listedReadings(t *testing.T, fsys archive.FS) map[int64]int {
	t.Helper()
	seen := make(map[int64]int)
	harness.EachRow(t, fsys, archive.TableRaw, archive.ReadRaw, func(_ string, row archive.RawRow) {
		seen[row.SourceOffset]++
	})
	return seen
}
