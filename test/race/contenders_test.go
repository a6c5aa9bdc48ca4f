package race

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"gantry/processors"
	"gantry/test/harness"
)

// Names of the contenders, in results and settings.
const (
	nameGantry  = "gantry"
	nameAll     = "gantry-all" // every role, with an archive in a folder
	nameEOS     = "streams-eos"
	nameALO     = "streams-alo"
	nameGoka    = "stock-goka"
	nameCeiling = "ceiling"
)

// contender is a program that does the job, or does none (the ceiling).
type contender struct {
	name string
	// create makes topics that are its own business, before the generator makes those that are missing. May be nil.
	create  func(*rig)
	start   func(*rig) *harness.Process
	outputs []string // topics that it writes
	// It is done when each group has committed up to the end of its topic …
	groups map[string]string
	// … or, without groups, when this topic holds as many records as the backlog.
	copies string
	// follower is a group that reads the events behind the others, and is waited for apart.
	follower string
	// safe says that a reader finds each result once, also after a kill.
	safe bool
	// check compares the outputs with the truth, and returns how they differ.
	check func(*rig, *truth) string
}

// contenders are those of a race, in the order in which they take turns.
func contenders() []*contender {
	topics := processors.DefaultTopics()
	rawTopic, eventsTopic := string(topics.Raw), string(topics.Events)
	const windowsTopic = "traffic-windows"
	outcomes := []string{eventsTopic, windowsTopic, string(topics.Rejects)}
	stages := map[string]string{
		string(processors.DedupGroup): rawTopic, string(processors.WindowGroup): eventsTopic,
	}
	return []*contender{
		{
			name: nameEOS, start: startStreams("on"), outputs: outcomes, safe: true, check: checkStreams,
			groups: map[string]string{"race-streams": rawTopic},
		},
		{
			name: nameGantry, create: createGantry, start: startGantry("--roles", "dedup,window"), outputs: outcomes,
			groups: stages, safe: true, check: checkGantry,
		},
		{
			name: nameALO, start: startStreams("off"), outputs: outcomes, check: checkStreams,
			groups: map[string]string{"race-streams": rawTopic},
		},
		{
			// An archive that waits 30 s for its last rows would be measured by that: 2 s are about what a partition
			// needs for a full batch, so that the files are as many as with a longer wait.
			name: nameAll, create: createGantry, start: startGantry("--archive.flushInterval", "2s"), outputs: outcomes,
			groups: stages, follower: string(processors.ArchiveGroup), safe: true, check: checkGantryArchive,
		},
		{
			name: nameGoka, start: startStockGoka, outputs: outcomes, check: checkOutcomes,
			groups: map[string]string{"stockgoka-dedup": rawTopic, "stockgoka-window": eventsTopic},
		},
		{name: nameCeiling, start: startCeiling, outputs: outcomes[:2], copies: windowsTopic, check: checkCopies},
	}
}

// named are the contenders of these names, as far as the settings want them.
func (s *settings) named(names ...string) []*contender {
	return slices.DeleteFunc(contenders(), func(c *contender) bool {
		return !slices.Contains(names, c.name) || len(s.names) > 0 && !slices.Contains(s.names, c.name)
	})
}

func startStreams(eos string) func(*rig) *harness.Process {
	return func(r *rig) *harness.Process {
		return r.java("streams", "StreamsJob", "--exit", "off", "--eos", eos,
			"--state", filepath.Join(r.state, "streams"))
	}
}

// gantryFlags are the settings of Gantry in a race: where things are, and the rules of the generator, which loads no
// metadata and lets readings be without speed.
func (r *rig) gantryFlags() []string {
	return []string{
		"--kafka.brokers", r.brokers, "--registry.url", r.registry, "--state.dir", filepath.Join(r.state, "gantry"),
		"--http.listen", "127.0.0.1:0", "--validate.knownSensorsOnly=false", "--validate.required", "",
		"--archive.url", "file://" + filepath.Join(r.state, "archive"),
	}
}

// createGantry makes Gantry's topics as its users do.
func createGantry(r *rig) {
	args := append([]string{"topics", "create"}, r.gantryFlags()...)
	if code, _, errs := harness.Run(r.t, r.t.TempDir(), nil, args...); code != 0 {
		r.t.Fatalf("gantry topics create: %s", errs)
	}
}

func startGantry(args ...string) func(*rig) *harness.Process {
	return func(r *rig) *harness.Process {
		return harness.Launch(r.t, "gantry", nil, slices.Concat([]string{"run"}, r.gantryFlags(), args)...)
	}
}

func startStockGoka(r *rig) *harness.Process {
	return harness.Start(r.t, "stockgoka", exec.Command(program(r.t, "stockgoka"), "--brokers", r.brokers,
		"--registry", r.registry, "--state", filepath.Join(r.state, "stockgoka")))
}

func startCeiling(r *rig) *harness.Process {
	return harness.Start(r.t, "ceiling", exec.Command(program(r.t, "ceiling"), "--brokers", r.brokers,
		"--topics", "traffic-raw,traffic-events,traffic-windows"))
}

// program builds one of the folders here; go build makes it once.
func program(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(harness.SharedDir, name)
	output(t, exec.Command("go", "build", "-o", path, "./"+name))
	return path
}
