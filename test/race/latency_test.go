package race

import (
	"context"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

// latencyWarm is how long readings come before their latency counts, latencyTail how long behind.
const (
	latencyWarm = 10 * time.Second
	latencyTail = 2 * time.Second
)

// latency measures how long a reading takes from when it was due to be sent until a reader of what is committed has it
// from traffic-events, and what the contender takes at that rate.
func (s *settings) latency(t *testing.T, c *contender) result {
	r := newRig(t, s)
	r.prepare(c)
	p := c.start(r)
	r.joined(c, p)
	readings := s.Rate * (s.Seconds + int((latencyWarm + latencyTail).Seconds()))
	load := r.load("--rate", strconv.Itoa(s.Rate), "--n", strconv.Itoa(readings))
	a := r.readAlong(load, p)
	r.await(p, func() int64 { return r.lag(c, readings) })
	p.End(t, syscall.SIGTERM)
	res := result{Figures: a.figures()}
	res.check(t, c.check(r, a.truth))
	return res
}

// joined waits until the groups of a contender have a member that has its partitions.
func (r *rig) joined(c *contender, p *harness.Process) {
	r.t.Helper()
	for group := range c.groups {
		harness.Await(r.t, "group "+group, func() bool {
			select {
			case <-p.Exited:
				r.t.Fatalf("%s has ended by itself", p.Name)
			default:
			}
			described, err := r.adm.DescribeGroups(r.t.Context(), group)
			d := described[group]
			return err == nil && d.State == "Stable" && len(d.AssignedPartitions()) > 0
		})
	}
}

// along is what a reader of traffic-events sees while the generator sends.
type along struct {
	begin, end time.Time // what is due between them is measured
	took       []float64 // milliseconds
	readings   int64     // also those that are not measured
	program    usage     // between begin and end; the peak is that since the start
	broker     usage
	truth      *truth
}

// readAlong reads until all has come that the generator sent.
func (r *rig) readAlong(load, p *harness.Process) *along {
	r.t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: []string{r.brokers}}.Options(),
		kgo.ConsumeTopics("traffic-events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	a := new(along)
	var programBefore, brokerBefore usage
	deadline := time.Now().Add(time.Duration(r.Seconds)*time.Second + harness.Patience)
	for a.truth == nil || a.readings < a.truth.Accepted+a.truth.Late {
		fetches := poll(r.t.Context(), client)
		now := time.Now()
		fetches.EachRecord(func(record *kgo.Record) { a.add(record, now, time.Duration(r.Seconds)*time.Second) })
		started := !a.begin.IsZero()
		if started && programBefore.cpu == 0 && now.After(a.begin) {
			programBefore, brokerBefore = usageOf(r.t, p.Cmd.Process.Pid), usageOf(r.t, r.brokerPID)
		}
		if started && a.program.cpu == 0 && now.After(a.end) {
			a.program, a.broker = usageOf(r.t, p.Cmd.Process.Pid), usageOf(r.t, r.brokerPID)
			a.program.cpu -= programBefore.cpu
			a.broker.cpu -= brokerBefore.cpu
		}
		select {
		case <-p.Exited:
			r.t.Fatalf("%s has ended by itself", p.Name)
		case <-load.Exited:
			if a.truth == nil {
				a.truth = r.loaded(load)
			}
		default:
		}
		if now.After(deadline) {
			r.t.Fatalf("%s: %d readings until now", p.Name, a.readings)
		}
	}
	return a
}

// poll returns what there is, or nothing after a moment.
func poll(ctx context.Context, client *kgo.Client) kgo.Fetches {
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	return client.PollFetches(ctx)
}

func (a *along) add(r *kgo.Record, now time.Time, length time.Duration) {
	due, ok := dueAt(r)
	if !ok {
		return
	}
	a.readings++
	if a.begin.IsZero() {
		a.begin = due.Add(latencyWarm)
		a.end = a.begin.Add(length)
	}
	if !due.Before(a.begin) && due.Before(a.end) {
		a.took = append(a.took, float64(now.Sub(due).Microseconds())/1000)
	}
}

func (a *along) figures() map[string]float64 {
	slices.Sort(a.took)
	seconds := a.end.Sub(a.begin).Seconds()
	return map[string]float64{
		"readings": float64(len(a.took)),
		p50:        quantile(a.took, 0.5),
		p90:        quantile(a.took, 0.9),
		p99:        quantile(a.took, 0.99),
		p999:       quantile(a.took, 0.999),
		"max_ms":   quantile(a.took, 1),
		cpuPercent: 100 * a.program.cpu / seconds,
		peakMiB:    a.program.peak,

		"broker_cpu_percent": 100 * a.broker.cpu / seconds,
	}
}

// dueAt is when the reading of an event was due to be sent: the timestamp of its raw record, which Kafka Streams keeps
// and the others put into a header.
func dueAt(r *kgo.Record) (due time.Time, isReading bool) {
	if kind := harness.Header(r, codecs.HeaderKind); kind != "" && kind != string(codecs.KindReading) {
		return due, false
	}
	if at, err := strconv.ParseInt(harness.Header(r, codecs.HeaderReceivedAt), 10, 64); err == nil {
		return time.UnixMilli(at), true
	}
	return r.Timestamp, true
}
