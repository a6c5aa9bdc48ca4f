package real

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"gantry/codecs"
	"gantry/store/archive"
	"gantry/store/archive/fstest"
	"gantry/test/harness"
)

// HDFS keeps the contract that the archive's commits rest on: what is written is whole, exclusive is exclusive, a
// rename is one step, also for a user whom permissions bind.
func TestHDFSContract(t *testing.T) {
	root := freshArchive(t)
	n := 0
	fstest.Contract(t, func(t *testing.T) archive.FS {
		n++
		return openArchive(t, fmt.Sprintf("%s/%d", root, n))
	})
}

// Two processes that archive one partition at once, each of which may end and start again anywhere between two flushes,
// leave each reading exactly once: whoever loses the race for an intent deletes its batch and reads on behind the
// winner's. Each start has a connection of its own, as a process has. No life fails, also where the other has swept away
// what it was writing: at most it is told to open the partition again.
func TestHDFSArchiveRace(t *testing.T) {
	const seed, racers, restarts, readings = 7, 2, 4, 400
	t.Logf("seed %d", seed)
	url := freshArchive(t)
	log := eventLog(readings)
	var race sync.WaitGroup
	for racer := range racers {
		random := rand.New(rand.NewPCG(seed, uint64(racer)))
		race.Go(func() {
			for range restarts {
				err := archiveSome(t, url, log, 20+random.IntN(30), 1+random.IntN(5))
				if err != nil && !errors.Is(err, archive.ErrReopen) {
					t.Errorf("a life of racer %d ended: %v", racer, err)
				}
			}
		})
	}
	race.Wait()
	if err := archiveSome(t, url, log, 50, readings); err != nil { // whatever the racers left
		t.Fatal(err)
	}

	fsys := openArchive(t, url)
	defer fsys.Close()
	seen := make(map[int64]int)
	harness.EachRow(t, fsys, archive.TableRaw, archive.ReadRaw, func(_ string, row archive.RawRow) {
		seen[row.SourceOffset]++
	})
	want := make(map[int64]int)
	for _, r := range log {
		want[r.Source.Offset] = 1
	}
	harness.Compare(t, "archived readings", seen, want)
}

// eventLog is a partition of traffic-events, with the repeats that a crash leaves there.
func eventLog(readings int) (log []archive.Record) {
	const start = 1767225600000 // 2026-01-01
	for i := range int64(readings) {
		e := &codecs.Event{Kind: codecs.KindReading, Reading: codecs.Reading{
			SensorID: fmt.Sprintf("s%d", i%7), Timestamp: start + i*30_000, SpeedMPH: codecs.Some(float64(i)),
			Latitude: 34, Longitude: -118, Sequence: i/7 + 1,
		}}
		r := archive.Record{
			Offset: int64(len(log)), Event: e, Source: codecs.Source{Topic: "traffic-raw", Partition: 0, Offset: i},
		}
		log = append(log, r)
		if i%50 >= 40 {
			r.Offset++
			log = append(log, r)
		}
	}
	return log
}

// archiveSome is the life of an archiver: it goes on where the archive ends, flushes after so many rows, and ends after
// so many flushes, without a flush of what it holds then.
func archiveSome(t *testing.T, url string, log []archive.Record, rows, flushes int) error {
	fsys, err := archive.Open(url)
	if err != nil {
		return err
	}
	defer fsys.Close()
	o := archive.DefaultOptions()
	o.FlushRows = rows
	p, err := archive.OpenPartition(t.Context(), fsys, 0, o)
	if err != nil {
		return err
	}
	defer p.Close()
	for flushed := 0; flushed < flushes; flushed++ {
		full := false
		for next := max(p.Position(), 0); next < int64(len(log)) && !full; next = p.Position() {
			if full, err = p.Add(log[next]); err != nil && !errors.Is(err, archive.ErrFull) {
				return err
			}
		}
		if _, err := p.Flush(t.Context()); err != nil {
			return err
		}
		if p.NextOffset() == int64(len(log)) {
			return nil
		}
	}
	return nil
}
