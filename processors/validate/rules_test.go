package validate

import (
	"math"
	"strings"
	"testing"

	"gantry/codecs"
)

const now = int64(1_700_000_000_000)

var place = codecs.Sensor{Latitude: 34.05, Longitude: -118.25}

// good is a reading that passes every rule.
func good() Case {
	return Case{
		Reading: codecs.RawReading{
			SensorID:  "s1",
			Timestamp: codecs.Some(now),
			SpeedMPH:  codecs.Some(61.5),
			VolumeVPH: codecs.Some[int64](1200),
			Occupancy: codecs.Some(8.0),
			Latitude:  codecs.Some(34.0),
			Longitude: codecs.Some(-118.0),
		},
		ReceivedAt: now + 500,
	}
}

// Each limit: the last value inside, the limit itself, the first value outside; and what is no number at all.
func TestRules(t *testing.T) {
	type change = func(*Case)
	var (
		null      codecs.Null[float64]
		nan       = math.NaN()
		inf       = math.Inf(1)
		up        = func(v float64) float64 { return math.Nextafter(v, inf) }
		down      = func(v float64) float64 { return math.Nextafter(v, -inf) }
		speed     = func(v float64) change { return func(c *Case) { c.Reading.SpeedMPH.V = v } }
		volume    = func(v int64) change { return func(c *Case) { c.Reading.VolumeVPH.V = v } }
		occupancy = func(v float64) change { return func(c *Case) { c.Reading.Occupancy.V = v } }
		latitude  = func(v float64) change { return func(c *Case) { c.Reading.Latitude.V = v } }
		longitude = func(v float64) change { return func(c *Case) { c.Reading.Longitude.V = v } }
		age       = func(ms int64) change { return func(c *Case) { c.ReceivedAt = now + ms } }
		waive     = func(r Reason, x change) change { return func(c *Case) { c.Waive = r; x(c) } }
	)
	for _, x := range []struct {
		name   string
		change change
		want   string // the whole detail; empty where the reading passes
	}{
		{"good", func(*Case) {}, ""},

		{"no sensor_id", func(c *Case) { c.Reading.SensorID = "" }, "missing_field: sensor_id is missing"},
		{"no timestamp", func(c *Case) { c.Reading.Timestamp.Valid = false }, "missing_field: timestamp is missing"},
		{"misrouted", func(c *Case) { c.Misrouted = "wrong key" }, "misrouted: wrong key"},
		{"misrouted, waived", waive(ReasonMisrouted, func(c *Case) { c.Misrouted = "k" }), "misrouted: k"},

		{
			"speed missing", func(c *Case) { c.Reading.SpeedMPH = null },
			"missing_field: speed_mph is missing and volume_vph is not 0",
		},
		{"speed missing, volume 0", func(c *Case) { c.Reading.SpeedMPH = null; c.Reading.VolumeVPH.V = 0 }, ""},
		{
			"speed and volume missing",
			func(c *Case) { c.Reading.SpeedMPH = null; c.Reading.VolumeVPH = codecs.Null[int64]{} },
			"missing_field: speed_mph is missing and volume_vph is not 0",
		},
		{
			"speed missing, waived", waive(ReasonMissingField, func(c *Case) { c.Reading.SpeedMPH = null }),
			"missing_field: speed_mph is missing and volume_vph is not 0",
		},
		{"volume missing", func(c *Case) { c.Reading.VolumeVPH = codecs.Null[int64]{} }, ""},
		{"occupancy missing", func(c *Case) { c.Reading.Occupancy = null }, ""},

		{"speed -0", speed(math.Copysign(0, -1)), ""},
		{"speed 0", speed(0), ""},
		{"speed below 0", speed(down(0)), "speed_range: speed_mph -5e-324 is not within 0..120"},
		{"speed below max", speed(down(120)), ""},
		{"speed max", speed(120), ""},
		{"speed above max", speed(up(120)), "speed_range: speed_mph 120.00000000000001 is not within 0..120"},
		{"speed NaN", speed(nan), "speed_range: speed_mph NaN is not within 0..120"},
		{"speed Inf", speed(inf), "speed_range: speed_mph +Inf is not within 0..120"},
		{"speed -Inf", speed(-inf), "speed_range: speed_mph -Inf is not within 0..120"},
		{"speed waived", waive(ReasonSpeedRange, speed(500)), ""},
		{"speed -1 waived", waive(ReasonSpeedRange, speed(-1)), ""},
		{"speed NaN waived", waive(ReasonSpeedRange, speed(nan)), "speed_range: speed_mph NaN is not within 0..120"},
		{"speed Inf waived", waive(ReasonSpeedRange, speed(inf)), "speed_range: speed_mph +Inf is not within 0..120"},

		{"volume 0", volume(0), ""},
		{"volume -1", volume(-1), "volume_range: volume_vph -1 is not within 0..20000"},
		{"volume below max", volume(19999), ""},
		{"volume max", volume(20000), ""},
		{"volume above max", volume(20001), "volume_range: volume_vph 20001 is not within 0..20000"},
		{
			"volume beyond int32", volume(math.MaxInt64),
			"volume_range: volume_vph 9223372036854775807 is not within 0..20000",
		},
		{"volume waived", waive(ReasonVolumeRange, volume(math.MaxInt32)), ""},
		{"volume -1 waived", waive(ReasonVolumeRange, volume(-1)), ""},
		{
			"volume beyond int32 waived", waive(ReasonVolumeRange, volume(math.MaxInt32+1)),
			"volume_range: volume_vph 2147483648 is not within 0..20000",
		},
		{
			"volume below int32 waived", waive(ReasonVolumeRange, volume(math.MinInt32-1)),
			"volume_range: volume_vph -2147483649 is not within 0..20000",
		},

		{"occupancy -0", occupancy(math.Copysign(0, -1)), ""},
		{"occupancy 0", occupancy(0), ""},
		{"occupancy below 0", occupancy(-0.5), "occupancy_range: occupancy_percent -0.5 is not within 0..100"},
		{"occupancy below max", occupancy(down(100)), ""},
		{"occupancy max", occupancy(100), ""},
		{
			"occupancy above max", occupancy(up(100)),
			"occupancy_range: occupancy_percent 100.00000000000001 is not within 0..100",
		},
		{"occupancy NaN", occupancy(nan), "occupancy_range: occupancy_percent NaN is not within 0..100"},
		{"occupancy Inf", occupancy(inf), "occupancy_range: occupancy_percent +Inf is not within 0..100"},
		{"occupancy -Inf", occupancy(-inf), "occupancy_range: occupancy_percent -Inf is not within 0..100"},
		{"occupancy waived", waive(ReasonOccupancyRange, occupancy(250)), ""},

		{"latitude min", latitude(33.7), ""},
		{"latitude above min", latitude(up(33.7)), ""},
		{"latitude below min", latitude(33.6), "out_of_bounds: latitude 33.6 is not within 33.7..34.5"},
		{
			"latitude just below min", latitude(down(33.7)),
			"out_of_bounds: latitude 33.699999999999996 is not within 33.7..34.5",
		},
		{"latitude max", latitude(34.5), ""},
		{"latitude below max", latitude(down(34.5)), ""},
		{
			"latitude above max", latitude(up(34.5)),
			"out_of_bounds: latitude 34.50000000000001 is not within 33.7..34.5",
		},
		{"latitude NaN", latitude(nan), "out_of_bounds: latitude NaN is not within 33.7..34.5"},
		{"latitude Inf", latitude(inf), "out_of_bounds: latitude +Inf is not within 33.7..34.5"},
		{"longitude min", longitude(-119), ""},
		{"longitude above min", longitude(up(-119)), ""},
		{"longitude below min", longitude(-120), "out_of_bounds: longitude -120 is not within -119..-117"},
		{
			"longitude just below min", longitude(down(-119)),
			"out_of_bounds: longitude -119.00000000000001 is not within -119..-117",
		},
		{"longitude max", longitude(-117), ""},
		{"longitude below max", longitude(down(-117)), ""},
		{"longitude above max", longitude(-116.5), "out_of_bounds: longitude -116.5 is not within -119..-117"},
		{
			"longitude just above max", longitude(up(-117)),
			"out_of_bounds: longitude -116.99999999999999 is not within -119..-117",
		},
		{"longitude NaN", longitude(nan), "out_of_bounds: longitude NaN is not within -119..-117"},
		{"longitude -Inf", longitude(-inf), "out_of_bounds: longitude -Inf is not within -119..-117"},
		{"both", func(c *Case) { latitude(0)(c); longitude(0)(c) }, "out_of_bounds: " +
			"latitude 0 is not within 33.7..34.5, longitude 0 is not within -119..-117"},
		{"both waived", waive(ReasonOutOfBounds, func(c *Case) { latitude(0)(c); longitude(0)(c) }), ""},
		{
			"NaN waived", waive(ReasonOutOfBounds, latitude(nan)),
			"out_of_bounds: latitude NaN is not within 33.7..34.5",
		},

		{"age below max", age(3_599_999), ""},
		{"age max", age(3_600_000), ""},
		{
			"age above max", age(3_600_001),
			"too_old: timestamp 2023-11-14T22:13:20Z is 1h0m0.001s before its arrival, more than 1h0m0s",
		},
		{"age waived", waive(ReasonTooOld, age(3_600_001)), ""},
		{"ahead below max", age(-299_999), ""},
		{"ahead max", age(-300_000), ""},
		{
			"ahead above max", age(-300_001),
			"in_future: timestamp 2023-11-14T22:13:20Z is 5m0.001s after its arrival, more than 5m0s",
		},
		{"ahead waived", waive(ReasonInFuture, age(-300_001)), ""},
		{
			"another reason waived", waive(ReasonTooOld, age(-300_001)),
			"in_future: timestamp 2023-11-14T22:13:20Z is 5m0.001s after its arrival, more than 5m0s",
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			o, c := DefaultOptions(), good()
			x.change(&c)
			if c.Misrouted == "" && c.Reading.SensorID != "" {
				c.Place(&place)
			}
			f := c.Check(&o)
			detail := string(c.AppendDetail(nil, f, &o))
			if detail != x.want {
				t.Errorf("got  %q\nwant %q", detail, x.want)
			}
			reason, _, _ := strings.Cut(x.want, ":")
			if reason == "" {
				reason = "none"
			}
			if got := f.Reason().String(); got != reason {
				t.Errorf("reason %s, want %s", got, reason)
			}
		})
	}
}

