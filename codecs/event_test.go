package codecs

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"
)

func drawText(t *rapid.T) Null[string] { return drawNull(t, rapid.String()) }

func drawEvent(t *rapid.T) (e Event) {
	kinds := []Kind{KindReading, KindWindow, KindSilence}
	double, count := rapid.Float64(), rapid.Int32()
	switch e.Kind = rapid.SampledFrom(kinds).Draw(t, "kind"); e.Kind {
	case KindReading:
		e.Reading = Reading{
			SensorID: rapid.String().Draw(t, "id"), Timestamp: rapid.Int64().Draw(t, "timestamp"),
			SpeedMPH: drawNull(t, double), VolumeVPH: drawNull(t, count), Occupancy: drawNull(t, double),
			Latitude: double.Draw(t, "latitude"), Longitude: double.Draw(t, "longitude"),
			ReceivedAt: rapid.Int64().Draw(t, "received"), Sequence: rapid.Int64().Draw(t, "sequence"),
			Flags: Flags(rapid.Uint32().Draw(t, "flags")), Freeway: drawText(t), Direction: drawText(t),
			Lanes: drawNull(t, count), IntervalS: drawNull(t, count), DensityVPMPL: drawNull(t, double),
			LevelOfService: drawText(t),
		}
	case KindWindow:
		e.Window = WindowAggregate{
			SensorID: rapid.String().Draw(t, "id"), WindowStart: rapid.Int64().Draw(t, "start"),
			WindowEnd: rapid.Int64().Draw(t, "end"), AvgSpeed: drawNull(t, double), AvgVolume: drawNull(t, double),
			AvgOccupancy: drawNull(t, double), SpeedVariance: drawNull(t, double),
			MessageCount: count.Draw(t, "messages"), MinSpeed: drawNull(t, double), MaxSpeed: drawNull(t, double),
			FlowWeightedSpeed: drawNull(t, double), HarmonicSpeed: drawNull(t, double),
			ExpectedCount: count.Draw(t, "expected"), Completeness: double.Draw(t, "completeness"),
			Revision: count.Draw(t, "revision"), Latitude: double.Draw(t, "latitude"),
			Longitude: double.Draw(t, "longitude"), CloseReason: rapid.SampledFrom(
				[]CloseReason{CloseNone, CloseWatermark, CloseSilence, CloseLate}).Draw(t, "reason"),
		}
		for bit := range e.Window.FlagCounts {
			if rapid.Bool().Draw(t, "counted") {
				e.Window.FlagCounts[bit] = count.Draw(t, "count")
			}
		}
	case KindSilence:
		e.Silence = SensorSilence{
			SensorID: rapid.String().Draw(t, "id"), Since: rapid.Int64().Draw(t, "since"),
			Watermark: rapid.Int64().Draw(t, "watermark"), AsOf: rapid.Int64().Draw(t, "as of"),
		}
	}
	return e
}

func appendEvent(b []byte, e *Event) []byte {
	switch e.Kind {
	case KindReading:
		return AppendReading(b, 7, &e.Reading)
	case KindWindow:
		return AppendWindow(b, 7, &e.Window)
	default:
		return AppendSilence(b, 7, &e.Silence)
	}
}

// same compares bit by bit, so that NaN equals itself.
func same(a, b any) bool { return fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b) }

// Every event comes back as it was, by the general decoder and by the one of its kind; the others refuse it, and so do
// all where a byte is missing or left over.
func TestEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawEvent(t)
		data := appendEvent(nil, &want)
		if id, _, err := SplitWire(data); id != 7 || err != nil {
			t.Fatalf("schema %d, %v", id, err)
		}
		var got Event
		if err := DecodeEvent(data, &got); err != nil || !same(got, want) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
		}
		if got.SensorID() != want.SensorID() {
			t.Errorf("the key is %q", got.SensorID())
		}
		byKind := Event{Kind: want.Kind}
		for kind, err := range map[Kind]error{
			KindReading: DecodeReading(data, &byKind.Reading),
			KindWindow:  DecodeWindow(data, &byKind.Window),
			KindSilence: DecodeSilence(data, &byKind.Silence),
		} {
			if (err == nil) != (kind == want.Kind) {
				t.Errorf("a %s read as a %s: %v", want.Kind, kind, err)
			}
		}
		cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		for _, bad := range [][]byte{data[:cut], append(data[:len(data):len(data)], 0)} {
			if DecodeEvent(bad, &got) == nil {
				t.Errorf("%d of %d bytes are read as an event", len(bad), len(data))
			}
		}
	})
}

