package dedup

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"gantry/codecs"
	"gantry/processors/validate"
)

const (
	second = int64(1000)
	minute = 60 * second
	noon   = int64(1_700_000_100_000) // 2023-11-14T22:15:00Z, the start of a window
)

// busySensor is a sensor with everything known.
func busySensor() codecs.Sensor {
	return codecs.Sensor{
		SensorID:  "717446",
		Latitude:  34.05,
		Longitude: -118.25,
		Freeway:   codecs.Some("I-405"),
		Direction: codecs.Some("N"),
		Lanes:     codecs.Some[int32](4),
		LengthMi:  codecs.Some(0.62),
		IntervalS: codecs.Some[int32](30),
	}
}

func knownState() *State {
	st := &State{}
	st.SetSensor(busySensor())
	return st
}

// readingAt is a reading that passes every rule where it arrives soon after ms.
func readingAt(ms int64) *codecs.RawReading {
	return &codecs.RawReading{
		SensorID:  "717446",
		Timestamp: codecs.Some(ms),
		SpeedMPH:  codecs.Some(61.5),
		VolumeVPH: codecs.Some[int64](4800),
		Occupancy: codecs.Some(8.0),
		Latitude:  codecs.Some(34.0),
		Longitude: codecs.Some(-118.0),
	}
}

// arrivedAt is an arrival without anything special about it.
func arrivedAt(ms int64) *Arrival { return &Arrival{ReceivedAt: ms} }

// looseOptions let through what is not a history: for states that the real options would not lead to.
func looseOptions() *Options {
	o := DefaultOptions()
	o.Rules = validate.Options{
		SpeedMax: math.MaxFloat64, VolumeMax: math.MaxInt32, LatMin: -90, LatMax: 90, LonMin: -180, LonMax: 180,
		MaxAge: 1e6 * time.Hour, MaxAhead: 1e6 * time.Hour,
	}
	return &o
}

func mustAccept(t *testing.T, st *State, r *codecs.RawReading, a *Arrival, o *Options) codecs.Reading {
	t.Helper()
	d := Decide(st, r, a, o)
	if !d.Accepted || d.Reason != validate.ReasonNone || d.Detail != "" {
		t.Fatalf("not accepted: %v %q", d.Reason, d.Detail)
	}
	return d.Reading
}

// wantReject checks the reject and that it left the state as it was.
func wantReject(t *testing.T, st *State, r *codecs.RawReading, a *Arrival, o *Options, want validate.Reason) string {
	t.Helper()
	before := st.AppendTo(nil)
	d := Decide(st, r, a, o)
	if d.Accepted || d.Reason != want || !strings.HasPrefix(d.Detail, want.String()+": ") {
		t.Fatalf("got %v %q, want %v", d.Reason, d.Detail, want)
	}
	if d.Reading != (codecs.Reading{}) {
		t.Fatalf("a reject with a reading: %+v", d.Reading)
	}
	if !slices.Equal(before, st.AppendTo(nil)) {
		t.Fatalf("the reject %q changed the state", d.Detail)
	}
	return d.Detail
}

