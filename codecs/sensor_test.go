package codecs

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSensor(t *testing.T) {
	minimal := Sensor{SensorID: "s", Latitude: 34, Longitude: -118}
	full := minimal
	full.Freeway, full.Direction, full.Lanes = Some("I-10"), Some("E"), Some(int32(4))
	full.LengthMi, full.IntervalS = Some(0.5), Some(int32(30))
	with := func(more string) string { return `{"sensor_id":"s","latitude":34,"longitude":-118` + more + `}` }
	for _, tt := range []struct {
		text string
		want Sensor
		err  string
	}{
		{with(``), minimal, ""},
		{with(`,"freeway":null,"lanes":null,"length_mi":null`), minimal, ""},
		{with(`,"freeway":"I-10","direction":"E","lanes":4,"length_mi":0.5,"interval_s":30.0`), full, ""},
		{with(`,"owner":{"name":"Caltrans"}`), minimal, ""},
		{`{"sensor_id":"s","latitude":90,"longitude":-180}`, Sensor{SensorID: "s", Latitude: 90, Longitude: -180}, ""},
		{`{"latitude":34,"longitude":-118}`, minimal, "sensor_id is missing"},
		{`{"sensor_id":"","latitude":34,"longitude":-118}`, minimal, "sensor_id is missing"},
		{`{"sensor_id":"t","latitude":34,"longitude":-118}`, minimal, "differs from the key"},
		{`{"sensor_id":5,"latitude":34,"longitude":-118}`, minimal, "sensor_id is a number"},
		{`{"sensor_id":"s","longitude":-118}`, minimal, "latitude is missing"},
		{`{"sensor_id":"s","latitude":34}`, minimal, "longitude is missing"},
		{`{"sensor_id":"s","latitude":90.0001,"longitude":-118}`, minimal, "latitude is outside"},
		{`{"sensor_id":"s","latitude":34,"longitude":1e999}`, minimal, "longitude is outside"},
		{with(`,"freeway":10`), minimal, "freeway is a number"},
		{with(`,"freeway":"` + strings.Repeat("x", 257) + `"`), minimal, "freeway has more than 256"},
		{with(`,"direction":"` + strings.Repeat("x", 257) + `"`), minimal, "direction has more than 256"},
		{with(`,"lanes":0`), minimal, "lanes is outside"},
		{with(`,"lanes":2147483648`), minimal, "lanes is outside"},
		{with(`,"lanes":2.5`), minimal, "not an integer"},
		{with(`,"length_mi":0`), minimal, "length_mi is not"},
		{with(`,"length_mi":1e999`), minimal, "length_mi is not"},
		{with(`,"interval_s":0`), minimal, "interval_s is outside"},
		{with(`,"latitude":34`), minimal, "twice"},
		{with(``) + "x", minimal, "left over"},
		{``, minimal, "JSON ends"},
	} {
		got, err := ParseSensor([]byte(tt.text), "s")
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%.90s: %v", tt.text, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%.90s: got error %v, want one with %q", tt.text, err, tt.err)
		case tt.err == "" && got != tt.want:
			t.Errorf("%.90s: got %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

// Metadata is kept for long, so it must not hold on to the message.
func TestParseSensorOwnsItsStrings(t *testing.T) {
	text := []byte(`{"sensor_id":"s","latitude":1,"longitude":2,"freeway":"f","direction":"d"}`)
	got, err := ParseSensor(text, "s")
	if err != nil {
		t.Fatal(err)
	}
	clear(text)
	if got.SensorID != "s" || got.Freeway.V != "f" || got.Direction.V != "d" {
		t.Errorf("got %+v", got)
	}
}

// Metadata that may be sent comes back as it was.
func TestSensorRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Sensor{
			SensorID:  rapid.StringN(1, -1, SensorIDBytesMax).Draw(t, "id"),
			Latitude:  rapid.Float64Range(-90, 90).Draw(t, "latitude"),
			Longitude: rapid.Float64Range(-180, 180).Draw(t, "longitude"),
			Freeway:   drawNull(t, rapid.StringN(-1, -1, sensorTextBytesMax)),
			Direction: drawNull(t, rapid.StringN(-1, -1, sensorTextBytesMax)),
			Lanes:     drawNull(t, rapid.Int32Range(1, math.MaxInt32)),
			LengthMi:  drawNull(t, rapid.Float64Range(math.SmallestNonzeroFloat64, math.MaxFloat64)),
			IntervalS: drawNull(t, rapid.Int32Range(1, math.MaxInt32)),
		}
		text := AppendSensorJSON(nil, &want)
		got, err := ParseSensor(text, want.SensorID)
		if err != nil || got != want {
			t.Fatalf("%s:\n got %+v, %v\nwant %+v", text, got, err, want)
		}
	})
}