// The hand-written codec and EventSchema are one format: hamba/avro reads what we write by the names of the schema, and
// we read what it writes.
func TestEventAgreesWithHamba(t *testing.T) {
	schema, err := avro.ParseWithCache(EventSchema, "", &avro.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	api := avro.Config{}.Freeze()
	rapid.Check(t, func(t *rapid.T) {
		want := drawEvent(t)
		var generic any
		if err := api.Unmarshal(schema, appendEvent(nil, &want)[wireHeaderLen:], &generic); err != nil {
			t.Fatal(err)
		}
		body := generic.(map[string]any)["body"].(map[string]any)
		var record map[string]any
		var value reflect.Value
		switch want.Kind {
		case KindReading:
			record, value = body["gantry.Reading"].(map[string]any), reflect.ValueOf(want.Reading)
		case KindWindow:
			record, value = body["gantry.WindowAggregate"].(map[string]any), reflect.ValueOf(want.Window)
		case KindSilence:
			record, value = body["gantry.SensorSilence"].(map[string]any), reflect.ValueOf(want.Silence)
		}
		if len(record) != value.NumField() {
			t.Fatalf("hamba reads %d fields of %d", len(record), value.NumField())
		}
		// Fields are compared by name where a name of Go says the same as the schema's.
		spot := map[string]any{}
		switch want.Kind {
		case KindReading:
			spot = map[string]any{
				"sensor_id": want.Reading.SensorID, "sequence": want.Reading.Sequence,
				"speed_mph": orNil(want.Reading.SpeedMPH), "occupancy_percent": orNil(want.Reading.Occupancy),
				"latitude": want.Reading.Latitude, "longitude": want.Reading.Longitude,
				"freeway": orNil(want.Reading.Freeway), "direction": orNil(want.Reading.Direction),
				"density_vpmpl": orNil(want.Reading.DensityVPMPL), "level_of_service": orNil(want.Reading.LevelOfService),
			}
		case KindWindow:
			spot = map[string]any{
				"sensor_id": want.Window.SensorID, "avg_speed": orNil(want.Window.AvgSpeed),
				"avg_volume": orNil(want.Window.AvgVolume), "avg_occupancy": orNil(want.Window.AvgOccupancy),
				"speed_variance": orNil(want.Window.SpeedVariance), "message_count": int(want.Window.MessageCount),
				"min_speed": orNil(want.Window.MinSpeed), "max_speed": orNil(want.Window.MaxSpeed),
				"flow_weighted_speed": orNil(want.Window.FlowWeightedSpeed),
				"harmonic_speed":      orNil(want.Window.HarmonicSpeed), "expected_count": int(want.Window.ExpectedCount),
				"completeness": want.Window.Completeness, "revision": int(want.Window.Revision),
				"close_reason": string(want.Window.CloseReason), "latitude": want.Window.Latitude,
				"longitude": want.Window.Longitude,
			}
			counts := record["flag_counts"].(map[string]any)
			for name, n := range want.Window.FlagCounts.Map() {
				if counts[name] != int(n) {
					t.Errorf("%s is %v, want %d", name, counts[name], n)
				}
			}
			if len(counts) != len(want.Window.FlagCounts.Map()) {
				t.Errorf("counts %v, want %v", counts, want.Window.FlagCounts.Map())
			}
		case KindSilence:
			spot = map[string]any{"sensor_id": want.Silence.SensorID}
		}
		for name, v := range spot {
			if !same(record[name], v) {
				t.Errorf("%s is %v, want %v", name, record[name], v)
			}
		}

		theirs, err := api.Marshal(schema, generic)
		if err != nil {
			t.Fatal(err)
		}
		var got Event
		if err := DecodeEvent(append(AppendWireHeader(nil, 7), theirs...), &got); err != nil || !same(got, want) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
		}
	})
}

