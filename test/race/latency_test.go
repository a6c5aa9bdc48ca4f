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

// latencyWarm is how long readings come before their latency counts.
const latencyWarm = 10 * time.Second

// latency measures how long a reading takes from when it was due to be sent until a reader of what is committed has it
// from traffic-events, and what the contender takes at that rate.
func (s *settings) latency(t *testing.T, c *contender) result {
	r := newRig(t, s)
	r.prepare(c)
	p := c.start(r)
	r.joined(c, p)
	readings := s.Rate * (s.Seconds + int(latencyWarm.Seconds()) + 2)
	load := r.load("--rate", strconv.Itoa(s.Rate), "--n", strconv.Itoa(readings))
	res := result{Figures: r.readAlong(p)}
	truth := r.loaded(load, time.Minute)
	r.await(p, func() int64 { return r.lag(c, readings) })
	p.End(t, syscall.SIGTERM)
	res.check(t, c.check(r, truth))
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

// readAlong reads traffic-events, and measures what is due between the end of the warm-up and the end of the load.
func (r *rig) readAlong(p *harness.Process) map[string]float64 {
	r.t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: []string{r.brokers}}.Options(),
		kgo.ConsumeTopics("traffic-events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	length := time.Duration(r.Seconds) * time.Second
	ctx, cancel := context.WithTimeout(r.t.Context(), length+harness.Patience)
	defer cancel()
	var begin, end time.Time // of what is measured, by when it was due
	var program, broker usage
	took := make([]float64, 0, r.Rate*r.Seconds)
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("%s: %d readings within %v", p.Name, len(took), length+harness.Patience)
		}
		now := time.Now()
		if begin.IsZero() && !fetches.Empty() {
			begin = now.Add(latencyWarm)
			end = begin.Add(length)
		}
		if program.cpu == 0 && now.After(begin) {
			program, broker = usageOf(r.t, p.Cmd.Process.Pid), usageOf(r.t, r.brokerPID)
		}
		if now.After(end) {
			programEnd, brokerEnd := usageOf(r.t, p.Cmd.Process.Pid), usageOf(r.t, r.brokerPID)
			slices.Sort(took)
			return map[string]float64{
				"readings": float64(len(took)),
				p50:        quantile(took, 0.5), p90: quantile(took, 0.9), p99: quantile(took, 0.99),
				p999: quantile(took, 0.999), "max_ms": quantile(took, 1),
				cpuPercent:           100 * (programEnd.cpu - program.cpu) / length.Seconds(),
				"broker_cpu_percent": 100 * (brokerEnd.cpu - broker.cpu) / length.Seconds(),
				"peak_mib":           programEnd.peak,
			}
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if due, ok := dueAt(record); ok && due.After(begin) {
				took = append(took, float64(now.Sub(due).Microseconds())/1000)
			}
		})
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
