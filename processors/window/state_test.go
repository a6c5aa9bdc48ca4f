package window

import (
	"testing"
	"time"

	"gantry/codecs"
)

const length = 5 * minute

// A window is [start, end): its start belongs to it, its end to the next one. Before the epoch too.
func TestWindowBounds(t *testing.T) {
	for _, c := range []struct{ ts, start int64 }{
		{noon - 1, noon - length},
		{noon, noon},
		{noon + 1, noon},
		{noon + length - 1, noon},
		{noon + length, noon + length},
		{0, 0},
		{-1, -length},
		{-length, -length},
		{-length - 1, -2 * length},
	} {
		s := newSensor()
		s.at(t, c.ts)
		w, ok := s.Current("773869", &s.o)
		if !ok || w.WindowStart != c.start || w.WindowEnd != c.start+length {
			t.Errorf("%d lies in [%d, %d), want start %d", c.ts, w.WindowStart, w.WindowEnd, c.start)
		}
	}
}

// A window is published when the watermark reaches end + grace, and not one millisecond earlier.
func TestClosedByWatermark(t *testing.T) {
	s := newSensor()
	mustPublish(t, s.at(t, noon, noon+length-1, noon+length, noon+length+minute-1))
	if next, ok := s.NextClose(&s.o); !ok || next != noon+length+minute {
		t.Errorf("next close is %d, %v", next, ok)
	}
	if s.Open() != 2 {
		t.Errorf("%d windows open", s.Open())
	}
	mustPublish(t, s.at(t, noon+length+minute), revision(noon, 1, codecs.CloseWatermark, 2))
	if next, ok := s.NextClose(&s.o); !ok || next != noon+2*length+minute {
		t.Errorf("next close is %d, %v", next, ok)
	}
	if s.Open() != 1 {
		t.Errorf("%d windows open", s.Open())
	}
}

// Without grace a window is published by the first reading that is not in it.
func TestNoGrace(t *testing.T) {
	s := newSensor()
	s.o.Grace = 0
	mustPublish(t, s.at(t, noon, noon+length-1))
	mustPublish(t, s.at(t, noon+length), revision(noon, 1, codecs.CloseWatermark, 2))
}

// A jump ahead publishes all windows that are over, by start, and ordinals count on.
func TestJumpPublishesInOrder(t *testing.T) {
	s := newSensor()
	s.o.Grace = 10 * time.Minute
	s.at(t, noon+2*length, noon, noon+length) // out of order, all open
	got := s.at(t, noon+6*length)
	mustPublish(t, got, revision(noon, 1, codecs.CloseWatermark, 1), revision(noon+length, 1, codecs.CloseWatermark, 1),
		revision(noon+2*length, 1, codecs.CloseWatermark, 1))
	for i, p := range got {
		if p.ordinal != int64(i+1) {
			t.Errorf("window %d has ordinal %d", i, p.ordinal)
		}
	}
	if s.Ordinal() != 3 {
		t.Errorf("last ordinal is %d", s.Ordinal())
	}
}

// A late reading of a published window publishes one revision each. One that both revises a window and, by raising the
// watermark, closes another cannot be: a published window lies behind the watermark.
func TestLateReadings(t *testing.T) {
	s := newSensor()
	s.at(t, noon, noon+length+minute)
	mustPublish(t, s.at(t, noon+1, noon+2),
		revision(noon, 2, codecs.CloseLate, 2), revision(noon, 3, codecs.CloseLate, 3))
	if w, _ := s.Watermark(); w != noon+length+minute {
		t.Errorf("a late reading moved the watermark to %d", w)
	}
}

// A late reading of a time that had none makes a window that is over at once: its revision 1, closed by the watermark.
// One millisecond before end + grace it stays open.
func TestLateReadingOfEmptyWindow(t *testing.T) {
	s := newSensor()
	s.at(t, noon+length+minute-1)
	mustPublish(t, s.at(t, noon))

	s = newSensor()
	s.at(t, noon+length+minute)
	mustPublish(t, s.at(t, noon), revision(noon, 1, codecs.CloseWatermark, 1))
	mustPublish(t, s.at(t, noon), revision(noon, 2, codecs.CloseLate, 2))
}

// A window is remembered while watermark − start is at most the retention, to the millisecond.
func TestRetention(t *testing.T) {
	const retention = 70 * minute
	s := newSensor()
	s.at(t, noon, noon+retention)
	if w := s.Windows("773869", &s.o); len(w) != 2 || w[0].WindowStart != noon || w[0].Revision != 1 {
		t.Fatalf("remembered: %+v", w)
	}
	mustPublish(t, s.at(t, noon), revision(noon, 2, codecs.CloseLate, 2))

	s.at(t, noon+retention+1)
	if w := s.Windows("773869", &s.o); len(w) != 1 || w[0].WindowStart != noon+retention {
		t.Fatalf("remembered: %+v", w)
	}
}

