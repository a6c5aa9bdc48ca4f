package real

import (
	"path/filepath"
	"testing"

	"gantry/test/harness"
)

// The disk below state.dir is full, GANTRY_FULL times, under load. The stages end cleanly and say which folder it is and
// what is free; the process lives, is not ready, and goes on by itself once there is space. Nothing of that changes a
// result. The same for the folder of the archive, which holds up nothing but the archive.
func TestBrokerDiskFull(t *testing.T) {
	disk := harness.SmallDisk(t, 48)
	archiveDisk := harness.SmallDisk(t, 16)
	freshCluster(t)
	createTopics(t)
	windows := steadyArgs()
	archiveURL := "file://" + archiveDisk
	s := serve(t, disk, archiveURL, windows...)
	s.ready()
	feeding := feedSteadily(t, 3)
	r := harness.NewReader(t, brokers(t))
	flows(t, r, "before anything happens")

	for range harness.Number(t, "GANTRY_FULL", 1) {
		free := harness.FillDisk(t, disk)
		t.Logf("not ready: %s", s.unready(filepath.Join(disk, "real-0"), "no space left", "bytes are free"))
		if s.errors("disk") == 0 {
			t.Error("errors of the type disk are not counted")
		}
		free()
		flows(t, r, "after space was freed")
		s.ready()
	}

	free := harness.FillDisk(t, archiveDisk)
	harness.Await(t, "a batch that cannot be archived", func() bool { return s.errors("archive") > 0 })
	flows(t, r, "while the archive is full")
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
