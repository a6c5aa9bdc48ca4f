package api

import (
	"fmt"
	"strings"
	"testing"

	"gantry/codecs"

	"pgregory.net/rapid"
)

func (h *Hub) testWindow(id string, start int64, count int32) {
	w := windowAt(id, start)
	w.MessageCount = count
	h.Window(&w, codecs.Some(start))
}

// For any changes and any reader that reads whenever it likes: ids increase; whoever was not told that changes were
// lost holds, after its last read, the newest state of everything that changed since it began; and the hub never
// remembers more than its capacity.
func TestHubAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 5
		h := newHub("e1", capacity)
		newest := make(map[changeKey]int32) // the model: all changes since the reader's last reset
		seen := make(map[changeKey]int32)
		var after uint64
		read := func() {
			changes, lost, _ := h.since(after)
			if lost {
				after = h.head()
				clear(newest)
				clear(seen)
				return
			}
			for _, c := range changes {
				if c.id <= after {
					t.Fatalf("id %d after %d", c.id, after)
				}
				after = c.id
				seen[c.key] = c.window.MessageCount
			}
			if len(seen) != len(newest) {
				t.Fatalf("seen %v, want %v", seen, newest)
			}
			for key, count := range newest {
				if seen[key] != count {
					t.Fatalf("%v: seen %d, newest %d", key, seen[key], count)
				}
			}
		}
		for i := range rapid.IntRange(0, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "read") == 0 {
				read()
				continue
			}
			key := changeKey{fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "sensor")), t0}
			h.testWindow(key.sensorID, key.windowStart, int32(i+1))
			newest[key] = int32(i + 1)
			if n := h.changes.Len(); n > capacity || n != len(h.newest) {
				t.Fatalf("%d changes, %d keys, capacity %d", n, len(h.newest), capacity)
			}
		}
		read()
	})
}

// A reader is told of a loss exactly when a change was forgotten that it has not seen.
func TestHubForgetsTheOldest(t *testing.T) {
	h := newHub("e1", 2)
	for i := range 4 {
		h.testWindow(fmt.Sprint(i), t0, 1) // 1 and 2 are forgotten
	}
	for after, want := range map[uint64]bool{0: true, 1: true, 2: false, 3: false, 4: false} {
		if _, lost, _ := h.since(after); lost != want {
			t.Errorf("after %d: lost %t, want %t", after, lost, want)
		}
	}
}

// A change of a sensor does not supersede one of its windows, nor windows each other.
func TestHubKeysAreDistinct(t *testing.T) {
	h := newHub("e1", 0)
	h.testWindow("a", 0, 1)
	h.testWindow("a", 5*minute, 1)
	h.Sensor(Sensor{ID: "a"})
	h.testWindow("b", 0, 1)
	h.Removed("a") // supersedes the sensor's change
	changes, _, _ := h.since(0)
	var text []byte
	for _, c := range changes {
		text = c.appendEvent(text)
	}
	if n := strings.Count(string(text), "event: window"); n != 3 || len(changes) != 4 || !changes[3].removed {
		t.Errorf("%d changes, %d windows; want 3 windows and the removal last", len(changes), n)
	}
}

// A waiting reader is woken by the next change, and only then.
func TestHubWakesReaders(t *testing.T) {
	h := newHub("e1", 0)
	_, _, next := h.since(0)
	select {
	case <-next:
		t.Fatal("woken before any change")
	default:
	}
	h.testWindow("a", t0, 1)
	<-next // would block for ever, and fail by the test's time limit
}

// Only ids that this hub gave out are taken: those of a process before, of a future, or of nobody would name changes
// that their bearer never saw.
func TestHubIDs(t *testing.T) {
	h := newHub("e1", 0)
	h.testWindow("a", t0, 1)
	h.testWindow("b", t0, 1)
	if id, err := h.parseID(h.formatID(2)); id != 2 || err != nil {
		t.Errorf("own id: %d, %v", id, err)
	}
	for _, text := range []string{"", "2", "e2-1", "e1-", "e1-x", "e1--1", "e1-3", "e1-99999999999999999999"} {
		if id, err := h.parseID(text); err == nil {
			t.Errorf("%q is taken as %d", text, id)
		}
	}
	if a, b := NewHub(0), NewHub(0); a.epoch == b.epoch {
		t.Errorf("two hubs have the epoch %s", a.epoch)
	}
}

func BenchmarkHubPublish(b *testing.B) {
	h := newHub("e1", 0)
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.testWindow(ids[i%len(ids)], t0, 1)
	}
}
