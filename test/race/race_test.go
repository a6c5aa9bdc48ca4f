package race

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/test/harness"
)

// The race: each measure, run by run, the contenders in turn, so that what else the machine does meets all of them.
// GANTRY_RACE is the backlog's readings; GANTRY_RUNS, GANTRY_RATE and GANTRY_SECONDS (of the latency) are numbers;
// GANTRY_PARTS and GANTRY_CONTENDERS, comma-separated, leave out what they do not name.
func TestRace(t *testing.T) {
	s := readSettings(t)
	rep := &report{settings: s}
	t.Cleanup(func() { rep.write(t) }) // also what there is when it fails
	all := []string{nameEOS, nameGantry, nameALO, nameAll, nameGoka, nameCeiling}
	for run := range s.Runs {
		rep.part(t, measureThroughput, run, s.throughput, all...)
	}
	safeAndQuick := []string{nameEOS, nameGantry, nameALO, nameGoka}
	for run := range s.Runs {
		rep.part(t, measureLatency, run, s.latency, safeAndQuick...)
	}
	for run := range s.Runs {
		rep.part(t, measureRecovery, run, s.recovery, safeAndQuick...)
	}
	for run := range s.Runs {
		rep.archive(t, run)
	}
}

// report collects the results and writes them.
type report struct {
	settings *settings
	results  []result
}

// part takes a measure of each of the named contenders.
func (rep *report) part(
	t *testing.T, measure string, run int, take func(*testing.T, *contender) result, names ...string,
) {
	if !rep.settings.wants(measure) {
		return
	}
	for _, c := range rep.settings.named(names...) {
		rep.take(t, measure, c.name, run, func(t *testing.T) result { return take(t, c) })
	}
}

// archive measures the archive writer and then pyarrow with the same rows.
func (rep *report) archive(t *testing.T, run int) {
	if !rep.settings.wants(measureArchive) {
		return
	}
	dir := t.TempDir()
	rep.take(t, measureArchive, nameGantry, run, func(t *testing.T) result { return rep.settings.archive(t, dir) })
	rep.take(t, measureArchive, namePyarrow, run, func(t *testing.T) result { return rep.settings.pyarrow(t, dir) })
}

// take runs a measurement as a test of its own, at whose end everything that it started has ended.
func (rep *report) take(t *testing.T, measure, name string, run int, f func(*testing.T) result) {
	t.Run(fmt.Sprintf("%s/%s/%d", measure, name, run+1), func(t *testing.T) {
		res := f(t)
		res.Measure, res.Contender, res.Run = measure, name, run+1
		rep.results = append(rep.results, res)
		var figures []string
		for _, figure := range slices.Sorted(maps.Keys(res.Figures)) {
			figures = append(figures, fmt.Sprintf("%s=%.4g", figure, res.Figures[figure]))
		}
		t.Logf("%s; check: %s", strings.Join(figures, " "), res.Check)
	})
}

// write writes .race/race.json and .race/table.md, and prints the table.
func (rep *report) write(t *testing.T) {
	all := struct {
		Date     time.Time         `json:"date"`
		Machine  map[string]string `json:"machine"`
		Versions map[string]string `json:"versions"`
		Settings *settings         `json:"settings"`
		Results  []result          `json:"results"`
	}{time.Now().UTC().Truncate(time.Second), describeMachine(t), versions(t, rep.settings), rep.settings, rep.results}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	shown := table(rep.results)
	for name, content := range map[string]string{"race.json": string(text) + "\n", "table.md": shown} {
		if err := os.WriteFile(filepath.Join(rep.settings.dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println(shown)
}

// describeMachine says what the race ran on.
func describeMachine(t *testing.T) map[string]string {
	m := map[string]string{"cores": fmt.Sprint(runtime.NumCPU())}
	for name, from := range map[string]struct{ file, pattern string }{
		"cpu":    {"/proc/cpuinfo", `model name\s*: (.*)`},
		"memory": {"/proc/meminfo", `MemTotal:\s*(.*)`},
		"kernel": {"/proc/version", `Linux version (\S+)`},
	} {
		text, err := os.ReadFile(from.file)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(from.pattern).FindSubmatch(text); found != nil {
			m[name] = string(found[1])
		}
	}
	return m
}

var versionInPath = regexp.MustCompile(`kafka-streams-([0-9.]+)\.jar`)

func versions(t *testing.T, s *settings) map[string]string {
	v := map[string]string{"go": runtime.Version(), "kafka and streams": ""}
	if found := versionInPath.FindStringSubmatch(buildStreams(t, s.dir)); found != nil {
		v["kafka and streams"] = found[1]
	}
	for name, cmd := range map[string]*exec.Cmd{
		"gantry":    exec.Command(harness.Gantry(t), "version"),
		"java":      exec.Command("java", "--version"),
		"goka":      exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/lovoo/goka"),
		"franz-go":  exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/twmb/franz-go"),
		"committed": exec.Command("git", "describe", "--always", "--dirty"),
	} {
		out, err := cmd.Output()
		if err != nil {
			continue // a copy without git has no commit, and that is no reason to lose the results
		}
		v[name], _, _ = strings.Cut(string(out), "\n")
	}
	return v
}
