package harness

import (
	"math"
	"testing"
	"time"

	"gantry/codecs"
)

// aggregate is what a window says of its readings.
type aggregate struct {
	count                                                              int32
	speed, volume, occupancy, slowest, fastest, flowWeighted, variance codecs.Null[float64]
}

func aggregateOf(w *codecs.WindowAggregate) aggregate {
	return aggregate{
		count: w.MessageCount, speed: w.AvgSpeed, volume: w.AvgVolume, occupancy: w.AvgOccupancy, slowest: w.MinSpeed,
		fastest: w.MaxSpeed, flowWeighted: w.FlowWeightedSpeed, variance: w.SpeedVariance,
	}
}

func (a aggregate) near(b aggregate) bool {
	return a.count == b.count && Near(a.speed, b.speed) && Near(a.volume, b.volume) && Near(a.occupancy, b.occupancy) &&
		a.slowest == b.slowest && a.fastest == b.fastest && Near(a.flowWeighted, b.flowWeighted) &&
		Near(a.variance, b.variance)
}

// Model is what must come of a feed, computed in memory from the contract alone: no state, no watermark, no partition.
// It holds for feeds whose readings are never later than validate.maxAge, so that none of them is late.
type Model struct {
	length   int64 // of a window, ms
	Readings map[SequenceKey]codecs.RawReading
	Rejects  map[string]int // by reason
	first    map[WindowKey]codecs.RawReading
	sequence map[string]int64
	counted  map[WindowKey][]codecs.RawReading
}

// NewModel is the model of a feed with windows of a length.
func NewModel(length time.Duration) *Model {
	return &Model{
		length: length.Milliseconds(), Readings: make(map[SequenceKey]codecs.RawReading), Rejects: make(map[string]int),
		first: make(map[WindowKey]codecs.RawReading), sequence: make(map[string]int64),
		counted: make(map[WindowKey][]codecs.RawReading),
	}
}

const (
	maxAge   = time.Hour // validate.maxAge
	speedMax = 120       // validate.speedMax
)

// Add takes the next reading of its sensor, and the time of its arrival.
func (m *Model) Add(r codecs.RawReading, arrival int64) {
	at := WindowKey{r.SensorID, r.Timestamp.V}
	switch first, seen := m.first[at]; {
	case r.SpeedMPH.V > speedMax:
		m.Rejects["speed_range"]++
	case arrival-r.Timestamp.V > maxAge.Milliseconds():
		m.Rejects["too_old"]++
	case seen && first == r:
		m.Rejects["duplicate"]++
	case seen:
		m.Rejects["conflict"]++
	default:
		m.first[at] = r
		m.sequence[r.SensorID]++
		m.Readings[SequenceKey{r.SensorID, m.sequence[r.SensorID]}] = r
		window := WindowKey{r.SensorID, r.Timestamp.V - r.Timestamp.V%m.length}
		m.counted[window] = append(m.counted[window], r)
	}
}

// Windows are the final aggregates.
func (m *Model) Windows() map[WindowKey]aggregate {
	all := make(map[WindowKey]aggregate)
	for key, readings := range m.counted {
		all[key] = fold(readings)
	}
	return all
}

// fold computes an aggregate in the plainest way: all values at hand, sums over them.
func fold(readings []codecs.RawReading) aggregate {
	var speeds, volumes, occupancies []float64
	var flow, weighted float64
	for _, r := range readings {
		if r.SpeedMPH.Valid {
			speeds = append(speeds, r.SpeedMPH.V)
		}
		if r.VolumeVPH.Valid {
			volumes = append(volumes, float64(r.VolumeVPH.V))
		}
		if r.Occupancy.Valid {
			occupancies = append(occupancies, r.Occupancy.V)
		}
		if r.SpeedMPH.Valid && r.VolumeVPH.Valid {
			flow += float64(r.VolumeVPH.V)
			weighted += float64(r.VolumeVPH.V) * r.SpeedMPH.V
		}
	}
	a := aggregate{count: int32(len(readings)), speed: mean(speeds), volume: mean(volumes), occupancy: mean(occupancies)}
	if flow > 0 {
		a.flowWeighted = codecs.Some(weighted / flow)
	}
	if len(speeds) > 0 {
		slowest, fastest, squares := math.Inf(1), math.Inf(-1), 0.0
		for _, v := range speeds {
			slowest, fastest = min(slowest, v), max(fastest, v)
			squares += (v - a.speed.V) * (v - a.speed.V)
		}
		a.slowest, a.fastest = codecs.Some(slowest), codecs.Some(fastest)
		a.variance = codecs.Some(squares / float64(len(speeds)))
	}
	return a
}

func mean(values []float64) codecs.Null[float64] {
	if len(values) == 0 {
		return codecs.Null[float64]{}
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return codecs.Some(sum / float64(len(values)))
}

// Check compares what the topics hold with the model.
func (m *Model) Check(t *testing.T, o *Outcomes) (d Diff) {
	t.Helper()
	readings := make(map[SequenceKey]codecs.RawReading)
	for _, r := range o.Readings {
		key := SequenceKey{r.SensorID, r.Sequence}
		if _, twice := readings[key]; twice {
			t.Errorf("number %d of %s was given twice", r.Sequence, r.SensorID)
			d.TooMuch++
		}
		volume := codecs.Null[int64]{V: int64(r.VolumeVPH.V), Valid: r.VolumeVPH.Valid}
		readings[key] = codecs.RawReading{
			SensorID: r.SensorID, Timestamp: codecs.Some(r.Timestamp), SpeedMPH: r.SpeedMPH, VolumeVPH: volume,
			Occupancy: r.Occupancy, Latitude: codecs.Some(r.Latitude), Longitude: codecs.Some(r.Longitude),
		}
	}
	d = d.Plus(Compare(t, "readings", readings, m.Readings))
	d = d.Plus(rejects(t, o.Reasons(), m.Rejects))
	final := make(map[WindowKey]aggregate)
	for key, w := range o.Final {
		final[key] = aggregateOf(&w)
	}
	return d.Plus(CompareFunc(t, "final windows", final, m.Windows(), aggregate.near))
}

// rejects compares counts by reason.
func rejects(t *testing.T, got, want map[string]int) (d Diff) {
	t.Helper()
	Compare(t, "rejects", got, want)
	for reason, n := range want {
		d.Missing += max(0, n-got[reason])
	}
	for reason, n := range got {
		d.TooMuch += max(0, n-want[reason])
	}
	return d
}

// Done tells whether every reading has its outcome and every accepted one is in a published window.
func (m *Model) Done(o *Outcomes) bool {
	rejects := 0
	for _, n := range m.Rejects {
		rejects += n
	}
	return len(o.Readings) >= len(m.Readings) && len(o.Rejects) >= rejects && o.Counted() >= int64(len(m.Readings))
}
