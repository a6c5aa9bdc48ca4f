package feed

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A replay publishes the sensors, then the rows. Started again an hour later it goes on with the shift that it had, and
// sends neither sensors nor rows twice; without Resume it is a new replay, an hour's windows further on.
func TestReplayGoesOn(t *testing.T) {
	conn := cluster(t)
	f, err := ReadFile(write(t, "r.csv", "sensor_id,timestamp,speed_mph,latitude,longitude\n"+
		"a,2026-01-01T00:00:00Z,60,34,-118\nb,2026-01-01T00:07:00Z,61,34,-118\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	sensors, err := f.Sensors()
	if err != nil || len(sensors) != 2 {
		t.Fatalf("%+v, %v", sensors, err)
	}
	clock := &steps{now: time.Now().Add(-3 * time.Hour)}
	o := ReplayOptions{
		Topic: topic, Wire: WireJSON, Rebase: RebaseNow, WindowLength: 5 * time.Minute, Sensors: sensors, Clock: clock,
	}
	var first Identity
	for i, run := range []struct {
		resume bool
		total  int // records in the topic afterwards
	}{{true, 4}, {true, 4}, {false, 8}} {
		o.Resume = run.resume
		p, err := NewReplay(t.Context(), conn, f, o)
		if err != nil {
			t.Fatal(err)
		}
		src, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Publish(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		src.Close()
		p.Close()
		switch moved := p.Feed(); {
		case i == 0:
			first = moved
		case run.resume && moved != first:
			t.Errorf("run %d is %s, not %s", i, moved, first)
		case !run.resume && moved.Shift-first.Shift != 2*time.Hour.Milliseconds():
			t.Errorf("run %d is moved %d ms further", i, moved.Shift-first.Shift)
		}
		records := consume(t, conn)
		if len(records) != run.total {
			t.Errorf("run %d: %d records", i, len(records))
		}
		seen := make(map[int32]bool) // partitions that had a row
		for _, r := range records {
			metadata := r.Headers[0].Key == codecs.HeaderKind
			if i == 0 && metadata && seen[r.Partition] {
				t.Error("metadata stands behind a row")
			}
			seen[r.Partition] = seen[r.Partition] || !metadata
		}
		clock.now = clock.now.Add(time.Hour)
	}
}

// Files differ in identity by their name, size or content, and the same file read in another format is another feed.
func TestFileID(t *testing.T) {
	ids := make(map[string]bool)
	for _, f := range []struct {
		name, text string
		format     Format
	}{{"a", "x", CSV}, {"b", "x", CSV}, {"a", "y", CSV}, {"a", "xx", CSV}, {"a", "x", NDJSON}, {"a", "x", CSV}} {
		id, err := FileID(write(t, f.name, f.text), f.format)
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if len(ids) != 5 {
		t.Errorf("%d identities of 5 feeds", len(ids))
	}
}
