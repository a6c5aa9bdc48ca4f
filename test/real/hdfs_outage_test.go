package real

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gantry/store/archive"
	"gantry/test/harness"
)

// answerTimeout is that of the archivers here. It is short, so that a test need not wait long for a server that hangs,
// and far beyond what a server needs that does not.
const answerTimeout = 3 * time.Second

// load is a few archivers of one process, which share a connection and write without a pause, each its own partition.
type load struct {
	t         *testing.T
	fs        archive.FS
	url       string
	log       []archive.Record
	ended     sync.WaitGroup
	stopping  atomic.Bool
	archivers []*archiver
}

type archiver struct {
	partition     int32
	commits, errs atomic.Int64
	end           int64        // of what was fed and must be archived
	slowest       atomic.Int64 // call, in ns
}

// startLoad begins to archive into a new folder. It is stopped by check, or at the end of the test.
func startLoad(t *testing.T) *load {
	t.Helper()
	l := &load{t: t, url: freshArchive(t), log: eventLog(200_000)}
	l.fs = openHDFS(t, l.url)
	for p := range int32(3) {
		a := &archiver{partition: p}
		l.archivers = append(l.archivers, a)
		l.ended.Go(func() { a.run(l) })
	}
	t.Cleanup(func() {
		l.stopping.Store(true)
		l.fs.Close()
		l.ended.Wait()
	})
	return l
}

// openHDFS opens the file system of a URL with the short time limit.
func openHDFS(t *testing.T, raw string) archive.FS {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	o := archive.DefaultHDFSOptions()
	o.Namenodes, o.Root, o.AnswerTimeout = []string{u.Host}, u.Path, answerTimeout
	return archive.NewHDFS(o)
}

// run archives the log, and tries again whatever fails, until it is told to stop and all that it has added is archived.
func (a *archiver) run(l *load) {
	o := archive.DefaultOptions()
	o.FlushRows, o.Logger = 500, harness.LogTo(l.t)
	failed := func(err error) {
		if errors.Is(err, archive.ErrReopen) {
			return
		}
		a.errs.Add(1)
		if n := a.errs.Load(); n < 4 {
			l.t.Logf("partition %d: %v", a.partition, err)
		}
		time.Sleep(200 * time.Millisecond) // the back-off of a feed is longer
	}
	timed := func(call func() error) error {
		begin := time.Now()
		err := call()
		a.slowest.Store(max(a.slowest.Load(), int64(time.Since(begin))))
		return err
	}
	for {
		var p *archive.Partition
		err := timed(func() (err error) {
			p, err = archive.OpenPartition(context.Background(), l.fs, a.partition, o)
			return err
		})
		for err == nil {
			if l.stopping.Load() {
				a.end = p.Position()
			} else {
				for full := false; !full && err == nil && p.Position() < int64(len(l.log)); {
					full, err = p.Add(l.log[p.Position()])
				}
			}
			if err == nil || errors.Is(err, archive.ErrFull) {
				err = timed(func() error { _, err := p.Flush(context.Background()); return err })
			}
			if err == nil {
				a.commits.Add(1)
				if a.end > 0 && p.NextOffset() >= a.end {
					p.Close()
					return
				}
			} else if !errors.Is(err, archive.ErrReopen) {
				failed(err)
				if errors.Is(err, fs.ErrClosed) {
					return
				}
				err = nil // the same partition, again
			}
		}
		if errors.Is(err, fs.ErrClosed) {
			return
		}
		failed(err)
	}
}

// progress waits until each archiver has committed n times more.
func (l *load) progress(n int64) {
	l.t.Helper()
	want := make(map[*archiver]int64)
	for _, a := range l.archivers {
		want[a] = a.commits.Load() + n
	}
	harness.Await(l.t, "the archivers", func() bool {
		maps.DeleteFunc(want, func(a *archiver, n int64) bool { return a.commits.Load() >= n })
		return len(want) == 0
	})
}

// failure waits until each archiver has met an error since before.
func (l *load) failure(before map[*archiver]int64) {
	l.t.Helper()
	harness.Await(l.t, "a failure", func() bool {
		for _, a := range l.archivers {
			if a.errs.Load() == before[a] {
				return false
			}
		}
		return true
	})
}

