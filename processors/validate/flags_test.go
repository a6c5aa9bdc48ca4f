package validate

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"gantry/codecs"
)

// Each bit at its limit and just beyond. Null values raise nothing.
func TestFlagsOf(t *testing.T) {
	type (
		f64 = codecs.Null[float64]
		i32 = codecs.Null[int32]
	)
	n, ni := f64{}, i32{}
	f := func(v float64) f64 { return codecs.Some(v) }
	i := func(v int32) i32 { return codecs.Some(v) }
	up := func(v float64) f64 { return f(math.Nextafter(v, math.Inf(1))) }
	down := func(v float64) f64 { return f(math.Nextafter(v, math.Inf(-1))) }
	for _, x := range []struct {
		name  string
		speed f64
		vol   i32
		occ   f64
		lanes i32
		want  codecs.Flags
	}{
		{"nothing", n, ni, n, ni, 0},
		{"free flow", f(61.5), i(1200), f(8), i(1), 0},
		{"empty road", n, i(0), f(0), ni, 0},

		{"count at limit", n, i(3060), n, i(1), 0},
		{"count high", n, i(3061), n, i(1), codecs.FlagCountHigh},
		{"count high, lanes unknown", n, i(3061), n, ni, codecs.FlagCountHigh},
		{"count at limit, 4 lanes", n, i(12240), n, i(4), 0},
		{"count high, 4 lanes", n, i(12241), n, i(4), codecs.FlagCountHigh},
		{"lanes 0", n, i(3060), n, i(0), 0},

		{"occupancy at limit", n, ni, f(95), ni, 0},
		{"occupancy high", n, ni, up(95), ni, codecs.FlagOccupancyHigh},
		{"speed at limit", f(100), ni, n, ni, 0},
		{"speed high", up(100), ni, n, ni, codecs.FlagSpeedHigh},
		{"speed not low", f(5), ni, n, ni, 0},
		{"speed low", down(5), ni, n, ni, codecs.FlagSpeedLow},
		{"speed 0", f(0), ni, n, ni, codecs.FlagSpeedLow},

		{"speed 0 with volume", f(0), i(1), n, ni, codecs.FlagSpeedLow | codecs.FlagSpeedZeroWithVolume},
		{"speed 0, volume 0", f(0), i(0), n, ni, codecs.FlagSpeedLow},
		{
			"speed -0 with volume", f(math.Copysign(0, -1)), i(1), n, ni,
			codecs.FlagSpeedLow | codecs.FlagSpeedZeroWithVolume,
		},
		{"volume 0 with speed", f(50), i(0), n, ni, codecs.FlagVolumeZeroWithSpeed},
		{"volume null with speed", f(50), ni, n, ni, 0},
		{"volume 0 with occupancy", n, i(0), f(0.5), ni, codecs.FlagVolumeZeroWithOccupancy},
		{"volume null with occupancy", n, ni, f(0.5), ni, 0},
		{"occupancy 0 with volume", n, i(1), f(0), ni, codecs.FlagOccupancyZeroWithVolume},
		{"occupancy null with volume", n, i(1), n, ni, 0},

		{"density at limit", f(10), i(2200), n, i(1), 0},
		{"density high", f(10), i(2201), n, i(1), codecs.FlagDensityHigh},
		{"density high, lanes unknown", f(10), i(2201), n, ni, codecs.FlagDensityHigh},
		{"density at limit, 2 lanes", f(10), i(4400), n, i(2), 0},
		{"density high, 2 lanes", f(10), i(4401), n, i(2), codecs.FlagDensityHigh},

		// 5280 × 0.25 × 40 / 880 = 60 ft; 5280 × 0.125 × 8 / 660 = 8 ft.
		{"long at limit", f(40), i(880), f(25), ni, 0},
		{"too long", f(40), i(879), f(25), ni, codecs.FlagVehicleLength},
		{"short at limit", f(8), i(660), f(12.5), ni, 0},
		{"too short", f(8), i(661), f(12.5), ni, codecs.FlagVehicleLength},
		{"long at limit, 2 lanes", f(40), i(1760), f(25), i(2), 0},
		{"too long, 2 lanes", f(40), i(1758), f(25), i(2), codecs.FlagVehicleLength},
		// 5280 × 0.23 × 25 / 506 = 60 ft; 5280 × 0.29 × 15 / 2871 = 8 ft, but in doubles the quotients lie beside these.
		{"long at limit, inexact quotient", f(25), i(506), f(23), ni, 0},
		{"short at limit, inexact quotient", f(15), i(2871), f(29), ni, 0},
		{"length without occupancy", f(40), i(10), n, ni, 0},
	} {
		if got := FlagsOf(x.speed, x.vol, x.occ, x.lanes); got != x.want {
			t.Errorf("%s: %v, want %v", x.name, got.Names(), x.want.Names())
		}
	}
}

