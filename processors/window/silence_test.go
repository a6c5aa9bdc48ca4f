package window

import (
	"testing"

	"gantry/codecs"
)

// A silence closes the windows with end + grace ≤ as_of, to the millisecond, and again for the next one.
func TestClosedBySilence(t *testing.T) {
	s := newSensor()
	const watermark = noon + length + 10*second
	s.at(t, noon, watermark)

	got, held := s.silence(watermark, noon+length+minute-1)
	mustPublish(t, got)
	if asOf, silent := s.SilentAsOf(); !held || !silent || asOf != noon+length+minute-1 {
		t.Errorf("held %v, silent %v as of %d", held, silent, asOf)
	}
	got, _ = s.silence(watermark, noon+length+minute)
	mustPublish(t, got, revision(noon, 1, codecs.CloseSilence, 1))
	got, _ = s.silence(watermark, noon+2*length+minute-1)
	mustPublish(t, got)
	got, _ = s.silence(watermark, noon+2*length+minute)
	mustPublish(t, got, revision(noon+length, 1, codecs.CloseSilence, 1))
	if _, ok := s.NextClose(&s.o); ok || s.Open() != 0 {
		t.Error("a window is still open")
	}
}

// One silence closes several windows, by start.
func TestSilenceClosesInOrder(t *testing.T) {
	s := newSensor()
	s.at(t, noon+length, noon)
	got, _ := s.silence(noon+length, noon+10*length)
	mustPublish(t, got, revision(noon, 1, codecs.CloseSilence, 1), revision(noon+length, 1, codecs.CloseSilence, 1))
}

// Where the watermark has moved since the detector looked, in either direction, a silence does nothing.
func TestSilenceOfAnotherWatermark(t *testing.T) {
	for _, watermark := range []int64{noon - 1, noon + 1} {
		s := newSensor()
		s.at(t, noon)
		got, held := s.silence(watermark, noon+10*length)
		mustPublish(t, got)
		if _, silent := s.SilentAsOf(); held || silent || s.Open() != 1 {
			t.Errorf("watermark noon%+d ms: held %v, silent %v, %d open", watermark-noon, held, silent, s.Open())
		}
	}
}

// An older silence that comes after a newer one does not turn the time back.
func TestSilenceKeepsTheLatest(t *testing.T) {
	s := newSensor()
	s.at(t, noon)
	s.silence(noon, noon+20*minute)
	_, held := s.silence(noon, noon+10*minute)
	if asOf, silent := s.SilentAsOf(); !held || !silent || asOf != noon+20*minute {
		t.Errorf("held %v, silent %v as of noon%+d ms", held, silent, asOf-noon)
	}
}

// A reading ends the silence. In the window that the silence closed, though in time by the watermark, it publishes the
// next revision; the window that it opens is closed by the watermark as ever. A late one ends it too.
func TestReadingAfterSilence(t *testing.T) {
	s := newSensor()
	s.at(t, noon)
	s.silence(noon, noon+10*minute)
	mustPublish(t, s.at(t, noon+1, noon+2),
		revision(noon, 2, codecs.CloseLate, 2), revision(noon, 3, codecs.CloseLate, 3))
	if _, silent := s.SilentAsOf(); silent {
		t.Error("still silent after a reading")
	}
	mustPublish(t, s.at(t, noon+length, noon+length+minute)) // noon is published: its close needs no revision
	mustPublish(t, s.at(t, noon+2*length+minute), revision(noon+length, 1, codecs.CloseWatermark, 2))

	s.silence(noon+2*length+minute, noon+100*minute)
	s.at(t, noon+3)
	if _, silent := s.SilentAsOf(); silent {
		t.Error("still silent after a late reading")
	}
}
