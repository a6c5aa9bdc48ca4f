package main

import "testing"

// What is committed never passes a message that is not done, in whatever order the acknowledgements come, and although
// offsets have gaps.
func TestTracker(t *testing.T) {
	var marked []int64
	tr := &tracker{mark: func(next int64) { marked = append(marked, next) }}
	for _, offset := range []int64{0, 1, 2, 5, 6} {
		tr.deliver(offset)
	}
	for _, step := range []struct{ done, next int64 }{{1, 0}, {5, 0}, {0, 2}, {2, 6}, {6, 7}} {
		marked = marked[:0]
		tr.done(step.done)
		if next := append(marked, 0)[0]; next != step.next {
			t.Fatalf("after message %d is done, %d is marked, not %d", step.done, next, step.next)
		}
	}
}
