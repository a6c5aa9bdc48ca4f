package race

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"gantry/codecs"
	"gantry/codecs/registry"
	"gantry/processors"
	"gantry/test/harness"
)

// rig is what a run of a contender finds: a fresh broker, a fresh registry that knows the generator's schema, an empty
// folder for its state.
type rig struct {
	*settings
	t         *testing.T
	brokers   string
	brokerPID int
	registry  string
	state     string
	classPath string // of the Kafka Streams job and the generator
	adm       *kadm.Client
}

// The broker's settings: its own ports, so that servers of other suites may run beside, and the heap and collector of a
// broker that is meant to be fast.
const (
	kafkaPort  = "19292"
	kafkaHeap  = "1g"
	kafkaFlags = "-Xms1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20"
)

func newRig(t *testing.T, s *settings) *rig {
	t.Helper()
	r := &rig{settings: s, t: t, state: filepath.Join(s.dir, "state"), classPath: buildStreams(t, s.dir)}
	if err := errors.Join(os.RemoveAll(r.state), os.MkdirAll(r.state, 0o755)); err != nil {
		t.Fatal(err)
	}
	r.startBroker()
	r.startRegistry()
	r.adm = harness.Admin(t, []string{r.brokers})
	return r
}

// buildStreams builds the Java programs and returns their class path.
func buildStreams(t *testing.T, dir string) string {
	t.Helper()
	out := output(t, exec.Command("streams/build.sh", filepath.Join(dir, "streams")))
	return strings.TrimSpace(string(out))
}

// startBroker starts a broker without data; it is gone at the end of the run.
func (r *rig) startBroker() {
	r.t.Helper()
	r.servers("wipe")
	r.t.Cleanup(func() { r.servers("wipe") })
	r.servers("start", "kafka")
	_, pid, _ := strings.Cut(r.servers("status", "kafka"), "pid ")
	r.brokerPID = int(number(r.t, strings.TrimSpace(pid)))
	r.brokers = "127.0.0.1:" + environment("KAFKA_PORT", kafkaPort)
}

// servers runs test/servers/servers.sh with a folder and ports of the race's own.
func (r *rig) servers(args ...string) string {
	r.t.Helper()
	port := int(number(r.t, environment("KAFKA_PORT", kafkaPort)))
	cmd := exec.Command("../servers/servers.sh", args...)
	cmd.Env = append(os.Environ(), "SERVERS_DIR="+filepath.Join(r.dir, "servers"), "KAFKA_PORT="+strconv.Itoa(port),
		"KAFKA_CONTROLLER_PORT="+strconv.Itoa(port+1), "KAFKA_HEAP="+kafkaHeap, "JVM_FLAGS="+kafkaFlags)
	return string(output(r.t, cmd))
}

func environment(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// generatorSchema is the id that the generator writes in front of each reading.
const generatorSchema = 1

func (r *rig) startRegistry() {
	r.t.Helper()
	e, err := registry.StartEmbedded("127.0.0.1:0", r.t.TempDir())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			r.t.Error(err)
		}
	})
	r.registry = e.URL()
	options := registry.DefaultOptions()
	options.URL = r.registry
	c, err := registry.NewClient(options)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	id, err := c.Register(r.t.Context(), processors.DefaultTopics().RawSubject(), codecs.RawSchema)
	if err != nil || id != generatorSchema {
		r.t.Fatalf("schema %d of the readings: %v", id, err)
	}
}

// prepare creates the topics of a contender. Their records stay, however old they are.
func (r *rig) prepare(c *contender) {
	r.t.Helper()
	if c.create != nil {
		c.create(r)
	}
	forever := "-1"
	created, err := r.adm.CreateTopics(r.t.Context(), int32(processors.DefaultTopics().Partitions), 1,
		map[string]*string{"retention.ms": &forever},
		"traffic-raw", "traffic-events", "traffic-windows", "traffic-rejects")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, topic := range created.Sorted() {
		if topic.Err != nil && !errors.Is(topic.Err, kerr.TopicAlreadyExists) {
			r.t.Fatalf("create %s: %v", topic.Topic, topic.Err)
		}
	}
}

// truth is what the generator says must come out.
type truth struct {
	Readings   int64   `json:"n"`
	Accepted   int64   `json:"accepted"` // without the late ones
	Late       int64   `json:"late"`     // valid, and no duplicates
	Duplicates int64   `json:"duplicates"`
	Invalid    int64   `json:"invalid"`
	Windows    int64   `json:"windows"`   // that are closed in the end
	Windowed   int64   `json:"windowed"`  // the readings in them
	SpeedSum   float64 `json:"speed_sum"` // the sum of their mean speeds

	// The same of a processor that publishes a window again for each late reading.
	RevisedWindows  int64   `json:"revised_windows"`
	RevisedWindowed int64   `json:"revised_windowed"`
	RevisedSpeedSum float64 `json:"revised_speed_sum"`

	json []byte
}

// fill fills traffic-raw with a backlog of the race's readings.
func (r *rig) fill(readings int) *truth {
	r.t.Helper()
	p := r.load("--n", strconv.Itoa(readings), "--sensors", strconv.Itoa(r.Sensors),
		"--base", strconv.FormatInt(r.Base, 10))
	r.ended(p)
	return r.loaded(p)
}

// load starts the generator.
func (r *rig) load(args ...string) *harness.Process {
	r.t.Helper()
	return r.java("load", "Load", args...)
}

// loaded reads what the generator said, which has ended.
func (r *rig) loaded(p *harness.Process) *truth {
	r.t.Helper()
	tr := &truth{json: p.Out.Bytes()}
	if err := json.Unmarshal(tr.json, tr); err != nil {
		r.t.Fatalf("the generator ended with %d and said %q: %v", p.Cmd.ProcessState.ExitCode(), tr.json, err)
	}
	return tr
}

// java starts a class of streams.
func (r *rig) java(name, class string, args ...string) *harness.Process {
	r.t.Helper()
	cmd := exec.Command("java", append([]string{
		"-Xms512m", "-Xmx1g", "-XX:+UseG1GC", "-cp", r.classPath, "gantry.race." + class,
	}, args...)...)
	cmd.Env, cmd.Dir = append(os.Environ(), "BROKERS="+r.brokers), r.t.TempDir()
	return harness.Start(r.t, name, cmd)
}

// output runs a command to its end.
func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Path, err, out)
	}
	return out
}

// ended waits until a program has done what it was started for.
func (r *rig) ended(p *harness.Process) {
	r.t.Helper()
	select {
	case <-p.Exited:
	case <-time.After(commandPatience):
		r.t.Fatalf("%s has not ended within %v", p.Name, commandPatience)
	}
}

// commandPatience bounds a command that reads or writes all there is, on a machine that is busy with other things.
const commandPatience = 10 * time.Minute