// A reading whose window is no longer remembered is counted in none, and the next one goes on: publishing the window
// again from revision 1 would contradict what is out.
func TestReadingOfForgottenWindow(t *testing.T) {
	s := newSensor()
	s.at(t, noon, noon+70*minute+1)
	s.out = nil
	r := sample(noon, some(60), some(600), some(8))
	r.Sequence, r.ReceivedAt = 3, 77
	if got := s.ApplyReading(&r, &s.o, s.publish); got != Late {
		t.Fatalf("outcome is %v", got)
	}
	if len(s.out) != 0 || len(s.windows) != 1 || s.Sequence() != 3 || s.LastReceivedAt() != 77 {
		t.Errorf("published %v, %d windows, sequence %d, received at %d",
			s.out, len(s.windows), s.Sequence(), s.LastReceivedAt())
	}
	s.at(t, noon+70*minute+2)
}

// However far the sensor jumps, the number of remembered windows stays within retention / length + 1.
func TestMemoryIsBounded(t *testing.T) {
	s := newSensor()
	ts := noon
	for i := range int64(500) {
		ts += 7*second + i*i%11*minute
		s.at(t, ts)
		if len(s.windows) > 15 {
			t.Fatalf("%d windows are remembered", len(s.windows))
		}
	}
	open := s.Open()
	if got := s.at(t, ts+1000*length); len(got) != open || len(s.windows) != 1 {
		t.Errorf("a long jump published %d of %d open windows and left %d", len(got), open, len(s.windows))
	}
}

// Only the next sequence is taken. Anything else changes nothing and publishes nothing.
func TestRepeatAndGap(t *testing.T) {
	s := newSensor()
	for _, c := range []struct {
		sequence int64
		want     Outcome
	}{
		{2, Gap}, {0, Repeat}, {-1, Repeat}, {1, Applied}, {1, Repeat}, {3, Gap}, {2, Applied}, {1, Repeat}, {2, Repeat},
	} {
		before := string(s.AppendTo(nil))
		r := sample(noon+c.sequence*10*minute, some(60), some(600), some(8))
		r.Sequence = c.sequence
		s.out = nil
		got := s.ApplyReading(&r, &s.o, s.publish)
		if got != c.want {
			t.Errorf("sequence %d is %v, want %v", c.sequence, got, c.want)
		}
		if changed := before != string(s.AppendTo(nil)); changed != (c.want == Applied) {
			t.Errorf("sequence %d changed the state: %v", c.sequence, changed)
		}
		if c.want != Applied && len(s.out) > 0 {
			t.Errorf("sequence %d published %v", c.sequence, s.out)
		}
	}
}

// A zero state knows nothing.
func TestZeroState(t *testing.T) {
	s := newSensor()
	_, watermark := s.Watermark()
	_, silent := s.SilentAsOf()
	_, _, location := s.Location()
	_, next := s.NextClose(&s.o)
	_, current := s.Current("773869", &s.o)
	if watermark || silent || location || next || current {
		t.Errorf("known: watermark %v, silence %v, location %v, close %v, window %v",
			watermark, silent, location, next, current)
	}
	if s.Sequence() != 0 || s.Ordinal() != 0 || s.LastReceivedAt() != 0 || s.Open() != 0 ||
		len(s.Windows("773869", &s.o)) != 0 {
		t.Errorf("%+v", s.State)
	}
	if _, held := s.silence(0, noon); held {
		t.Error("a silence of an unknown sensor holds")
	}
}

// A window as it stands is open with revision 0 and no reason, and published with its latest of both.
func TestWindowsAsTheyStand(t *testing.T) {
	s := newSensor()
	s.at(t, noon, noon+length+minute, noon+1)
	w := s.Windows("773869", &s.o)
	if len(w) != 2 {
		t.Fatalf("%d windows", len(w))
	}
	if w[0].SensorID != "773869" || w[0].Revision != 2 || w[0].CloseReason != codecs.CloseLate ||
		w[0].MessageCount != 2 {
		t.Errorf("published window: %+v", w[0])
	}
	if w[1].Revision != 0 || w[1].CloseReason != codecs.CloseNone || w[1].MessageCount != 1 {
		t.Errorf("open window: %+v", w[1])
	}
	if current, ok := s.Current("773869", &s.o); !ok || current != w[1] {
		t.Errorf("current window: %+v, %v", current, ok)
	}
}

// Windows of another length are never mixed with those of the configuration: what is open is published as it was
// counted, then the memory begins anew.
func TestLengthChanges(t *testing.T) {
	s := newSensor()
	s.at(t, noon)
	s.o.Length = time.Minute
	got := s.at(t, noon+minute)
	mustPublish(t, got, revision(noon, 1, codecs.CloseWatermark, 1))
	if got[0].WindowEnd != noon+5*minute {
		t.Errorf("the old window ends at noon%+d ms", got[0].WindowEnd-noon)
	}
	w := s.Windows("773869", &s.o)
	if len(w) != 1 || w[0].WindowStart != noon+minute || w[0].WindowEnd != noon+2*minute {
		t.Errorf("remembered: %+v", w)
	}

	// A late reading begins the new memory behind the watermark, so that no window holds it.
	s = newSensor()
	s.at(t, noon+10*minute)
	s.o.Length = time.Minute
	s.at(t, noon+9*minute)
	if w, ok := s.Current("773869", &s.o); ok {
		t.Errorf("the watermark is said to be in %+v", w)
	}
}
