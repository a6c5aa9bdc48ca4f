package real

import (
	"testing"

	"gantry/codecs"
	"gantry/store/archive"
)

// archiveHolds compares the Parquet files of an archive with the topics: one row for each reading and for each revision
// of a window, with the same values, and null where there is none.
func archiveHolds(t *testing.T, url string, o *outcomes) {
	t.Helper()
	fsys := openArchive(t, url)
	defer fsys.Close()

	readings := make(map[codecs.Source]codecs.Reading)
	eachRow(t, fsys, archive.TableRaw, archive.ReadRaw, func(file string, row archive.RawRow) {
		source := codecs.Source{Topic: rawTopic, Partition: row.SourcePartition, Offset: row.SourceOffset}
		if _, twice := readings[source]; twice {
			t.Errorf("%s: %v is archived twice", file, source)
		}
		readings[source] = codecs.Reading{
			SensorID: row.SensorID, Timestamp: row.Timestamp, SpeedMPH: null(row.SpeedMPH), VolumeVPH: null(row.VolumeVPH),
			Occupancy: null(row.OccupancyPercent), Latitude: row.Latitude, Longitude: row.Longitude,
			ReceivedAt: row.ReceivedAt, Sequence: row.Sequence, Flags: codecs.Flags(row.Flags), Freeway: null(row.Freeway),
			Direction: null(row.Direction), Lanes: null(row.Lanes),
		}
	})
	want := make(map[codecs.Source]codecs.Reading)
	for source, r := range o.readings { // without what the archive does not keep
		r.IntervalS, r.DensityVPMPL, r.LevelOfService = codecs.Null[int32]{}, codecs.Null[float64]{}, codecs.Null[string]{}
		want[source] = r
	}
	compare(t, "archived readings", readings, want)

	windows := make(map[revisionKey]aggregate)
	eachRow(t, fsys, archive.TableAggregates, archive.ReadAggregates, func(file string, row archive.AggregateRow) {
		key := revisionKey{windowKey{row.SensorID, row.WindowStart}, row.Revision}
		if _, twice := windows[key]; twice {
			t.Errorf("%s: %v is archived twice", file, key)
		}
		windows[key] = aggregate{
			count: row.MessageCount, speed: null(row.AvgSpeed), volume: null(row.AvgVolume),
			occupancy: null(row.AvgOccupancy), slowest: null(row.MinSpeed), fastest: null(row.MaxSpeed),
			flowWeighted: null(row.FlowWeightedSpeed), variance: null(row.SpeedVariance),
		}
	})
	published := make(map[revisionKey]aggregate)
	for key, w := range o.windows {
		published[key] = aggregateOf(&w)
	}
	compare(t, "archived windows", windows, published)
}

func eachRow[R any](t *testing.T, fsys archive.FS, table archive.Table,
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
