package processors

import (
	"github.com/prometheus/client_golang/prometheus"

	"gantry/store"
)

// Types of errors in stream_processor_errors_total. Each is something that is tried again by itself; one that keeps
// counting needs somebody to look.
const (
	ErrorProcessor = "processor" // a processor stopped and was built anew
	ErrorBroker    = "broker"    // the brokers did not answer
	ErrorRegistry  = "registry"  // the registry did not answer
	ErrorEvent     = "event"     // a record of traffic-events could not be read
	ErrorArchive   = "archive"   // a batch could not be archived
	ErrorBatch     = "batch"     // a compressed batch is too large to be unpacked
)

// Errors returns the counter of errors by type. reg may be nil.
func Errors(reg prometheus.Registerer) *prometheus.CounterVec {
	errs := store.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_processor_errors_total", Help: "Errors that were met and are tried again, by type.",
	}, []string{"type"}))
	for _, t := range []string{ErrorProcessor, ErrorBroker, ErrorRegistry, ErrorEvent, ErrorArchive, ErrorBatch} {
		errs.WithLabelValues(t) // a type that has not occurred is 0, not absent
	}
	return errs
}
