package archive

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"gantry/codecs"
)

func maybe[T any](rnd *rand.Rand, v T) codecs.Null[T] {
	if rnd.IntN(3) == 0 {
		return codecs.Null[T]{}
	}
	return codecs.Some(v)
}

func ptr[T any](n codecs.Null[T]) *T {
	if !n.Valid {
		return nil
	}
	return &n.V
}

var rowEpoch = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC).UnixMilli()

// randomRaw makes readings whose values are often null and often 0.
func randomRaw(rnd *rand.Rand, n int) []rawEntry {
	entries := make([]rawEntry, n)
	for i := range entries {
		entries[i] = rawEntry{
			Reading: codecs.Reading{
				SensorID:   fmt.Sprintf("sensor-%03d", rnd.IntN(200)),
				Timestamp:  rowEpoch + rnd.Int64N(hourMillis),
				SpeedMPH:   maybe(rnd, float64(rnd.IntN(3))*31.25),
				VolumeVPH:  maybe(rnd, int32(rnd.IntN(3)*120)),
				Occupancy:  maybe(rnd, float64(rnd.IntN(3))*4.5),
				Latitude:   34 + rnd.Float64(),
				Longitude:  -118 - rnd.Float64(),
				ReceivedAt: rowEpoch + rnd.Int64N(hourMillis),
				Sequence:   int64(i + 1),
				Flags:      codecs.Flags(rnd.IntN(1 << codecs.FlagKinds)),
				Freeway:    maybe(rnd, "I-10"),
				Direction:  maybe(rnd, "N"),
				Lanes:      maybe(rnd, int32(rnd.IntN(5))),
			},
			sourcePartition: int32(rnd.IntN(5)),
			sourceOffset:    rnd.Int64N(1 << 40),
		}
	}
	return entries
}

func (r *rawEntry) want() RawRow {
	return RawRow{
		SensorID: r.SensorID, Timestamp: r.Timestamp, SpeedMPH: ptr(r.SpeedMPH), VolumeVPH: ptr(r.VolumeVPH),
		OccupancyPercent: ptr(r.Occupancy), Latitude: r.Latitude, Longitude: r.Longitude, ReceivedAt: r.ReceivedAt,
		Sequence: r.Sequence, Flags: int32(r.Flags), Freeway: ptr(r.Freeway), Direction: ptr(r.Direction),
		Lanes: ptr(r.Lanes), SourcePartition: r.sourcePartition, SourceOffset: r.sourceOffset,
	}
}

func randomWindows(rnd *rand.Rand, n int) []windowEntry {
	entries := make([]windowEntry, n)
	for i := range entries {
		v := func() codecs.Null[float64] { return maybe(rnd, float64(rnd.IntN(3))*12.5) }
		start := rowEpoch + rnd.Int64N(12)*300_000
		entries[i].WindowAggregate = codecs.WindowAggregate{
			SensorID: fmt.Sprintf("sensor-%03d", rnd.IntN(200)), WindowStart: start, WindowEnd: start + 300_000,
			AvgSpeed: v(), AvgVolume: v(), AvgOccupancy: v(), SpeedVariance: v(), MessageCount: int32(rnd.IntN(11)),
			MinSpeed: v(), MaxSpeed: v(), FlowWeightedSpeed: v(), HarmonicSpeed: v(), ExpectedCount: 10,
			Completeness: rnd.Float64(), Revision: int32(i + 1), CloseReason: codecs.CloseLate,
			Latitude: 34 + rnd.Float64(), Longitude: -118,
		}
		for range rnd.IntN(3) { // often none at all
			entries[i].FlagCounts.Add(codecs.Flags(rnd.IntN(1 << codecs.FlagKinds)))
		}
	}
	return entries
}

