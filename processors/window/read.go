package window

import "gantry/codecs"

// Windows returns the remembered windows of the sensor as they stand, by start: an open one with revision 0 and no
// close reason, a published one with its latest revision.
func (s *State) Windows(sensorID string, o *Options) []codecs.WindowAggregate {
	all := make([]codecs.WindowAggregate, len(s.windows))
	for i := range s.windows {
		s.windows[i].aggregate(&all[i], sensorID, s.length, o.DefaultInterval.Milliseconds())
	}
	return all
}

// Current returns the window that holds the watermark, as it stands.
func (s *State) Current(sensorID string, o *Options) (w codecs.WindowAggregate, ok bool) {
	if len(s.windows) == 0 {
		return w, false
	}
	last := &s.windows[len(s.windows)-1]
	if last.start != floor(s.watermark, s.length) {
		return w, false
	}
	last.aggregate(&w, sensorID, s.length, o.DefaultInterval.Milliseconds())
	return w, true
}

// Sequence returns that of the last applied reading, 0 before the first.
func (s *State) Sequence() int64 { return s.sequence }

// Watermark returns the highest event time of the sensor, in epoch milliseconds.
func (s *State) Watermark() (ms int64, ok bool) { return s.watermark, s.sequence > 0 }

// LastReceivedAt returns when the last applied reading arrived, in epoch milliseconds; 0 before the first.
func (s *State) LastReceivedAt() int64 { return s.receivedAt }

// SilentAsOf returns the latest time, in epoch milliseconds, as of which the sensor is known to be silent, where it is.
func (s *State) SilentAsOf() (ms int64, ok bool) { return s.silentAsOf, s.silent }

// Location returns the degrees of latitude and longitude of the last applied reading.
func (s *State) Location() (lat, lon float64, ok bool) {
	return s.latitude, s.longitude, s.sequence > 0
}

// Ordinal returns that of the last published window, 0 before the first.
func (s *State) Ordinal() int64 { return s.ordinal }

// Open returns the number of windows that have not been published.
func (s *State) Open() int {
	n := 0
	for i := range s.windows {
		if s.windows[i].revision == 0 {
			n++
		}
	}
	return n
}

// NextClose returns the earliest end + grace of an unpublished window, in epoch milliseconds: the time that a silence
// must reach to close one.
func (s *State) NextClose(o *Options) (ms int64, ok bool) {
	for i := range s.windows {
		if w := &s.windows[i]; w.revision == 0 {
			return w.start + s.length + o.Grace.Milliseconds(), true
		}
	}
	return 0, false
}
