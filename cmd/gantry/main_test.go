package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/codecs/registry"
)

// gantry runs a command line in an empty folder.
func gantry(t *testing.T, ctx context.Context, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out, errs bytes.Buffer
	code = execute(ctx, environment{args: args, environ: environ, stdout: &out, stderr: &errs})
	return code, out.String(), errs.String()
}

// The exit code tells bad usage from failed work, and bad usage says what was probably meant.
func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"config", 0, ""},
		{"version", 0, ""},
		{"--help", 0, ""},
		{"sensors load --help", 0, ""},
		{"completion bash", 0, ""},
		{"completion tcsh", 2, `no command "tcsh"`},
		{"", 2, "needs a command"},
		{"sensors", 2, "gantry sensors needs a command"},
		{"members", 2, "gantry members needs a command"},
		{"members remove", 2, "accepts 1 arg"},
		{"replya x", 2, "did you mean replay?"},
		{"sensors lod x", 2, "did you mean load?"},
		{"frobnicate", 2, "see gantry --help"},
		{"frobnicate --help", 2, "see gantry --help"},
		{"verfy --help", 2, "did you mean verify?"},
		{"sensors lod --help", 2, "did you mean load?"},
		{"sensors --help", 0, ""},
		{"help", 0, ""},
		{"help sensors load", 0, ""},
		{"help frobnicate", 2, "see gantry --help"},
		{"help verfy", 2, "did you mean verify?"},
		{"help sensors lod", 2, "did you mean load?"},
		{"dlq nosuch", 2, "gantry dlq has no command"},
		{"dlq lst", 2, "did you mean list?"},
		{"dlq list --reason slow", 2, `reason "slow"`},
		{"dlq list --since yesterday", 2, "neither RFC 3339"},
		{"dlq show 7", 2, "PARTITION/OFFSET"},
		{"dlq redrive --waive late", 2, "late cannot be waived: its window was published"},
		{"dlq redrive --waive slow --since later", 2, `reason "slow"`},
		{"dlq redrive --waive slow --since later", 2, "neither RFC 3339"},
		{"config --window.lenght=5m", 2, "did you mean --window.length?"},
		{"replay --sped=60x f", 2, "did you mean --speed?"},
		{"config extra", 2, "extra"},
		{"replay", 2, "accepts 1 arg"},
		{"replay f --rebase never --speed slow", 2, `rebase "never": allowed are now, none`},
		{"replay f --rebase never --speed slow", 2, `speed "slow"`},
		{"simulate --sensors 0", 2, "sensors 0: allowed are"},
		{"simulate --sensors many", 2, "many"},
		{"sensors remove " + strings.Repeat("x", 257), 2, "1 to 256 bytes"},
		{"config --topics.partitions=0", 2, "topics.partitions"},
		{"config --config none.yaml", 2, "none.yaml"},
		{"run --roles window,archive", 2, "the role archive needs archive.url"},
		{"dev --http nowhere --window.length=5x", 2, `http.listen = "nowhere" (flag)`},
		{"dev --http nowhere --window.length=5x", 2, `window.length = "5x" (flag)`},
		{"replay none.csv", 1, "none.csv"},
		{"sensors load none.csv", 1, "none.csv"},
	} {
		code, stdout, stderr := gantry(t, t.Context(), nil, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(stderr, tt.stderr) || code == 0 && stdout == "" {
			t.Errorf("gantry %s: %d, want %d with %q:\n%s", tt.args, code, tt.code, tt.stderr, stderr)
		}
	}
}

