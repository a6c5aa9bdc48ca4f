package race

import (
	"syscall"
	"testing"
	"time"
)

// throughput measures how fast a contender works off a backlog, and what it takes.
func (s *settings) throughput(t *testing.T, c *contender) result {
	r := newRig(t, s)
	r.prepare(c)
	truth := r.fill(s.Readings)
	p := c.start(r)
	w := r.watch(c, p, s.Readings)
	millions := float64(s.Readings) / 1e6
	res := result{Figures: map[string]float64{
		readingsPerSecond:          float64(s.Readings) / w.seconds,
		"first_output_s":           w.firstOutput,
		"seconds":                  w.seconds,
		cpuPerMillion:              w.program.cpu / millions,
		peakMiB:                    w.program.peak,
		brokerCPUPerMillion:        w.broker.cpu / millions,
		"broker_peak_mib":          w.broker.peak,
		"machine_busy_s":           w.machine.busy,
		"machine_steal_s":          w.machine.steal,
		"program_and_broker_cpu_s": w.program.cpu + w.broker.cpu,
	}}
	if c.follower != "" {
		r.await(p, func() int64 { return r.behind(c.follower, "traffic-events") })
		archived := time.Since(p.Started).Seconds() - w.firstOutput
		res.Figures[archivedPerSecond] = float64(s.Readings) / archived
	}
	p.End(t, syscall.SIGTERM)
	res.check(t, c.check(r, truth))
	return res
}
