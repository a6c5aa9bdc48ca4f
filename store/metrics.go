package store

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of an engine. They are for watching; the ledger is the proof.
type metrics struct {
	inFlight       prometheus.Gauge
	changelogBytes prometheus.Counter
	rewritten      prometheus.Counter
	failures       prometheus.Counter
	oldest         *oldest
}

// RegisterMetrics registers the metrics of a group's engine before there is one, so that they are shown while the group
// waits for the brokers. reg may be nil.
func RegisterMetrics(reg prometheus.Registerer, group string) { newMetrics(reg, group) }

func newMetrics(reg prometheus.Registerer, group string) *metrics {
	labels := prometheus.Labels{"group": group}
	return &metrics{
		inFlight: Register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stream_processor_records_in_flight", ConstLabels: labels,
			Help: "Records sent and not yet acknowledged.",
		})),
		changelogBytes: Register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stream_processor_changelog_bytes_total", ConstLabels: labels,
			Help: "Bytes of table values acknowledged by the changelog.",
		})),
		rewritten: Register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stream_processor_values_rewritten_total", ConstLabels: labels,
			Help: "Keys written to the changelog again because a paused instance had overwritten them.",
		})),
		failures: Register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stream_processor_engine_stops_total", ConstLabels: labels,
			Help: "Times that the engine stopped at an error and was built anew.",
		})),
		oldest: Register(reg, &oldest{desc: prometheus.NewDesc("stream_processor_oldest_unacknowledged_seconds",
			"Age of the oldest message whose outputs and state are not all acknowledged; 0 where there is none.",
			nil, labels)}),
	}
}

// Register registers a collector, or returns the one that is registered already: an engine or a stage that is built
// anew goes on counting where its predecessor stopped. reg may be nil.
func Register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	var are prometheus.AlreadyRegisteredError
	if errors.As(err, &are) {
		return are.ExistingCollector.(C)
	}
	if err != nil {
		panic(err) // two collectors of one name that differ: a bug that the first start finds
	}
	return c
}
