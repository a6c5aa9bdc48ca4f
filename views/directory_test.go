package views

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"gantry/codecs"
	"gantry/views/api"
)

var place = codecs.Sensor{Latitude: 34.1, Longitude: -118.2}

// Metadata that is added, changed and taken away is published once each, and shows in the answers. A value of the table
// that has changed in something else publishes nothing.
func TestDirectoryMetadata(t *testing.T) {
	f := newTables(t)
	f.d.goLive()
	f.load("a", &place)
	f.out.want(t, "new metadata", "sensor a meta=true silent=false")
	f.load("a", &place)
	f.out.want(t, "equal metadata")
	moved := place
	moved.Lanes = codecs.Some[int32](3)
	f.load("a", &moved)
	f.out.want(t, "other metadata", "sensor a meta=true silent=false")
	if s, ok := f.d.Get("a"); !ok || s.Meta.Lanes.V != 3 || s.Meta.SensorID != "a" || s.Watermark.Valid {
		t.Errorf("a is %+v, known %v", s, ok)
	}
	f.read("a", noon)
	f.out.take()
	f.load("a", nil)
	f.load("a", nil)
	f.out.want(t, "removed metadata", "removed a")
	if _, ok := f.d.Get("a"); ok {
		t.Error("a removed sensor is known")
	}
	f.read("a", noon+minute)
	f.out.want(t, "a reading of a removed sensor")
	f.load("a", &place)
	f.out.want(t, "metadata that came back", "sensor a meta=true silent=false")
	if s, ok := f.d.Get("a"); !ok || s.Watermark.V != noon+minute {
		t.Errorf("the sensor came back as %+v, known %v", s, ok)
	}
}

// A sensor without metadata is known by its readings, and only where sensors need no metadata: a process that starts
// after the metadata was removed must not show the sensor again.
func TestDirectoryWithoutMetadata(t *testing.T) {
	f := newTables(t)
	f.d.goLive()
	f.load("a", nil) // the dedup group knows something of it
	if _, ok := f.d.Get("a"); ok {
		t.Error("a sensor without metadata and readings is known")
	}
	f.read("a", noon)
	f.out.want(t, "the first reading", "sensor a meta=false silent=false", "window a +0m n=1 r=0")
	if s, ok := f.d.Get("a"); !ok || s.HasMeta || s.LastReceivedAt.V != noon+1000 || s.Current() == nil {
		t.Errorf("a is %+v, known %v", s, ok)
	}
	f.d.MetadataRequired = true
	if _, ok := f.d.Get("a"); ok {
		t.Error("a sensor without metadata is known although it needs some")
	}
	if n, _, _, _ := f.d.Counts(); n != 0 {
		t.Errorf("%d sensors are counted", n)
	}
}

// Exactly the windows that a value changes are published: the one that a reading counts in, those that the watermark
// closes, and nothing where a value repeats.
func TestDirectoryPublishesChangedWindows(t *testing.T) {
	f := newTables(t)
	f.load("a", &place)
	f.read("a", noon)
	f.out.want(t, "a directory that has not caught up")
	f.d.goLive()
	f.update("a")
	f.out.want(t, "an equal value")
	f.read("a", noon+minute)
	f.out.want(t, "a reading", "window a +0m n=2 r=0")
	f.read("a", noon+6*minute)
	f.out.want(t, "a reading that closes a window", "window a +0m n=2 r=1", "window a +5m n=1 r=0")
	f.read("a", noon+2*minute)
	f.out.want(t, "a late reading", "window a +0m n=3 r=2")
	f.silence(codecs.SensorSilence{SensorID: "a", Watermark: noon + 6*minute, AsOf: noon + 8*minute})
	f.out.want(t, "a silence", "sensor a meta=true silent=true")
	f.silence(codecs.SensorSilence{SensorID: "a", Watermark: noon + 6*minute, AsOf: noon + 11*minute})
	f.out.want(t, "a silence that closes a window", "window a +5m n=1 r=1")
	f.read("a", noon+12*minute)
	f.out.want(t, "a reading after silence", "sensor a meta=true silent=false", "window a +10m n=1 r=0")
}

// A value that cannot be read is an error, and changes nothing.
func TestDirectoryBadValue(t *testing.T) {
	f := newTables(t)
	f.load("a", &place)
	f.read("a", noon)
	if f.d.updateWindow("a", []byte{0xff}) == nil || f.d.updateDedup("a", []byte{0xff}) == nil {
		t.Error("a value that cannot be read is taken")
	}
	if s, ok := f.d.Get("a"); !ok || !s.HasMeta || len(s.Windows) != 1 {
		t.Errorf("a is %+v, known %v", s, ok)
	}
}

