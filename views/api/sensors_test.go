package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gantry/codecs"
)

// A sensor's answer has exactly the members of the contract, its metadata flat, and null where nothing is known.
func TestSensorMembers(t *testing.T) {
	f := newFixture(sensorWith("717446"))
	got := object(t, f.get(t, "/api/v1/sensors/717446"), 200)
	want := map[string]any{
		"sensor_id": "717446", "latitude": 34.15, "longitude": -118.31, "freeway": "I-5", "direction": "N",
		"lanes": 4.0, "length_mi": 0.42, "interval_s": nil, "watermark": "2026-03-01T08:04:30Z",
		"last_received_at": "2026-03-01T08:04:31.25Z", "silent": false,
		"health": map[string]any{"status": "suspect", "reasons": []any{"stuck"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// A sensor without metadata that has windows is known; it stands where its newest window says.
func TestSensorWithoutMetadata(t *testing.T) {
	s := sensorWith("a")
	s.HasMeta, s.Meta = false, codecs.Sensor{}
	f := newFixture(s, Sensor{ID: "b"})
	got := object(t, f.get(t, "/api/v1/sensors/a"), 200)
	if got["latitude"] != 34.15 || got["freeway"] != nil {
		t.Errorf("latitude %v, freeway %v; want 34.15 and null", got["latitude"], got["freeway"])
	}
	got = object(t, f.get(t, "/api/v1/sensors/b"), 200)
	if got["latitude"] != nil || got["watermark"] != nil || got["last_received_at"] != nil {
		t.Errorf("a sensor of which nothing is known answers %v, want nulls", got)
	}
}

// The current window is the one that holds the watermark, with all members of WindowAggregate; a 0 that was measured is
// 0, a missing value is null; staleness is the clock minus the watermark.
func TestCurrentWindow(t *testing.T) {
	f := newFixture(sensorWith("717446"))
	got := object(t, f.get(t, "/api/v1/sensors/717446/windows/current"), 200)
	want := map[string]any{
		"watermark": "2026-03-01T08:04:30Z", "staleness_seconds": 12.5,
		"window": map[string]any{
			"sensor_id": "717446", "window_start": "2026-03-01T08:00:00Z", "window_end": "2026-03-01T08:05:00Z",
			"avg_speed": 61.25, "avg_volume": 1180.0, "avg_occupancy": 0.0, "speed_variance": 2.1875,
			"message_count": 9.0, "min_speed": 59.0, "max_speed": 63.0, "flow_weighted_speed": 61.3,
			"harmonic_speed": nil, "expected_count": 10.0, "completeness": 0.9,
			"flag_counts": map[string]any{"speed_high": 1.0, "stuck": 1.0}, "revision": 0.0, "close_reason": nil,
			"latitude": 34.15, "longitude": -118.31,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// A window holds its start and not its end.
func TestCurrentIsHalfOpen(t *testing.T) {
	s := sensorWith("a")
	for _, c := range []struct {
		watermark int64
		want      int64 // start of the current window, or 0 for none
	}{
		{t0 - 5*minute - 1, 0},
		{t0 - 5*minute, t0 - 5*minute},
		{t0 - 1, t0 - 5*minute},
		{t0, t0},
		{t0 + 5*minute - 1, t0},
		{t0 + 5*minute, 0},
	} {
		s.Watermark = codecs.Some(c.watermark)
		var got int64
		if w := s.Current(); w != nil {
			got = w.WindowStart
		}
		if got != c.want {
			t.Errorf("watermark t0%+d: current starts at %d, want %d", c.watermark-t0, got, c.want)
		}
	}
	s.Watermark = codecs.Null[int64]{}
	if s.Current() != nil {
		t.Error("a sensor without a watermark has a current window")
	}
}

// Remembered windows come by start, those with from ≤ window_start < to, to the millisecond and below it.
func TestRememberedWindows(t *testing.T) {
	f := newFixture(sensorWith("a"))
	first, second := "2026-03-01T07:55:00Z", "2026-03-01T08:00:00Z"
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", []string{first, second}},
		{"?from=" + first, []string{first, second}},
		{"?from=2026-03-01T07:55:00.0000001Z", []string{second}},
		{"?from=2026-03-01T07:55:00.001Z", []string{second}},
		{"?to=" + second, []string{first}},
		{"?to=2026-03-01T08:00:00.0000001Z", []string{first, second}},
		{"?from=" + first + "&to=" + first, nil},
		{"?from=2026-03-01T09:00:00%2B01:00", []string{second}},
		{"?from=2026-03-01T09:00:00+01:00", []string{second}},
		{"?from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", []string{first, second}},
	} {
		got := object(t, f.get(t, "/api/v1/sensors/a/windows"+c.query), 200)
		if starts := members(got["windows"], "window_start"); !slices.Equal(starts, c.want) {
			t.Errorf("%s: windows %v, want %v", c.query, starts, c.want)
		}
	}
}

// An id is any text: what a path or JSON would misread arrives whole.
func TestSensorIDsAreAnyText(t *testing.T) {
	for _, id := range []string{"a/b", "ä ö", `q"\`, "100%", "<b>", "x\u2028y", "bad\xffutf8"} {
		f := newFixture(sensorWith(id))
		got := object(t, f.get(t, "/api/v1/sensors/"+url.PathEscape(id)), 200)
		if want := strings.ToValidUTF8(id, "\ufffd"); got["sensor_id"] != want {
			t.Errorf("id %q came back as %q", id, got["sensor_id"])
		}
	}
}

// Every sensor that is there from the first page to the last is on exactly one page, whatever comes and goes between.
func TestPagingWhileSensorsChange(t *testing.T) {
	for _, path := range []string{"/api/v1/sensors", "/api/v1/windows/current"} {
		list := path[len("/api/v1/"):][:7]
		f := newFixture()
		var want []string
		for i := range 25 {
			id := fmt.Sprintf("s%03d", 10*i)
			f.directory.put(sensorWith(id))
			want = append(want, id)
		}
		f.directory.put(Sensor{ID: "s0405"}) // without a window
		seen := make(map[string]int)
		cursor := ""
		for page := 0; ; page++ {
			got := object(t, f.get(t, path+"?limit=4&cursor="+cursor), 200)
			ids := members(got[list], "sensor_id")
			if len(ids) > 4 {
				t.Fatalf("%s: a page of %d, limit 4", path, len(ids))
			}
			for _, id := range ids {
				seen[id]++
			}
			next, more := got["next_cursor"].(string)
			if !more {
				break
			}
			cursor = url.QueryEscape(next)
			f.directory.put(sensorWith(fmt.Sprintf("s%03d", page))) // mostly before the cursor
			f.directory.put(sensorWith(fmt.Sprintf("s%03d", 241+page)))
			f.directory.remove(fmt.Sprintf("s%03d", page-1))
			f.directory.put(sensorWith("s000"))
		}
		for _, id := range want {
			if seen[id] != 1 {
				t.Errorf("%s: sensor %s is on %d pages, want 1", path, id, seen[id])
			}
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("%s: sensor %s is on %d pages, want at most 1", path, id, n)
			}
		}
	}
}

// A page of windows is full, and not over, although sensors without one stand between, and an empty list is [].
func TestCurrentWindowsSkipSensorsWithout(t *testing.T) {
	f := newFixture(Sensor{ID: "a"}, sensorWith("b"), Sensor{ID: "c"}, sensorWith("d"), Sensor{ID: "e"})
	got := object(t, f.get(t, "/api/v1/windows/current?limit=2"), 200)
	if ids := members(got["windows"], "sensor_id"); !slices.Equal(ids, []string{"b", "d"}) {
		t.Errorf("windows of %v, want b and d", ids)
	}
	f = newFixture(Sensor{ID: "a"}, sensorWith("b"), sensorWith("c"), sensorWith("d"))
	got = object(t, f.get(t, "/api/v1/windows/current?limit=2"), 200)
	if ids := members(got["windows"], "sensor_id"); !slices.Equal(ids, []string{"b", "c"}) {
		t.Errorf("windows of %v, want b and c: no more than the limit", ids)
	}
	got = object(t, newFixture().get(t, "/api/v1/windows/current"), 200)
	if !reflect.DeepEqual(got, map[string]any{"windows": []any{}, "next_cursor": nil}) {
		t.Errorf("without sensors: %v", got)
	}
}

// A box includes its edges and applies to both lists.
func TestBoundingBox(t *testing.T) {
	far := sensorWith("far")
	far.Meta.Latitude = 34.4
	f := newFixture(sensorWith("near"), far, Sensor{ID: "nowhere"})
	for box, want := range map[string][]string{
		"-118.31,34.15,-118.31,34.15": {"near"},
		"-119,34,-117,35":             {"far", "near"},
		"-119,34.2,-117,35":           {"far"},
		"0,0,1,1":                     nil,
	} {
		for _, list := range []string{"sensors", "windows"} {
			path := map[string]string{"sensors": "/api/v1/sensors", "windows": "/api/v1/windows/current"}[list]
			got := object(t, f.get(t, path+"?bbox="+box), 200)
			if ids := members(got[list], "sensor_id"); !slices.Equal(ids, want) {
				t.Errorf("%s in %s: %v, want %v", list, box, ids, want)
			}
		}
	}
}

// A bad parameter is a 400 that names it, its value and what is allowed.
func TestBadParameters(t *testing.T) {
	f := newFixture(sensorWith("a"))
	for _, c := range []struct{ target, parameter, value string }{
		{"/api/v1/sensors?limit=0", "limit", "0"},
		{"/api/v1/sensors?limit=1001", "limit", "1001"},
		{"/api/v1/sensors?limit=ten", "limit", "ten"},
		{"/api/v1/sensors?limit=", "limit", ""},
		{"/api/v1/sensors?limit=1&limit=2", "limit", "1 2"},
		{"/api/v1/sensors?cursor=%21", "cursor", "!"},
		{"/api/v1/sensors?bbox=1,2,3", "bbox", "1,2,3"},
		{"/api/v1/sensors?bbox=1,2,3,x", "bbox", "1,2,3,x"},
		{"/api/v1/sensors?bbox=1,2,3,4,5", "bbox", "1,2,3,4,5"},
		{"/api/v1/sensors?bbox=3,2,1,4", "bbox", "3,2,1,4"},
		{"/api/v1/sensors?bbox=1,4,3,2", "bbox", "1,4,3,2"},
		{"/api/v1/sensors?bbox=NaN,2,3,4", "bbox", "NaN,2,3,4"},
		{"/api/v1/sensors?bbox=-181,2,3,4", "bbox", "-181,2,3,4"},
		{"/api/v1/sensors?bbox=1,2,3,91", "bbox", "1,2,3,91"},
		{"/api/v1/sensors?limt=5", "limt", "5"},
		{"/api/v1/sensors?a;b", "query", "a;b"},
		{"/api/v1/sensors/a?limit=5", "limit", "5"},
		{"/api/v1/sensors/a/windows/current?x=", "x", ""},
		{"/api/v1/windows/current?limit=-1", "limit", "-1"},
		{"/api/v1/sensors/a/windows?from=yesterday", "from", "yesterday"},
		{"/api/v1/sensors/a/windows?to=1709280000000", "to", "1709280000000"},
		{"/api/v1/sensors/a/windows?from=2026-03-01T08:00:00Z&to=2026-03-01T07:00:00Z", "to", "2026-03-01T07:00:00Z"},
		{"/api/v1/stream?x=1", "x", "1"},
		{"/api/v1/pipeline?x=1", "x", "1"},
	} {
		got := object(t, f.get(t, c.target), 400)
		bad := got["parameters"].([]any)[0].(map[string]any)
		if len(got["parameters"].([]any)) != 1 || bad["parameter"] != c.parameter || bad["value"] != c.value ||
			bad["allowed"] == "" || !strings.Contains(got["detail"].(string), c.parameter) {
			t.Errorf("%s: %v, want %s=%q alone, and what is allowed", c.target, got, c.parameter, c.value)
		}
	}
	got := object(t, f.get(t, "/api/v1/sensors?limit=0&bbox=1&cursor=%21"), 400)
	if n := len(got["parameters"].([]any)); n != 3 {
		t.Errorf("%d of 3 bad parameters are reported", n)
	}
}

// What is not there is a 404, and a sensor without a current window has none.
func TestNotFound(t *testing.T) {
	idle := sensorWith("idle")
	idle.Windows = nil
	f := newFixture(idle)
	for _, target := range []string{
		"/api/v1/sensors/x", "/api/v1/sensors/x/windows", "/api/v1/sensors/x/windows/current",
		"/api/v1/sensors/idle/windows/current", "/api/v1/sensors/", "/api/v1", "/nothing", "/static/page.js",
	} {
		object(t, f.get(t, target), 404)
	}
}

// Every path answers GET and HEAD only, and says so.
func TestMethodNotAllowed(t *testing.T) {
	f := newFixture(sensorWith("a"))
	for _, path := range everyPath {
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodOptions} {
			w := f.do(t, httptest.NewRequest(method, path, nil))
			object(t, w, 405)
			if allow := w.Header().Get("Allow"); allow != "GET, HEAD" {
				t.Errorf("%s %s: Allow %q", method, path, allow)
			}
		}
		if w := f.do(t, httptest.NewRequest(http.MethodHead, path, nil)); w.Code != 200 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
}

var everyPath = []string{
	"/api/v1/sensors", "/api/v1/sensors/a", "/api/v1/sensors/a/windows", "/api/v1/sensors/a/windows/current",
	"/api/v1/windows/current", "/api/v1/stream", "/api/v1/pipeline", "/healthz", "/readyz", "/metrics",
	"/openapi.json", "/", "/page.js", "/page.css",
}

func BenchmarkWindowPage(b *testing.B) {
	f := newFixture()
	for i := range 1000 {
		f.directory.put(sensorWith(fmt.Sprint(i)))
	}
	s, err := New(f.options)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/windows/current?limit=1000", nil))
		b.SetBytes(int64(w.Body.Len()))
	}
}
