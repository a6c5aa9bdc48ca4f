package views

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A night without HDFS is told at its start, once a minute, and at its end, however often the partitions try.
func TestOutageIsToldSeldom(t *testing.T) {
	var log bytes.Buffer
	now := time.Unix(0, 0)
	o := newOutage(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	told := func(want int) {
		t.Helper()
		if n := strings.Count(log.String(), "\n"); n != want {
			t.Fatalf("after %v: %d lines, not %d:\n%s", now.Sub(time.Unix(0, 0)), n, want, log.String())
		}
	}
	o.ended(0) // nothing had failed
	if s := o.seconds(); s != 0 {
		t.Errorf("failing for %v s before anything failed", s)
	}
	for range 10 {
		for p := range int32(5) {
			o.failed(p, errors.New("the namenode is away"))
		}
		now = now.Add(59 * time.Second / 10)
	}
	told(1)
	now = now.Add(time.Second)
	o.failed(3, errors.New("the namenode is away"))
	told(2)
	if s := o.seconds(); s != 60 {
		t.Errorf("failing for %v s, not 60", s)
	}
	for p := range int32(5) {
		told(2)
		o.ended(p)
	}
	told(3)
	if s := o.seconds(); s != 0 {
		t.Errorf("failing for %v s after the end", s)
	}
	now = now.Add(time.Second)
	o.failed(1, errors.New("it is away again"))
	told(4)
}