// Every command has a description and examples, and its help is not buried under the configuration's keys.
func TestHelp(t *testing.T) {
	c := &cli{}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" || !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: short %q, example %q", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		if usage := cmd.UsageString(); strings.Contains(usage, "--window.length") ||
			!strings.Contains(usage, "gantry config --help") || !strings.Contains(usage, "--json") {
			t.Errorf("usage of %s:\n%s", cmd.CommandPath(), usage)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(c.newRoot())
	_, help, _ := gantry(t, t.Context(), nil, "config", "--help")
	for _, k := range config.Keys() {
		if !strings.Contains(help, k.Name+" ("+k.Env()+")") {
			t.Errorf("%s is not documented", k.Name)
		}
	}
}

// gantry config shows values with their origins, as text and as JSON.
func TestConfigCommand(t *testing.T) {
	env := []string{"GANTRY_WINDOW_GRACE=90s"}
	code, out, errs := gantry(t, t.Context(), env, "config", "--json", "--instance=road-1", "--kafka.tls.enabled")
	var got map[string]struct {
		Value  any
		Origin string
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("%d, %v, %s", code, err, errs)
	}
	if g := got["window.grace"]; g.Value != "1m30s" || g.Origin != "env GANTRY_WINDOW_GRACE" {
		t.Errorf("window.grace %+v", g)
	}
	if g := got["kafka.tls.enabled"]; g.Value != true || g.Origin != "flag" || got["topics.raw"].Origin != "default" {
		t.Errorf("kafka.tls.enabled %+v", g)
	}
	_, text, _ := gantry(t, t.Context(), env, "config")
	if !strings.Contains(text, "window.grace: 1m30s ") || !strings.Contains(text, "# env GANTRY_WINDOW_GRACE") {
		t.Errorf("%s", text)
	}
}

// servers starts a broker and a registry, and gives the environment that reaches them.
func servers(t *testing.T) []string {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(5, "traffic-raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	schemas, err := registry.StartEmbedded("127.0.0.1:0", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { schemas.Close() })
	return []string{"GANTRY_KAFKA_BROKERS=" + broker.ListenAddrs()[0], "GANTRY_REGISTRY_URL=" + schemas.URL()}
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A replay ends with the last reading in the present window; with --resume it publishes nothing twice.
func TestReplayCommand(t *testing.T) {
	env := servers(t)
	dir := filepath.Dir(file(t, "x", ""))
	path := filepath.Join(dir, "speed.csv")
	for name, text := range map[string]string{
		"speed.csv":                  "773869,767541\n60,0\n61,50\n",
		"graph_sensor_locations.csv": "index,sensor_id,latitude,longitude\n0,773869,34.1,-118.3\n1,767541,34.1,-118.2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var r replayResult
	for i, want := range []struct{ published, skipped int64 }{{3, 0}, {0, 3}} {
		code, out, errs := gantry(t, t.Context(), env, "replay", path, "--with-sensors", "--resume", "--json")
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatalf("%d, %v: %s", code, err, errs)
		}
		if r.Published != want.published || r.Skipped != want.skipped || r.Missing != 1 || r.Format != "metr-la" {
			t.Errorf("run %d: %+v", i, r)
		}
		last, err := time.Parse(time.RFC3339, r.Last)
		if age := time.Since(last); err != nil || age < 0 || age > 6*time.Minute {
			t.Errorf("the last reading is %v old, %v", age, err)
		}
	}
	code, _, errs := gantry(t, t.Context(), env, "replay", path, "--rebase", "none")
	if code != 1 || !strings.Contains(errs, "would be deleted") {
		t.Errorf("readings of 2012 at their own time: %d, %s", code, errs)
	}
}

// gantry sensors publishes metadata, or nothing at all where a row has a mistake.
func TestSensorsCommand(t *testing.T) {
	env := servers(t)
	good := file(t, "s.csv", "sensor_id,latitude,longitude\na,34,-118\nb,34,-118\n")
	code, out, errs := gantry(t, t.Context(), env, "sensors", "load", good, "--json")
	if code != 0 || !strings.Contains(out, `"published": 2`) {
		t.Errorf("%d, %s, %s", code, out, errs)
	}
	bad := file(t, "s.csv", "sensor_id,latitude,longitude\na,34,-118\nb,340,-118\n")
	if code, _, errs = gantry(t, t.Context(), env, "sensors", "load", bad); code != 1 || !strings.Contains(errs, "s.csv:3") {
		t.Errorf("%d, %s", code, errs)
	}
	if code, out, _ = gantry(t, t.Context(), env, "sensors", "remove", "a", "b"); code != 0 || !strings.Contains(out, "2 records") {
		t.Errorf("%d, %s", code, out)
	}
}

// A simulation ends with the truth about what it sent, also when it is stopped.
func TestSimulateCommand(t *testing.T) {
	env := servers(t)
	args := []string{"simulate", "--sensors", "50", "--rate", "5000", "--duplicates", "0.1", "--invalid", "0.1"}
	var truth feed.Truth
	code, out, errs := gantry(t, t.Context(), env, append(args, "--for", "200ms")...)
	if err := json.Unmarshal([]byte(out), &truth); code != 0 || err != nil {
		t.Fatalf("%d, %v: %s", code, err, errs)
	}
	sum := truth.Accepted
	for _, n := range truth.Rejected {
		sum += n
	}
	if sum != truth.Sent || truth.Accepted < 500 || truth.Rejected[feed.OutcomeDuplicate] == 0 {
		t.Errorf("%s", out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(300*time.Millisecond, cancel).Stop()
	if code, out, errs = gantry(t, ctx, env, args...); code != 0 || !strings.Contains(out, `"sent"`) {
		t.Errorf("stopped: %d, %s, %s", code, out, errs)
	}
}

// A registry that does not answer is a failure with a way out, not a hang.
func TestRegistryAway(t *testing.T) {
	env := append(servers(t), "GANTRY_REGISTRY_URL=http://127.0.0.1:1")
	path := file(t, "r.csv", "sensor_id,timestamp,speed_mph\na,2026-01-01T00:00:00Z,60\n")
	if code, _, errs := gantry(t, t.Context(), env, "replay", path); code != 1 || !strings.Contains(errs, "--wire json") {
		t.Errorf("%d, %s", code, errs)
	}
	if code, _, errs := gantry(t, t.Context(), env, "replay", path, "--wire", "json"); code != 0 {
		t.Errorf("%d, %s", code, errs)
	}
}

// Completion scripts go to stdout, where the shell reads them.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, out, errs := gantry(t, t.Context(), nil, "completion", shell)
		if code != 0 || !strings.Contains(out, "__complete") || errs != "" {
			t.Errorf("%s: %d, %d bytes, %q", shell, code, len(out), errs)
		}
	}
}
