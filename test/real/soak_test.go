package real

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"gantry/processors"
	"gantry/test/harness"
)

const (
	soakInterval = 5 * time.Second
	soakKill     = time.Minute
	// What grows until retention is over has stopped growing by then: windows, dedup memory, changelogs.
	soakWarm = 6 * time.Minute
)

// Windows and dedup memory are kept for 4 minutes, changelogs are compacted after 3, so that half an hour shows whether
// they stay as they are. Other settings are those of the contract.
var soakArgs = []string{
	"--window.length", "1m", "--validate.maxAge", "2m", "--validate.maxAhead", "30s", "--window.retention", "4m",
}

// Two gantry run share a live load of synthetic sensors for a long time, and one of them is killed each minute. Memory,
// goroutines and files of the one that lives on, state folders, changelogs and lag stay flat; in the end the ledger is
// clean, and says of the readings what the simulator says.
//
// GANTRY_SOAK is for how long, GANTRY_RATE the readings a second, GANTRY_SOAK_DIR where samples.csv and plot.svg go.
func TestSoak(t *testing.T) {
	if os.Getenv("GANTRY_SOAK") == "" {
		t.Skip("GANTRY_SOAK does not say for how long (make soak FOR=1h)")
	}
	duration, err := time.ParseDuration(os.Getenv("GANTRY_SOAK"))
	if err != nil {
		t.Fatal(err)
	}
	rate := int(harness.Number(t, "GANTRY_RATE", 5000))
	freshCluster(t)
	createTopics(t)
	compactSoon(t)
	archiveURL := freshArchive(t)
	f := newFleet(t, chaosFolder(t), archiveURL, 0, soakArgs...)
	s := newSoak(t, f)
	title := fmt.Sprintf("%v at %d readings a second, a kill -9 each %v", duration, rate, soakKill)
	t.Cleanup(func() { s.write(title) }) // also what there is when it fails
	f.start(s.survivor)
	f.start(s.victim)
	sensors := rate * 6 // one reading in 6 seconds of each, ten in a window
	feeding := harness.Launch(t, "simulate", reach(t), append([]string{
		"simulate", "--sensors", strconv.Itoa(sensors), "--rate", strconv.Itoa(rate), "--for", duration.String(),
	}, soakArgs...)...)
	s.run(feeding.Exited)
	f.settle()
	if code := feeding.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("simulate ended with %d", code)
	}
	s.caughtUp()
	f.stopAll()
	s.prove(feeding.Out.Bytes(), archiveURL)
}

// compactSoon has the brokers compact changelogs after minutes instead of a day.
func compactSoon(t *testing.T) {
	t.Helper()
	alterTables(t, map[string]string{
		"min.compaction.lag.ms": "180000", "segment.ms": "60000", "min.cleanable.dirty.ratio": "0.1",
	})
}

// soak watches a fleet of two.
type soak struct {
	t                *testing.T
	fleet            *fleet
	survivor, victim *member
	address          map[*member]string
	http             *http.Client
	adm              *kadm.Client

	processes []*processSeries
	changelog *series
	lag       *series
}

// processSeries are those of a member, in the order of soakMetrics, and the size of its state.
type processSeries struct {
	member  *member
	metrics []*series
	state   *series
}

// soakMetrics are what a process says of itself, with what it may grow by on top of a quarter.
var soakMetrics = []struct {
	name, unit string
	slack      float64
}{
	{"process_resident_memory_bytes", "B resident", 30e6},
	{"go_memstats_heap_inuse_bytes", "B heap", 30e6},
	{"go_goroutines", "goroutines", 20},
	{"process_open_fds", "files open", 20},
}

