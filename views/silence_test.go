package views

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gantry/codecs"
	"gantry/processors"
)

func everything(int32) bool { return true }

// ask lets the detector judge at a time, in ms after noon.
func (f *tables) ask(ms int64) []codecs.SensorSilence {
	return f.d.silences(time.UnixMilli(noon+ms), everything)
}

// The first silence is due when nothing was seen for the idle timeout by the detector's clock, to the millisecond,
// whatever the event times were. It names the arrival of the last reading, the watermark, and the detector's time.
func TestFirstSilence(t *testing.T) {
	f := newTables(t)
	f.clock.ms = noon + 500 // the reading is seen 500 ms after noon, and is an hour old
	f.read("a", noon-60*minute)
	idle := f.rules.IdleTimeout.Milliseconds()
	if got := f.ask(500 + idle - 1); len(got) != 0 {
		t.Errorf("before the idle timeout: %+v", got)
	}
	got := f.ask(500 + idle)
	want := codecs.SensorSilence{
		SensorID: "a", Since: noon - 60*minute + 1000, Watermark: noon - 60*minute, AsOf: noon + 500 + idle,
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("at the idle timeout: %+v, not %+v", got, want)
	}
}

// A process that starts has seen each sensor when it reads the sensor's value, not when the sensor last sent: it cannot
// know what is still on its way.
func TestSilenceAfterStart(t *testing.T) {
	f := newTables(t)
	f.clock.ms = noon - 90*minute
	f.read("a", noon-90*minute)

	f2 := newTables(t)
	f2.windows = f.windows
	f2.clock.ms = noon
	f2.update("a")
	if got := f2.ask(f.rules.IdleTimeout.Milliseconds() - 1); len(got) != 0 {
		t.Errorf("silent right after the start: %+v", got)
	}
	if got := f2.ask(f.rules.IdleTimeout.Milliseconds()); len(got) != 1 {
		t.Errorf("after the start and the idle timeout: %+v", got)
	}
}

// A silence on its way is not sent again until it must be taken for lost; one that has come to the table is repeated
// only when another window is over.
func TestSilenceAgain(t *testing.T) {
	f := newTables(t)
	f.read("a", noon, noon+5*minute) // two open windows, over at +6 and +11 minutes
	idle := f.rules.IdleTimeout.Milliseconds()
	first := f.ask(idle)
	if len(first) != 1 {
		t.Fatalf("at the idle timeout: %+v", first)
	}
	resend := resendAfter.Milliseconds()
	if got := f.ask(idle + resend - 1); len(got) != 0 {
		t.Errorf("while it is on its way: %+v", got)
	}
	second := f.ask(idle + resend)
	if len(second) != 1 || second[0].AsOf != noon+idle+resend {
		t.Fatalf("after %v without effect: %+v", resendAfter, second)
	}
	f.silence(second[0])
	if got := f.ask(6*minute - 1); len(got) != 0 {
		t.Errorf("before the next window is over: %+v", got)
	}
	third := f.ask(6 * minute)
	if len(third) != 1 {
		t.Fatalf("when the next window is over: %+v", third)
	}
	if got := f.ask(6*minute + 1); len(got) != 0 {
		t.Errorf("while the next one is on its way: %+v", got)
	}
	f.silence(third[0])
	if got := f.ask(11*minute - 1); len(got) != 0 {
		t.Errorf("between two windows: %+v", got)
	}
	last := f.ask(11 * minute)
	if len(last) != 1 {
		t.Fatalf("when the last window is over: %+v", last)
	}
	f.silence(last[0])
	if got := f.ask(1000 * minute); len(got) != 0 {
		t.Errorf("without an open window: %+v", got)
	}
}

// A reading begins the wait anew, also while a silence is on its way, which it makes void.
func TestReadingEndsSilence(t *testing.T) {
	f := newTables(t)
	f.read("a", noon)
	idle := f.rules.IdleTimeout.Milliseconds()
	f.ask(idle)
	f.clock.ms = noon + idle + 10
	f.read("a", noon+idle)
	if got := f.ask(2*idle + 9); len(got) != 0 {
		t.Errorf("within the idle timeout of the reading: %+v", got)
	}
	if got := f.ask(2*idle + 10); len(got) != 1 || got[0].Watermark != noon+idle {
		t.Errorf("after the idle timeout of the reading: %+v", got)
	}
}

// With an idle timeout below the resend, a silence that a reading made void does not hold up the next one.
func TestSilenceAfterVoidOne(t *testing.T) {
	f := newTables(t)
	f.d.rules.IdleTimeout = time.Second
	f.read("a", noon)
	if got := f.ask(1000); len(got) != 1 {
		t.Fatalf("at the idle timeout: %+v", got)
	}
	f.clock.ms = noon + 1500
	f.read("a", noon+1400)
	if got := f.ask(2500); len(got) != 1 {
		t.Errorf("at the idle timeout of the reading: %+v", got)
	}
}

// Only the owner of a partition speaks for its sensors; sensors without readings are not silent.
func TestSilenceOfOthers(t *testing.T) {
	f := newTables(t)
	for i := range 20 {
		f.read(fmt.Sprint(i), noon)
	}
	f.load("metadata alone", &place)
	mine := func(p int32) bool { return p == 2 }
	got := f.d.silences(time.UnixMilli(noon+100*minute), mine)
	var want []string
	for i := range 20 {
		if processors.PartitionOf(fmt.Sprint(i), 5) == 2 {
			want = append(want, fmt.Sprint(i))
		}
	}
	var names []string
	for _, s := range got {
		names = append(names, s.SensorID)
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) || len(want) == 0 || len(want) == 20 {
		t.Errorf("silences of %q, not of %q", names, want)
	}
	if rest := f.d.silences(time.UnixMilli(noon+100*minute), everything); len(rest) != 20-len(want) {
		t.Errorf("%d silences of the other partitions; a partition that is not owned must not count as told", len(rest))
	}
}

