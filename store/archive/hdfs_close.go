package archive

import (
	"fmt"
	"io"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// hdfsMetrics count how files are confirmed. A file is safe when the namenode has heard from the datanodes of its last
// block; a quarter of all first calls of Close come too early for that.
type hdfsMetrics struct{ late, unconfirmed prometheus.Counter }

func newHDFSMetrics() hdfsMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + "hdfs_" + name, Help: help})
	}
	return hdfsMetrics{
		late:        counter("late_closes_total", "Files that HDFS confirmed only after more than one request."),
		unconfirmed: counter("unconfirmed_total", "Files that HDFS did not confirm in time: removed, and written again."),
	}
}

// Describe implements prometheus.Collector.
func (h *hdfsFS) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(h, ch) }

// Collect implements prometheus.Collector.
func (h *hdfsFS) Collect(ch chan<- prometheus.Metric) {
	ch <- h.metrics.late
	ch <- h.metrics.unconfirmed
}

// closeReplicated calls Close until the namenode has heard of every block. One more call after a nil would be an error.
func (m *hdfsMetrics) closeReplicated(w io.Closer, sleep func(time.Duration)) error {
	wait := closeWaitMin
	for try := range closeTriesMax {
		err := w.Close()
		if !hdfs.IsErrReplicating(err) {
			if err == nil && try > 0 {
				m.late.Inc()
			}
			return err
		}
		sleep(wait)
		wait = min(2*wait, closeWaitMax)
	}
	m.unconfirmed.Inc()
	return fmt.Errorf("the datanodes did not confirm the file: %w", hdfs.ErrReplicating)
}