func newSoak(t *testing.T, f *fleet) *soak {
	t.Helper()
	s := &soak{
		t: t, fleet: f, survivor: f.add(), victim: f.add(), address: make(map[*member]string),
		http:      &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		adm:       harness.Admin(t, brokers(t)),
		changelog: &series{name: "both tables", unit: "B changelog", slack: 50e6},
		lag:       &series{name: "dedup and window", unit: "records behind", slack: 20_000},
	}
	for _, m := range []*member{s.survivor, s.victim} {
		what := "survivor"
		if m == s.victim {
			what = "victim"
		}
		s.address[m] = harness.FreeAddress(t)
		m.args = []string{"--http.listen", s.address[m]}
		p := &processSeries{member: m, state: &series{name: what, unit: "B state", slack: 20e6}}
		for _, q := range soakMetrics {
			p.metrics = append(p.metrics, &series{name: what, unit: q.unit, slack: q.slack})
		}
		s.processes = append(s.processes, p)
	}
	return s
}

// run samples and kills until the feed has ended.
func (s *soak) run(ended <-chan struct{}) {
	s.t.Helper()
	sample, kill := time.NewTicker(soakInterval), time.NewTicker(soakKill)
	defer sample.Stop()
	defer kill.Stop()
	for n := 0; ; {
		select {
		case <-ended:
			return
		case <-sample.C:
			s.sample()
			s.fleet.wait(0)
		case <-kill.C:
			s.fleet.kill(s.victim)
			if n++; n%3 == 0 { // its partitions move, and come back
				s.fleet.after(sessionTimeout+2*time.Second, func() { s.fleet.start(s.victim) })
			} else {
				s.fleet.start(s.victim)
			}
		}
	}
}

func (s *soak) sample() {
	names := make([]string, len(soakMetrics))
	for i, q := range soakMetrics {
		names[i] = q.name
	}
	for _, p := range s.processes {
		for i, v := range scrape(s.http, s.address[p.member], names) {
			p.metrics[i].values = append(p.metrics[i].values, v)
		}
		p.state.values = append(p.state.values, folderBytes(s.fleet.state(p.member)))
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), soakInterval)
	defer cancel()
	s.changelog.values = append(s.changelog.values, s.changelogBytes(ctx))
	s.lag.values = append(s.lag.values, s.behind(ctx))
}

// changelogBytes is what the tables take on the brokers.
func (s *soak) changelogBytes(ctx context.Context) (bytes float64) {
	dirs, err := s.adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return math.NaN()
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		for _, table := range tables {
			for _, p := range d.Topics[table] {
				bytes += float64(p.Size)
			}
		}
	})
	return bytes
}

// behind is how many records the groups have not committed.
func (s *soak) behind(ctx context.Context) (records float64) {
	ends, err := s.adm.ListEndOffsets(ctx, harness.RawTopic, harness.EventsTopic)
	if err != nil {
		return math.NaN()
	}
	for group, topic := range map[string]string{
		string(processors.DedupGroup): harness.RawTopic, string(processors.WindowGroup): harness.EventsTopic,
	} {
		at, err := s.adm.FetchOffsets(ctx, group)
		if err != nil {
			return math.NaN()
		}
		for p, end := range ends[topic] {
			c, _ := at.Lookup(topic, p)
			records += float64(end.Offset - max(0, c.At))
		}
	}
	return records
}

// judged are the series that must be flat. A process that is killed each minute has no memory to be judged.
func (s *soak) judged() []*series {
	all := []*series{s.changelog, s.lag}
	for _, p := range s.processes {
		all = append(all, p.state)
		if p.member == s.survivor {
			all = append(all, p.metrics...)
		}
	}
	return all
}

