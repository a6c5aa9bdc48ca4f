package validate

import (
	"slices"
	"testing"
)

// The texts and their order are promises of the contract.
func TestReasonsInTheOrderOfTheContract(t *testing.T) {
	want := []string{
		"undecodable", "missing_field", "misrouted", "unknown_sensor", "speed_range", "volume_range",
		"occupancy_range", "out_of_bounds", "too_old", "in_future", "late", "duplicate", "conflict",
	}
	var got []string
	for _, r := range Reasons() {
		got = append(got, r.String())
		parsed, err := ParseReason(r.String())
		if err != nil || parsed != r {
			t.Errorf("ParseReason(%q) = %v, %v", r, parsed, err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// No other text is a reason: not that of ReasonNone, not another case.
func TestParseReasonRefuses(t *testing.T) {
	for _, text := range []string{"", "none", "LATE", "late ", "Reason(77)"} {
		if r, err := ParseReason(text); err == nil {
			t.Errorf("ParseReason(%q) = %v", text, r)
		}
	}
	if got := Reason(77).String(); got != "Reason(77)" {
		t.Errorf("Reason(77) is %q", got)
	}
}

func TestWaivable(t *testing.T) {
	want := []Reason{
		ReasonUnknownSensor, ReasonSpeedRange, ReasonVolumeRange, ReasonOccupancyRange, ReasonOutOfBounds,
		ReasonTooOld, ReasonInFuture,
	}
	for _, r := range append(Reasons(), ReasonNone) {
		if got := r.Waivable(); got != slices.Contains(want, r) {
			t.Errorf("%v: Waivable is %v", r, got)
		}
	}
}

// A set of failures is named by the reason that is checked first; missing fields have two places in the order.
func TestFailuresReason(t *testing.T) {
	want := []Reason{
		ReasonMissingField, ReasonMissingField, ReasonMisrouted, ReasonUnknownSensor,
		ReasonMissingField, ReasonMissingField, ReasonMissingField, ReasonMissingField,
		ReasonSpeedRange, ReasonVolumeRange, ReasonOccupancyRange, ReasonOutOfBounds, ReasonOutOfBounds,
		ReasonTooOld, ReasonInFuture, ReasonLate, ReasonDuplicate, ReasonConflict,
	}
	if last := Failures(1) << (len(want) - 1); last != FailConflict {
		t.Fatalf("the last rule is %b, not FailConflict", last)
	}
	for i := range want {
		for j := i; j < len(want); j++ {
			if f := Failures(1)<<i | Failures(1)<<j; f.Reason() != want[i] {
				t.Errorf("rules %d and %d: %v, want %v", i, j, f.Reason(), want[i])
			}
		}
	}
	if got := Failures(0).Reason(); got != ReasonNone {
		t.Errorf("no failure: %v", got)
	}
}
