package real

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"gantry/store/archive"
	"gantry/test/harness"
)

const (
	// archiverURL makes a process of this test binary an archiver of that URL: see TestHDFSArchiver.
	archiverURL = "GANTRY_TEST_ARCHIVER_URL"

	processRows     = 40   // of a flush of such a process
	processReadings = 6000 // of its log
)

// TestHDFSArchiver is no test: it is what a process that the tests below start does. It archives the log to its end.
func TestHDFSArchiver(t *testing.T) {
	url := os.Getenv(archiverURL)
	if url == "" {
		t.Skip("a part of the tests of several processes")
	}
	archiveAll(t, url, processRows)
}

// archiveAll archives the log to its end, and tries again as a feed does.
func archiveAll(t *testing.T, url string, rows int) {
	t.Helper()
	log := eventLog(processReadings)
	for try := 0; ; try++ {
		err := archiveSome(t, url, log, rows, len(log))
		if err == nil {
			return
		}
		if !errors.Is(err, archive.ErrReopen) || try == 50 {
			t.Fatal(err)
		}
	}
}

// startArchiver starts a process that archives to url; it is killed at the end of the test.
func startArchiver(t *testing.T, url string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHDFSArchiver$", "-test.v")
	cmd.Env = append(os.Environ(), archiverURL+"="+url)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// committed waits until the archive of partition 0 has come to an offset, and returns where it is.
func committed(t *testing.T, fsys archive.FS, atLeast int64) (end int64) {
	t.Helper()
	harness.Await(t, "commits", func() bool {
		extents, err := archive.Extents(fsys)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range extents {
			end = x.End
		}
		return end >= atLeast
	})
	return end
}

// An archiver is stopped by SIGSTOP at a random moment of a flush, for longer than its session would last: another one
// archives the partition meanwhile. When the first goes on, nothing that it does changes what is archived, and both end
// without a failure.
func TestHDFSZombie(t *testing.T) {
	harness.Long(t)
	setting(t, "GANTRY_ARCHIVE_URL")
	zombies := int(harness.Number(t, "GANTRY_ZOMBIES", 3))
	random := rand.New(rand.NewPCG(harness.Seed(t), 8))
	for range zombies {
		url := freshArchive(t)
		fsys := openArchive(t, url)
		zombie := startArchiver(t, url)
		at := committed(t, fsys, processRows)
		time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond)))) // a flush takes about that
		if err := zombie.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Logf("stopped behind offset %d", at)
		archiveAll(t, url, 700)
		if err := zombie.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := zombie.Wait(); err != nil {
			t.Errorf("the zombie failed: %v", err)
		}
		log := eventLog(processReadings)
		holdsOnce(t, fsys, log, map[int32]int64{0: int64(len(log))})
		noLeftovers(t, fsys, 1)
		fsys.Close()
	}
}

// kill -9 of an archiver at random moments of its flushes: files and intents are left open and half written by a client
// that is dead, and the next one goes on at once, without waiting for a lease. In the end each record is archived once
// and nothing is left over.
func TestHDFSKill(t *testing.T) {
	setting(t, "GANTRY_ARCHIVE_URL")
	random := rand.New(rand.NewPCG(harness.Seed(t), 9))
	const round = 5 // kills while one log is archived: far from its end
	for kills := int(harness.Number(t, "GANTRY_KILLS", round)); kills > 0; kills -= round {
		killArchivers(t, random, min(kills, round))
	}
}

func killArchivers(t *testing.T, random *rand.Rand, kills int) {
	t.Helper()
	url := freshArchive(t)
	fsys := openArchive(t, url)
	defer fsys.Close()
	at, left := int64(0), 0
	for range kills {
		cmd := startArchiver(t, url)
		at = committed(t, fsys, at+1)
		time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		entries, err := fsys.List("_temporary")
		if err != nil {
			t.Fatal(err)
		}
		left += len(entries)
	}
	t.Logf("killed %d times up to offset %d, %d files left over", kills, at, left)
	archiveAll(t, url, 1000)
	log := eventLog(processReadings)
	holdsOnce(t, fsys, log, map[int32]int64{0: int64(len(log))})
	noLeftovers(t, fsys, 1)
}
