package real

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gantry/codecs"
)

// windowKey names a window, revisionKey one of its records, readingKey an accepted reading: none of them depends on
// what processed it.
type (
	windowKey struct {
		sensor string
		start  int64
	}
	revisionKey struct {
		windowKey
		revision int32
	}
	readingKey struct {
		sensor   string
		sequence int64
	}
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
	return a.count == b.count && near(a.speed, b.speed) && near(a.volume, b.volume) && near(a.occupancy, b.occupancy) &&
		a.slowest == b.slowest && a.fastest == b.fastest && near(a.flowWeighted, b.flowWeighted) &&
		near(a.variance, b.variance)
}

// model is what must come of a feed, computed in memory from the contract alone: no state, no watermark, no partition.
// It holds for feeds whose readings are never later than validate.maxAge, so that none of them is late.
type model struct {
	length   int64 // of a window, ms
	readings map[readingKey]codecs.RawReading
	rejects  map[string]int // by reason
	first    map[windowKey]codecs.RawReading
	sequence map[string]int64
	counted  map[windowKey][]codecs.RawReading
}

func newModel(length time.Duration) *model {
	return &model{
		length: length.Milliseconds(), readings: make(map[readingKey]codecs.RawReading), rejects: make(map[string]int),
		first: make(map[windowKey]codecs.RawReading), sequence: make(map[string]int64),
		counted: make(map[windowKey][]codecs.RawReading),
	}
}

const (
	maxAge   = time.Hour // validate.maxAge
	speedMax = 120       // validate.speedMax
)

// add takes the next reading of its sensor, and the time of its arrival.
func (m *model) add(r codecs.RawReading, arrival int64) {
	at := windowKey{r.SensorID, r.Timestamp.V}
	switch first, seen := m.first[at]; {
	case r.SpeedMPH.V > speedMax:
		m.rejects["speed_range"]++
	case arrival-r.Timestamp.V > maxAge.Milliseconds():
		m.rejects["too_old"]++
	case seen && first == r:
		m.rejects["duplicate"]++
	case seen:
		m.rejects["conflict"]++
	default:
		m.first[at] = r
		m.sequence[r.SensorID]++
		m.readings[readingKey{r.SensorID, m.sequence[r.SensorID]}] = r
		window := windowKey{r.SensorID, r.Timestamp.V - r.Timestamp.V%m.length}
		m.counted[window] = append(m.counted[window], r)
	}
}

// windows are the final aggregates.
func (m *model) windows() map[windowKey]aggregate {
	all := make(map[windowKey]aggregate)
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

// check compares what the topics hold with the model.
func (m *model) check(t *testing.T, o *outcomes) {
	t.Helper()
	readings := make(map[readingKey]codecs.RawReading)
	for _, r := range o.readings {
		key := readingKey{r.SensorID, r.Sequence}
		if _, twice := readings[key]; twice {
			t.Errorf("number %d of %s was given twice", r.Sequence, r.SensorID)
		}
		volume := codecs.Null[int64]{V: int64(r.VolumeVPH.V), Valid: r.VolumeVPH.Valid}
		readings[key] = codecs.RawReading{
			SensorID: r.SensorID, Timestamp: codecs.Some(r.Timestamp), SpeedMPH: r.SpeedMPH, VolumeVPH: volume,
			Occupancy: r.Occupancy, Latitude: codecs.Some(r.Latitude), Longitude: codecs.Some(r.Longitude),
		}
	}
	compare(t, "readings", readings, m.readings)
	compare(t, "rejects", o.reasons(), m.rejects)
	final := make(map[windowKey]aggregate)
	for key, w := range o.final {
		final[key] = aggregateOf(&w)
	}
	compareFunc(t, "final windows", final, m.windows(), aggregate.near)
}

// done tells whether every reading has its outcome and every accepted one is in a published window.
func (m *model) done(o *outcomes) bool {
	rejects := 0
	for _, n := range m.rejects {
		rejects += n
	}
	return len(o.readings) >= len(m.readings) && len(o.rejects) >= rejects && o.counted() >= int64(len(m.readings))
}

// mixed writes what a network of 30-second sensors sent in the hours before now, with everything that makes windows and
// verdicts hard: late and too late readings, out of order, twice, or twice with other values, invalid and missing ones.
// It returns the file, and what must come of it.
func mixed(t *testing.T, seed uint64, steps int) (path string, m *model) {
	t.Helper()
	const sensors, step = 24, 30_000
	random := rand.New(rand.NewPCG(seed, 6))
	m = newModel(5 * time.Minute)
	path = filepath.Join(t.TempDir(), "mixed.ndjson")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	newest := int64(0) // a reading that stands later in a file came later
	send := func(r codecs.RawReading) {
		newest = max(newest, r.Timestamp.V)
		m.add(r, newest)
		out.Write(append(codecs.AppendRawJSON(nil, &r), '\n')) // its error is kept for Flush
	}
	// Every window is over, grace included, so that a silence closes those that the watermark does not.
	start := (time.Now().Add(-10*time.Minute).UnixMilli()/step - int64(steps)) * step
	for i := range int64(steps) {
		for s := range sensors {
			if random.IntN(12) == 0 {
				continue
			}
			at := start + i*step
			switch random.IntN(40) {
			case 0:
				at -= random.Int64N(600_000) // late
			case 1:
				at -= 7_200_000 // too old
			}
			r := codecs.RawReading{
				SensorID:  fmt.Sprintf("s%02d", s),
				Timestamp: codecs.Some(at),
				SpeedMPH:  codecs.Some(float64(random.IntN(500)) / 7),
				VolumeVPH: codecs.Some(int64(random.IntN(2000))),
				Occupancy: codecs.Some(float64(random.IntN(300)) / 9),
				Latitude:  codecs.Some(34 + float64(s)/100),
				Longitude: codecs.Some(-118.5),
			}
			if random.IntN(10) == 0 {
				r.Occupancy = codecs.Null[float64]{}
			}
			send(r)
			switch random.IntN(60) {
			case 0: // duplicate
				send(r)
			case 1: // conflict
				r.SpeedMPH.V++
				send(r)
			case 2:
				r.SpeedMPH.V = 400
				send(r)
			}
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return path, m
}
