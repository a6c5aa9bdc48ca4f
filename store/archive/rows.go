package archive

import (
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"gantry/codecs"
)

// RawRow is a row of the table raw: an accepted reading. Pointers are nullable columns; a missing value is nil, never
// 0.
type RawRow struct {
	SensorID         string   `parquet:"sensor_id,dict"`
	Timestamp        int64    `parquet:"timestamp,timestamp(millisecond)"` // event time, epoch milliseconds
	SpeedMPH         *float64 `parquet:"speed_mph"`
	VolumeVPH        *int32   `parquet:"volume_vph"`
	OccupancyPercent *float64 `parquet:"occupancy_percent"`
	Latitude         float64  `parquet:"latitude"`
	Longitude        float64  `parquet:"longitude"`
	ReceivedAt       int64    `parquet:"received_at,timestamp(millisecond)"` // epoch milliseconds
	Sequence         int64    `parquet:"sequence"`                           // 1, 2, 3 … per sensor
	Flags            int32    `parquet:"flags"`                              // codecs.Flags
	Freeway          *string  `parquet:"freeway,dict"`
	Direction        *string  `parquet:"direction,dict"`
	Lanes            *int32   `parquet:"lanes"`
	SourcePartition  int32    `parquet:"source_partition"` // place of the raw record that the reading came from
	SourceOffset     int64    `parquet:"source_offset"`
}

// AggregateRow is a row of the table aggregates: one revision of a window. See codecs.WindowAggregate.
type AggregateRow struct {
	SensorID          string           `parquet:"sensor_id,dict"`
	WindowStart       int64            `parquet:"window_start,timestamp(millisecond)"` // epoch milliseconds
	WindowEnd         int64            `parquet:"window_end,timestamp(millisecond)"`
	AvgSpeed          *float64         `parquet:"avg_speed"`
	AvgVolume         *float64         `parquet:"avg_volume"`
	AvgOccupancy      *float64         `parquet:"avg_occupancy"`
	SpeedVariance     *float64         `parquet:"speed_variance"`
	MessageCount      int32            `parquet:"message_count"`
	MinSpeed          *float64         `parquet:"min_speed"`
	MaxSpeed          *float64         `parquet:"max_speed"`
	FlowWeightedSpeed *float64         `parquet:"flow_weighted_speed"`
	HarmonicSpeed     *float64         `parquet:"harmonic_speed"`
	ExpectedCount     int32            `parquet:"expected_count"`
	Completeness      float64          `parquet:"completeness"`
	FlagCounts        map[string]int32 `parquet:"flag_counts"`
	Revision          int32            `parquet:"revision"`
	CloseReason       string           `parquet:"close_reason,dict"`
	Latitude          float64          `parquet:"latitude"`
	Longitude         float64          `parquet:"longitude"`
}

var (
	rawSchema       = parquet.SchemaOf(RawRow{})
	aggregateSchema = parquet.SchemaOf(AggregateRow{})

	schemas = [tableCount]*parquet.Schema{rawSchema, aggregateSchema}

	// sortedBy are the columns by which the rows of a file are sorted.
	sortedBy = [tableCount][]string{
		{"sensor_id", "timestamp", "sequence"},
		{"sensor_id", "window_start", "revision"},
	}
)

// rowBuilder fills a row column by column, in the order of the schema. The struct types above would do for writing too,
// but for two things: a pointer a value costs an allocation, and a Go map is walked in random order, so that equal
// batches would give unequal files.
type rowBuilder struct {
	row parquet.Row
	col int
}

func (b *rowBuilder) add(v parquet.Value, repetition, definition int) {
	b.row = append(b.row, v.Level(repetition, definition, b.col))
}

func (b *rowBuilder) required(v parquet.Value) {
	b.add(v, 0, 0)
	b.col++
}

func (b *rowBuilder) optional(v parquet.Value, valid bool) {
	if valid {
		b.add(v, 0, 1)
	} else {
		b.add(parquet.NullValue(), 0, 0)
	}
	b.col++
}

func (b *rowBuilder) double(v codecs.Null[float64]) { b.optional(parquet.DoubleValue(v.V), v.Valid) }
func (b *rowBuilder) int32(v codecs.Null[int32])    { b.optional(parquet.Int32Value(v.V), v.Valid) }
func (b *rowBuilder) string(v codecs.Null[string])  { b.optional(stringValue(v.V), v.Valid) }

// flagCounts writes a map, in the order of the bits: a repeated group of two leaf columns, name and count. Where it is
// empty each leaf holds one null at definition level 0.
func (b *rowBuilder) flagCounts(counts *codecs.FlagCounts) {
	for leaf := range 2 {
		repetition := 0
		for bit, n := range counts {
			if n == 0 {
				continue
			}
			v := parquet.Int32Value(n)
			if leaf == 0 {
				v = stringValue(codecs.FlagName(bit))
			}
			b.add(v, repetition, 1)
			repetition = 1
		}
		if repetition == 0 {
			b.add(parquet.NullValue(), 0, 0)
		}
		b.col++
	}
}

// stringValue aliases the string; the writer copies it into its column.
func stringValue(s string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
}

func (r *rawEntry) appendRow(row parquet.Row) parquet.Row {
	b := rowBuilder{row: row}
	b.required(stringValue(r.SensorID))
	b.required(parquet.Int64Value(r.Timestamp))
	b.double(r.SpeedMPH)
	b.int32(r.VolumeVPH)
	b.double(r.Occupancy)
	b.required(parquet.DoubleValue(r.Latitude))
	b.required(parquet.DoubleValue(r.Longitude))
	b.required(parquet.Int64Value(r.ReceivedAt))
	b.required(parquet.Int64Value(r.Sequence))
	b.required(parquet.Int32Value(int32(r.Flags)))
	b.string(r.Freeway)
	b.string(r.Direction)
	b.int32(r.Lanes)
	b.required(parquet.Int32Value(r.sourcePartition))
	b.required(parquet.Int64Value(r.sourceOffset))
	return b.row
}

func (w *windowEntry) appendRow(row parquet.Row) parquet.Row {
	b := rowBuilder{row: row}
	b.required(stringValue(w.SensorID))
	b.required(parquet.Int64Value(w.WindowStart))
	b.required(parquet.Int64Value(w.WindowEnd))
	b.double(w.AvgSpeed)
	b.double(w.AvgVolume)
	b.double(w.AvgOccupancy)
	b.double(w.SpeedVariance)
	b.required(parquet.Int32Value(w.MessageCount))
	b.double(w.MinSpeed)
	b.double(w.MaxSpeed)
	b.double(w.FlowWeightedSpeed)
	b.double(w.HarmonicSpeed)
	b.required(parquet.Int32Value(w.ExpectedCount))
	b.required(parquet.DoubleValue(w.Completeness))
	b.flagCounts(&w.FlagCounts)
	b.required(parquet.Int32Value(w.Revision))
	b.required(stringValue(string(w.CloseReason)))
	b.required(parquet.DoubleValue(w.Latitude))
	b.required(parquet.DoubleValue(w.Longitude))
	return b.row
}
