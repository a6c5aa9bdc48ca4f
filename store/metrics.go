package store

import "github.com/prometheus/client_golang/prometheus"

// metrics of an engine. They are for watching; the ledger is the proof.
type metrics struct {
	inFlight       prometheus.Gauge
	changelogBytes prometheus.Counter
	rewritten      prometheus.Counter
	failures       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, group string) *metrics {
	labels := prometheus.Labels{"group": group}
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stream_processor_records_in_flight", ConstLabels: labels,
			Help: "Records sent and not yet acknowledged.",
		}),
		changelogBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stream_processor_changelog_bytes_total", ConstLabels: labels,
			Help: "Bytes of table values acknowledged by the changelog.",
		}),
		rewritten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stream_processor_values_rewritten_total", ConstLabels: labels,
			Help: "Keys written to the changelog again because a paused instance had overwritten them.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stream_processor_engine_stops_total", ConstLabels: labels,
			Help: "Times that the engine stopped at an error and was built anew.",
		}),
	}
	if reg != nil {
		m.inFlight = register(reg, m.inFlight)
		m.changelogBytes = register(reg, m.changelogBytes)
		m.rewritten = register(reg, m.rewritten)
		m.failures = register(reg, m.failures)
	}
	return m
}

// register returns the collector that holds: an engine built anew goes on counting where its predecessor stopped.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	err := reg.Register(c)
	if are, ok := err.(prometheus.AlreadyRegisteredError); ok { //nolint:errorlint // returned as it is, by documentation
		return are.ExistingCollector.(C)
	}
	if err != nil {
		panic(err) // two collectors of one name that differ: a bug found at the first start
	}
	return c
}
