package race

import (
	"math"
	"slices"
	"testing"
)

// Figures that the table shows; results hold more.
const (
	readingsPerSecond   = "readings_per_s"
	archivedPerSecond   = "archived_per_s"
	cpuPerMillion       = "cpu_s_per_million"
	brokerCPUPerMillion = "broker_cpu_s_per_million"
	peakMiB             = "peak_mib"
	p50                 = "p50_ms"
	p90                 = "p90_ms"
	p99                 = "p99_ms"
	p999                = "p999_ms"
	cpuPercent          = "cpu_percent" // of one core
	firstRecord         = "first_record_s"
	lastPartition       = "last_partition_s"
	lastVisible         = "last_visible_s"
	rowsPerCPUSecond    = "rows_per_cpu_s"
)

// result is what a run gave.
type result struct {
	Measure   string             `json:"measure"`
	Contender string             `json:"contender"`
	Run       int                `json:"run"`
	Check     string             `json:"check"` // ok, or how the outputs differ from the truth
	Figures   map[string]float64 `json:"figures"`
}

// check fails the run where its outputs are not the true ones.
func (r *result) check(t *testing.T, differences string) {
	t.Helper()
	if r.note(differences); differences != "" {
		t.Errorf("the outputs differ from the truth: %s", differences)
	}
}

// note keeps how the outputs differ.
func (r *result) note(differences string) {
	if r.Check = "ok"; differences != "" {
		r.Check = differences
	}
}

// spread is a figure over several runs.
type spread struct{ median, min, max float64 }

// spreadOf looks at the runs of a contender; ok is false where there is none.
func spreadOf(results []result, measure, contender, figure string) (s spread, ok bool) {
	var values []float64
	for _, r := range results {
		if v, has := r.Figures[figure]; has && r.Measure == measure && r.Contender == contender {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return s, false
	}
	slices.Sort(values)
	return spread{quantile(values, 0.5), values[0], values[len(values)-1]}, true
}

// quantile is the smallest of the sorted values that so many are not above; NaN without any.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
