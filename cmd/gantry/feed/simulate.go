package feed

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"gantry/cmd/gantry/config"
	"gantry/codecs"
)

// SimulateOptions describe a simulation. The rates are shares of the readings, and together at most 1: a reading has one
// defect or none, so that what Gantry answers to each message is known.
type SimulateOptions struct {
	Sensors int
	Rate    float64       // readings per second of all sensors together
	For     time.Duration // how long; 0: without end
	Seed    uint64
	Start   time.Time // of the first reading

	Duplicates float64 // sent again, equal: the copy is a duplicate
	Conflicts  float64 // sent again with another speed: the second is a conflict
	Invalid    float64 // with a speed above the limit: speed_range
	Missing    float64 // with vehicles but without a speed: missing_field, if the speed is required
	Late       float64 // with an event time beyond the allowed age: too_old

	Limits config.Validate // of the Gantry that reads it
}

// DefaultSimulateOptions is a small freeway network in which a few things go wrong.
func DefaultSimulateOptions() SimulateOptions {
	const sensors = 100
	return SimulateOptions{
		Sensors: sensors, Rate: sensors / 30.0, Seed: 1,
		Duplicates: 0.005, Conflicts: 0.001, Invalid: 0.002, Missing: 0.002, Late: 0.001,
		Limits: config.Default().Validate,
	}
}

// Validate reports everything that is wrong with the options.
func (o *SimulateOptions) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Sensors < 1 || o.Sensors > 1_000_000 {
		refuse("sensors %d: allowed are 1 to 1000000", o.Sensors)
	}
	if !(o.Rate > 0 && o.Rate <= 1e6) {
		refuse("rate %v: allowed are readings per second above 0, to 1000000", o.Rate)
	} else if interval := o.interval(); o.Sensors >= 1 && (interval < time.Millisecond || interval > time.Hour) {
		refuse("%d sensors at %v readings per second is an interval of %v: allowed are 1ms to 1h; "+
			"event times of a sensor are whole milliseconds", o.Sensors, o.Rate, interval)
	}
	if o.For < 0 {
		refuse("for %v: allowed are durations from 0, which is without end", o.For)
	}
	sum := 0.0
	for _, r := range []struct {
		name string
		v    float64
	}{
		{"duplicates", o.Duplicates},
		{"conflicts", o.Conflicts},
		{"invalid", o.Invalid},
		{"missing", o.Missing},
		{"late", o.Late},
	} {
		if !(r.v >= 0 && r.v <= 1) {
			refuse("%s %v: allowed are shares from 0 to 1", r.name, r.v)
		}
		sum += r.v
	}
	if sum > 1+1e-9 {
		refuse("the rates add up to %.4g: a reading has one defect at most, so the limit is 1", sum)
	}
	return errors.Join(errs...)
}

// interval is the time between two readings of a sensor.
func (o *SimulateOptions) interval() time.Duration {
	return time.Duration(float64(o.Sensors) / o.Rate * float64(time.Second))
}

// Outcome is what Gantry answers to a message: OutcomeAccepted or the reason of the reject.
type Outcome string

// The outcomes of simulated messages.
const (
	OutcomeAccepted  Outcome = "accepted"
	OutcomeDuplicate Outcome = "duplicate"
	OutcomeConflict  Outcome = "conflict"
	OutcomeSpeed     Outcome = "speed_range"
	OutcomeMissing   Outcome = "missing_field"
	OutcomeTooOld    Outcome = "too_old"
)

// Simulation is a Source of synthetic readings. A row is a function of the options and of its number, and numbers count
// from the epoch: each tick of interval/sensors is the turn of one sensor, with up to two rows. So a simulation that is
// started again goes on with the same readings as if it had never stopped.
//
// Event times of a sensor increase strictly, apart from the defects, and no defect touches another reading: a too old
// one is rejected for its age whatever else it is like, and a copy follows its original at once.
type Simulation struct {
	opt     SimulateOptions
	sensors []codecs.Sensor
	tick    int64 // next
	end     int64 // the first tick that is not sent
	second  *Row  // the copy of the reading before
}

var _ Source = (*Simulation)(nil)

// rowsPerTick is how many numbers a tick has.
const rowsPerTick = 2

// NewSimulation starts a simulation at opt.Start.
func NewSimulation(opt SimulateOptions) (*Simulation, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	s := &Simulation{opt: opt, sensors: synthesize(opt), end: math.MaxInt64}
	s.tick = s.tickAt(opt.Start)
	if opt.For > 0 {
		s.end = s.tickAt(opt.Start.Add(opt.For))
	}
	return s, nil
}

// tickAt is the first tick at or after a time.
func (s *Simulation) tickAt(t time.Time) int64 {
	return int64(math.Ceil(float64(t.UnixMilli()) / s.tickMillis()))
}

func (s *Simulation) tickMillis() float64 { return 1000 / s.opt.Rate }

// ID identifies the simulation for Resume: the same options give the same rows.
func (s *Simulation) ID() string {
	o := s.opt
	o.Start, o.For = time.Time{}, 0
	return fmt.Sprintf("sim%08x", crc32.Checksum(fmt.Appendf(nil, "%+v", o), castagnoli))
}

// Sensors are the simulated ones, in the order of their turns.
func (s *Simulation) Sensors() []codecs.Sensor { return s.sensors }