// write prints the summary, writes samples and plot, and judges.
func (s *soak) write(title string) {
	s.t.Helper()
	var all []*series // those of one unit side by side
	for i := range soakMetrics {
		for _, p := range s.processes {
			all = append(all, p.metrics[i])
		}
	}
	for _, p := range s.processes {
		all = append(all, p.state)
	}
	all = append(all, s.changelog, s.lag)
	dir := filepath.Join(os.Getenv("GANTRY_SOAK_DIR"), time.Now().UTC().Format("20060102-150405"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := writeCSV(filepath.Join(dir, "samples.csv"), soakInterval, all); err != nil {
		s.t.Error(err)
	}
	if err := writePlot(filepath.Join(dir, "plot.svg"), title, soakInterval, all); err != nil {
		s.t.Error(err)
	}
	out := s.t.Output()
	fmt.Fprintf(out, "%s, %d kills; samples and plot in %s\n", title, s.fleet.kills, dir)
	fmt.Fprintf(out, "medians behind a warm-up of %v: flat is at most %.0f %% more, and slack\n", soakWarm, 100*flatGrowth)
	fmt.Fprintf(out, "%-34s %14s %14s %14s %14s\n", "", "first third", "last third", "an hour adds", "slack")
	warm := int(soakWarm / soakInterval)
	short := len(s.lag.values) < 2*warm
	if short {
		fmt.Fprintln(out, "too short to be judged")
		warm = 0
	}
	for _, q := range s.judged() {
		first, last := q.thirds(warm)
		fmt.Fprintf(out, "%-34s %14s %14s %14s %14s\n", q.name+", "+q.unit, quantity(first, ""), quantity(last, ""),
			quantity(q.slope(warm, soakInterval), ""), quantity(q.slack, ""))
		if !short && !q.flat(warm) {
			s.t.Errorf("%s, %s: is not flat", q.name, q.unit)
		}
	}
}

// caughtUp waits until every record is processed and archived.
func (s *soak) caughtUp() {
	s.t.Helper()
	least, at := math.Inf(1), time.Now()
	for least > 0 {
		if n := s.behind(s.t.Context()); n < least {
			least, at = n, time.Now()
		} else if time.Since(at) > harness.Patience {
			s.t.Fatalf("the lag has not shrunk for %v: %.0f records are not processed", harness.Patience, least)
		}
		s.fleet.wait(time.Second)
	}
	last := make(map[int32]int64)
	ends, err := s.adm.ListEndOffsets(s.t.Context(), harness.EventsTopic)
	if err != nil {
		s.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { last[o.Partition] = o.Offset - 1 })
	harness.Archived(s.t, brokers(s.t), &harness.Outcomes{Last: last})
}

// prove verifies topics and archive, and compares them with what the simulator says.
func (s *soak) prove(simulated []byte, archiveURL string) {
	s.t.Helper()
	var truth struct {
		Sent, Accepted int64
		Rejected       map[string]int64
	}
	if err := json.Unmarshal(simulated, &truth); err != nil {
		s.t.Fatalf("simulate: %v", err)
	}
	began := time.Now()
	code, stdout, stderr := harness.RunContext(s.t.Context(), s.t, s.t.TempDir(), reach(s.t), append([]string{
		"verify", "--json", "--archive", "--archive.url", archiveURL,
	}, soakArgs...)...)
	if code != 0 {
		s.t.Fatalf("verify: %d\n%.20000s%s", code, stdout, stderr)
	}
	var report struct {
		Totals struct {
			Accepted, Pending, Expired, Holes, Windows, Repeats int64
			RejectedBy                                          map[string]int64 `json:"rejected_by"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		s.t.Fatal(err)
	}
	n := report.Totals
	if n.Pending+n.Expired+n.Holes > 0 {
		s.t.Errorf("the ledger proves less than all: %+v", n)
	}
	d := harness.Compare(s.t, "rejects", n.RejectedBy, truth.Rejected)
	if n.Accepted != truth.Accepted {
		s.t.Errorf("%d readings are accepted, the simulator sent %d", n.Accepted, truth.Accepted)
	}
	fmt.Fprintf(s.t.Output(),
		"%d messages sent, %d readings, %d windows, %d repeats, lost %d, doubled %d; verified in %v\n",
		truth.Sent, n.Accepted, n.Windows, n.Repeats, d.Missing+int(max(0, truth.Accepted-n.Accepted)),
		d.TooMuch+int(max(0, n.Accepted-truth.Accepted)), time.Since(began).Round(time.Second))
}
