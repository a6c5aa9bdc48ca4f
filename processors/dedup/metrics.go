package dedup

import (
	"github.com/prometheus/client_golang/prometheus"

	"gantry/processors"
	"gantry/processors/validate"
	"gantry/store"
)

// metrics count outcomes; a raw record counts once, under traffic-raw.
type metrics struct {
	accepted, rejects, sensors, repeats prometheus.Counter
	byReason                            []prometheus.Counter
	registry                            prometheus.Counter
	latency                             prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, raw string) *metrics {
	processed := store.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_processor_messages_processed_total", Help: "Messages by what became of them.",
	}, []string{"topic", "status"}))
	rejected := store.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_processor_rejected_total", Help: "Rejected messages by the first rule that failed.",
	}, []string{"reason"}))
	m := &metrics{
		accepted: processed.WithLabelValues(raw, "accepted"),
		rejects:  processed.WithLabelValues(raw, "rejected"),
		sensors:  processed.WithLabelValues(raw, "sensor"),
		repeats:  processed.WithLabelValues(raw, "repeat"),
		registry: processors.Errors(reg).WithLabelValues(processors.ErrorRegistry),
		byReason: make([]prometheus.Counter, len(validate.Reasons())+1),
		latency: store.Register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "stream_processor_latency_seconds",
			Help: "Time from a raw record's timestamp to its outcome, taken at the last record of each batch.",
			Buckets: []float64{
				0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60,
			},
		})),
	}
	for _, r := range validate.Reasons() {
		m.byReason[r] = rejected.WithLabelValues(r.String())
	}
	return m
}

func (m *metrics) rejected(r validate.Reason) {
	m.rejects.Inc()
	m.byReason[r].Inc()
}
