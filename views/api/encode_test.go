package api

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"gantry/codecs"

	"pgregory.net/rapid"
)

// Whatever text and number a window holds, it is encoded as valid JSON that reads back equal; what JSON cannot hold is
// null, and broken UTF-8 is replaced.
func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := codecs.WindowAggregate{
			SensorID: rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string {
				return string(b)
			})).Draw(t, "id"),
			AvgSpeed: codecs.Some(rapid.Float64().Draw(t, "speed")),
			Revision: rapid.Int32().Draw(t, "revision"),
		}
		w.Latitude = rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), -0.5, 1e-7, 1e21}).Draw(t, "lat")
		var got struct {
			SensorID string   `json:"sensor_id"`
			AvgSpeed *float64 `json:"avg_speed"`
			MaxSpeed *float64 `json:"max_speed"`
			Revision int32    `json:"revision"`
			Latitude *float64 `json:"latitude"`
		}
		text := appendWindow(nil, &w)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		var id string // as the standard library writes and reads it
		quoted, _ := json.Marshal(w.SensorID)
		if err := json.Unmarshal(quoted, &id); err != nil {
			t.Fatal(err)
		}
		finite := !math.IsNaN(w.Latitude) && !math.IsInf(w.Latitude, 0)
		if got.SensorID != id || got.Revision != w.Revision || got.MaxSpeed != nil || *got.AvgSpeed != w.AvgSpeed.V ||
			finite != (got.Latitude != nil) || finite && *got.Latitude != w.Latitude {
			t.Fatalf("%+v was encoded as %s", w, text)
		}
	})
}

// An event's data has no line break, whatever its strings hold: a break would end the event.
func TestEventsStayOnOneLine(t *testing.T) {
	s := Sensor{ID: "a\n\nevent: window\r\u2028"}
	text := string((&change{sensor: &s}).appendEvent(nil))
	if strings.Count(text, "\n") != 2 || strings.ContainsAny(text, "\r\u2028") {
		t.Errorf("event %q", text)
	}
}
