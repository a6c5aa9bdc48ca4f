package views

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gantry/codecs"
	"gantry/processors/dedup"
	"gantry/processors/window"
	"gantry/views/api"
)

// noon is a whole hour, in epoch milliseconds.
const (
	noon   = int64(1_775_044_800_000)
	minute = int64(60_000)
)

// recorder keeps what a directory publishes, as texts.
type recorder struct {
	mu  sync.Mutex
	all []string
}

func (r *recorder) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprintf(format, args...))
}

func (r *recorder) Window(w *codecs.WindowAggregate, watermark codecs.Null[int64]) {
	r.add("window %s +%dm n=%d r=%d", w.SensorID, (w.WindowStart-noon)/minute, w.MessageCount, w.Revision)
}

func (r *recorder) Sensor(s api.Sensor) {
	r.add("sensor %s meta=%v silent=%v", s.ID, s.HasMeta, s.Silent)
}

func (r *recorder) Removed(id string) { r.add("removed %s", id) }

// take returns what was published since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

func (r *recorder) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("%s published\n%q, not\n%q", what, got, want)
	}
}

// clock is a clock that a test sets.
type clock struct{ ms int64 }

func (c *clock) now() time.Time { return time.UnixMilli(c.ms) }

// tables is a directory, fed as the views feed it.
type tables struct {
	t       *testing.T
	d       *Directory
	out     recorder
	clock   clock
	rules   window.Options
	windows map[string]*window.State
}

func newTables(t *testing.T) *tables {
	f := &tables{t: t, rules: window.DefaultOptions(), windows: make(map[string]*window.State)}
	f.clock.ms = noon
	f.d = NewDirectory(f.rules, 5, &f.out, f.clock.now)
	return f
}

// load is a value of the dedup group's table, with metadata or without.
func (f *tables) load(id string, s *codecs.Sensor) {
	f.t.Helper()
	var st dedup.State
	if s != nil {
		st.SetSensor(*s)
	}
	if err := f.d.updateDedup(id, st.AppendTo(nil)); err != nil {
		f.t.Fatal(err)
	}
}

// read applies readings of these event times and hands the sensor's value to the directory.
func (f *tables) read(id string, times ...int64) {
	st := f.state(id)
	for _, ms := range times {
		st.ApplyReading(&codecs.Reading{
			SensorID: id, Timestamp: ms, SpeedMPH: codecs.Some(60.0), Latitude: 34, Longitude: -118,
			ReceivedAt: ms + 1000, Sequence: st.Sequence() + 1,
		}, &f.rules, func(*codecs.WindowAggregate, int64) {})
	}
	f.update(id)
}

// silence applies a silence event and hands the value over.
func (f *tables) silence(s codecs.SensorSilence) {
	f.state(s.SensorID).ApplySilence(&s, &f.rules, func(*codecs.WindowAggregate, int64) {})
	f.update(s.SensorID)
}

func (f *tables) state(id string) *window.State {
	if f.windows[id] == nil {
		f.windows[id] = new(window.State)
	}
	return f.windows[id]
}

func (f *tables) update(id string) {
	f.t.Helper()
	if err := f.d.updateWindow(id, f.windows[id].AppendTo(nil)); err != nil {
		f.t.Fatal(err)
	}
}

// value is a table value as the engine writes it: version, applied offset + 1, state.
func value(applied int64, state []byte) []byte {
	return append(binary.AppendUvarint([]byte{1}, uint64(applied+1)), state...)
}
