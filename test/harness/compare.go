package harness

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"gantry/codecs"
)

// Diff counts how what there is differs from what there must be.
type Diff struct{ Missing, TooMuch, Different int }

// Plus adds two counts.
func (d Diff) Plus(e Diff) Diff {
	return Diff{d.Missing + e.Missing, d.TooMuch + e.TooMuch, d.Different + e.Different}
}

// Compare reports keys that only one of two maps has, and those whose values differ; the first few of all.
func Compare[K, V comparable](t *testing.T, what string, got, want map[K]V) Diff {
	t.Helper()
	return CompareFunc(t, what, got, want, func(a, b V) bool { return a == b })
}

// CompareFunc is Compare with another notion of equal values.
func CompareFunc[K comparable, V any](
	t *testing.T, what string, got, want map[K]V, equal func(a, b V) bool,
) (d Diff) {
	t.Helper()
	const shown = 5
	var lines []string
	for key, w := range want {
		if g, ok := got[key]; !ok {
			d.Missing++
			lines = append(lines, fmt.Sprintf("%v is missing", key))
		} else if !equal(g, w) {
			d.Different++
			lines = append(lines, fmt.Sprintf("%v is\n  %+v, not\n  %+v", key, g, w))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			d.TooMuch++
			lines = append(lines, fmt.Sprintf("%v is too much", key))
		}
	}
	if len(lines) > 0 {
		t.Errorf("%s: %d differ in %d:\n%s", what, len(lines), len(want), strings.Join(lines[:min(shown, len(lines))], "\n"))
	}
	return d
}

// Near tells whether two means of the same values are equal but for the last bits of their sums.
func Near(a, b codecs.Null[float64]) bool {
	return a.Valid == b.Valid && math.Abs(a.V-b.V) <= 1e-9*max(1, math.Abs(a.V), math.Abs(b.V))
}