func (l *load) errors() map[*archiver]int64 {
	errs := make(map[*archiver]int64)
	for _, a := range l.archivers {
		errs[a] = a.errs.Load()
	}
	return errs
}

// check stops the archivers, and wants each record that they have taken once, nothing left over, and no call that has
// taken longer than its servers' time limits allow.
func (l *load) check() {
	l.t.Helper()
	l.stopping.Store(true)
	l.ended.Wait()
	fsys := openArchive(l.t, l.url)
	defer fsys.Close()
	ends := make(map[int32]int64)
	for _, a := range l.archivers {
		ends[a.partition] = a.end
		l.t.Logf("partition %d: %d records, %d commits, %d errors, slowest call %v", a.partition, a.end, a.commits.Load(),
			a.errs.Load(), time.Duration(a.slowest.Load()).Round(time.Millisecond))
	}
	holdsOnce(l.t, fsys, l.log, ends)
	noLeftovers(l.t, fsys, len(l.archivers))
}

// holdsOnce compares an archive with the parts of a log that were fed to its partitions.
func holdsOnce(t *testing.T, fsys archive.FS, log []archive.Record, ends map[int32]int64) {
	t.Helper()
	type row struct {
		partition      int32
		sensor         string
		sequence, from int64
	}
	got, want := make(map[row]int), make(map[row]int)
	harness.EachRow(t, fsys, archive.TableRaw, archive.ReadRaw, func(file string, r archive.RawRow) {
		partition, _, _, ok := archive.FileRange(file)
		if !ok {
			t.Errorf("the name of %s says nothing", file)
		}
		got[row{partition, r.SensorID, r.Sequence, r.SourceOffset}]++
	})
	for partition, end := range ends {
		for _, r := range log[:end] {
			want[row{partition, r.Event.SensorID(), r.Event.Reading.Sequence, r.Source.Offset}] = 1
		}
	}
	harness.Compare(t, "archived readings", got, want)
}

// noLeftovers opens each partition once more, which sweeps, and wants nothing under temporary names.
func noLeftovers(t *testing.T, fsys archive.FS, partitions int) {
	t.Helper()
	for p := range int32(partitions) {
		part, err := archive.OpenPartition(t.Context(), fsys, p, archive.DefaultOptions())
		if err != nil {
			t.Fatal(err)
		}
		part.Close()
	}
	for _, dir := range []string{"_temporary", "_intents"} {
		entries, err := fsys.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if dir == "_temporary" || strings.HasPrefix(e.Name, ".") {
				t.Errorf("left over: %s/%s", dir, e.Name)
			}
		}
	}
}

// HDFS fails in each of the ways that it is known to fail in, under load, at a moment that nobody has chosen. Every call
// of an archiver ends, with an error, within the time limits; when HDFS works again the archivers go on by themselves,
// and in the end the archive has each record once, and no leftovers.
func TestHDFSOutage(t *testing.T) {
	for _, c := range []struct {
		name        string
		fault, heal []string // arguments of servers.sh
		long        bool     // slow, or much the same as another one or as TestHDFSAway
	}{
		{"DatanodeKilled", []string{"kill", "datanode"}, []string{"start", "datanode"}, false},
		{"DatanodeHung", []string{"pause", "datanode"}, []string{"resume", "datanode"}, true},
		{"NamenodeKilled", []string{"kill", "namenode"}, []string{"start", "namenode", "datanode"}, true},
		{"NamenodeHung", []string{"pause", "namenode"}, []string{"resume", "namenode"}, true},
		{"SafeMode", []string{"safemode", "on"}, []string{"safemode", "off"}, true},
		{"OutOfSpace", []string{"quota", "1000"}, []string{"quota", "off"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long {
				harness.Long(t)
			}
			ownServers(t, "namenode", "datanode")
			l := startLoad(t)
			l.progress(3)
			before := l.errors()
			servers(t, c.fault...)
			healed := false
			defer func() {
				if !healed {
					servers(t, c.heal...)
				}
			}()
			l.failure(before)
			servers(t, c.heal...)
			healed = true
			l.progress(3)
			l.check()
			for _, a := range l.archivers {
				// A flush of one file asks a few times; after the first time-out the others fail at once.
				if d := time.Duration(a.slowest.Load()); d > 10*answerTimeout {
					t.Errorf("a call has taken %v, with servers that may take %v", d, answerTimeout)
				}
			}
		})
	}
}