// A field that is asked for must be there, also a volume where there is a speed. Without speed_mph in the list no
// speed is needed.
func TestRequired(t *testing.T) {
	for _, x := range []struct{ required, want string }{
		{"speed_mph", "missing_field: speed_mph is missing and volume_vph is not 0"},
		{"volume_vph", "missing_field: volume_vph is missing"},
		{"occupancy_percent", "missing_field: occupancy_percent is missing"},
		{"speed_mph,volume_vph,occupancy_percent", "missing_field: speed_mph is missing and volume_vph is not 0, " +
			"volume_vph is missing, occupancy_percent is missing"},
		{"", ""},
	} {
		o, c := DefaultOptions(), good()
		o.Required = strings.Split(x.required, ",")
		c.Reading = codecs.RawReading{SensorID: "s1", Timestamp: codecs.Some(now)}
		c.Place(&place)
		if got := string(c.AppendDetail(nil, c.Check(&o), &o)); got != x.want {
			t.Errorf("required %q: got %q, want %q", x.required, got, x.want)
		}
	}
}

// Coordinates are filled as a pair: where one is missing, the other is not kept.
func TestPlaceFillsCoordinates(t *testing.T) {
	var null codecs.Null[float64]
	lat, lon := codecs.Some(34.0), codecs.Some(-118.0)
	for _, x := range []struct {
		name             string
		lat, lon         codecs.Null[float64]
		sensor           *codecs.Sensor
		known            bool // knownSensorsOnly
		wantLat, wantLon codecs.Null[float64]
		want             string
	}{
		{"complete", lat, lon, &place, true, lat, lon, ""},
		{"absent", null, null, &place, true, codecs.Some(34.05), codecs.Some(-118.25), ""},
		{"latitude alone", lat, null, &place, true, codecs.Some(34.05), codecs.Some(-118.25), ""},
		{"longitude alone", null, lon, &place, true, codecs.Some(34.05), codecs.Some(-118.25), ""},
		{
			"absent, unknown", null, null, nil, true, null, null,
			`unknown_sensor: sensor "s1" has no metadata; missing_field: coordinates is missing`,
		},
		{"complete, unknown", lat, lon, nil, true, lat, lon, `unknown_sensor: sensor "s1" has no metadata`},
		{"complete, unknown, allowed", lat, lon, nil, false, lat, lon, ""},
		{"incomplete, unknown, allowed", lat, null, nil, false, lat, null, "missing_field: coordinates is missing"},
		{"absent, unknown, allowed", null, null, nil, false, null, null, "missing_field: coordinates is missing"},
	} {
		t.Run(x.name, func(t *testing.T) {
			o, c := DefaultOptions(), good()
			o.KnownSensorsOnly = x.known
			c.Reading.Latitude, c.Reading.Longitude = x.lat, x.lon
			c.Place(x.sensor)
			if got := string(c.AppendDetail(nil, c.Check(&o), &o)); got != x.want {
				t.Errorf("got %q, want %q", got, x.want)
			}
			if c.Reading.Latitude != x.wantLat || c.Reading.Longitude != x.wantLon {
				t.Errorf("coordinates %v %v", c.Reading.Latitude, c.Reading.Longitude)
			}
		})
	}
}