func (w *windowEntry) want() AggregateRow {
	return AggregateRow{
		SensorID: w.SensorID, WindowStart: w.WindowStart, WindowEnd: w.WindowEnd, AvgSpeed: ptr(w.AvgSpeed),
		AvgVolume: ptr(w.AvgVolume), AvgOccupancy: ptr(w.AvgOccupancy), SpeedVariance: ptr(w.SpeedVariance),
		MessageCount: w.MessageCount, MinSpeed: ptr(w.MinSpeed), MaxSpeed: ptr(w.MaxSpeed),
		FlowWeightedSpeed: ptr(w.FlowWeightedSpeed), HarmonicSpeed: ptr(w.HarmonicSpeed),
		ExpectedCount: w.ExpectedCount, Completeness: w.Completeness, FlagCounts: w.FlagCounts.Map(),
		Revision: w.Revision, CloseReason: string(w.CloseReason), Latitude: w.Latitude, Longitude: w.Longitude,
	}
}

func rowOptions() *Options {
	opts := DefaultOptions()
	opts.RowGroupRows = 400
	return &opts
}

// stored puts one file into a file system, as a reader finds it.
func stored(t *testing.T, data []byte) (*Memory, *parquet.File) {
	t.Helper()
	m := NewMemory()
	if err := m.WriteFile("f", data); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return m, f
}

// What is read back equals what was written: null stays null, 0 stays 0, and rows stand in the declared order, over
// several row groups, and in the second file of a writer as in its first.
func TestRawRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	e := newEncoder(TableRaw, rowOptions())
	for _, n := range []int{1000, 1, 777} {
		entries := randomRaw(rnd, n)
		for sorted := range byHour(entries, compareRaw) {
			data, err := encode(e, sorted)
			if err != nil {
				t.Fatal(err)
			}
			m, f := stored(t, data)
			got, err := ReadRaw(m, "f")
			if err != nil {
				t.Fatal(err)
			}
			if len(sorted) != n || len(got) != n {
				t.Fatalf("%d rows, %d read, want %d", len(sorted), len(got), n)
			}
			for i := range got {
				if want := sorted[i].want(); !reflect.DeepEqual(got[i], want) {
					t.Fatalf("row %d is %+v, want %+v", i, got[i], want)
				}
			}
			if !slices.IsSortedFunc(got, func(a, b RawRow) int {
				return cmp.Or(strings.Compare(a.SensorID, b.SensorID), cmp.Compare(a.Timestamp, b.Timestamp))
			}) {
				t.Error("rows are not sorted")
			}
			if want := (n + 399) / 400; len(f.RowGroups()) != want {
				t.Errorf("%d row groups, want %d", len(f.RowGroups()), want)
			}
		}
	}
}

func TestAggregateRoundTrip(t *testing.T) {
	e := newEncoder(TableAggregates, rowOptions())
	entries := randomWindows(rand.New(rand.NewPCG(2, 2)), 900)
	for sorted := range byHour(entries, compareWindows) {
		data, err := encode(e, sorted)
		if err != nil {
			t.Fatal(err)
		}
		m, _ := stored(t, data)
		got, err := ReadAggregates(m, "f")
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			want := sorted[i].want()
			if !maps.Equal(got[i].FlagCounts, want.FlagCounts) {
				t.Fatalf("row %d counts %v, want %v", i, got[i].FlagCounts, want.FlagCounts)
			}
			got[i].FlagCounts, want.FlagCounts = nil, nil
			if !reflect.DeepEqual(got[i], want) {
				t.Fatalf("row %d is %+v, want %+v", i, got[i], want)
			}
		}
	}
}

// Equal rows give equal files, so that a run can be compared with another by checksums.
func TestFilesAreReproducible(t *testing.T) {
	entries := randomWindows(rand.New(rand.NewPCG(3, 3)), 300)
	var files [][]byte
	e := newEncoder(TableAggregates, rowOptions()) // its second file is like its first
	for range 2 {
		for sorted := range byHour(entries, compareWindows) {
			data, err := encode(e, sorted)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, bytes.Clone(data))
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two files of the same rows differ")
	}
}

