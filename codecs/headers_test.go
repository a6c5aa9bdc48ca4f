package codecs

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
)

func TestSource(t *testing.T) {
	for _, s := range []Source{{"traffic-raw", 4, 1234567890123}, {"a", 0, 0}, {"x.y_z", math.MaxInt32, math.MaxInt64}} {
		if got, err := ParseSource(s.String()); err != nil || got != s {
			t.Errorf("%s: got %+v, %v", s, got, err)
		}
	}
	if s := (Source{"traffic-raw", 4, 17}).String(); s != "traffic-raw/4/17" {
		t.Error(s)
	}
	for _, text := range []string{
		"", "t", "t/1", "/1/2", "t/1/2/3", "t/-1/2", "t/1/-2", "t/x/2", "t/1/", "t//2",
		"t/2147483648/0", "t/0/9223372036854775808", "t/1/2 ",
	} {
		if got, err := ParseSource(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

// The bits and names are the contract's.
func TestFlags(t *testing.T) {
	want := []string{
		"count_high", "occupancy_high", "speed_high", "speed_low", "speed_zero_with_volume",
		"volume_zero_with_speed", "volume_zero_with_occupancy", "occupancy_zero_with_volume", "density_high",
		"vehicle_length", "stuck",
	}
	if got := FlagsAll.Names(); !slices.Equal(got, want) || len(want) != FlagKinds {
		t.Errorf("got %v", got)
	}
	if FlagCountHigh != 1 || FlagSpeedLow != 8 || FlagStuck != 1<<10 {
		t.Error("a bit has moved")
	}
	for i, name := range want {
		if bit, ok := FlagBit(name); !ok || bit != i || FlagName(i) != name {
			t.Errorf("%s is bit %d, %v", name, bit, ok)
		}
	}
	if _, ok := FlagBit("no_such_flag"); ok {
		t.Error("a flag that is none has a bit")
	}
	var c FlagCounts
	c.Add(FlagSpeedLow | FlagStuck | 1<<31)
	c.Add(FlagStuck)
	if c != (FlagCounts{3: 1, 10: 2}) {
		t.Errorf("counts %v", c)
	}
	if m := c.Map(); len(m) != 2 || m["speed_low"] != 1 || m["stuck"] != 2 {
		t.Errorf("counts %v", m)
	}
	if m := (FlagCounts{}).Map(); m == nil || len(m) != 0 {
		t.Errorf("no counts are %v", m)
	}
	if names := Flags(1 << 20).Names(); len(names) != 0 {
		t.Errorf("unknown bits have names %v", names)
	}
}

func TestFormatTime(t *testing.T) {
	for ms, want := range map[int64]string{
		0: "1970-01-01T00:00:00Z", -1: "1969-12-31T23:59:59.999Z", 1753200000000: "2025-07-22T16:00:00Z",
		1753200000120: "2025-07-22T16:00:00.12Z",
	} {
		if got := FormatTime(ms); got != want {
			t.Errorf("%d: got %s, want %s", ms, got, want)
		}
		if got, err := parseTime(want); err != nil || got != ms {
			t.Errorf("%s: got %d, %v", want, got, err)
		}
	}
}

// Null is null in JSON, and 0 is not null.
func TestNullJSON(t *testing.T) {
	type pair struct{ A, B Null[int32] }
	b, err := json.Marshal(pair{B: Some(int32(0))})
	if err != nil || string(b) != `{"A":null,"B":0}` {
		t.Fatalf("%s, %v", b, err)
	}
	got := pair{A: Some(int32(7))}
	if err := json.Unmarshal(b, &got); err != nil || got != (pair{B: Some(int32(0))}) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"A":"x"}`), &got); err == nil {
		t.Error("a text is a number")
	}
	if got.A.Or(5) != 5 || got.B.Or(5) != 0 {
		t.Error("Or")
	}
}
