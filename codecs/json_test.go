package codecs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestDecodeJSON(t *testing.T) {
	const ms = 1753200000123 // 2025-07-22T16:00:00.123Z
	nested := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	at := func(v int64) RawReading { return RawReading{Timestamp: Some(v)} }
	volume := func(v int64) RawReading { return RawReading{VolumeVPH: Some(v)} }
	speed := func(v float64) RawReading { return RawReading{SpeedMPH: Some(v)} }
	for _, tt := range []struct {
		text string
		want RawReading
		err  string
	}{
		{
			` {"sensor_id" : "s","timestamp":"2025-07-22T16:00:00.123Z","speed_mph":61.5,"volume_vph":1200,` +
				`"occupancy_percent":7,"coordinates":{"latitude":34.5,"longitude":-118,"datum":{}},"x":[1,{"a":null}]} `,
			RawReading{"s", Some[int64](ms), Some(61.5), Some[int64](1200), Some(7.0), Some(34.5), Some(-118.0)},
			"",
		},
		{`{}`, RawReading{}, ""},
		{`{"sensor_id":null,"timestamp":null,"speed_mph":null,"volume_vph":null,"coordinates":null}`, RawReading{}, ""},
		{`{"coordinates":{"latitude":null,"longitude":1}}`, RawReading{Longitude: Some(1.0)}, ""},
		{`{"Speed_mph":3,"sensor_ID":5}`, RawReading{}, ""},
		{`{"sensor_id":"\u0041\n\ud83d\ude00é"}`, RawReading{SensorID: "A\n😀é"}, ""},
		{`{"\u0073ensor_id":"s"}`, RawReading{SensorID: "s"}, ""},

		{`{"timestamp":1753200000123}`, at(ms), ""},
		{`{"timestamp":1.7e12}`, at(1.7e12), ""},
		{`{"timestamp":1753200000123.5}`, at(0), "not an integer"},
		{`{"timestamp":1e300}`, at(math.MaxInt64), ""},
		{`{"timestamp":"2025-07-22T16:00:00.1239999Z"}`, at(ms), ""},
		{`{"timestamp":"2025-07-22T18:00:00.123+02:00"}`, at(ms), ""},
		{`{"timestamp":"2025-07-22t16:00:00.123z"}`, at(ms), ""},
		{`{"timestamp":"1969-12-31T23:59:59.9999Z"}`, at(-1), ""},
		{`{"timestamp":"2016-12-31T23:59:60.5Z"}`, at(time.Date(2017, 1, 1, 0, 0, 0, 5e8, time.UTC).UnixMilli()), ""},
		{`{"timestamp":"2016-12-31T12:59:60Z"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-02-29T16:00:00Z"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-07-22 16:00:00Z"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-07-22T16:00:00"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-07-22T16:00:00.Z"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-07-22T16:00:00,5Z"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-07-22T24:00:00Z"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-07-22T16:00:00+24:00"}`, at(0), "RFC 3339"},
		{`{"timestamp":"2025-07-22T16:00:00Zx"}`, at(0), "RFC 3339"},
		{`{"timestamp":""}`, at(0), "RFC 3339"},
		{`{"timestamp":"1753200000123"}`, at(0), "RFC 3339"},
		{`{"timestamp":true}`, at(0), "timestamp is a boolean"},

		{`{"volume_vph":1200.0}`, volume(1200), ""},
		{`{"volume_vph":1.2e3}`, volume(1200), ""},
		{`{"volume_vph":12000e-1}`, volume(1200), ""},
		{`{"volume_vph":-0.0e99999999999999999999}`, volume(0), ""},
		{`{"volume_vph":1200.5}`, volume(0), "not an integer"},
		{`{"volume_vph":1e-1}`, volume(0), "not an integer"},
		{`{"volume_vph":1e-99999999999999999999}`, volume(0), "not an integer"},
		{`{"volume_vph":9007199254740993.00000000000000000001}`, volume(0), "not an integer"},
		{`{"volume_vph":3000000000}`, volume(3000000000), ""},
		{`{"volume_vph":1e300}`, volume(math.MaxInt64), ""},
		{`{"volume_vph":-1e99999999999999999999}`, volume(math.MinInt64), ""},
		{`{"volume_vph":9223372036854775807}`, volume(math.MaxInt64), ""},
		{`{"volume_vph":9223372036854775806}`, volume(math.MaxInt64 - 1), ""},
		{`{"volume_vph":-9223372036854775807}`, volume(-math.MaxInt64), ""},
		{`{"volume_vph":-9223372036854775808}`, volume(math.MinInt64), ""},
		{`{"volume_vph":"1200"}`, volume(0), "volume_vph is a string"},

		{`{"speed_mph":1e999}`, speed(math.Inf(1)), ""},
		{`{"speed_mph":-1e999}`, speed(math.Inf(-1)), ""},
		{`{"speed_mph":0.1e1}`, speed(1), ""},
		{`{"speed_mph":"61"}`, speed(0), "speed_mph is a string"},
		{`{"speed_mph":01}`, speed(0), "comma or the end"},
		{`{"speed_mph":+1}`, speed(0), "a value"},
		{`{"speed_mph":1.}`, speed(0), "a digit"},
		{`{"speed_mph":NaN}`, speed(0), "a value"},
		{`{"speed_mph":}`, speed(0), "a value"},

		{`{"sensor_id":12}`, RawReading{}, "sensor_id is a number"},
		{`{"sensor_id":"` + strings.Repeat("x", 256) + `"}`, RawReading{SensorID: strings.Repeat("x", 256)}, ""},
		{`{"sensor_id":"` + strings.Repeat("x", 257) + `"}`, RawReading{}, "more than 256"},
		{`{"sensor_id":"\ud83d"}`, RawReading{}, "surrogate"},
		{`{"sensor_id":"\ud83dx"}`, RawReading{}, "surrogate"},
		{`{"sensor_id":"a` + "\n" + `b"}`, RawReading{}, "allowed in a string"},
		{`{"sensor_id":"\x"}`, RawReading{}, "an escape"},
		{"{\"sensor_id\":\"\xff\"}", RawReading{}, "UTF-8"},
		{`{"coordinates":[1,2]}`, RawReading{}, "coordinates is an array"},
		{`{"coordinates":{"latitude":"1"}}`, RawReading{}, "latitude is a string"},

		{`{"speed_mph":1,"speed_mph":1}`, RawReading{}, `"speed_mph" twice`},
		{`{"x":1,"\u0078":1}`, RawReading{}, `"x" twice`},
		{`{"coordinates":{"latitude":1,"latitude":1}}`, RawReading{}, "twice"},
		{`{"x":[{"a":{"b":1,"b":2}}]}`, RawReading{}, "twice"},
		{`{"x":{"a":1},"y":{"a":1},"a":1}`, RawReading{}, ""},

		{"\ufeff{}", RawReading{}, "byte order mark"},
		{`{}x`, RawReading{}, "left over"},
		{`{}{}`, RawReading{}, "left over"},
		{`{"x":` + nested(63) + `}`, RawReading{}, ""},
		{`{"x":` + nested(64) + `}`, RawReading{}, "deeper than 64"},
		{`[]`, RawReading{}, "an object"},
		{`null`, RawReading{}, "an object"},
		{``, RawReading{}, "empty"},
		{` `, RawReading{}, "JSON ends"},
		{`{"x":1`, RawReading{}, "JSON ends"},
		{`{"x":1,}`, RawReading{}, "a string"},
		{`{"x":[1,]}`, RawReading{}, "a value"},
		{`{"x":nul}`, RawReading{}, "not null"},
		{`{"x" 1}`, RawReading{}, "a colon"},
		{`{x:1}`, RawReading{}, "a string"},
	} {
		var d RawDecoder
		var got RawReading
		err := d.Decode([]byte(tt.text), &got)
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%.80s: %v", tt.text, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%.80s: got error %v, want one with %q", tt.text, err, tt.err)
		case tt.err == "" && !sameRaw(got, tt.want):
			t.Errorf("%.80s: got %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

// A key twice is seen in objects of any size: few keys are compared one by one, many in a map.
func TestDuplicateKeys(t *testing.T) {
	for _, n := range []int{3, keysScanned - 1, keysScanned, keysScanned + 1, 3 * keysScanned} {
		for _, dup := range []int{-1, 0, n / 2, n - 2} {
			var b bytes.Buffer
			for i := range n {
				k := i
				if i == n-1 && dup >= 0 {
					k = dup
				}
				fmt.Fprintf(&b, `,"k%d":{"k%d":0}`, k, k)
			}
			p := newJSONReader([]byte("{"+b.String()[1:]+"}"), nil)
			p.skip()
			if err := p.end(); (err != nil) != (dup >= 0) {
				t.Errorf("%d keys, the last equals %d: %v", n, dup, err)
			}
		}
	}
}

// Every reading that JSON can hold comes back as it was.
func TestRawJSONRoundTrip(t *testing.T) {
	var d RawDecoder
	rapid.Check(t, func(t *rapid.T) {
		want := drawRaw(t)
		want.Timestamp.Valid = rapid.Bool().Draw(t, "timed")
		if !want.Timestamp.Valid {
			want.Timestamp.V = 0
		} else if rapid.Bool().Draw(t, "in our time") {
			want.Timestamp.V %= 4e12
		}
		text := AppendRawJSON(nil, &want)
		if !json.Valid(text) {
			t.Fatalf("%s is not JSON", text)
		}
		var got RawReading
		if err := d.Decode(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !sameRaw(got, want) {
			t.Fatalf("%s:\n got %+v\nwant %+v", text, got, want)
		}
	})
}

func TestAppendRawJSONGolden(t *testing.T) {
	for want, r := range map[string]RawReading{
		`{"sensor_id":"a\"\u0001","timestamp":"2025-07-22T16:00:00.100Z","speed_mph":61.5,"volume_vph":1200,` +
			`"occupancy_percent":0,"coordinates":{"latitude":34.1,"longitude":-118.25}}`: {
			"a\"\x01", Some(int64(1753200000100)), Some(61.5), Some(int64(1200)), Some(0.0), Some(34.1), Some(-118.25),
		},
		`{"sensor_id":""}`: {SpeedMPH: Some(math.NaN())},
		`{"sensor_id":"s","timestamp":9223372036854775807,"speed_mph":1e999,"coordinates":{"longitude":-1e999}}`: {
			SensorID: "s", Timestamp: Some(int64(math.MaxInt64)), SpeedMPH: Some(math.Inf(1)), Longitude: Some(math.Inf(-1)),
		},
	} {
		if got := string(AppendRawJSON(nil, &r)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// FuzzJSON compares the reader with encoding/json. What the reader accepts, encoding/json accepts with the same
// values. What it refuses but encoding/json accepts has invalid UTF-8, half a surrogate pair, a key twice or too many
// levels.
func FuzzJSON(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newJSONReader(data, nil)
		switch p.kind() {
		case jsonString:
			s := p.string()
			var want string
			if p.end() == nil {
				if err := json.Unmarshal(data, &want); err != nil || s != want {
					t.Errorf("%q is %q, encoding/json says %q, %v", data, s, want, err)
				}
			}
		case jsonNumber:
			n := p.number()
			var want json.Number
			if p.end() == nil {
				if err := json.Unmarshal(data, &want); err != nil || string(n) != want.String() {
					t.Errorf("%q is %q, encoding/json says %q, %v", data, n, want, err)
				}
				v, ok := n.integer()
				if i, err := want.Int64(); err == nil && (!ok || v != i) {
					t.Errorf("%q is the integer %d, %v", data, v, ok)
				}
			}
		default:
			p.skip()
		}
		err := p.end()
		if valid := json.Valid(data); err == nil && !valid {
			t.Errorf("%q is accepted", data)
		} else if err != nil && valid && !strictlyWrong(data) {
			t.Errorf("%q is refused: %v", data, err)
		}
	})
}

// strictlyWrong tells whether proper JSON breaks one of jsonReader's rules, by way of encoding/json's tokens.
func strictlyWrong(data []byte) bool {
	if !utf8.Valid(data) || bytes.Contains(bytes.ToLower(data), []byte(`\ud`)) {
		return true // escapes of surrogates have their own tests
	}
	type level struct {
		keys  map[string]bool // nil in an array
		isKey bool
	}
	var levels []level
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return false
		}
		if d, ok := token.(json.Delim); ok {
			switch d {
			case '{':
				levels = append(levels, level{keys: map[string]bool{}, isKey: true})
			case '[':
				levels = append(levels, level{})
			default:
				levels = levels[:len(levels)-1]
			}
			if len(levels) > nestingMax {
				return true
			}
			if d == '{' || d == '[' {
				continue
			}
		} else if n := len(levels); n > 0 && levels[n-1].keys != nil && levels[n-1].isKey {
			key := token.(string)
			if levels[n-1].keys[key] {
				return true
			}
			levels[n-1].keys[key] = true
			levels[n-1].isKey = false
			continue
		}
		if n := len(levels); n > 0 { // a value has ended
			levels[n-1].isKey = levels[n-1].keys != nil
		}
	}
}

// FuzzTime: what parseTime accepts, time.Parse accepts as the same time, apart from leap seconds; what time.Parse
// prints, parseTime reads.
func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"2025-07-22T16:00:00.1239Z", "1969-12-31T23:59:59.9999-07:00", "2016-12-31T23:59:60Z",
		"0000-01-01T00:00:00+23:59", "2024-02-29t00:00:00z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ms, err := parseTime(text)
		if err == nil && !strings.Contains(text, ":60") {
			want, err := time.Parse(time.RFC3339, strings.ToUpper(text))
			if err != nil || want.UnixMilli() != ms {
				t.Errorf("%q is %d, time.Parse says %d, %v", text, ms, want.UnixMilli(), err)
			}
		}
		// time.Parse takes an offset of 24 hours, which no zone has and RFC 3339 has no place for.
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil && !hasOffset(at, 24*time.Hour) {
			if got, err := parseTime(at.Format(time.RFC3339Nano)); err != nil || got != at.UnixMilli() {
				t.Errorf("%q: got %d, %v, want %d", at.Format(time.RFC3339Nano), got, err, at.UnixMilli())
			}
		}
	})
}

// hasOffset tells whether a time is given in a zone that is so far or farther from UTC.
func hasOffset(at time.Time, far time.Duration) bool {
	_, seconds := at.Zone()
	offset := time.Duration(seconds) * time.Second
	return offset.Abs() >= far
}