// The columns are those of the contract: names, order, types, nullability; and what a file says about itself.
func TestSchema(t *testing.T) {
	const rawWant = `message RawRow {
	required binary sensor_id (STRING);
	required int64 timestamp (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	optional double speed_mph;
	optional int32 volume_vph (INT(32,true));
	optional double occupancy_percent;
	required double latitude;
	required double longitude;
	required int64 received_at (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required int64 sequence (INT(64,true));
	required int32 flags (INT(32,true));
	optional binary freeway (STRING);
	optional binary direction (STRING);
	optional int32 lanes (INT(32,true));
	required int32 source_partition (INT(32,true));
	required int64 source_offset (INT(64,true));
}`
	const aggregateWant = `message AggregateRow {
	required binary sensor_id (STRING);
	required int64 window_start (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required int64 window_end (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	optional double avg_speed;
	optional double avg_volume;
	optional double avg_occupancy;
	optional double speed_variance;
	required int32 message_count (INT(32,true));
	optional double min_speed;
	optional double max_speed;
	optional double flow_weighted_speed;
	optional double harmonic_speed;
	required int32 expected_count (INT(32,true));
	required double completeness;
	required group flag_counts (MAP) {
		repeated group key_value {
			required binary key (STRING);
			required int32 value (INT(32,true));
		}
	}
	required int32 revision (INT(32,true));
	required binary close_reason (STRING);
	required double latitude;
	required double longitude;
}`
	if got := rawSchema.String(); got != rawWant {
		t.Errorf("raw:\n%s", got)
	}
	if got := aggregateSchema.String(); got != aggregateWant {
		t.Errorf("aggregates:\n%s", got)
	}
	for sorted := range byHour(randomRaw(rand.New(rand.NewPCG(4, 4)), 10), compareRaw) {
		data, err := encode(newEncoder(TableRaw, rowOptions()), sorted)
		if err != nil {
			t.Fatal(err)
		}
		_, f := stored(t, data)
		meta := f.Metadata()
		if !strings.HasPrefix(meta.CreatedBy, "gantry") {
			t.Errorf("created by %q", meta.CreatedBy)
		}
		if sorting := meta.RowGroups[0].SortingColumns; len(sorting) != 3 || sorting[1].ColumnIdx != 1 {
			t.Errorf("sorted by %+v", sorting)
		}
		for _, c := range meta.RowGroups[0].Columns {
			if codec := c.MetaData.Codec.String(); codec != "ZSTD" {
				t.Errorf("column %v is compressed by %s", c.MetaData.PathInSchema, codec)
			}
		}
	}
}

// Rows of several hours, also before the epoch, come hour by hour under the contract's folder names.
func TestHours(t *testing.T) {
	entries := make([]rawEntry, 4)
	for i, ms := range []int64{rowEpoch + hourMillis, rowEpoch + hourMillis - 1, -1, rowEpoch} {
		entries[i].Timestamp = ms
	}
	var names []string
	for sorted := range byHour(entries, compareRaw) {
		names = append(names, fmt.Sprint(len(sorted), " ", finalName(TableRaw, sorted[0].hour(), 3, 1234, 5678)))
	}
	const file = "p00003-00000000000000001234-00000000000000005678.parquet"
	want := []string{
		"1 raw/year=1969/month=12/day=31/hour=23/" + file,
		"2 raw/year=2026/month=11/day=24/hour=09/" + file,
		"1 raw/year=2026/month=11/day=24/hour=10/" + file,
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	if got, want := HourDir(TableAggregates, time.UnixMilli(rowEpoch)),
		"processed/aggregates/year=2026/month=11/day=24/hour=09"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkEncodeRaw(b *testing.B) {
	const n = 50_000
	entries := randomRaw(rand.New(rand.NewPCG(5, 5)), n)
	opts := DefaultOptions()
	e := newEncoder(TableRaw, &opts)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		for sorted := range byHour(entries, compareRaw) {
			data, err := encode(e, sorted)
			if err != nil {
				b.Fatal(err)
			}
			size = len(data)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(size)/n, "bytes/row")
}
