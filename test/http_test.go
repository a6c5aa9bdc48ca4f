package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"gantry/store/archive"
	"gantry/test/harness"
)

func status(t *testing.T, d *running, path string) int {
	t.Helper()
	code, _ := harness.Get(t, d.Address(), path)
	return code
}

func get(t *testing.T, d *running, path string, into any) {
	t.Helper()
	code, body := harness.Get(t, d.Address(), path)
	if err := json.Unmarshal(body, into); err != nil || code != http.StatusOK {
		t.Fatalf("GET %s: %d, %v\n%.2000s", path, code, err, body)
	}
}

// A dev that is fed by the simulator becomes ready, answers for its sensors, streams what changes, counts what the
// contract names, and archives while it runs.
func TestRunningDev(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	d := start(t, simulating(t, data, 20, 200))
	harness.Await(t, "readiness", func() bool { return status(t, d, "/readyz") == http.StatusOK })

	var sensors struct{ Sensors []map[string]any }
	harness.Await(t, "the sensors", func() bool {
		get(t, d, "/api/v1/sensors?limit=1000", &sensors)
		return len(sensors.Sensors) == 20
	})
	id := sensors.Sensors[0]["sensor_id"].(string)
	harness.Await(t, "a current window", func() bool {
		return status(t, d, "/api/v1/sensors/"+id+"/windows/current") == http.StatusOK
	})
	var current struct {
		Window    map[string]any
		Watermark time.Time
		Staleness *float64 `json:"staleness_seconds"`
	}
	get(t, d, "/api/v1/sensors/"+id+"/windows/current", &current)
	if current.Window["sensor_id"] != id || current.Window["message_count"].(float64) < 1 ||
		current.Watermark.IsZero() || current.Staleness == nil {
		t.Errorf("the current window is %+v", current)
	}
	var list struct{ Windows []map[string]any }
	get(t, d, "/api/v1/sensors/"+id+"/windows", &list)
	if len(list.Windows) == 0 {
		t.Errorf("no window is remembered")
	}
	if code := status(t, d, "/api/v1/sensors/nobody"); code != http.StatusNotFound {
		t.Errorf("an unknown sensor: %d", code)
	}
	streams(t, d)
	harness.Await(t, "an archived file", func() bool {
		return len(parquetFiles(t, data, archive.TableRaw)) > 0
	})
	metrics(t, d)
}

// streams waits for a change of a window on the event stream, and resumes behind it.
func streams(t *testing.T, d *running) {
	t.Helper()
	lastID := ""
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.Address()+"/api/v1/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		if lastID != "" {
			req.Header.Set("Last-Event-ID", lastID)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var event, got string
		for lines := bufio.NewScanner(resp.Body); got == "" && lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "id":
				lastID = value
			case name == "event":
				event = value
			case name == "data" && event == "window":
				got = value
			case name == "data" && event == "reset":
				t.Errorf("the stream does not resume behind %s: %s", lastID, value)
			}
		}
		resp.Body.Close()
		cancel()
		var window map[string]any
		if err := json.Unmarshal([]byte(got), &window); err != nil || lastID == "" {
			t.Fatalf("event %q with id %q: %v", got, lastID, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func parquetFiles(t *testing.T, data string, table archive.Table) (files []string) {
	t.Helper()
	fsys, err := archive.NewLocal(filepath.Join(data, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	for file, err := range archive.Walk(fsys, table) {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// metricNames are those that the contract names or, from watermark lag on, describes.
var metricNames = []string{
	"stream_processor_messages_processed_total",
	"stream_processor_rejected_total",
	"stream_processor_latency_seconds",
	"stream_processor_consumer_lag",
	"stream_processor_errors_total",
	"stream_processor_throughput_rps",
	"stream_processor_windows_published_total",
	"process_resident_memory_bytes",
	"go_memstats_heap_inuse_bytes",
	"stream_processor_watermark_lag_seconds",
	"stream_processor_windows_open",
	"stream_processor_sensors_silent",
	"stream_processor_state_bytes",
	"stream_processor_archive_files_total",
	"stream_processor_archive_bytes_total",
	"stream_processor_archive_rows_total",
	"stream_processor_archive_oldest_unarchived_seconds",
}

func metrics(t *testing.T, d *running) {
	t.Helper()
	_, body := harness.Get(t, d.Address(), "/metrics")
	for _, name := range metricNames {
		if !bytes.Contains(body, []byte("\n# TYPE "+name+" ")) {
			t.Errorf("%s is not at /metrics", name)
		}
	}
	problems, err := promlint.New(bytes.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
