package dedup

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gantry/codecs"
	"gantry/processors/validate"
)

// model is the obvious way to decide: it keeps every accepted reading for ever, and looks through them.
type model struct {
	sensor    *codecs.Sensor
	byTime    map[int64]codecs.Reading
	inOrder   []codecs.Reading
	watermark int64
}

// decide returns the verdict, and the reading if it is accepted.
func (m *model) decide(r codecs.RawReading, a *Arrival, o *Options) (validate.Reason, codecs.Reading) {
	age := time.Duration(a.ReceivedAt-r.Timestamp.V) * time.Millisecond
	if r.SensorID == "" || !r.Timestamp.Valid {
		return validate.ReasonMissingField, codecs.Reading{}
	}
	if m.sensor == nil && o.Rules.KnownSensorsOnly {
		return validate.ReasonUnknownSensor, codecs.Reading{}
	}
	if !r.Latitude.Valid || !r.Longitude.Valid {
		if m.sensor == nil {
			return validate.ReasonMissingField, codecs.Reading{}
		}
		r.Latitude, r.Longitude = codecs.Some(m.sensor.Latitude), codecs.Some(m.sensor.Longitude)
	}
	switch {
	case !r.SpeedMPH.Valid && r.VolumeVPH != codecs.Some[int64](0):
		return validate.ReasonMissingField, codecs.Reading{}
	case r.SpeedMPH.V > o.Rules.SpeedMax:
		return validate.ReasonSpeedRange, codecs.Reading{}
	case age > o.Rules.MaxAge:
		return validate.ReasonTooOld, codecs.Reading{}
	case -age > o.Rules.MaxAhead:
		return validate.ReasonInFuture, codecs.Reading{}
	}
	if len(m.inOrder) > 0 {
		length := float64(o.WindowLength.Milliseconds())
		start := int64(math.Floor(float64(r.Timestamp.V)/length) * length)
		if m.watermark-start > o.WindowRetention.Milliseconds() {
			return validate.ReasonLate, codecs.Reading{}
		}
	}
	x := codecs.Reading{
		SensorID: r.SensorID, Timestamp: r.Timestamp.V, SpeedMPH: r.SpeedMPH, Occupancy: r.Occupancy,
		VolumeVPH: codecs.Null[int32]{V: int32(r.VolumeVPH.V), Valid: r.VolumeVPH.Valid},
		Latitude:  r.Latitude.V, Longitude: r.Longitude.V, ReceivedAt: a.ReceivedAt,
		Sequence: int64(len(m.inOrder) + 1),
	}
	if first, ok := m.byTime[x.Timestamp]; ok {
		if sameSample(&first, &x) && first.Latitude == x.Latitude && first.Longitude == x.Longitude {
			return validate.ReasonDuplicate, codecs.Reading{}
		}
		return validate.ReasonConflict, codecs.Reading{}
	}
	if m.sensor != nil {
		x.Freeway, x.Direction = m.sensor.Freeway, m.sensor.Direction
		x.Lanes, x.IntervalS = m.sensor.Lanes, m.sensor.IntervalS
	}
	if x.DensityVPMPL = validate.Density(x.SpeedMPH, x.VolumeVPH, x.Lanes); x.DensityVPMPL.Valid {
		x.LevelOfService = codecs.Some(validate.LevelOfService(x.DensityVPMPL.V))
	}
	x.Flags = validate.FlagsOf(x.SpeedMPH, x.VolumeVPH, x.Occupancy, x.Lanes)
	if len(m.inOrder) == 0 || x.Timestamp > m.watermark {
		m.watermark = x.Timestamp
	}
	m.inOrder = append(m.inOrder, x)
	m.byTime[x.Timestamp] = x
	if last := m.inOrder[max(0, len(m.inOrder)-9):]; len(last) == 9 && x.VolumeVPH.V > 0 &&
		!slices.ContainsFunc(last, func(y codecs.Reading) bool { return !sameSample(&x, &y) }) {
		x.Flags |= codecs.FlagStuck
	}
	return validate.ReasonNone, x
}

func sameSample(a, b *codecs.Reading) bool {
	return a.SpeedMPH == b.SpeedMPH && a.VolumeVPH == b.VolumeVPH && a.Occupancy == b.Occupancy
}

// Few values, so that duplicates, conflicts and stuck runs are common.
var (
	speeds      = []codecs.Null[float64]{{}, codecs.Some(0.0), codecs.Some(math.Copysign(0, -1)), codecs.Some(61.5)}
	volumes     = []codecs.Null[int64]{{}, codecs.Some[int64](0), codecs.Some[int64](1200)}
	occupancies = []codecs.Null[float64]{{}, codecs.Some(0.0), codecs.Some(8.0)}
	latitudes   = []codecs.Null[float64]{{}, codecs.Some(34.0), codecs.Some(34.25)}
)

// The readings that the model is fed with have different fingerprints wherever they differ. If this fails, choose other
// values: the property does not hold for one conflict in a million.
func TestModelValuesDoNotCollide(t *testing.T) {
	seen := make(map[uint32]codecs.RawReading)
	for _, lat := range append(latitudes[1:], codecs.Some(34.05), codecs.Some(34.06)) {
		for _, speed := range append(speeds, codecs.Some(130.0)) {
			for _, volume := range volumes {
				for _, occupancy := range occupancies {
					for _, lon := range []float64{-118, -118.25} {
						r := codecs.RawReading{
							SpeedMPH: speed, VolumeVPH: volume, Occupancy: occupancy,
							Latitude: lat, Longitude: codecs.Some(lon),
						}
						print := fingerprint(&r)
						if first, ok := seen[print]; ok && first != r {
							t.Errorf("%+v and %+v", first, r)
						}
						seen[print] = r
					}
				}
			}
		}
	}
}

