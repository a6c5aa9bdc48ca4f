package app

import (
	"context"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"gantry/codecs"
	"gantry/processors"
	"gantry/store"
	"gantry/views"
	"gantry/views/api"
)

// caughtUp remembers that a stage has once done all that lay before it when it started. It is not taken back by a
// backlog: a process that works through one is not broken.
type caughtUp struct {
	mu      sync.Mutex
	targets map[int32]int64
	done    bool
}

// Roles tells how far each role of this process is, and what keeps it from working.
func (a *App) Roles() []api.Role {
	var roles []api.Role
	if !a.prepared.Load() {
		for _, r := range a.o.Roles {
			roles = append(roles, api.Role{Name: string(r), Trouble: a.starting.Trouble()})
		}
		return roles
	}
	inputs := views.PipelineInputs(a.topics)
	if a.dedup != nil {
		roles = append(roles, a.role(RoleDedup, a.dedup, inputs[len(inputs)-2]))
	}
	if a.window != nil {
		roles = append(roles, a.role(RoleWindow, a.window, inputs[len(inputs)-1]))
	}
	if a.has(RoleServe) {
		roles = append(roles, a.tables.Role())
	}
	if a.archiver != nil {
		roles = append(roles, a.archiver.Role())
	}
	trouble := a.monitor.Condition().Trouble()
	for i := range roles {
		if trouble != "" {
			roles[i].Trouble = trouble // the cause, where a role has only noticed
		}
	}
	return roles
}

func (a *App) role(name Role, s *processors.Stage, in processors.Input) api.Role {
	r := api.Role{Name: string(name), Trouble: s.Trouble()}
	o, _ := a.monitor.Latest()
	if o == nil || !s.Recovered() {
		return r
	}
	c := a.caught[name]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.targets == nil {
		c.targets = o.Ends[in.Topic]
	}
	r.Ready = true
	for _, p := range s.Owned() {
		next, end := max(o.Committed[in][p], o.Starts[in.Topic][p]), c.targets[p]
		ready := c.done || next >= end
		r.Ready = r.Ready && ready
		r.Partitions = append(r.Partitions, api.Partition{
			Partition: p, Ready: ready, Start: o.Starts[in.Topic][p], Offset: next, End: end,
		})
	}
	c.done = c.done || r.Ready
	return r
}

// watchRoles asks for the roles with each snapshot of the brokers. What a role must catch up with is what lay before it
// when it started, not when somebody first asks: by then new records would make a process unready that has long caught
// up.
func (a *App) watchRoles(ctx context.Context) error {
	for {
		_, updated := a.monitor.Latest()
		a.Roles()
		select {
		case <-ctx.Done():
			return nil
		case <-updated:
		}
	}
}

// Counts are the pipeline's totals since the process started, from its metrics.
func (a *App) Counts() api.PipelineCounts {
	c := api.PipelineCounts{Rejected: map[string]int64{}, WindowsPublished: map[string]int64{}}
	families, err := a.metrics.Gather()
	if err != nil {
		a.log.Warn("metrics cannot be read", "error", err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := int64(m.GetCounter().GetValue())
			switch f.GetName() {
			case "stream_processor_messages_processed_total":
				switch label(m, "status") {
				case "accepted":
					c.Accepted += n
				case "sensor":
					c.Sensor += n
				case "repeat":
					c.Repeat += n
				}
				c.Read += n
			case "stream_processor_rejected_total":
				if n > 0 {
					c.Rejected[label(m, "reason")] += n
				}
			case "stream_processor_windows_published_total":
				c.WindowsPublished[label(m, "close_reason")] += n
			}
		}
	}
	if !a.prepared.Load() {
		return c
	}
	if o, _ := a.monitor.Latest(); o != nil {
		c.Lag = codecs.Some(o.Lag(views.PipelineInputs(a.topics)[0]))
	}
	return c
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// rateInterval is the time over which the throughput is taken.
const rateInterval = 5 * time.Second

// measure keeps the gauges that need a clock: throughput, size of the state, progress of recovery.
func (a *App) measure(ctx context.Context) error {
	throughput := store.Register(a.metrics, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "stream_processor_throughput_rps", Help: "Raw records handled per second, over the last 5 seconds.",
	}))
	size := store.Register(a.metrics, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "stream_processor_state_bytes", Help: "Size of the state folder on disk.",
	}))
	recovery := store.Register(a.metrics, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "stream_processor_recovery_progress", Help: "Share of a partition's table that is recovered, 0 to 1.",
	}, []string{"group", "partition"}))
	behind := store.Register(a.metrics, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "stream_processor_standby_lag",
		Help: "Records by which the standby of a partition that another process owns is behind its table's changelog.",
	}, []string{"group", "partition"}))
	showTables := func() {
		for _, s := range []*processors.Stage{a.dedup, a.window} {
			if s != nil {
				a.showRecovery(ctx, recovery, s)
				a.showStandby(behind, s)
			}
		}
	}
	showTables()
	tick := time.NewTicker(rateInterval)
	defer tick.Stop()
	for before := a.Counts().Read; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := a.Counts().Read
		throughput.Set(float64(now-before) / rateInterval.Seconds())
		before = now
		size.Set(float64(folderBytes(a.o.Config.State.Dir)))
		showTables()
	}
}

// showRecovery shows the partitions that the process has. Until the group has said which, it may get any: all are shown
// as not begun, so that whoever waits for the recovery sees one from the start.
func (a *App) showRecovery(ctx context.Context, gauge *prometheus.GaugeVec, s *processors.Stage) {
	progress := s.Progress(ctx)
	if len(progress) == 0 && !s.Recovered() {
		progress = make(map[int32]float64)
		for p := range int32(a.topics.Partitions) {
			progress[p] = 0
		}
	}
	for p := range int32(a.topics.Partitions) {
		labels := []string{string(s.Group), strconv.Itoa(int(p))}
		if share, ok := progress[p]; ok {
			gauge.WithLabelValues(labels...).Set(share)
		} else {
			gauge.DeleteLabelValues(labels...)
		}
	}
}

// showStandby shows the partitions that the process follows for others.
func (a *App) showStandby(gauge *prometheus.GaugeVec, s *processors.Stage) {
	o, _ := a.monitor.Latest()
	if o == nil {
		return
	}
	followed := s.Followed()
	ends := o.Ends[string(goka.GroupTable(s.Group))]
	for p := range int32(a.topics.Partitions) {
		labels := []string{string(s.Group), strconv.Itoa(int(p))}
		if next, ok := followed[p]; ok {
			gauge.WithLabelValues(labels...).Set(float64(max(0, ends[p]-next)))
		} else {
			gauge.DeleteLabelValues(labels...)
		}
	}
}

func folderBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // files come and go while LevelDB compacts
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