// Density is null rather than wrong wherever one of its parts is unknown or makes no sense.
func TestDensity(t *testing.T) {
	some := codecs.Some[float64]
	for _, x := range []struct {
		speed      codecs.Null[float64]
		vol, lanes codecs.Null[int32]
		want       codecs.Null[float64]
	}{
		{some(60), codecs.Some[int32](1200), codecs.Some[int32](1), some(20)},
		{some(60), codecs.Some[int32](4800), codecs.Some[int32](4), some(20)},
		{some(60), codecs.Some[int32](0), codecs.Some[int32](1), some(0)},
		{some(0), codecs.Some[int32](1200), codecs.Some[int32](1), codecs.Null[float64]{}},
		{some(60), codecs.Some[int32](1200), codecs.Null[int32]{}, codecs.Null[float64]{}},
		{some(60), codecs.Some[int32](1200), codecs.Some[int32](0), codecs.Null[float64]{}},
		{some(60), codecs.Null[int32]{}, codecs.Some[int32](1), codecs.Null[float64]{}},
		{codecs.Null[float64]{}, codecs.Some[int32](1200), codecs.Some[int32](1), codecs.Null[float64]{}},
		{some(5e-324), codecs.Some[int32](1200), codecs.Some[int32](1), codecs.Null[float64]{}},
	} {
		if got := Density(x.speed, x.vol, x.lanes); got != x.want {
			t.Errorf("Density(%v, %v, %v) = %v, want %v", x.speed, x.vol, x.lanes, got, x.want)
		}
	}
}

// Each grade reaches up to its limit, inclusive.
func TestLevelOfService(t *testing.T) {
	if got := LevelOfService(0); got != "A" {
		t.Errorf("empty road: %s", got)
	}
	for _, x := range []struct {
		limit      float64
		at, beyond string
	}{
		{11, "A", "B"}, {18, "B", "C"}, {26, "C", "D"}, {35, "D", "E"}, {45, "E", "F"},
	} {
		at, beyond := LevelOfService(x.limit), LevelOfService(math.Nextafter(x.limit, math.Inf(1)))
		if at != x.at || beyond != x.beyond {
			t.Errorf("%v: %s, beyond it %s; want %s, %s", x.limit, at, beyond, x.at, x.beyond)
		}
	}
}

// Bits 0 to 6 are PORTAL's own flags: on the hour of loop data that it published with them, ours are equal in each row.
func TestFlagsEqualPORTAL(t *testing.T) {
	dir := os.Getenv("GANTRY_TRAFFIC_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	file, err := os.Open(filepath.Join(dir, "portal", "loopdata_one_hour.csv"))
	if err != nil {
		t.Skipf("no traffic data (set GANTRY_TRAFFIC_DATA): %v", err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) codecs.Null[float64] {
		if s == "" {
			return codecs.Null[float64]{}
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return codecs.Some(v)
	}
	const samplesPerHour = 180
	for i, row := range rows[1:] { // detectorid, starttime, volume, speed, occupancy, status, dqflags
		count, speed, occupancy := number(row[2]), number(row[3]), number(row[4])
		volume := codecs.Null[int32]{V: int32(count.V * samplesPerHour), Valid: count.Valid}
		got := FlagsOf(speed, volume, occupancy, codecs.Some[int32](1)) & (codecs.FlagOccupancyZeroWithVolume - 1)
		want, err := strconv.ParseUint(row[6], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		if got != codecs.Flags(want) {
			t.Errorf("row %d %v: flags %d, PORTAL has %d", i+2, row, got, want)
		}
	}
	if got := len(rows) - 1; got != 12420 {
		t.Errorf("%d rows were compared, the hour has 12420", got)
	}
}
