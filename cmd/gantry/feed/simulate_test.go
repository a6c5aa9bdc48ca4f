package feed

import (
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"gantry/codecs"
)

func simulated(t *testing.T, o SimulateOptions) []Row {
	t.Helper()
	s, err := NewSimulation(o)
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for {
		row, err := s.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
}

func testOptions() SimulateOptions {
	o := DefaultSimulateOptions()
	o.Sensors, o.Rate, o.For = 20, 2, 2*time.Hour
	o.Start = time.Date(2026, 5, 4, 14, 0, 0, 0, time.UTC)
	o.Duplicates, o.Conflicts, o.Invalid, o.Missing, o.Late = 0.02, 0.02, 0.02, 0.02, 0.02
	return o
}

// judge is the contract's rules as far as the simulator's messages reach them, written once more and plainly.
func judge(o SimulateOptions, first map[string]map[int64]codecs.RawReading, row Row) Outcome {
	r := row.Reading
	required := false
	for _, f := range o.Limits.Required {
		required = required || f == "speed_mph"
	}
	switch {
	case !r.SpeedMPH.Valid && r.VolumeVPH.V != 0 && required:
		return OutcomeMissing
	case r.SpeedMPH.Valid && (r.SpeedMPH.V < 0 || r.SpeedMPH.V > o.Limits.SpeedMax):
		return OutcomeSpeed
	case r.VolumeVPH.V < 0 || r.VolumeVPH.V > int64(o.Limits.VolumeMax):
		return "volume_range"
	case r.Occupancy.V < 0 || r.Occupancy.V > 100:
		return "occupancy_range"
	case row.Arrival-r.Timestamp.V > o.Limits.MaxAge.Milliseconds():
		return OutcomeTooOld
	case r.Timestamp.V-row.Arrival > o.Limits.MaxAhead.Milliseconds():
		return "in_future"
	}
	old, seen := first[r.SensorID][r.Timestamp.V]
	if !seen {
		if first[r.SensorID] == nil {
			first[r.SensorID] = make(map[int64]codecs.RawReading)
		}
		first[r.SensorID][r.Timestamp.V] = r
		return OutcomeAccepted
	}
	if old == r {
		return OutcomeDuplicate
	}
	return OutcomeConflict
}

// The simulator knows what Gantry answers: the rules, applied to its messages, give the outcome that each row names,
// under usual limits and under odd ones.
func TestOutcomesAreExact(t *testing.T) {
	odd := testOptions()
	odd.Limits.SpeedMax, odd.Limits.VolumeMax, odd.Limits.MaxAge, odd.Limits.Required = 20, 500, 0, nil
	odd.Limits.MaxAge = 2 * time.Second
	fast := testOptions()
	fast.Rate, fast.For = 10_000, 2*time.Second // an interval of 2 ms
	for name, o := range map[string]SimulateOptions{"usual": testOptions(), "odd": odd, "fast": fast} {
		seen := make(map[Outcome]int)
		first := make(map[string]map[int64]codecs.RawReading)
		number, arrival := int64(-1), int64(0)
		for _, row := range simulated(t, o) {
			if got := judge(o, first, row); got != row.Outcome {
				t.Fatalf("%s: row %d is %s, not %s: %+v", name, row.Number, got, row.Outcome, row.Reading)
			}
			if row.Number <= number || row.Arrival < arrival {
				t.Fatalf("%s: row %d at %d comes after row %d at %d", name, row.Number, row.Arrival, number, arrival)
			}
			number, arrival = row.Number, row.Arrival
			seen[row.Outcome]++
		}
		for _, want := range []Outcome{
			OutcomeAccepted, OutcomeDuplicate, OutcomeConflict, OutcomeSpeed, OutcomeMissing, OutcomeTooOld,
		} {
			if seen[want] == 0 && (want != OutcomeMissing || name != "odd") {
				t.Errorf("%s: no row is %s", name, want)
			}
		}
	}
}

// A row is a function of options and time: a simulation that starts in the middle of another gives the same rows, and
// another seed gives others.
func TestSimulationIsDeterministic(t *testing.T) {
	o := testOptions()
	whole := simulated(t, o)
	late := o
	late.Start, late.For = o.Start.Add(30*time.Minute), 30*time.Minute
	part := simulated(t, late)
	byNumber := make(map[int64]Row)
	for _, row := range whole {
		byNumber[row.Number] = row
	}
	if len(part) < 30*60*2 {
		t.Fatalf("%d rows in half an hour at 2 a second", len(part))
	}
	for _, row := range part {
		if byNumber[row.Number].Reading != row.Reading || byNumber[row.Number].Arrival != row.Arrival {
			t.Fatalf("row %d differs", row.Number)
		}
	}
	o.Seed++
	if other := simulated(t, o); other[0].Reading == whole[0].Reading && other[1].Reading == whole[1].Reading {
		t.Error("another seed gives the same readings")
	}
}

// Two simulations are one feed for Resume only if their rows are the same.
func TestSimulationID(t *testing.T) {
	id := func(o SimulateOptions) string {
		s, err := NewSimulation(o)
		if err != nil {
			t.Fatal(err)
		}
		return s.ID()
	}
	o := testOptions()
	later, other := o, o
	later.Start, later.For = o.Start.Add(time.Hour), 0
	other.Rate *= 2
	if id(o) != id(later) || id(o) == id(other) {
		t.Errorf("%s, later %s, other %s", id(o), id(later), id(other))
	}
}

// The model makes plausible traffic: physical values, queues in the peak, occupancy by the g-factor, and at night
// samples without a vehicle, which have no speed.
func TestTrafficModel(t *testing.T) {
	for d := 0.01; d < 3; d += 0.01 {
		flow, speed := lane(d)
		if flow <= 0 || flow > laneCapacity || speed <= 0 || speed > freeSpeed {
			t.Fatalf("demand %v: flow %v, speed %v", d, flow, speed)
		}
	}
	if _, at := lane(1); at <= 50 {
		t.Errorf("speed at capacity is %v", at)
	}
	if flow, speed := lane(1.5); speed > 40 || flow >= laneCapacity {
		t.Errorf("a queue flows at %v with %v mph", flow, speed)
	}
	empty := sample(0, 4, 30*time.Second, [2]float64{})
	if empty.SpeedMPH.Valid || empty.VolumeVPH != codecs.Some[int64](0) || empty.Occupancy != codecs.Some(0.0) {
		t.Errorf("an empty road: %+v", empty)
	}
	r := sample(0.8, 4, 30*time.Second, [2]float64{0.5, 0.5})
	g := 5280 * r.Occupancy.V / 100 * r.SpeedMPH.V / (float64(r.VolumeVPH.V) / 4)
	if math.Abs(g-gFactor) > 0.2 || r.VolumeVPH.V%120 != 0 {
		t.Errorf("g is %v in %+v", g, r)
	}
	night := demand(time.Date(2026, 5, 4, 11, 0, 0, 0, time.UTC), -118, 1)    // about 3 at night
	morning := demand(time.Date(2026, 5, 4, 15, 20, 0, 0, time.UTC), -118, 1) // about half past 7
	if night > 0.2 || morning < 0.75 {
		t.Errorf("demand %v at night, %v in the morning", night, morning)
	}
}

// Simulated sensors can be loaded: inside the bounds, with distinct ids and places, and complete.
func TestSimulatedSensors(t *testing.T) {
	o := testOptions()
	o.Sensors, o.Rate = 1000, 100
	s, err := NewSimulation(o)
	if err != nil {
		t.Fatal(err)
	}
	ids, places := make(map[string]bool), make(map[[2]float64]bool)
	for _, sensor := range s.Sensors() {
		if sensor.Latitude < 33.7 || sensor.Latitude > 34.5 || sensor.Longitude < -119 || sensor.Longitude > -117 {
			t.Errorf("%+v is out of bounds", sensor)
		}
		if sensor.IntervalS.V != 10 || sensor.LengthMi.V <= 0 || !sensor.Lanes.Valid {
			t.Errorf("%+v", sensor)
		}
		if _, err := codecs.ParseSensor(codecs.AppendSensorJSON(nil, &sensor), sensor.SensorID); err != nil {
			t.Error(err)
		}
		ids[sensor.SensorID] = true
		places[[2]float64{sensor.Latitude, sensor.Longitude}] = true
	}
	if len(ids) != 1000 || len(places) < 450 { // the carriageways of a road share their places
		t.Errorf("%d ids, %d places", len(ids), len(places))
	}
}

func TestSimulateOptions(t *testing.T) {
	for name, change := range map[string]func(*SimulateOptions){
		"sensors":  func(o *SimulateOptions) { o.Sensors = 0 },
		"rate":     func(o *SimulateOptions) { o.Rate = math.NaN() },
		"interval": func(o *SimulateOptions) { o.Sensors, o.Rate = 1, 2000 },
		"for":      func(o *SimulateOptions) { o.For = -1 },
		"share":    func(o *SimulateOptions) { o.Invalid = 1.5 },
		"negative": func(o *SimulateOptions) { o.Late = -0.1 },
		"sum":      func(o *SimulateOptions) { o.Invalid, o.Missing = 0.6, 0.6 },
	} {
		o := testOptions()
		change(&o)
		if _, err := NewSimulation(o); err == nil {
			t.Errorf("%s: %+v is accepted", name, o)
		}
	}
}
