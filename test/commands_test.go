package test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gantry/test/harness"
	"gantry/test/suite"
)

// A user scripts against exit codes: 0 is done, 1 failed, 2 a mistake in the command line or the configuration. Each
// failure says what is wrong in a line or a few.
func TestCommands(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "gantry.yaml")
	suite.Write(t, broken, "window:\n  lenght: 5m\n  grace: soon\n")
	inUse := t.TempDir()
	other := embedded(t, inUse)
	t.Cleanup(other.Close)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	servers := " --kafka.brokers " + harness.FreeAddress(t) + " --registry.url http://" + harness.FreeAddress(t)
	const away = " --kafka.brokers 127.0.0.1:1" // nothing listens there

	for _, tt := range []struct {
		args string
		code int
		text []string // on stderr, or on stdout of what succeeds
	}{
		{"version", 0, []string{"gantry"}},
		{"config", 0, []string{"window.length: 5m", "topics.partitions: 5"}},
		{"completion bash", 0, []string{"gantry"}},
		{"completion zsh", 0, []string{"gantry"}},
		{"completion fish", 0, []string{"gantry"}},

		{"", 2, []string{"needs a command"}},
		{"frobnicate", 2, []string{"frobnicate", "gantry --help"}},
		{"verfy", 2, []string{"did you mean verify?"}},
		{"help verfy", 2, []string{"did you mean verify?"}},
		{"config --window.lenght 5m", 2, []string{"did you mean --window.length?"}},
		{"config --config " + broken, 2, []string{"window.lenght", "window.grace", "soon"}}, // all problems together
		{"config --window.retention 10m", 2, []string{"window.retention", "10m", "from 1h10m"}},
		{"run --roles dedup,juggle", 2, []string{"juggle", "dedup window serve archive"}},
		{"dev --speed fast", 2, []string{"fast", "60x"}},
		{"dev --format parquet --input x", 2, []string{"parquet", "metr-la, portal, ndjson, csv"}},

		{"dev --input absent.csv --data d", 1, []string{"absent.csv"}},
		{"dev --data " + inUse + servers, 1, []string{"another gantry uses this data folder", inUse}},
		{"dev --data d --http " + port.Addr().String() + servers, 1, []string{"http.listen", port.Addr().String()}},
		{"verify --data " + inUse, 1, []string{"another gantry uses this data folder"}},
		{"verify --data absent", 1, []string{"absent"}},
		{"replay absent.csv" + away, 1, []string{"absent.csv"}},

		{"verify" + away, 1, []string{"127.0.0.1:1"}},
		{"topics check" + away, 1, []string{"127.0.0.1:1"}},
		{"sensors list" + away, 1, []string{"127.0.0.1:1"}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, strings.Fields(tt.args)...)
			text := stderr
			if tt.code == 0 {
				text = stdout
			}
			if code != tt.code {
				t.Errorf("exit code %d, not %d", code, tt.code)
			}
			for _, part := range tt.text {
				if !strings.Contains(text, part) {
					t.Errorf("%q is not in:\n%s", part, text)
				}
			}
			if lines := strings.Count(stderr, "\n"); tt.code == 1 && lines > 8 || strings.Contains(stderr, "goroutine ") {
				t.Errorf("that is no message for a user:\n%s", stderr)
			}
		})
	}
}

// Every command says what it does, with an example that begins with its name.
func TestHelp(t *testing.T) {
	t.Parallel()
	commands := regexp.MustCompile(`(?m)^  ([a-z-]+) +[A-Z]`)
	var visit func(words ...string)
	visited := 0
	visit = func(words ...string) {
		visited++
		name := strings.Join(append([]string{"gantry"}, words...), " ")
		code, stdout, _ := run(t, append(words, "--help")...)
		_, examples, ok := strings.Cut(stdout, "Examples:\n")
		if words != nil && (words[0] == "completion" || words[0] == "help") {
			return // cobra's own
		}
		if code != 0 || !ok || !strings.Contains(examples, "  "+name) {
			t.Errorf("%s --help: %d, without an example:\n%s", name, code, stdout)
		}
		_, list, _ := strings.Cut(stdout, "Available Commands:\n")
		list, _, _ = strings.Cut(list, "\n\n")
		for _, m := range commands.FindAllStringSubmatch(list, -1) {
			visit(append(words[:len(words):len(words)], m[1])...)
		}
	}
	visit()
	if visited < 12 {
		t.Errorf("only %d commands were found", visited)
	}
}

// The working folder's gantry.yaml counts where no other is named, and the environment goes before it.
func TestConfigurationSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	suite.Write(t, filepath.Join(dir, "gantry.yaml"), "window:\n  grace: 90s\narchive:\n  flushInterval: 10s\n")
	code, stdout, stderr := harness.Run(t, dir, []string{"GANTRY_ARCHIVE_FLUSH_INTERVAL=20s"}, "config")
	if code != 0 {
		t.Fatalf("%d: %s", code, stderr)
	}
	for _, line := range []string{"window.grace: 1m30s", "archive.flushInterval: 20s"} {
		if !strings.Contains(stdout, line) {
			t.Errorf("%q is not in:\n%s", line, stdout)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "gantry-data")); err == nil {
		t.Error("gantry config has made a data folder")
	}
}