// smallOptions have windows of 10 ms, of which some 7 are remembered: a few hundred readings see everything.
func smallOptions() *Options {
	o := DefaultOptions()
	o.WindowLength, o.WindowRetention = 10*time.Millisecond, 65*time.Millisecond
	o.Rules.MaxAge, o.Rules.MaxAhead = 40*time.Millisecond, 15*time.Millisecond
	return &o
}

// For any log: each decision is that of the model, and a state that was encoded and decoded after each step decides
// alike and stays alike, byte for byte. So a replay from any stored state repeats what was decided the first time.
func TestDecideEqualsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			o      = smallOptions()
			m      = &model{byTime: make(map[int64]codecs.Reading)}
			st     = &State{}
			stored = &State{}
			clock  = rapid.SampledFrom([]int64{noon, 0, -noon}).Draw(t, "clock")
			past   []codecs.RawReading
		)
		o.Rules.KnownSensorsOnly = rapid.Bool().Draw(t, "knownSensorsOnly")
		set := func(s codecs.Sensor) {
			m.sensor = &s
			st.SetSensor(s)
			stored.SetSensor(s)
		}
		set(busySensor())
		for range rapid.IntRange(150, 400).Draw(t, "messages") {
			switch rapid.IntRange(0, 60).Draw(t, "kind") {
			case 0:
				m.sensor = nil
				st.RemoveSensor()
				stored.RemoveSensor()
			case 1:
				s := busySensor()
				s.Latitude = 34.06
				s.Lanes = codecs.Null[int32]{}
				if rapid.Bool().Draw(t, "no freeway") {
					s.Freeway = codecs.Null[string]{}
				}
				set(s)
			case 2, 3:
				set(busySensor())
			case 4:
				clock -= rapid.Int64Range(0, 60).Draw(t, "clock back") // arrival times can go back
			default:
				clock += rapid.Int64Range(0, 4).Draw(t, "clock ahead")
				r := codecs.RawReading{
					SensorID:  "717446",
					Timestamp: codecs.Some(clock - rapid.Int64Range(-17, 45).Draw(t, "age")),
					SpeedMPH:  rapid.SampledFrom(speeds).Draw(t, "speed"),
					VolumeVPH: rapid.SampledFrom(volumes).Draw(t, "volume"),
					Occupancy: rapid.SampledFrom(occupancies).Draw(t, "occupancy"),
					Latitude:  rapid.SampledFrom(latitudes).Draw(t, "latitude"),
					Longitude: codecs.Some(-118.0),
				}
				switch how := rapid.IntRange(0, 9).Draw(t, "how"); {
				case how == 0 && len(past) > 0: // a copy
					r = past[rapid.IntRange(0, len(past)-1).Draw(t, "copy")]
				case how == 1:
					r.Timestamp.Valid = false
				case how == 2:
					r.SpeedMPH = codecs.Some(130.0)
				case how > 5 && len(past) > 0: // the same values at another time
					ms := r.Timestamp
					r = past[len(past)-1]
					r.Timestamp = ms
				}
				past = append(past, r)
				a := &Arrival{ReceivedAt: clock}
				reason, reading := m.decide(r, a, o)
				got, again := Decide(st, &r, a, o), Decide(stored, &r, a, o)
				if got.Reason != reason || got.Reading != reading || got.Accepted != (reason == validate.ReasonNone) {
					t.Fatalf("%+v at %d\ngot  %v %+v %s\nwant %v %+v", r, clock, got.Reason, got.Reading, got.Detail,
						reason, reading)
				}
				if got != again {
					t.Fatalf("%+v at %d\ndecided %+v\nfrom the stored state %+v", r, clock, got, again)
				}
			}
			if st.Sequence() != int64(len(m.inOrder)) {
				t.Fatalf("sequence %d, %d accepted", st.Sequence(), len(m.inOrder))
			}
			roundTrip(t, &stored)
			if !slices.Equal(st.AppendTo(nil), stored.AppendTo(nil)) {
				t.Fatalf("state\n%x\nstored\n%x", st.AppendTo(nil), stored.AppendTo(nil))
			}
		}
	})
}

// A replay: from the state after any prefix of a log, the rest of the log leads to the same decisions and the same
// bytes, whatever was applied to another copy in between.
func TestReplayFromAnyPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, ages := smallOptions(), rapid.SliceOfN(rapid.Int64Range(-15, 40), 50, 200).Draw(t, "ages")
		cut := rapid.IntRange(0, len(ages)-1).Draw(t, "cut")
		apply := func(st *State, i int) Decision {
			clock := noon + int64(i)*2
			return Decide(st, readingAt(clock-ages[i]), arrivedAt(clock), o)
		}
		st := knownState()
		for i := range cut {
			apply(st, i)
		}
		prefix := st.AppendTo(nil)
		var first []Decision
		for i := cut; i < len(ages); i++ {
			first = append(first, apply(st, i))
		}
		replayed, err := DecodeState(prefix)
		if err != nil {
			t.Fatal(err)
		}
		for i := cut; i < len(ages); i++ {
			if d := apply(replayed, i); d != first[i-cut] {
				t.Fatalf("message %d: %+v, the first time %+v", i, d, first[i-cut])
			}
		}
		if !slices.Equal(st.AppendTo(nil), replayed.AppendTo(nil)) {
			t.Fatal("the states differ")
		}
	})
}
