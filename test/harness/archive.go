package harness

import (
	"testing"

	"gantry/codecs"
	"gantry/store/archive"
)

// ArchiveHolds compares the Parquet files of an archive with the topics: one row for each reading and for each
// revision of a window, with the same values, and null where there is none.
func ArchiveHolds(t *testing.T, url string, o *Outcomes) (d Diff) {
	t.Helper()
	fsys, err := archive.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()

	readings := make(map[codecs.Source]codecs.Reading)
	EachRow(t, fsys, archive.TableRaw, archive.ReadRaw, func(file string, row archive.RawRow) {
		source := codecs.Source{Topic: RawTopic, Partition: row.SourcePartition, Offset: row.SourceOffset}
		if _, twice := readings[source]; twice {
			t.Errorf("%s: %v is archived twice", file, source)
			d.TooMuch++
		}
		readings[source] = codecs.Reading{
			SensorID: row.SensorID, Timestamp: row.Timestamp, SpeedMPH: null(row.SpeedMPH), VolumeVPH: null(row.VolumeVPH),
			Occupancy: null(row.OccupancyPercent), Latitude: row.Latitude, Longitude: row.Longitude,
			ReceivedAt: row.ReceivedAt, Sequence: row.Sequence, Flags: codecs.Flags(row.Flags), Freeway: null(row.Freeway),
			Direction: null(row.Direction), Lanes: null(row.Lanes),
		}
	})
	want := make(map[codecs.Source]codecs.Reading)
	for source, r := range o.Readings { // without what the archive does not keep
		r.IntervalS, r.DensityVPMPL, r.LevelOfService = codecs.Null[int32]{}, codecs.Null[float64]{}, codecs.Null[string]{}
		want[source] = r
	}
	d = d.Plus(Compare(t, "archived readings", readings, want))

	windows := make(map[RevisionKey]codecs.WindowAggregate)
	EachRow(t, fsys, archive.TableAggregates, archive.ReadAggregates, func(file string, row archive.AggregateRow) {
		key := RevisionKey{WindowKey{row.SensorID, row.WindowStart}, row.Revision}
		if _, twice := windows[key]; twice {
			t.Errorf("%s: %v is archived twice", file, key)
			d.TooMuch++
		}
		w := codecs.WindowAggregate{
			SensorID: row.SensorID, WindowStart: row.WindowStart, WindowEnd: row.WindowEnd, AvgSpeed: null(row.AvgSpeed),
			AvgVolume: null(row.AvgVolume), AvgOccupancy: null(row.AvgOccupancy), SpeedVariance: null(row.SpeedVariance),
			MessageCount: row.MessageCount, MinSpeed: null(row.MinSpeed), MaxSpeed: null(row.MaxSpeed),
			FlowWeightedSpeed: null(row.FlowWeightedSpeed), HarmonicSpeed: null(row.HarmonicSpeed),
			ExpectedCount: row.ExpectedCount, Completeness: row.Completeness, Revision: row.Revision,
			CloseReason: codecs.CloseReason(row.CloseReason), Latitude: row.Latitude, Longitude: row.Longitude,
		}
		for name, n := range row.FlagCounts {
			bit, ok := codecs.FlagBit(name)
			if !ok {
				t.Errorf("%s: no flag is called %q", file, name)
				continue
			}
			w.FlagCounts[bit] = n
		}
		windows[key] = w
	})
	return d.Plus(Compare(t, "archived windows", windows, o.Windows))
}

// EachRow reads every row of a table, file by file.
func EachRow[R any](t *testing.T, fsys archive.FS, table archive.Table,
	read func(archive.Reader, string) ([]R, error), each func(file string, row R),
) {
	t.Helper()
	for file, err := range archive.Walk(fsys, table) {
		if err != nil {
			t.Fatal(err)
		}
		rows, err := read(fsys, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			each(file, row)
		}
	}
}

func null[T any](p *T) codecs.Null[T] {
	if p == nil {
		return codecs.Null[T]{}
	}
	return codecs.Some(*p)
}
