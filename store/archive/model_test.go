package archive_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/codecs"
	"gantry/store/archive"
)

var bg = context.Background()

// epoch of the test logs, not on the hour so that their rows fall into several.
var epoch = time.Date(2026, 11, 24, 8, 58, 0, 0, time.UTC).UnixMilli()

// reading makes the reading of a sensor with a sequence number; all else follows from the two.
func reading(offset int64, sensor string, seq int64) archive.Record {
	r := codecs.Reading{
		SensorID: sensor, Timestamp: epoch + seq*60_000, Latitude: 34, Longitude: -118,
		ReceivedAt: epoch + seq*60_000 + 900, Sequence: seq, Flags: codecs.Flags(seq) & codecs.FlagsAll,
	}
	if seq%3 != 0 {
		r.SpeedMPH = codecs.Some(float64(seq % 2 * 55)) // null, 0 and 55
	}
	return archive.Record{
		Offset: offset,
		Event:  &codecs.Event{Kind: codecs.KindReading, Reading: r},
		Source: codecs.Source{Topic: "traffic-raw", Partition: 3, Offset: 1000 + seq},
	}
}

func window(offset int64, sensor string, ordinal int64) archive.Record {
	w := codecs.WindowAggregate{
		SensorID: sensor, WindowStart: epoch + ordinal*300_000, WindowEnd: epoch + (ordinal+1)*300_000,
		MessageCount: int32(ordinal), ExpectedCount: 10, Completeness: 0.5, Revision: 1,
		CloseReason: codecs.CloseWatermark, Latitude: 34, Longitude: -118,
	}
	return archive.Record{
		Offset: offset, Ordinal: ordinal, Event: &codecs.Event{Kind: codecs.KindWindow, Window: w},
	}
}

func silence(offset int64, sensor string) archive.Record {
	return archive.Record{Offset: offset, Event: &codecs.Event{
		Kind: codecs.KindSilence, Silence: codecs.SensorSilence{SensorID: sensor},
	}}
}

// eventLog makes a log of n new readings and windows of two sensors as traffic-events may hold it: a writer that
// crashes leaves a gap and then sends a run again from before the gap, and silences stand between.
func eventLog(rnd *rand.Rand, n int) []archive.Record {
	var log []archive.Record
	add := func(r archive.Record) { r.Offset = int64(len(log)); log = append(log, r) }
	type numbers struct{ reading, window int64 }
	last := map[string]*numbers{"s1": {}, "s2": {}}
	for range n {
		sensor := []string{"s1", "s2"}[rnd.IntN(2)]
		l := last[sensor]
		switch rnd.IntN(8) {
		case 0:
			add(silence(0, sensor))
		case 1: // numbers are skipped, and the run comes again
			add(reading(0, sensor, l.reading+2))
			for seq := max(1, l.reading-2); seq <= l.reading+2; seq++ {
				add(reading(0, sensor, seq))
			}
			l.reading += 2
		case 2:
			for ordinal := max(1, l.window-1); ordinal <= l.window+1; ordinal++ {
				add(window(0, sensor, ordinal))
			}
			l.window++
		default:
			l.reading++
			add(reading(0, sensor, l.reading))
		}
	}
	l := last["s1"]
	add(reading(0, "s1", l.reading+1)) // ends with a row, so that the last flush takes all
	return log
}

func identity(r archive.Record) string {
	switch r.Event.Kind {
	case codecs.KindReading:
		return fmt.Sprintf("%s reading %d of %d", r.Event.SensorID(), r.Event.Reading.Sequence, r.Source.Offset)
	case codecs.KindWindow:
		return fmt.Sprintf("%s window %d revision %d", r.Event.SensorID(), r.Event.Window.WindowStart,
			r.Event.Window.Revision)
	default:
		return ""
	}
}

// archived reads all identities of an archive.
func archived(fsys archive.Reader) ([]string, error) {
	var ids []string
	for name, err := range archive.Walk(fsys, archive.TableRaw) {
		if err != nil {
			return nil, err
		}
		rows, err := archive.ReadRaw(fsys, name)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			ids = append(ids, fmt.Sprintf("%s reading %d of %d", r.SensorID, r.Sequence, r.SourceOffset))
		}
	}
	for name, err := range archive.Walk(fsys, archive.TableAggregates) {
		if err != nil {
			return nil, err
		}
		rows, err := archive.ReadAggregates(fsys, name)
		if err != nil {
			return nil, err
		}
		for _, w := range rows {
			ids = append(ids, fmt.Sprintf("%s window %d revision %d", w.SensorID, w.WindowStart, w.Revision))
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// checkOnce compares an archive with the model: each identity of the log once.
func checkOnce(fsys archive.Reader, log []archive.Record) error {
	var want []string
	for _, r := range log {
		if id := identity(r); id != "" {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	got, err := archived(fsys)
	if err != nil {
		return err
	}
	if slices.Equal(got, want) {
		return nil
	}
	var diff []string
	for i, id := range got {
		if i > 0 && id == got[i-1] {
			diff = append(diff, "twice: "+id)
		}
	}
	for _, id := range want {
		if !slices.Contains(got, id) {
			diff = append(diff, "lost: "+id)
		}
	}
	return errors.New(strings.Join(diff, "\n"))
}

// rounds cuts an exploration down where each step costs fifty times as much: the race detector pays for every large
// buffer of the Parquet writer. Its concern, who shares what, does not depend on the number.
func rounds(n int) int {
	if raceDetector {
		return max(3, n/10)
	}
	return n
}

func skipExhaustive(t *testing.T) {
	if raceDetector {
		t.Skip("takes minutes under the race detector; the random explorations run the same code")
	}
}

// testOptions flush after few rows and keep a single intent, the hardest case for pruning. The clock stands still.
func testOptions(flushRows int) archive.Options {
	opts := archive.DefaultOptions()
	opts.FlushRows = flushRows
	opts.IntentsKept = 1
	opts.Now = func() time.Time { return time.UnixMilli(epoch) }
	return opts
}

// feed runs one archiver over a log, as a process does: it opens the partition, goes on where the archive ends, repeats
// what fails, and flushes at the end. It returns an error when the process cannot go on, as after a crash.
func feed(fsys archive.FS, log []archive.Record, flushRows int) error {
	const triesMax = 20 // a fault is injected once or twice; more failures than that are a defect
	tries := 0
	retry := func() bool { tries++; return tries < triesMax }
open:
	p, err := archive.OpenPartition(bg, fsys, 0, testOptions(flushRows))
	if err != nil {
		if retry() {
			goto open
		}
		return err
	}
	defer p.Close()
	flush := func() error {
		for {
			_, err := p.Flush(bg)
			if err == nil || errors.Is(err, archive.ErrReopen) || !retry() {
				return err
			}
		}
	}
	for _, r := range log[min(int64(len(log)), max(0, p.NextOffset())):] {
		full, err := p.Add(r)
		if err == nil && full {
			err = flush()
		}
		if errors.Is(err, archive.ErrReopen) && retry() {
			goto open
		}
		if err != nil {
			return err
		}
	}
	return flush()
}
