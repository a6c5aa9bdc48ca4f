package processors

import (
	"reflect"
	"testing"
	"time"
)

// Holes survive the metadata of commits, beside what partitions in step keep there, and stay below what brokers take.
func TestHoles(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	var holes []Hole
	for _, h := range []Hole{{2, 9, at(1)}, {20, 30, at(2)}, {20, 35, at(3)}} {
		holes = addHole(holes, h)
	}
	want := []Hole{{2, 9, at(1)}, {20, 35, at(2)}} // the last one was noticed twice, and had grown
	if !reflect.DeepEqual(holes, want) {
		t.Errorf("%v, want %v", holes, want)
	}
	for _, metadata := range []string{"", metadataPrefix + "1700000000000"} {
		text := withHoles(metadata, holes)
		if got := ParseHoles(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if ms, ok := parseMetadata(text); ok != (metadata != "") || ok && ms != 1700000000000 {
			t.Errorf("%q: record time %d, %v", text, ms, ok)
		}
	}
	if text := withHoles("x", nil); text != "x" {
		t.Errorf("no holes: %q", text)
	}

	holes = nil
	for i := range int64(1000) {
		holes = addHole(holes, Hole{1e15 + 2*i, 1e15 + 2*i + 1, at(1.7e12)})
	}
	text := withHoles(metadataPrefix+"1700000000000", holes)
	if newest := int64(1e15 + 2*999); len(text) > 4096 || holes[len(holes)-1].From != newest {
		t.Errorf("%d bytes, the newest hole is %v", len(text), holes[len(holes)-1])
	}
	for _, text := range []string{"", "deleted_unread=", "deleted_unread=9-2@1", "deleted_unread=x-2@1", "deleted_unread=1-2"} {
		if got := ParseHoles(text); got != nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A reading is taken behind a gap only where what is missing may lie in a hole: one that lies wholly before what was
// applied last, or behind the reading, explains nothing.
func TestHoleBetween(t *testing.T) {
	h := Hole{From: 10, To: 20}
	for _, tt := range []struct {
		applied, offset int64
		want            bool
	}{{-1, 20, true}, {5, 25, true}, {15, 20, true}, {18, 20, true}, {19, 25, false}, {25, 30, false}, {5, 8, false}, {5, 19, false}} {
		if got := h.Between(tt.applied, tt.offset); got != tt.want {
			t.Errorf("between %d and %d: %v", tt.applied, tt.offset, got)
		}
	}
}