// Close ends nothing: a simulation holds no resources.
func (s *Simulation) Close() error { return nil }

// Next gives the next row.
func (s *Simulation) Next() (Row, error) {
	if second := s.second; second != nil {
		s.second = nil
		return *second, nil
	}
	if s.tick >= s.end {
		return Row{}, io.EOF
	}
	row := s.row(s.tick)
	s.tick++
	return row, nil
}

// row makes the row of a tick, and leaves its copy in s.second where it has one.
func (s *Simulation) row(tick int64) Row {
	n := int64(len(s.sensors))
	sensor := &s.sensors[tick%n]
	d := draw{state: s.opt.Seed ^ uint64(tick)*0x9e3779b97f4a7c15}
	arrival := int64(float64(tick) * s.tickMillis())
	interval := s.opt.interval()
	// A reading takes up to 2 s to arrive, but less than half the interval, so that a sensor's times stay in order.
	delay := int64(d.unit() * min(2000, float64(interval.Milliseconds())/2))
	defect := s.defect(d.unit())

	demand := demand(time.UnixMilli(arrival), sensor.Longitude, 0.6+0.8*unit(s.opt.Seed, uint64(tick%n)))
	r := sample(demand, sensor.Lanes.V, interval, [2]float64{d.unit(), d.unit()})
	if !r.SpeedMPH.Valid && defect != OutcomeAccepted { // a defect needs a vehicle to be seen
		r.VolumeVPH, r.SpeedMPH, r.Occupancy = codecs.Some[int64](1), codecs.Some(freeSpeed), codecs.Some(0.1)
	}
	s.limit(&r)
	r.SensorID, r.Timestamp = sensor.SensorID, codecs.Some(arrival-delay)
	row := Row{Number: tick * rowsPerTick, Reading: r, Arrival: arrival, Outcome: OutcomeAccepted}
	s.spoil(&row, defect)
	return row
}

// defect picks the outcome that a reading is made for.
func (s *Simulation) defect(u float64) Outcome {
	for _, d := range []struct {
		outcome Outcome
		rate    float64
	}{
		{OutcomeDuplicate, s.opt.Duplicates},
		{OutcomeConflict, s.opt.Conflicts},
		{OutcomeSpeed, s.opt.Invalid},
		{OutcomeMissing, s.opt.Missing},
		{OutcomeTooOld, s.opt.Late},
	} {
		if u < d.rate {
			return d.outcome
		}
		u -= d.rate
	}
	return OutcomeAccepted
}

// limit keeps a sound reading within the rules.
func (s *Simulation) limit(r *codecs.RawReading) {
	r.VolumeVPH.V = min(r.VolumeVPH.V, int64(s.opt.Limits.VolumeMax))
	r.SpeedMPH.V = min(r.SpeedMPH.V, s.opt.Limits.SpeedMax)
}

// spoil turns a sound row into one with a defect, or gives it a copy.
func (s *Simulation) spoil(row *Row, defect Outcome) {
	r := &row.Reading
	switch defect {
	case OutcomeDuplicate, OutcomeConflict:
		second := *row
		second.Number++
		second.Outcome = defect
		if defect == OutcomeConflict {
			second.Reading.SpeedMPH.V /= 2
		}
		s.second = &second
		return
	case OutcomeSpeed:
		r.SpeedMPH.V = s.opt.Limits.SpeedMax + 30
	case OutcomeMissing:
		r.SpeedMPH = codecs.Null[float64]{}
		if !slices.Contains(s.opt.Limits.Required, "speed_mph") {
			return // then it is a sound reading without a speed
		}
	case OutcomeTooOld:
		r.Timestamp.V -= s.opt.Limits.MaxAge.Milliseconds() + time.Minute.Milliseconds()
	}
	row.Outcome = defect
}

// Truth is what was sent, and what Gantry must have made of it.
type Truth struct {
	mu sync.Mutex

	Simulation string            `json:"simulation"`
	Seed       uint64            `json:"seed"`
	Sensors    int               `json:"sensors"`
	Sent       int64             `json:"sent"`
	Accepted   int64             `json:"accepted"`
	Rejected   map[Outcome]int64 `json:"rejected"`
	First      string            `json:"first_arrival,omitempty"` // RFC 3339
	Last       string            `json:"last_arrival,omitempty"`
}

// Truth starts an account of the simulation's rows.
func (s *Simulation) Truth() *Truth {
	return &Truth{
		Simulation: s.ID(), Seed: s.opt.Seed, Sensors: len(s.sensors), Rejected: make(map[Outcome]int64),
	}
}

// Add counts a row that was acknowledged.
func (t *Truth) Add(row *Row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Sent++
	if row.Outcome == OutcomeAccepted {
		t.Accepted++
	} else {
		t.Rejected[row.Outcome]++
	}
	at := codecs.FormatTime(row.Arrival)
	if t.First == "" {
		t.First = at
	}
	t.Last = at
}

// draw is a small generator (SplitMix64) that starts from a place, not from a history.
type draw struct{ state uint64 }

func (d *draw) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unit gives a value in [0, 1).
func (d *draw) unit() float64 { return float64(d.next()>>11) / (1 << 53) }

func unit(seed, n uint64) float64 {
	d := draw{state: seed + n*0xd1342543de82ef95}
	return d.unit()
}
