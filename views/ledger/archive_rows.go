package ledger

import (
	"cmp"
	"strings"

	"gantry/codecs"
	"gantry/store/archive"
)

// rawRow is the row that a reading asks for. Strings alias the reading's.
func rawRow(r *codecs.Reading, source codecs.Source) archive.RawRow {
	return archive.RawRow{
		SensorID: r.SensorID, Timestamp: r.Timestamp, SpeedMPH: pointer(r.SpeedMPH), VolumeVPH: pointer(r.VolumeVPH),
		OccupancyPercent: pointer(r.Occupancy), Latitude: r.Latitude, Longitude: r.Longitude, ReceivedAt: r.ReceivedAt,
		Sequence: r.Sequence, Flags: int32(r.Flags), Freeway: pointer(r.Freeway), Direction: pointer(r.Direction),
		Lanes: pointer(r.Lanes), SourcePartition: source.Partition, SourceOffset: source.Offset,
	}
}

// aggregateRow is the row that a window asks for.
func aggregateRow(w *codecs.WindowAggregate) archive.AggregateRow {
	return archive.AggregateRow{
		SensorID: w.SensorID, WindowStart: w.WindowStart, WindowEnd: w.WindowEnd, AvgSpeed: pointer(w.AvgSpeed),
		AvgVolume: pointer(w.AvgVolume), AvgOccupancy: pointer(w.AvgOccupancy), SpeedVariance: pointer(w.SpeedVariance),
		MessageCount: w.MessageCount, MinSpeed: pointer(w.MinSpeed), MaxSpeed: pointer(w.MaxSpeed),
		FlowWeightedSpeed: pointer(w.FlowWeightedSpeed), HarmonicSpeed: pointer(w.HarmonicSpeed),
		ExpectedCount: w.ExpectedCount, Completeness: w.Completeness, FlagCounts: w.FlagCounts.Map(), Revision: w.Revision,
		CloseReason: string(w.CloseReason), Latitude: w.Latitude, Longitude: w.Longitude,
	}
}

func pointer[T any](v codecs.Null[T]) *T {
	if !v.Valid {
		return nil
	}
	return &v.V
}

// rawContent digests all columns of a row.
func (a *Archive) rawContent(r *archive.RawRow) uint32 {
	d := &a.hash
	d.begin()
	d.string(r.SensorID)
	d.long(r.Timestamp)
	d.doubles(r.SpeedMPH, r.OccupancyPercent, &r.Latitude, &r.Longitude)
	d.ints(r.VolumeVPH, &r.Flags, r.Lanes, &r.SourcePartition)
	d.long(r.ReceivedAt)
	d.long(r.Sequence)
	d.long(r.SourceOffset)
	for _, s := range []*string{r.Freeway, r.Direction} {
		if d.mark(s != nil) {
			d.string(*s)
		}
	}
	return d.sum()
}

// windowContent digests all columns of a row.
func (a *Archive) windowContent(r *archive.AggregateRow) uint32 {
	d := &a.hash
	d.begin()
	d.string(r.SensorID)
	d.long(r.WindowStart)
	d.long(r.WindowEnd)
	d.doubles(r.AvgSpeed, r.AvgVolume, r.AvgOccupancy, r.SpeedVariance, r.MinSpeed, r.MaxSpeed, r.FlowWeightedSpeed,
		r.HarmonicSpeed, &r.Completeness, &r.Latitude, &r.Longitude)
	d.ints(&r.MessageCount, &r.ExpectedCount, &r.Revision)
	d.string(r.CloseReason)
	d.long(int64(len(r.FlagCounts)))
	for bit := range codecs.FlagKinds {
		if n, ok := r.FlagCounts[codecs.FlagName(bit)]; d.mark(ok) {
			d.long(int64(n))
		}
	}
	return d.sum()
}

func (d *digester) doubles(values ...*float64) {
	for _, v := range values {
		if d.mark(v != nil) {
			d.double(*v)
		}
	}
}

func (d *digester) ints(values ...*int32) {
	for _, v := range values {
		if d.mark(v != nil) {
			d.long(int64(*v))
		}
	}
}

func rawOrder(a, b *archive.RawRow) int {
	return cmp.Or(strings.Compare(a.SensorID, b.SensorID), cmp.Compare(a.Timestamp, b.Timestamp),
		cmp.Compare(a.Sequence, b.Sequence))
}

func aggregateOrder(a, b *archive.AggregateRow) int {
	return cmp.Or(strings.Compare(a.SensorID, b.SensorID), cmp.Compare(a.WindowStart, b.WindowStart),
		cmp.Compare(a.Revision, b.Revision))
}
