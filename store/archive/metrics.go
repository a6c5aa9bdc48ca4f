package archive

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the archivers of a process. Rows, bytes and files are counted when the intent that holds them is won.
type Metrics struct {
	files, bytes, rows *prometheus.CounterVec // by table
	flushSeconds       prometheus.Histogram
	failures           prometheus.Counter
	racesLost          prometheus.Counter
	repeats, gaps      *prometheus.CounterVec // by kind
	holes, offsetsLost prometheus.Counter
	filesMissing       prometheus.Counter
	mu                 sync.Mutex
	oldest             map[*Partition]time.Time // when the first unarchived record of each partition came
	now                func() time.Time
}

// NewMetrics registers the metrics; now is the clock for the age of the oldest unarchived record.
func NewMetrics(reg prometheus.Registerer, now func() time.Time) *Metrics {
	m := newMetrics(now)
	reg.MustRegister(m.files, m.bytes, m.rows, m.flushSeconds, m.failures, m.racesLost, m.repeats, m.gaps, m.holes,
		m.offsetsLost, m.filesMissing, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: metricPrefix + "oldest_unarchived_seconds",
			Help: "Age of the oldest record that was read and is not archived; 0 where there is none.",
		}, m.oldestSeconds))
	for _, t := range Tables { // a count that has not begun is 0, not absent
		m.files.WithLabelValues(t.String())
		m.bytes.WithLabelValues(t.String())
		m.rows.WithLabelValues(t.String())
	}
	return m
}

const metricPrefix = "stream_processor_archive_"

func newMetrics(now func() time.Time) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	}
	vec := func(name, label, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, []string{label})
	}
	return &Metrics{
		files: vec("files_total", "table", "Data files archived."),
		bytes: vec("bytes_total", "table", "Bytes of data files archived."),
		rows:  vec("rows_total", "table", "Rows archived."),
		flushSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    metricPrefix + "flush_seconds",
			Help:    "Time of a flush, failed ones included.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		failures:     counter("flush_failures_total", "Flushes that ended with an error; their batch is kept."),
		racesLost:    counter("races_lost_total", "Batches that another writer of the partition had archived first."),
		repeats:      vec("repeats_total", "kind", "Records that the archive had already."),
		gaps:         vec("gaps_total", "kind", "Records beyond the next of their sensor, left for when they come again."),
		holes:        counter("holes_total", "Ranges that retention deleted before they were archived."),
		offsetsLost:  counter("hole_offsets_total", "Offsets in these ranges."),
		filesMissing: counter("files_missing_total", "Files of an intent found under neither of their names."),
		oldest:       make(map[*Partition]time.Time),
		now:          now,
	}
}

// setOldest notes when the first unarchived record of a partition came; the zero time says that there is none.
func (m *Metrics) setOldest(p *Partition, t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.IsZero() {
		delete(m.oldest, p)
	} else {
		m.oldest[p] = t
	}
}

func (m *Metrics) oldestSeconds() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	age := 0.0
	now := m.now()
	for _, t := range m.oldest {
		age = max(age, now.Sub(t).Seconds())
	}
	return age
}

func (m *Metrics) committed(c *Committed) {
	for _, t := range Tables {
		m.files.WithLabelValues(t.String()).Add(float64(c.Tables[t].Files))
		m.bytes.WithLabelValues(t.String()).Add(float64(c.Tables[t].Bytes))
		m.rows.WithLabelValues(t.String()).Add(float64(c.Tables[t].Rows))
	}
}