// Waiving unknown_sensor lets the reading pass only where it says itself where it was taken.
func TestWaiveUnknownSensor(t *testing.T) {
	o, c := DefaultOptions(), good()
	c.Waive = ReasonUnknownSensor
	c.Place(nil)
	if f := c.Check(&o); f != 0 {
		t.Errorf("with coordinates: %v", f.Reason())
	}
	c.Reading.Latitude.Valid = false
	if f := c.Check(&o); f.Reason() != ReasonMissingField {
		t.Errorf("without: %v", f.Reason())
	}
}

// What is known of a misrouted reading's sensor stands on another partition: it is not called unknown, and its
// coordinates are not missed.
func TestUnplacedReadingIsNotUnknown(t *testing.T) {
	o, c := DefaultOptions(), good()
	c.Misrouted = "key is null"
	c.Reading.Latitude.Valid = false
	c.Reading.SpeedMPH.V = 130
	want := "misrouted: key is null; speed_range: speed_mph 130 is not within 0..120"
	if got := string(c.AppendDetail(nil, c.Check(&o), &o)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Times are what their writers sent: the age must not wrap around.
func TestAgeSaturates(t *testing.T) {
	for _, x := range []struct {
		ts, received int64
		want         Reason
	}{
		{math.MinInt64, math.MaxInt64, ReasonTooOld},
		{math.MinInt64, 0, ReasonTooOld},
		{math.MinInt64, math.MinInt64, ReasonNone},
		{-2, math.MaxInt64 - 1, ReasonTooOld},
		{math.MaxInt64, math.MinInt64, ReasonInFuture},
		{math.MaxInt64, -2, ReasonInFuture},
		{math.MaxInt64, math.MaxInt64, ReasonNone},
		{2, math.MinInt64 + 1, ReasonInFuture},
	} {
		o, c := DefaultOptions(), good()
		c.Place(&place)
		c.Reading.Timestamp.V, c.ReceivedAt = x.ts, x.received
		f := c.Check(&o)
		if f.Reason() != x.want {
			t.Errorf("%d received at %d: %v, want %v", x.ts, x.received, f.Reason(), x.want)
		}
		c.AppendDetail(nil, f, &o) // must not panic
	}
}

// A detail is bounded however long and strange the strings of a message are.
func TestDetailIsBounded(t *testing.T) {
	o, c := DefaultOptions(), good()
	o.Required = fields
	c.Reading = codecs.RawReading{SensorID: strings.Repeat("\U0010ffff\xff", 1e5)}
	c.Place(nil)
	c.Misrouted = "a" + strings.Repeat("é", 1e5) // its 512th byte is within a character
	got := string(c.AppendDetail(nil, c.Check(&o), &o))
	if len(got) > 2048 {
		t.Errorf("%d bytes", len(got))
	}
	want := "misrouted: a" + strings.Repeat("é", (misroutedBytesMax-1)/2) + "…; unknown_sensor"
	if !strings.Contains(got, want) {
		t.Errorf("got %q", got)
	}
}
