package codecs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// sourceFunc is a SchemaSource.
type sourceFunc func(id int32) (string, error)

func (f sourceFunc) Schema(_ context.Context, id int32) (string, error) { return f(id) }

var ourSchema = sourceFunc(func(int32) (string, error) { return RawSchema, nil })

// newRawDecoder returns a decoder that knows RawSchema as 1.
func newRawDecoder(t testing.TB) *RawDecoder {
	d := new(RawDecoder)
	if err := d.Learn(t.Context(), 1, ourSchema); err != nil {
		t.Fatal(err)
	}
	return d
}

func drawRaw(t *rapid.T) RawReading {
	return RawReading{
		SensorID:  rapid.StringN(-1, -1, SensorIDBytesMax).Draw(t, "id"),
		Timestamp: Some(rapid.Int64().Draw(t, "time")),
		SpeedMPH:  drawNull(t, rapid.Float64()),
		VolumeVPH: drawNull(t, rapid.Int64Range(-1<<31, 1<<31-1)),
		Occupancy: drawNull(t, rapid.Float64()),
		Latitude:  drawNull(t, rapid.Float64()),
		Longitude: drawNull(t, rapid.Float64()),
	}
}

func drawNull[T any](t *rapid.T, g *rapid.Generator[T]) (n Null[T]) {
	if rapid.Bool().Draw(t, "present") {
		n = Some(g.Draw(t, "value"))
	}
	return n
}

