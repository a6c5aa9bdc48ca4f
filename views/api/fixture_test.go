package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/codecs"
)

// The tests' time: a window of five minutes begins at t0, and it is 4 min 42.5 s later.
var (
	t0      = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC).UnixMilli()
	testNow = time.UnixMilli(t0 + 282_500)
)

const minute = int64(60_000)

// memoryDirectory is the obvious Directory.
type memoryDirectory struct {
	mu      sync.Mutex
	sensors map[string]Sensor
}

var _ Directory = (*memoryDirectory)(nil)

func (d *memoryDirectory) put(s Sensor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sensors[s.ID] = s
}

func (d *memoryDirectory) remove(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sensors, id)
}

func (d *memoryDirectory) Get(id string) (Sensor, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sensors[id]
	return s, ok
}

func (d *memoryDirectory) Page(after string, limit int, box *BBox) (page []Sensor, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(d.sensors)) {
		s := d.sensors[id]
		lat, lon, ok := s.Position()
		if id <= after || box != nil && !(ok && box.Contains(lat, lon)) {
			continue
		}
		if len(page) == limit {
			return page, true
		}
		page = append(page, s)
	}
	return page, false
}

// memoryReadiness is a Readiness that a test sets.
type memoryReadiness struct {
	mu    sync.Mutex
	roles []Role
}

func (r *memoryReadiness) Roles() []Role {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roles
}

func (r *memoryReadiness) set(roles ...Role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roles = roles
}

type fixedPipeline PipelineCounts

func (p fixedPipeline) Counts() PipelineCounts { return PipelineCounts(p) }

// fixture is a server over memory, with what a test changes in it.
type fixture struct {
	directory *memoryDirectory
	hub       *Hub
	readiness *memoryReadiness
	options   Options
}

func newFixture(sensors ...Sensor) *fixture {
	f := &fixture{
		directory: &memoryDirectory{sensors: make(map[string]Sensor)},
		hub:       newHub("e1", 0),
		readiness: &memoryReadiness{roles: []Role{{
			Name: RoleServe, Ready: true,
			Partitions: []Partition{{Ready: true, Offset: 7, End: 7}},
		}}},
		options: DefaultOptions(),
	}
	for _, s := range sensors {
		f.directory.put(s)
	}
	f.options.Directory, f.options.Changes, f.options.Readiness = f.directory, f.hub, f.readiness
	f.options.Pipeline = fixedPipeline{
		Read: 10, Accepted: 7, Rejected: map[string]int64{"late": 1, "duplicate": 1},
		Sensor: 1, WindowsPublished: map[string]int64{"watermark": 2}, Lag: codecs.Some(int64(3)),
	}
	f.options.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, "up 1\n")
	})
	f.options.Logger = slog.New(slog.DiscardHandler)
	f.options.Now = func() time.Time { return testNow }
	f.options.StreamPace = 0
	f.options.StreamHeartbeat = time.Hour
	return f
}

func (f *fixture) server(t *testing.T) *Server {
	t.Helper()
	s, err := New(f.options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks the handler, and returns the answer.
func (f *fixture) get(t *testing.T, target string) *httptest.ResponseRecorder {
	t.Helper()
	return f.do(t, httptest.NewRequest(http.MethodGet, target, nil))
}

func (f *fixture) do(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	f.server(t).Handler().ServeHTTP(w, r)
	return w
}

// object reads an answer that must be a JSON object with the given status.
func object(t *testing.T, w *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	want := "application/json"
	if status >= 400 {
		want = problemType
	}
	if got := w.Header().Get("Content-Type"); got != want {
		t.Errorf("Content-Type %q, want %q", got, want)
	}
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if status >= 400 && v["status"] != float64(status) {
		t.Errorf("the problem says status %v, the answer %d", v["status"], status)
	}
	return v
}

func windowAt(id string, start int64) codecs.WindowAggregate {
	w := codecs.WindowAggregate{
		SensorID: id, WindowStart: start, WindowEnd: start + 5*minute,
		AvgSpeed: codecs.Some(61.25), AvgVolume: codecs.Some(1180.0), AvgOccupancy: codecs.Some(0.0),
		SpeedVariance: codecs.Some(2.1875), MessageCount: 9, MinSpeed: codecs.Some(59.0), MaxSpeed: codecs.Some(63.0),
		FlowWeightedSpeed: codecs.Some(61.3), HarmonicSpeed: codecs.Null[float64]{}, ExpectedCount: 10,
		Completeness: 0.9, Latitude: 34.15, Longitude: -118.31,
	}
	w.FlagCounts.Add(codecs.FlagSpeedHigh | codecs.FlagStuck)
	return w
}

// sensorWith is a sensor with metadata, a published window before t0 and an open one that holds its watermark.
func sensorWith(id string) Sensor {
	published := windowAt(id, t0-5*minute)
	published.Revision, published.CloseReason = 2, codecs.CloseLate
	return Sensor{
		ID: id, HasMeta: true,
		Meta: codecs.Sensor{
			SensorID: id, Latitude: 34.15, Longitude: -118.31, Freeway: codecs.Some("I-5"),
			Direction: codecs.Some("N"), Lanes: codecs.Some(int32(4)), LengthMi: codecs.Some(0.42),
		},
		Watermark:      codecs.Some(t0 + 270_000),
		LastReceivedAt: codecs.Some(t0 + 271_250),
		Windows:        []codecs.WindowAggregate{published, windowAt(id, t0)},
	}
}

// members picks one member of each object of a list.
func members(list any, name string) []string {
	var values []string
	for _, item := range list.([]any) {
		values = append(values, item.(map[string]any)[name].(string))
	}
	return values
}

func lines(s ...string) string { return strings.Join(s, "\n") }
