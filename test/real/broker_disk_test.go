package real

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gantry/test/harness"
)

// smallDisk is a file system of its own of so many MiB, or the test is skipped.
func smallDisk(t *testing.T, mebibytes string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+mebibytes+"m"); err != nil {
		t.Skipf("a small tmpfs cannot be mounted here (%v): it needs root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes every byte that is left, again and again until it is full for a moment: what is deleted meanwhile would
// leave room. free gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for block := make([]byte, size); ; {
			if _, err := f.Write(block); err != nil {
				break
			}
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// The disk below state.dir is full, GANTRY_FULL times, under load. The stages end cleanly and say which folder it is and what is
// free; the process lives, is not ready, and goes on by itself once there is space. Nothing of that changes a result.
// The same for the folder of the archive, which holds up nothing but the archive.
func TestBrokerDiskFull(t *testing.T) {
	disk := smallDisk(t, "48")
	archiveDisk := smallDisk(t, "16")
	freshCluster(t)
	createTopics(t)
	windows := []string{"--window.length", steadyWindow.String(), "--window.grace", "1s", "--window.idleTimeout", "2s"}
	archiveURL := "file://" + archiveDisk
	s := serve(t, disk, archiveURL, windows...)
	s.ready()
	feeding := feedSteadily(t, 3)
	r := harness.NewReader(t, brokers(t))
	flows := func(what string) {
		t.Helper()
		n := len(r.Readings)
		r.Until(t, "readings "+what, func(o *harness.Outcomes) bool { return len(o.Readings) > n+2*steadySensors })
	}
	flows("before anything happens")

	for range harness.Number(t, "GANTRY_FULL", 1) {
		free := fill(t, disk)
		t.Logf("not ready: %s", s.unready(filepath.Join(disk, "real-0"), "no space left", "bytes are free"))
		if s.errors("disk") == 0 {
			t.Error("errors of the type disk are not counted")
		}
		free()
		flows("after space was freed")
		s.ready()
	}

	free := fill(t, archiveDisk)
	harness.Await(t, "a batch that cannot be archived", func() bool { return s.errors("archive") > 0 })
	flows("while the archive is full")
	free()

	feeding.cancel()
	if err := <-feeding.ended; err != nil {
		t.Fatalf("feed: %v", err)
	}
	r.Until(t, "the end", feeding.model.Done)
	harness.Archived(t, brokers(t), r.Outcomes)
	s.ready()
	s.Stop(t)
	feeding.model.Check(t, r.Outcomes)
	harness.ArchiveHolds(t, archiveURL, r.Outcomes)
	clean(t, append(windows, "--archive", "--archive.url", archiveURL)...)
}