// orNil is hamba's generic form of a nullable value.
func orNil[T any](n Null[T]) any {
	if !n.Valid {
		return nil
	}
	return n.V
}

func TestDecodeEventRefuses(t *testing.T) {
	window := WindowAggregate{CloseReason: CloseWatermark, FlagCounts: FlagCounts{0: 1}}
	good := string(AppendWindow(nil, 7, &window))
	header := string(AppendWireHeader(nil, 7))
	silence := func(text ...byte) string { return header + "\x04" + string(text) }
	for name, tt := range map[string]struct{ data, err string }{
		"too short":       {"\x00\x00", "too few"},
		"not Avro":        {"{\"sensor_id\":1}", "first byte"},
		"no branch":       {header + "\x06", "branch 3"},
		"negative branch": {header + "\x01", "branch -1"},
		"close reason":    {strings.Replace(good, "watermark", "watermelo", 1), "close_reason"},
		"flag":            {strings.Replace(good, "count_high", "count_hugh", 1), "unknown flag"},
		"not UTF-8":       {silence(2, 0xff, 0, 0, 0), "UTF-8"},
		"negative length": {silence(1), "does not fit"},
		"huge length":     {silence(append(long(math.MaxInt64), 0)...), "does not fit"},
		"65 bits":         {silence(0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2), "64 bits"},
	} {
		var e Event
		if err := DecodeEvent([]byte(tt.data), &e); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.err)
		}
	}
}

// A map may come in blocks with their sizes, as other writers send it; a count without a positive counterpart is none.
func TestFlagCountBlocks(t *testing.T) {
	item := func(name string, n int64) []byte { return appendLong(appendString(nil, name), n) }
	sized := item("stuck", 3)
	blocks := append(long(-1), appendLong(nil, int64(len(sized)))...)
	blocks = append(append(blocks, sized...), append(append(long(1), item("speed_low", 2)...), 0)...)
	r := wireReader{b: blocks}
	if got := r.flagCounts(); r.end() != nil || got != (FlagCounts{3: 2, 10: 3}) {
		t.Errorf("got %v, %v", got, r.err)
	}
	r = wireReader{b: append(append(long(math.MinInt64), 0), 0)}
	if r.flagCounts(); r.err == nil {
		t.Error("the smallest count is taken")
	}
}

// FuzzDecodeEvent: whatever the bytes, DecodeEvent does not panic; what it accepts is encoded and decoded again to the
// same event, and is refused with one more byte behind it.
func FuzzDecodeEvent(f *testing.F) {
	for _, e := range []Event{
		{Kind: KindReading, Reading: Reading{SensorID: "s", SpeedMPH: Some(1.5), Freeway: Some("I-10")}},
		{Kind: KindWindow, Window: WindowAggregate{SensorID: "s", FlagCounts: FlagCounts{2: 7}, CloseReason: CloseLate}},
		{Kind: KindSilence, Silence: SensorSilence{SensorID: "s", Since: -1, AsOf: 1}},
	} {
		f.Add(appendEvent(nil, &e))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var e, again Event
		if DecodeEvent(data, &e) != nil {
			return
		}
		if err := DecodeEvent(appendEvent(nil, &e), &again); err != nil || !same(e, again) {
			t.Errorf("got %+v, %v\nwant %+v", again, err, e)
		}
		if DecodeEvent(append(data[:len(data):len(data)], 0), &again) == nil {
			t.Error("a byte is left over and nobody minds")
		}
	})
}