// pipeline is how far each step of a pipeline of one partition is.
type pipeline struct{ raw, dedup, events, window, table, view int64 }

func (p pipeline) offsets(second int64) *processors.Offsets {
	t := processors.DefaultTopics()
	one := func(n int64) map[int32]int64 { return map[int32]int64{0: n} }
	return &processors.Offsets{
		At: time.Unix(second, 0),
		Ends: map[string]map[int32]int64{
			string(t.Raw): one(p.raw), string(t.Events): one(p.events), string(processors.WindowTable): one(p.table),
		},
		Committed: map[processors.Input]map[int32]int64{
			{Group: processors.DedupGroup, Topic: string(t.Raw)}:     one(p.dedup),
			{Group: processors.WindowGroup, Topic: string(t.Events)}: one(p.window),
		},
	}
}

// monitor gives the snapshots that a test publishes.
type monitor struct {
	mu      sync.Mutex
	last    *processors.Offsets
	updated chan struct{}
}

func (m *monitor) Latest() (*processors.Offsets, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.updated
}

func (m *monitor) publish(o *processors.Offsets) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = o
	close(m.updated)
	m.updated = make(chan struct{})
}

// settle gives the detector one snapshot after the other, the first as of second 1, and returns after which of them it
// judged, and as of when; 0 where it did not.
func settle(t *testing.T, snapshots ...pipeline) (judged int, asOf int64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &monitor{updated: make(chan struct{})}
		var view atomic.Int64
		s := &Silences{
			Monitor: m, Topics: processors.DefaultTopics(),
			ViewNext: func() map[int32]int64 { return map[int32]int64{0: view.Load()} },
		}
		ctx, cancel := context.WithCancel(t.Context())
		var done atomic.Bool
		go func() {
			if when, err := s.settled(ctx); err == nil {
				asOf = when.Unix()
				done.Store(true)
			}
		}()
		for i, p := range snapshots {
			synctest.Wait()
			if done.Load() {
				break
			}
			view.Store(p.view)
			m.publish(p.offsets(int64(i + 1)))
			synctest.Wait()
			judged = i + 1
		}
		if !done.Load() {
			judged = 0
		}
		cancel()
		synctest.Wait()
	})
	return judged, asOf
}

// The detector judges as of its first snapshot, when all that had arrived by then has passed every step; a step that is
// behind, for however long, delays it, and what arrived later does not.
func TestSettled(t *testing.T) {
	done := pipeline{raw: 10, dedup: 10, events: 20, window: 20, table: 5, view: 5}
	with := func(change func(*pipeline)) pipeline {
		p := done
		change(&p)
		return p
	}
	caughtUp := []pipeline{done, done, done}
	for _, tt := range []struct {
		name      string
		snapshots []pipeline
		judged    int
	}{
		{"caught up", caughtUp, 3},
		{"cut short", caughtUp[:2], 0},
		{"dedup is behind", slices.Repeat([]pipeline{with(func(p *pipeline) { p.dedup = 9 })}, 20), 0},
		{"window is behind", slices.Repeat([]pipeline{with(func(p *pipeline) { p.window = 19 })}, 20), 0},
		{"the view is behind", slices.Repeat([]pipeline{with(func(p *pipeline) { p.view = 4 })}, 20), 0},
		{"more arrives than is processed", []pipeline{
			done, with(func(p *pipeline) { p.raw = 1000 }), with(func(p *pipeline) { p.raw = 2000 }),
		}, 3},
		{"dedup catches up late", append(slices.Repeat([]pipeline{with(func(p *pipeline) { p.dedup = 9 })}, 4), caughtUp...), 7},
		// A reading at offset 9 is emitted and committed between the snapshot's question for ends and that for commits:
		// events ends at 20 in it although the reading lies there. Judging by it would call the sensor silent.
		{"an output beyond the ends of its commit's snapshot", slices.Concat(
			[]pipeline{with(func(p *pipeline) { p.events, p.window = 19, 19 })},
			slices.Repeat([]pipeline{with(func(p *pipeline) { p.window = 19 })}, 20)), 0},
		{"a table record beyond the ends of its commit's snapshot", slices.Concat(
			[]pipeline{done, with(func(p *pipeline) { p.table, p.view = 4, 4 })},
			slices.Repeat([]pipeline{with(func(p *pipeline) { p.view = 4 })}, 20)), 0},
	} {
		judged, asOf := settle(t, tt.snapshots...)
		if judged != tt.judged || judged > 0 && asOf != 1 {
			t.Errorf("%s: judged after snapshot %d, not %d, as of second %d", tt.name, judged, tt.judged, asOf)
		}
	}
}

// Un-keyed readings pass the loop too; a backlog there delays the verdict as any other.
func TestSettledWaitsForLoop(t *testing.T) {
	topics := processors.DefaultTopics()
	topics.Keyed = false
	var names []string
	for _, in := range PipelineInputs(topics) {
		names = append(names, in.Topic)
	}
	want := []string{string(topics.Raw), string(processors.DedupLoop), string(topics.Events)}
	if !slices.Equal(names, want) {
		t.Errorf("inputs %q, not %q", names, want)
	}
}