// Every reading that Avro can hold comes back as it was; coordinates come back as a pair or not at all.
func TestRawRoundTrip(t *testing.T) {
	d := newRawDecoder(t)
	rapid.Check(t, func(t *rapid.T) {
		want := drawRaw(t)
		var got RawReading
		if err := d.Decode(AppendRaw(nil, 1, &want), &got); err != nil {
			t.Fatal(err)
		}
		if !want.Latitude.Valid || !want.Longitude.Valid {
			want.Latitude, want.Longitude = Null[float64]{}, Null[float64]{}
		}
		if !sameRaw(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// A volume that an int cannot hold stays out of every range.
func TestAppendRawSaturates(t *testing.T) {
	d := newRawDecoder(t)
	for v, want := range map[int64]int64{1 << 40: 1<<31 - 1, -1 << 40: -1 << 31, 1<<31 - 1: 1<<31 - 1, 7: 7} {
		var got RawReading
		err := d.Decode(AppendRaw(nil, 1, &RawReading{VolumeVPH: Some(v)}), &got)
		if err != nil || got.VolumeVPH != Some(want) || got.Timestamp != Some(int64(0)) {
			t.Errorf("%d: got %+v, %v", v, got, err)
		}
	}
}

// Bytes that are no record are an error and leave nothing of an earlier reading behind.
func TestDecodeRefuses(t *testing.T) {
	d := newRawDecoder(t)
	for name, data := range map[string]string{
		"empty":       "",
		"only magic":  "\x00",
		"no body":     "\x00\x00\x00\x00\x01",
		"negative id": "\x00\xff\xff\xff\xff\x02s\x02",
		"text":        "hello",
	} {
		r := RawReading{Timestamp: Some(int64(1))}
		var needed *SchemaNeededError
		if err := d.Decode([]byte(data), &r); err == nil || errors.As(err, &needed) || r.Timestamp.Valid {
			t.Errorf("%s: got %+v, %v", name, r, err)
		}
	}
}

// A schema that is not known is asked for; the registry's word is final, for an unknown id for a minute.
func TestLearnVerdicts(t *testing.T) {
	now := time.Unix(1000, 0)
	d := &RawDecoder{Now: func() time.Time { return now }}
	body := AppendRaw(nil, 1, &RawReading{SensorID: "s"})[wireHeaderLen:]
	decode := func(id int32) error {
		var r RawReading
		return d.Decode(append(AppendWireHeader(nil, id), body...), &r)
	}
	needed := func(id int32) bool {
		var e *SchemaNeededError
		return errors.As(decode(id), &e) && e.ID == id
	}
	answers := map[int32]struct {
		text string
		err  error
	}{
		1: {RawSchema, nil},
		2: {"", fmt.Errorf("40403: %w", ErrSchemaUnknown)},
		3: {"", fmt.Errorf("protobuf: %w", ErrSchemaNotAvro)},
		4: {`"string"`, nil},
		5: {`{`, nil},
	}
	for id, a := range answers {
		if !needed(id) {
			t.Fatalf("%d is known before it was looked up: %v", id, decode(id))
		}
		if err := d.Learn(t.Context(), id, sourceFunc(func(int32) (string, error) { return a.text, a.err })); err != nil {
			t.Fatal(err)
		}
		if err := decode(id); needed(id) || (err == nil) != (id == 1) {
			t.Errorf("%d: %v", id, err)
		}
	}
	now = now.Add(unknownSchemaIn - 1)
	if needed(2) {
		t.Error("an unknown id is asked for again too soon")
	}
	now = now.Add(1)
	if !needed(2) || needed(3) || needed(4) || needed(5) || decode(1) != nil {
		t.Error("only the unknown id is to be asked for again")
	}
	if err := d.Learn(t.Context(), 2, ourSchema); err != nil || decode(2) != nil {
		t.Errorf("an id that came late is not read: %v, %v", err, decode(2))
	}
}

// An outage is waited for, however long, and is never a verdict; the end of the context ends the wait.
func TestLearnWaitsForRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outage := errors.New("connection refused")
		var waits []time.Duration
		d := &RawDecoder{OnWait: func(id int32, err error, wait time.Duration) {
			if id != 1 || err != outage {
				t.Errorf("OnWait is told %d, %v", id, err)
			}
			waits = append(waits, wait)
		}}
		start := time.Now()
		err := d.Learn(t.Context(), 1, sourceFunc(func(int32) (string, error) {
			if time.Since(start) < time.Hour {
				return "", outage
			}
			return RawSchema, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		if waits[0] != registryWaitMin || waits[len(waits)-1] != registryWaitMax || len(waits) > 800 {
			t.Errorf("%d waits, from %v to %v", len(waits), waits[0], waits[len(waits)-1])
		}
		var r RawReading
		if err := d.Decode(AppendRaw(nil, 1, &RawReading{}), &r); err != nil {
			t.Error(err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = d.Learn(ctx, 1, sourceFunc(func(int32) (string, error) { return "", outage }))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, outage) {
			t.Errorf("got %v", err)
		}
		if err := d.Decode(AppendRaw(nil, 1, &RawReading{}), &r); err != nil {
			t.Errorf("an outage became a verdict: %v", err)
		}
	})
}

// A flood of made-up ids takes bounded memory and does not push out the schemas in use.
func TestSchemaCacheIsBounded(t *testing.T) {
	d := newRawDecoder(t)
	unknown := sourceFunc(func(int32) (string, error) { return "", ErrSchemaUnknown })
	for id := range int32(2*schemasMax + 10) {
		if err := d.Learn(t.Context(), id+2, unknown); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(*d.refused.m.Load()); n != schemasMax || len(d.refused.order) != schemasMax {
		t.Errorf("%d refused ids are kept, %d in order", n, len(d.refused.order))
	}
	if _, err := d.program(1); err != nil {
		t.Errorf("the good schema is gone: %v", err)
	}
	if _, err := d.program(2*schemasMax + 11); !errors.Is(err, ErrSchemaUnknown) {
		t.Errorf("the newest verdict is gone: %v", err)
	}
}

// One decoder serves all partitions at once (run with -race).
func TestRawDecoderConcurrently(t *testing.T) {
	var d RawDecoder
	var wg sync.WaitGroup
	for id := range int32(8) {
		wg.Go(func() {
			data := AppendRaw(nil, id%4, &RawReading{SensorID: "s"})
			for range 200 {
				var r RawReading
				var needed *SchemaNeededError
				err := d.Decode(data, &r)
				if errors.As(err, &needed) {
					err = d.Learn(t.Context(), needed.ID, ourSchema)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// The hot path allocates nothing.
func TestAllocations(t *testing.T) {
	d := newRawDecoder(t)
	raw := RawReading{
		SensorID: "400001", Timestamp: Some(int64(1753200000000)), SpeedMPH: Some(61.5),
		VolumeVPH: Some(int64(1200)), Occupancy: Some(7.2), Latitude: Some(34.1), Longitude: Some(-118.2),
	}
	reading := Reading{SensorID: "400001", Timestamp: 1753200000000, SpeedMPH: Some(61.5), Freeway: Some("I-10")}
	window := WindowAggregate{SensorID: "400001", FlagCounts: FlagCounts{3: 2}, CloseReason: CloseLate}
	avro, text := AppendRaw(nil, 1, &raw), AppendRawJSON(nil, &raw)
	readingData, windowData := AppendReading(nil, 2, &reading), AppendWindow(nil, 2, &window)
	buf := make([]byte, 0, 4096)
	for name, tt := range map[string]struct {
		most float64
		run  func() error
	}{
		"Decode Avro":   {0, func() error { return d.Decode(avro, &raw) }},
		"Decode JSON":   {1, func() error { return d.Decode(text, &raw) }},
		"DecodeReading": {0, func() error { return DecodeReading(readingData, &reading) }},
		"DecodeWindow":  {0, func() error { return DecodeWindow(windowData, &window) }},
		"AppendRaw":     {0, func() error { buf = AppendRaw(buf[:0], 1, &raw); return nil }},
		"AppendRawJSON": {0, func() error { buf = AppendRawJSON(buf[:0], &raw); return nil }},
		"AppendReading": {0, func() error { buf = AppendReading(buf[:0], 2, &reading); return nil }},
		"AppendWindow":  {0, func() error { buf = AppendWindow(buf[:0], 2, &window); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			allocs := testing.AllocsPerRun(100, func() {
				if err := tt.run(); err != nil {
					t.Fatal(err)
				}
			})
			if allocs > tt.most {
				t.Errorf("%v allocations, at most %v are allowed", allocs, tt.most)
			}
		})
	}
}

// FuzzDecode: whatever the bytes, Decode does not panic; what it accepts in Avro or JSON has an id of bounded length,
// is encoded and decoded again to the same reading, and is refused with one more byte behind it.
func FuzzDecode(f *testing.F) {
	d := newRawDecoder(f)
	const wide = `{"type":"record","name":"W","fields":[{"name":"x","type":{"type":"map","values":["null","W",` +
		`{"type":"array","items":"null"},{"type":"enum","name":"E","symbols":["A"]},"boolean"]}},` +
		`{"name":"timestamp","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},` +
		`{"name":"sensor_id","type":"bytes"},{"name":"speed_mph","type":["float","int","null","string"]},` +
		`{"name":"coordinates","type":["null",{"type":"record","name":"C","fields":[` +
		`{"name":"longitude","type":"int"},{"name":"latitude","type":["double","float"]}]}]}]}`
	wideSource := sourceFunc(func(int32) (string, error) { return wide, nil })
	if err := d.Learn(f.Context(), 2, wideSource); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, again RawReading
		if d.Decode(data, &r) != nil {
			return
		}
		if len(r.SensorID) > SensorIDBytesMax {
			t.Errorf("an id of %d bytes", len(r.SensorID))
		}
		if data[0] == wireMagic && d.Decode(append(data[:len(data):len(data)], 0), &again) == nil {
			t.Error("a byte is left over and nobody minds")
		}
		if data[0] != wireMagic && d.Decode(append(data[:len(data):len(data)], '0'), &again) == nil {
			t.Error("a byte is left over and nobody minds")
		}
		for name, encoded := range map[string][]byte{"Avro": AppendRaw(nil, 1, &r), "JSON": AppendRawJSON(nil, &r)} {
			if err := d.Decode(encoded, &again); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want := r
			if name == "Avro" {
				want = avroForm(r)
			} else {
				dropNaN(&want)
			}
			if !sameRaw(again, want) {
				t.Errorf("%s: got %+v, want %+v", name, again, want)
			}
		}
	})
}

// avroForm is what Avro can hold of a reading; see AppendRaw.
func avroForm(r RawReading) RawReading {
	r.Timestamp = Some(r.Timestamp.Or(0))
	if r.VolumeVPH.Valid {
		r.VolumeVPH.V = min(max(r.VolumeVPH.V, -1<<31), 1<<31-1)
	}
	if !r.Latitude.Valid || !r.Longitude.Valid {
		r.Latitude, r.Longitude = Null[float64]{}, Null[float64]{}
	}
	return r
}

// dropNaN removes what JSON cannot hold; see AppendRawJSON.
func dropNaN(r *RawReading) {
	for _, v := range []*Null[float64]{&r.SpeedMPH, &r.Occupancy, &r.Latitude, &r.Longitude} {
		if v.V != v.V {
			*v = Null[float64]{}
		}
	}
}

// Memory that a message takes stays in proportion to its size, whatever its counts and lengths claim.
func TestHostileMessagesAllocateLittle(t *testing.T) {
	d := newRawDecoder(t)
	huge := append(AppendWireHeader(nil, 1), long(1<<60)...)
	keys := []byte("{")
	for i := range 20000 {
		keys = fmt.Appendf(keys, `"%d":0,`, i)
	}
	keys = append(keys[:len(keys)-1], '}')
	for name, tt := range map[string]struct {
		data []byte
		ok   bool
	}{
		"huge string":   {huge, false},
		"many keys":     {keys, true},
		"open brackets": {[]byte(`{"x":` + strings.Repeat("[", 100000)), false},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var r RawReading
		err := d.Decode(tt.data, &r)
		runtime.ReadMemStats(&after)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(20*len(tt.data)+4096) {
			t.Errorf("%s: %d bytes for a message of %d", name, n, len(tt.data))
		}
	}
}