// An accepted reading carries its own values, its number, its flags and what is known of its sensor.
func TestAcceptEnriches(t *testing.T) {
	o := DefaultOptions()
	got := mustAccept(t, knownState(), readingAt(noon), &Arrival{ReceivedAt: noon + 700}, &o)
	want := codecs.Reading{
		SensorID:       "717446",
		Timestamp:      noon,
		SpeedMPH:       codecs.Some(61.5),
		VolumeVPH:      codecs.Some[int32](4800),
		Occupancy:      codecs.Some(8.0),
		Latitude:       34.0,
		Longitude:      -118.0,
		ReceivedAt:     noon + 700,
		Sequence:       1,
		Freeway:        codecs.Some("I-405"),
		Direction:      codecs.Some("N"),
		Lanes:          codecs.Some[int32](4),
		IntervalS:      codecs.Some[int32](30),
		DensityVPMPL:   codecs.Some(4800 / (61.5 * 4)),
		LevelOfService: codecs.Some("C"),
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What is not known is null, never 0: density and level of service too, which need the lanes. Flags take one lane.
func TestAcceptWithLittleKnown(t *testing.T) {
	o := DefaultOptions()
	st := &State{}
	st.SetSensor(codecs.Sensor{Latitude: 34.05, Longitude: -118.25})
	r := &codecs.RawReading{
		SensorID: "717446", Timestamp: codecs.Some(noon), VolumeVPH: codecs.Some[int64](3061),
		SpeedMPH: codecs.Some(61.5),
	}
	got := mustAccept(t, st, r, arrivedAt(noon), &o)
	want := codecs.Reading{
		SensorID: "717446", Timestamp: noon, SpeedMPH: codecs.Some(61.5), VolumeVPH: codecs.Some[int32](3061),
		Latitude: 34.05, Longitude: -118.25, ReceivedAt: noon, Sequence: 1, Flags: codecs.FlagCountHigh,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Metadata holds from its place in the log on: a sensor that is removed is unknown, and when it comes back its numbers
// go on and its readings are still remembered.
func TestMetadataInTheLog(t *testing.T) {
	o, st := DefaultOptions(), &State{}
	if _, ok := st.Sensor("717446"); ok {
		t.Error("a new state knows a sensor")
	}
	wantReject(t, st, readingAt(noon), arrivedAt(noon), &o, validate.ReasonUnknownSensor)
	st.SetSensor(busySensor())
	if got, ok := st.Sensor("717446"); !ok || got != busySensor() {
		t.Errorf("got %+v, %v", got, ok)
	}
	mustAccept(t, st, readingAt(noon), arrivedAt(noon), &o)
	st.RemoveSensor()
	wantReject(t, st, readingAt(noon+second), arrivedAt(noon+second), &o, validate.ReasonUnknownSensor)
	st.SetSensor(busySensor())
	wantReject(t, st, readingAt(noon), arrivedAt(noon), &o, validate.ReasonDuplicate)
	if got := mustAccept(t, st, readingAt(noon+second), arrivedAt(noon), &o); got.Sequence != 2 || st.Sequence() != 2 {
		t.Errorf("sequence %d, %d", got.Sequence, st.Sequence())
	}
}

// Without knownSensorsOnly, a sensor without metadata counts where it says itself where it is.
func TestUnknownSensorAllowed(t *testing.T) {
	o, st := DefaultOptions(), &State{}
	o.Rules.KnownSensorsOnly = false
	got := mustAccept(t, st, readingAt(noon), arrivedAt(noon), &o)
	if got.Latitude != 34 || got.Freeway.Valid || got.Lanes.Valid || got.DensityVPMPL.Valid {
		t.Errorf("got %+v", got)
	}
	r := readingAt(noon + second)
	r.Longitude.Valid = false
	wantReject(t, st, r, arrivedAt(noon), &o, validate.ReasonMissingField)
}

// A misrouted reading, or one without sensor_id, comes with a state that is not its sensor's, or with none: it is
// neither read nor changed.
func TestStateOfAnotherSensorIsLeftAlone(t *testing.T) {
	o := DefaultOptions()
	misrouted := &Arrival{ReceivedAt: noon, Misrouted: "its key is null; redrive it"}
	nameless := readingAt(noon)
	nameless.SensorID = ""
	for _, st := range []*State{nil, {}} {
		if d := Decide(st, readingAt(noon), misrouted, &o); d.Detail != "misrouted: its key is null; redrive it" {
			t.Errorf("got %q", d.Detail)
		}
		if d := Decide(st, nameless, arrivedAt(noon), &o); d.Detail != "missing_field: sensor_id is missing" {
			t.Errorf("got %q", d.Detail)
		}
	}
	if got := (&State{}).AppendTo(nil); len(got) != 6 {
		t.Errorf("an empty state has %d bytes", len(got))
	}
}

// Each pair of reasons that can come together: the one that is checked first names the reject, and the detail names
// both, in order.
func TestPrecedence(t *testing.T) {
	type scene struct {
		st *State
		r  *codecs.RawReading
		a  *Arrival
	}
	const (
		noPlace = 1 << iota // excludes what needs the sensor's state
		needsPlace
		noTime // excludes what needs a timestamp
		needsTime
		age     // excludes another verdict on the age
		history // excludes another verdict on the history
		id
	)
	defects := []struct {
		reason validate.Reason
		kind   int
		apply  func(*scene)
	}{
		{validate.ReasonMissingField, noPlace | id, func(s *scene) { s.r.SensorID = "" }},
		{validate.ReasonMissingField, noTime, func(s *scene) { s.r.Timestamp.Valid = false }},
		{validate.ReasonMisrouted, noPlace, func(s *scene) { s.a.Misrouted = "wrong partition" }},
		{validate.ReasonUnknownSensor, needsPlace, func(s *scene) { s.st.RemoveSensor() }},
		{validate.ReasonMissingField, 0, func(s *scene) { s.r.Occupancy.Valid = false }},
		{validate.ReasonSpeedRange, 0, func(s *scene) { s.r.SpeedMPH.V = 150 }},
		{validate.ReasonVolumeRange, 0, func(s *scene) { s.r.VolumeVPH.V = 30_000 }},
		{validate.ReasonOccupancyRange, 0, func(s *scene) { s.r.Occupancy = codecs.Some(101.0) }},
		{validate.ReasonOutOfBounds, 0, func(s *scene) { s.r.Latitude.V = 40 }},
		{validate.ReasonTooOld, needsTime | age, func(s *scene) { s.a.ReceivedAt = noon + 61*minute }},
		{validate.ReasonInFuture, needsTime | age, func(s *scene) { s.a.ReceivedAt = noon - 6*minute }},
		{validate.ReasonLate, needsPlace | needsTime | history, func(s *scene) {
			mustAccept(t, s.st, readingAt(noon+71*minute), arrivedAt(noon), looseOptions())
		}},
		{validate.ReasonDuplicate, needsPlace | needsTime | history, func(s *scene) {
			waived := &Arrival{ReceivedAt: noon, Waive: validate.ReasonOccupancyRange}
			mustAccept(t, s.st, s.r, waived, looseOptions())
		}},
		{validate.ReasonConflict, needsPlace | needsTime | history, func(s *scene) {
			other := *s.r
			other.Longitude.V = -117.5
			waived := &Arrival{ReceivedAt: noon, Waive: validate.ReasonOccupancyRange}
			mustAccept(t, s.st, &other, waived, looseOptions())
		}},
	}
	o := DefaultOptions()
	o.Rules.Required = []string{"speed_mph", "occupancy_percent"}
	excludes := func(a, b int) bool {
		return a&noPlace != 0 && b&needsPlace != 0 || a&noTime != 0 && b&needsTime != 0 ||
			a&b&(age|history) != 0
	}
	for i, first := range defects {
		for _, second := range defects[i+1:] {
			bothOccupancy := first.reason == validate.ReasonMissingField && first.kind == 0 &&
				second.reason == validate.ReasonOccupancyRange
			if excludes(first.kind, second.kind) || bothOccupancy {
				continue
			}
			t.Run(fmt.Sprintf("%v and %v", first.reason, second.reason), func(t *testing.T) {
				s := &scene{st: knownState(), r: readingAt(noon), a: arrivedAt(noon)}
				first.apply(s)
				second.apply(s)
				detail := wantReject(t, s.st, s.r, s.a, &o, first.reason)
				want := []string{first.reason.String(), second.reason.String()}
				var got []string
				for part := range strings.SplitSeq(detail, "; ") {
					reason, _, _ := strings.Cut(part, ": ")
					got = append(got, reason)
				}
				if first.reason == second.reason {
					want = want[:1] // one mention of missing_field, with both fields
				}
				if first.reason == validate.ReasonMissingField && second.reason == validate.ReasonMissingField &&
					strings.Count(detail, " is missing") != 2 {
					t.Errorf("got %q", detail)
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %q, want %v", detail, want)
				}
			})
		}
	}
}

// The example of the documentation, and what the history adds to it.
func TestDetail(t *testing.T) {
	o, st := DefaultOptions(), knownState()
	r := readingAt(noon)
	r.SpeedMPH.V, r.Latitude.V = 150, 40
	want := "speed_range: speed_mph 150 is not within 0..120; out_of_bounds: latitude 40 is not within 33.7..34.5"
	if got := wantReject(t, st, r, arrivedAt(noon), &o, validate.ReasonSpeedRange); got != want {
		t.Errorf("got %q", got)
	}
	mustAccept(t, st, readingAt(noon), arrivedAt(noon), &o)
	want += "; conflict: a reading of 2023-11-14T22:15:00Z with other values was accepted, and stands"
	if got := wantReject(t, st, r, arrivedAt(noon), &o, validate.ReasonSpeedRange); got != want {
		t.Errorf("got %q", got)
	}
	want = "duplicate: an equal reading of 2023-11-14T22:15:00Z was accepted"
	if got := wantReject(t, st, readingAt(noon), arrivedAt(noon), &o, validate.ReasonDuplicate); got != want {
		t.Errorf("got %q", got)
	}
	mustAccept(t, st, readingAt(noon+90*minute), arrivedAt(noon+90*minute), &o)
	want = "late: timestamp 2023-11-14T22:15:00Z is before 2023-11-14T22:35:00Z, from where on windows are remembered " +
		"(watermark 2023-11-14T23:45:00Z, window.retention 1h10m0s)"
	if got := wantReject(t, st, readingAt(noon), arrivedAt(noon), &o, validate.ReasonLate); got != want {
		t.Errorf("got %q", got)
	}
}

// A window is remembered while watermark − start ≤ retention, to the millisecond, also before 1970. The watermark is
// that before the reading.
func TestLateBoundary(t *testing.T) {
	o := *looseOptions()
	o.WindowLength, o.WindowRetention = 5*time.Minute, 70*time.Minute
	for _, start := range []int64{noon, 0, -300 * second, -noon} {
		for _, x := range []struct {
			watermark, ms int64
			want          validate.Reason
		}{
			{start + 70*minute, start, validate.ReasonNone},
			{start + 70*minute, start + 1, validate.ReasonNone},
			{start + 70*minute, start - 1, validate.ReasonLate},
			{start + 70*minute + 1, start, validate.ReasonLate},
			{start + 70*minute + 1, start + 5*minute - 1, validate.ReasonLate},
			{start + 70*minute + 1, start + 5*minute, validate.ReasonNone},
			{start + 75*minute, start + 5*minute, validate.ReasonNone},
			{start + 75*minute, start + 5*minute - 1, validate.ReasonLate},
			{start + 75*minute + 1, start + 10*minute, validate.ReasonNone},
			{start + 75*minute + 1, start + 10*minute - 1, validate.ReasonLate},
		} {
			st := knownState()
			mustAccept(t, st, readingAt(x.watermark), arrivedAt(x.watermark), &o)
			if x.want == validate.ReasonNone {
				mustAccept(t, st, readingAt(x.ms), arrivedAt(x.ms), &o)
			} else {
				wantReject(t, st, readingAt(x.ms), arrivedAt(x.ms), &o, x.want)
			}
			if got, ok := st.Watermark(); !ok || got != x.watermark {
				t.Errorf("watermark %d, %v", got, ok)
			}
		}
	}
}

// What was forgotten stays late when the retention is raised: it could not be told from a duplicate. Where the
// retention is lowered, what is still in memory is late at once.
func TestRetentionChanges(t *testing.T) {
	o, st := *looseOptions(), knownState()
	mustAccept(t, st, readingAt(noon), arrivedAt(noon), &o)
	mustAccept(t, st, readingAt(noon+75*minute), arrivedAt(noon), &o)
	o.WindowRetention *= 2
	wantReject(t, st, readingAt(noon), arrivedAt(noon), &o, validate.ReasonLate)
	wantReject(t, st, readingAt(noon+5*minute-1), arrivedAt(noon), &o, validate.ReasonLate)
	mustAccept(t, st, readingAt(noon+76*minute), arrivedAt(noon), &o)
	wantReject(t, st, readingAt(noon+5*minute-1), arrivedAt(noon), &o, validate.ReasonLate)
	mustAccept(t, st, readingAt(noon+5*minute), arrivedAt(noon), &o)
	o.WindowRetention = 10 * time.Minute
	wantReject(t, st, readingAt(noon+5*minute), arrivedAt(noon), &o, validate.ReasonLate)
}

// Equal means equal as numbers, after filling; each of the values counts, and null is not 0.
func TestDuplicateAndConflict(t *testing.T) {
	var null codecs.Null[float64]
	zero, minusZero := codecs.Some(0.0), codecs.Some(math.Copysign(0, -1))
	for _, x := range []struct {
		name          string
		first, second func(*codecs.RawReading)
		want          validate.Reason
	}{
		{"equal", func(r *codecs.RawReading) {}, func(r *codecs.RawReading) {}, validate.ReasonDuplicate},
		{
			"0 and -0", func(r *codecs.RawReading) { r.SpeedMPH, r.Occupancy = zero, minusZero },
			func(r *codecs.RawReading) { r.SpeedMPH, r.Occupancy = minusZero, zero }, validate.ReasonDuplicate,
		},
		{
			"filled and explicit", func(r *codecs.RawReading) { r.Latitude = null },
			func(r *codecs.RawReading) { r.Latitude, r.Longitude = codecs.Some(34.05), codecs.Some(-118.25) },
			validate.ReasonDuplicate,
		},
		{
			"other coordinates than filled", func(r *codecs.RawReading) { r.Latitude = null },
			func(r *codecs.RawReading) {}, validate.ReasonConflict,
		},
		{
			"speed", func(r *codecs.RawReading) {}, func(r *codecs.RawReading) { r.SpeedMPH.V = 61.4 },
			validate.ReasonConflict,
		},
		{
			"volume", func(r *codecs.RawReading) {}, func(r *codecs.RawReading) { r.VolumeVPH.V = 4799 },
			validate.ReasonConflict,
		},
		{
			"occupancy", func(r *codecs.RawReading) {}, func(r *codecs.RawReading) { r.Occupancy.V = 7 },
			validate.ReasonConflict,
		},
		{
			"latitude", func(r *codecs.RawReading) {}, func(r *codecs.RawReading) { r.Latitude.V = 34.1 },
			validate.ReasonConflict,
		},
		{
			"longitude", func(r *codecs.RawReading) {}, func(r *codecs.RawReading) { r.Longitude.V = -118.1 },
			validate.ReasonConflict,
		},
		{
			"occupancy 0 and null", func(r *codecs.RawReading) { r.Occupancy = zero },
			func(r *codecs.RawReading) { r.Occupancy = null }, validate.ReasonConflict,
		},
		{
			"volume 0 and null", func(r *codecs.RawReading) { r.VolumeVPH.V = 0 },
			func(r *codecs.RawReading) { r.VolumeVPH = codecs.Null[int64]{} }, validate.ReasonConflict,
		},
		{
			"speed 0 and null", func(r *codecs.RawReading) { r.VolumeVPH.V, r.SpeedMPH = 0, zero },
			func(r *codecs.RawReading) { r.VolumeVPH.V, r.SpeedMPH = 0, null }, validate.ReasonConflict,
		},
		{
			"values exchanged", func(r *codecs.RawReading) { r.SpeedMPH.V, r.Occupancy.V = 20, 30 },
			func(r *codecs.RawReading) { r.SpeedMPH.V, r.Occupancy.V = 30, 20 }, validate.ReasonConflict,
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			o, st := DefaultOptions(), knownState()
			first, second := readingAt(noon), readingAt(noon)
			x.first(first)
			x.second(second)
			mustAccept(t, st, first, arrivedAt(noon), &o)
			wantReject(t, st, second, arrivedAt(noon), &o, x.want)
			mustAccept(t, st, readingAt(noon+1), arrivedAt(noon), &o)
			mustAccept(t, st, readingAt(noon-1), arrivedAt(noon), &o)
			wantReject(t, st, second, arrivedAt(noon), &o, x.want)
		})
	}
}

// A waived reason lets the reading pass, and only that one; the reasons that cannot be waived stand.
func TestWaive(t *testing.T) {
	o := DefaultOptions()
	fast := readingAt(noon)
	fast.SpeedMPH.V = 150
	st := knownState()
	wantReject(t, st, fast, &Arrival{ReceivedAt: noon, Waive: validate.ReasonVolumeRange}, &o,
		validate.ReasonSpeedRange)
	got := mustAccept(t, st, fast, &Arrival{ReceivedAt: noon, Waive: validate.ReasonSpeedRange}, &o)
	if got.SpeedMPH.V != 150 {
		t.Errorf("got %+v", got)
	}

	st = knownState()
	mustAccept(t, st, readingAt(noon), arrivedAt(noon), &o)
	other := readingAt(noon)
	other.SpeedMPH.V = 3
	wantReject(t, st, readingAt(noon), &Arrival{ReceivedAt: noon, Waive: validate.ReasonDuplicate}, &o,
		validate.ReasonDuplicate)
	wantReject(t, st, other, &Arrival{ReceivedAt: noon, Waive: validate.ReasonConflict}, &o,
		validate.ReasonConflict)
	mustAccept(t, st, readingAt(noon+2*60*minute), arrivedAt(noon+2*60*minute), &o)
	wantReject(t, st, readingAt(noon), &Arrival{ReceivedAt: noon, Waive: validate.ReasonLate}, &o,
		validate.ReasonLate)
}

// The ninth identical reading in order of acceptance is the first that is stuck. Another value, a volume of 0 or none
// ends the run; rejects do not.
func TestStuck(t *testing.T) {
	o, st := DefaultOptions(), knownState()
	ms, accepted := noon, 0
	next := func(change func(*codecs.RawReading)) bool {
		t.Helper()
		ms += second
		r := readingAt(ms)
		change(r)
		accepted++
		return mustAccept(t, st, r, arrivedAt(ms), &o).Flags&codecs.FlagStuck != 0
	}
	same := func(*codecs.RawReading) {}
	run := func(name string, change func(*codecs.RawReading), before int) {
		t.Helper()
		for i := before + 1; i <= 12; i++ {
			if got := next(change); got != (i >= 9) {
				t.Errorf("%s: reading %d of the run: stuck is %v", name, i, got)
			}
			wantReject(t, st, readingAt(ms-61*minute), arrivedAt(ms), &o, validate.ReasonTooOld)
			roundTrip(t, &st)
		}
	}
	run("full", same, 0)
	run("after another speed", func(r *codecs.RawReading) { r.SpeedMPH.V = 60 }, 0)
	run("without occupancy", func(r *codecs.RawReading) { r.Occupancy.Valid = false }, 0)
	run("with it again", same, 0)
	run("other volume", func(r *codecs.RawReading) { r.VolumeVPH.V = 1200 }, 0)
	run("other coordinates do not matter", func(r *codecs.RawReading) {
		r.VolumeVPH.V, r.Latitude.V = 1200, 34.2
	}, 11)
	run("0", func(r *codecs.RawReading) { r.SpeedMPH.V = 0 }, 0)
	if !next(func(r *codecs.RawReading) { r.SpeedMPH.V = math.Copysign(0, -1) }) {
		t.Error("-0 is not identical to 0")
	}
	for range 12 {
		if next(func(r *codecs.RawReading) { r.VolumeVPH.V = 0 }) {
			t.Error("stuck on an empty road")
		}
	}
	for range 12 {
		if next(func(r *codecs.RawReading) { r.VolumeVPH.Valid = false }) {
			t.Error("stuck without a volume")
		}
	}
	run("after none", same, 0)
}

// Decoded values alias buffers that are used again: what the state keeps is its own.
func TestStateKeepsNothingOfItsInputs(t *testing.T) {
	alias := func(b []byte) string { return unsafe.String(&b[0], len(b)) }
	freeway, direction := []byte("I-405"), []byte("N")
	s := busySensor()
	s.Freeway, s.Direction = codecs.Some(alias(freeway)), codecs.Some(alias(direction))
	st := &State{}
	st.SetSensor(s)
	freeway[0], direction[0] = 'X', 'X'
	if got, _ := st.Sensor("717446"); got != busySensor() {
		t.Errorf("got %+v", got)
	}
	data := st.AppendTo(nil)
	st, err := DecodeState(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got, _ := st.Sensor("717446"); got != busySensor() {
		t.Errorf("decoded: %+v", got)
	}
}

// The path of every accepted reading of a steady sensor allocates nothing.
func TestAcceptDoesNotAllocate(t *testing.T) {
	o, st, ms := DefaultOptions(), knownState(), noon
	r, a := readingAt(ms), arrivedAt(ms)
	hour := func() { // with every tenth reading a window is forgotten
		for range 120 {
			ms += 30 * second
			r.Timestamp.V, a.ReceivedAt = ms, ms
			r.SpeedMPH.V = float64(ms/1000%120) + 0.5
			if d := Decide(st, r, a, &o); !d.Accepted {
				t.Fatal(d.Detail)
			}
		}
	}
	for range 4 {
		hour()
	}
	if n := testing.AllocsPerRun(20, hour); n != 0 {
		t.Errorf("%v allocations an hour", n)
	}
}

func TestOptionsValidate(t *testing.T) {
	o := DefaultOptions()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	o.WindowRetention -= time.Millisecond
	o.Rules.SpeedMax = 0
	err := o.Validate()
	if err == nil || !strings.Contains(err.Error(), "validate.speedMax: 0 is not") ||
		!strings.Contains(err.Error(), "window.retention: 1h9m59.999s is not whole milliseconds, "+
			"at least maxAge + maxAhead + length, which is 1h10m0s") {
		t.Errorf("got %v", err)
	}
	o = DefaultOptions()
	o.WindowLength = 0
	if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), "window.length: 0s is not") {
		t.Errorf("got %v", err)
	}
}
