package processors

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Register registers a collector, or returns the one that is registered already: a stage that is built anew goes on
// counting where its predecessor stopped. reg may be nil.
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
