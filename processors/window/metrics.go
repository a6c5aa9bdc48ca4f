package window

import (
	"github.com/prometheus/client_golang/prometheus"

	"gantry/codecs"
	"gantry/processors"
	"gantry/store"
)

type metrics struct {
	windows                      *prometheus.CounterVec
	repeats, gaps, late, foreign prometheus.Counter
	holes, errors                prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	events := store.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_processor_events_skipped_total",
		Help: "Records of traffic-events that the window stage did not count: repeats, readings behind a gap, " +
			"readings of forgotten windows, records that cannot be read.",
	}, []string{"why"}))
	windows := store.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_processor_windows_published_total", Help: "Published revisions of windows.",
	}, []string{"close_reason"}))
	for _, reason := range []codecs.CloseReason{codecs.CloseWatermark, codecs.CloseSilence, codecs.CloseLate} {
		windows.WithLabelValues(string(reason)) // it is there, and 0, before the first window
	}
	return &metrics{
		windows: windows,
		holes: store.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stream_processor_sensors_resumed_total",
			Help: "Sensors whose windows went on behind readings that were deleted before they were read.",
		})),
		repeats: events.WithLabelValues("repeat"),
		gaps:    events.WithLabelValues("gap"),
		late:    events.WithLabelValues("late"),
		foreign: events.WithLabelValues("foreign"),
		errors:  processors.Errors(reg).WithLabelValues(processors.ErrorEvent),
	}
}

func (m *metrics) published(reason codecs.CloseReason) {
	m.windows.WithLabelValues(string(reason)).Inc()
}