// A view merges: a value that has applied less than the one held changes nothing, and a deleted key is forgotten, so
// that what comes after it counts anew.
func TestTableViewMerge(t *testing.T) {
	var got []string
	v := newTableView(0, func(key string, state []byte) error {
		got = append(got, fmt.Sprintf("%s=%s", key, state))
		return nil
	})
	set := func(key string, applied int64, state string) {
		t.Helper()
		if err := v.Set(key, value(applied, []byte(state))); err != nil {
			t.Fatal(err)
		}
	}
	set("a", 7, "new")
	set("a", 6, "old")
	set("b", 6, "other")
	set("a", 7, "same")
	set("a", 9, "newer")
	if err := v.Delete("a"); err != nil {
		t.Fatal(err)
	}
	set("a", 1, "again")
	if want := []string{"a=new", "b=other", "a=same", "a=newer", "a=", "a=again"}; !slices.Equal(got, want) {
		t.Errorf("updates %q, not %q", got, want)
	}
	if err := v.Set("a", []byte("x")); err == nil {
		t.Error("bytes that are no table value are taken")
	}
}

// A view reads on behind the last record, and from the beginning where it has read none.
func TestPosition(t *testing.T) {
	var p position
	if off, err := p.GetOffset(-2); off != -2 || err != nil || p.next() != 0 {
		t.Errorf("offset %d, %v, next %d", off, err, p.next())
	}
	if err := errors.Join(p.SetOffset(0), p.SetOffset(41)); err != nil {
		t.Fatal(err)
	}
	if off, _ := p.GetOffset(-2); off != 41 || p.next() != 42 {
		t.Errorf("offset %d, next %d", off, p.next())
	}
}

func ids(sensors []api.Sensor) (all []string) {
	for i := range sensors {
		all = append(all, sensors[i].ID)
	}
	return all
}

// Pages are what a sorted model gives: each known sensor in the box once, by id, whatever came and went in between.
func TestDirectoryPages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newTables(t)
		model := make(map[string]bool) // known, and whether it lies in the box
		box := &api.BBox{MinLon: -119, MaxLon: -118, MinLat: 34, MaxLat: 35}
		id := rapid.StringMatching(`[a-c]{1,2}`)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			name := id.Draw(rt, "id")
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				f.load(name, &place)
				model[name] = true
			case 1:
				f.load(name, &codecs.Sensor{Latitude: 33, Longitude: -118.5})
				model[name] = false
			case 2:
				f.load(name, nil)
				delete(model, name)
			default:
				boxed := rapid.Bool().Draw(rt, "boxed")
				var want []string
				for _, id := range slices.Sorted(maps.Keys(model)) {
					if !boxed || model[id] {
						want = append(want, id)
					}
				}
				b := box
				if !boxed {
					b = nil
				}
				after := rapid.StringMatching(`[a-c]{0,2}`).Draw(rt, "after")
				want = slices.DeleteFunc(want, func(id string) bool { return id <= after })
				limit := rapid.IntRange(1, 4).Draw(rt, "limit")
				page, more := f.d.Page(after, limit, b)
				if !slices.Equal(ids(page), want[:min(limit, len(want))]) || more != (len(want) > limit) {
					rt.Fatalf("after %q, %d: %q, more %v; want of %q", after, limit, ids(page), more, want)
				}
			}
		}
	})
}

// A walk over pages while sensors come and go gives each sensor that was there all the time exactly once.
func TestDirectoryPagesUnderChange(t *testing.T) {
	f := newTables(t)
	var stable []string
	for i := range 100 {
		id := fmt.Sprintf("s%03d", 2*i)
		stable = append(stable, id)
		f.load(id, &place)
	}
	f.d.goLive()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprintf("s%03d", 2*(i*37%100)+1)
			f.load(id, &place)
			f.read(id, noon+int64(i))
			if i%3 == 0 {
				f.load(id, nil)
			}
			f.out.take()
		}
	})
	for range 20 {
		seen := make(map[string]int)
		for after, more := "", true; more; {
			var page []api.Sensor
			page, more = f.d.Page(after, 7, nil)
			for _, id := range ids(page) {
				if id <= after {
					t.Errorf("%s comes after %s", id, after)
				}
				seen[id]++
				after = id
			}
		}
		for _, id := range stable {
			if seen[id] != 1 {
				t.Errorf("%s was seen %d times", id, seen[id])
			}
		}
	}
	close(stop)
	wg.Wait()
}

// The counts are of known sensors; the oldest watermark is of those that are not silent, or one that is would hide the
// lag of all others.
func TestDirectoryCounts(t *testing.T) {
	f := newTables(t)
	for _, id := range []string{"a", "b", "c", "gone"} {
		f.load(id, &place)
	}
	f.read("a", noon, noon+6*minute)
	f.read("b", noon+3*minute)
	f.read("gone", noon-minute)
	f.load("gone", nil)
	sensors, silent, open, oldest := f.d.Counts()
	if sensors != 3 || silent != 0 || open != 2 || oldest.V != noon+3*minute {
		t.Errorf("%d sensors, %d silent, %d open, oldest %v", sensors, silent, open, oldest)
	}
	f.silence(codecs.SensorSilence{SensorID: "b", Watermark: noon + 3*minute, AsOf: noon + 6*minute})
	if _, silent, open, oldest := f.d.Counts(); silent != 1 || open != 1 || oldest.V != noon+6*minute {
		t.Errorf("%d silent, %d open, oldest %v", silent, open, oldest)
	}
}
