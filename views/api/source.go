package api

import (
	"gantry/codecs"
)

// Directory is the set of known sensors, as the views hold it. Its methods are called concurrently. Answers are
// snapshots: the caller may read them after the views have moved on, and must not change them.
type Directory interface {
	// Get returns one sensor; ok is false where it is unknown, or was removed.
	Get(sensorID string) (s Sensor, ok bool)

	// Page returns up to limit sensors with an id above after, by ascending id (compared as bytes), and whether there
	// are more. An empty after starts at the first. A box selects the sensors whose Position lies in it; nil selects
	// all. Because a page starts after an id, not at a number, sensors that come or go between two pages neither
	// repeat nor hide others.
	Page(after string, limit int, box *BBox) (sensors []Sensor, more bool)
}

// Sensor is one sensor as the views see it now.
type Sensor struct {
	ID             string
	Meta           codecs.Sensor // holds where HasMeta
	HasMeta        bool
	Watermark      codecs.Null[int64] // highest accepted event time, epoch milliseconds
	LastReceivedAt codecs.Null[int64] // arrival of the last accepted reading, epoch milliseconds
	Silent         bool               // nothing has arrived for the idle timeout

	// Windows are the remembered windows by start, each as it stands now, with revision 0 while unpublished. A window
	// in which nothing was measured is not among them.
	Windows []codecs.WindowAggregate
}

// Current returns the window that holds the watermark, or nil where there is none.
func (s *Sensor) Current() *codecs.WindowAggregate {
	if !s.Watermark.Valid {
		return nil
	}
	for i := len(s.Windows) - 1; i >= 0; i-- {
		if w := &s.Windows[i]; w.WindowStart <= s.Watermark.V {
			if s.Watermark.V < w.WindowEnd {
				return w
			}
			return nil
		}
	}
	return nil
}

// Position is where the sensor stands, in degrees: from its metadata, else from its newest window.
func (s *Sensor) Position() (lat, lon float64, ok bool) {
	if s.HasMeta {
		return s.Meta.Latitude, s.Meta.Longitude, true
	}
	if n := len(s.Windows); n > 0 {
		return s.Windows[n-1].Latitude, s.Windows[n-1].Longitude, true
	}
	return 0, 0, false
}

// BBox is a box of degrees, WGS 84, that includes its edges. It does not cross the 180th meridian.
type BBox struct {
	MinLon, MinLat, MaxLon, MaxLat float64
}

// Contains tells whether a position lies in the box.
func (b BBox) Contains(lat, lon float64) bool {
	return b.MinLat <= lat && lat <= b.MaxLat && b.MinLon <= lon && lon <= b.MaxLon
}

// RoleServe is the role whose readiness opens the API: the views that feed it have caught up.
const RoleServe = "serve"

// Readiness tells how far each role of this process has come with its recovery. It is called concurrently.
type Readiness interface {
	Roles() []Role
}

// Role is the recovery of one role: dedup, window, serve or archive.
type Role struct {
	Name  string
	Ready bool // it has caught up
	// Trouble says what keeps it from working now, for people: brokers that are away, say. A role that has caught up goes
	// on answering from what it has, but its process is not ready.
	Trouble    string
	Partitions []Partition
}

// Partition is the recovery of one partition of a role: it reads from Start and has caught up at End.
type Partition struct {
	Partition int32
	Ready     bool
	Start     int64 // first offset that it had to read
	Offset    int64 // next offset that it will read
	End       int64 // offset that it must reach, the high watermark
	Detail    string
}

// share is how much of the role's recovery is done, 0..1.
func (r *Role) share() float64 {
	if r.Ready {
		return 1
	}
	var done, all int64
	for _, p := range r.Partitions {
		span := max(p.End-p.Start, 0)
		all += span
		if p.Ready {
			done += span
		} else {
			done += min(max(p.Offset-p.Start, 0), span)
		}
	}
	if all == 0 {
		return 0
	}
	return float64(done) / float64(all)
}

// Pipeline gives the counts that the live page shows. It is called concurrently.
type Pipeline interface {
	Counts() PipelineCounts
}

// PipelineCounts are totals since this process started, of the partitions that it owns: for watching. The ledger of
// gantry verify is the proof.
type PipelineCounts struct {
	Read             int64              // records of traffic-raw; each ends as one of the next four
	Accepted         int64              // readings on traffic-events
	Rejected         map[string]int64   // by reason
	Sensor           int64              // metadata records
	Repeat           int64              // records met again after a restart, counted before
	WindowsPublished map[string]int64   // by close reason
	Lag              codecs.Null[int64] // records of traffic-raw not yet read; missing while unknown
}
