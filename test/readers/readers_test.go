// Package readers compares what pyarrow, DuckDB and Spark find in an archive with what Gantry has put there, before and
// after its hours are sealed. make test-readers installs them, and sets GANTRY_READERS_PYTHON; without it every test is
// skipped. With GANTRY_ARCHIVE_URL, of make servers, the archive lies on HDFS: Spark reads it there, the others a copy.
package readers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/codecs"
	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// found is what read.py prints of a folder.
type found struct {
	Rows    int64             `json:"rows"`
	Columns map[string]column `json:"columns"`
}

type column struct {
	Nulls int64    `json:"nulls"`
	Sum   *float64 `json:"sum"` // nil for texts
}

func TestReadersAgree(t *testing.T) {
	python := os.Getenv("GANTRY_READERS_PYTHON")
	if python == "" {
		t.Skip("GANTRY_READERS_PYTHON is not set: this needs pyarrow, DuckDB and Spark (make test-readers)")
	}
	local := filepath.Join(t.TempDir(), "archive")
	for _, place := range []struct{ name, url string }{
		{"local", "file://" + local},
		{"hdfs", os.Getenv("GANTRY_ARCHIVE_URL")},
	} {
		t.Run(place.name, func(t *testing.T) {
			url := place.url
			if url == "" {
				t.Skip("GANTRY_ARCHIVE_URL is not set: this needs HDFS (make servers)")
			}
			if place.name == "hdfs" {
				url = fmt.Sprintf("%s/_tests/readers-%d", url, time.Now().UnixNano())
			}
			fsys, err := archive.Open(url)
			if err != nil {
				t.Fatal(err)
			}
			defer fsys.Close()
			fill(t, fsys)
			open := snapshot(t, fsys, "with every revision")
			fstest.Seal(t, fsys)
			sealed := snapshot(t, fsys, "sealed")
			agree(t, python, "pyarrow", open, sealed)
			agree(t, python, "duckdb", open, sealed)
			sealed.root = url
			agree(t, python, "spark", open, sealed)
		})
	}
}

// sensors and minutes of the archive; values are multiples of a power of two, so that sums do not depend on the order.
const (
	sensors = 40
	minutes = 150
)

// fill archives readings and windows of three hours in many small files, with nulls, zeros, maps and later revisions.
func fill(t *testing.T, fsys archive.FS) {
	t.Helper()
	o := archive.DefaultOptions()
	o.FlushRows = 500
	p, err := archive.OpenPartition(t.Context(), fsys, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	start := base.Add(7*time.Hour + 30*time.Minute).UnixMilli() // a month, day and hour with leading zeros
	offset, ordinals := int64(0), make([]int64, sensors)
	add := func(r archive.Record) {
		t.Helper()
		r.Offset = offset
		offset++
		full, err := p.Add(r)
		if err == nil && full {
			_, err = p.Flush(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for minute := range minutes {
		for s := range sensors {
			at := start + int64(minute)*60_000
			e := &codecs.Event{Kind: codecs.KindReading, Reading: codecs.Reading{
				SensorID: fmt.Sprintf("sensor %d", s), Timestamp: at, Latitude: 34 + float64(s)/64, Longitude: -118,
				ReceivedAt: at + int64(s), Sequence: int64(minute) + 1, Flags: codecs.Flags(minute) & codecs.FlagsAll,
			}}
			r := &e.Reading
			if (minute+s)%3 > 0 {
				r.SpeedMPH, r.Occupancy = codecs.Some(float64((minute+s)%3-1)*50.5), codecs.Some(float64(s)/4)
				r.VolumeVPH = codecs.Some(int32(minute * s))
			}
			if s%2 == 0 {
				r.Freeway, r.Direction, r.Lanes = codecs.Some("I-5"), codecs.Some("N"), codecs.Some(int32(s%5))
			}
			add(archive.Record{Event: e, Source: codecs.Source{Topic: "traffic-raw", Offset: offset}})
			if minute%5 != 4 {
				continue
			}
			for revision := range int32(1 + (minute+s)%3) {
				ordinals[s]++
				add(windowRecord(s, at-4*60_000, ordinals[s], revision+1))
			}
		}
	}
	if _, err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func windowRecord(s int, start, ordinal int64, revision int32) archive.Record {
	w := codecs.WindowAggregate{
		SensorID: fmt.Sprintf("sensor %d", s), WindowStart: start, WindowEnd: start + 300_000, MessageCount: 5 + revision,
		AvgVolume: codecs.Some(float64(s) * 1.5), ExpectedCount: 10, Completeness: 0.5, Revision: revision,
		CloseReason: codecs.CloseWatermark, Latitude: 34 + float64(s)/64, Longitude: -118,
	}
	if s%3 > 0 {
		w.AvgSpeed, w.MinSpeed = codecs.Some(float64(revision)*0.25), codecs.Some(0.0)
		w.FlagCounts[0], w.FlagCounts[s%5] = revision, 7
	}
	return archive.Record{Ordinal: ordinal, Event: &codecs.Event{Kind: codecs.KindWindow, Window: w}}
}

// contents are an archive's files, where a reader finds them, and what Gantry finds in them.
type contents struct {
	when  string
	root  string
	want  []found // by table
	files int
}

func snapshot(t *testing.T, fsys archive.FS, when string) contents {
	t.Helper()
	return contents{
		when: when, root: copyOf(t, fsys), files: files(t, fsys),
		want: []found{
			count(t, fsys, archive.TableRaw, archive.ReadRaw, rawNumbers),
			count(t, fsys, archive.TableAggregates, archive.ReadAggregates, aggregateNumbers),
		},
	}
}

// agree lets a reader read the tables, and compares with Gantry's own counts.
func agree(t *testing.T, python, reader string, archives ...contents) {
	t.Helper()
	args := []string{"read.py", reader}
	for _, a := range archives {
		for _, table := range archive.Tables {
			args = append(args, a.root+"/"+table.Dir())
		}
	}
	cmd := exec.CommandContext(t.Context(), python, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	cmd.Env = append(os.Environ(), "HADOOP_USER_NAME=gantry", "PYSPARK_PYTHON="+python)
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s", reader, err, &complaints)
		return
	}
	var got []found
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(archives)*len(archive.Tables) {
		t.Errorf("%s: %v: %s", reader, err, out)
		return
	}
	for n, a := range archives {
		for i, table := range archive.Tables {
			compare(t, fmt.Sprintf("%s of %s, %s", reader, table, a.when), got[n*len(archive.Tables)+i], a.want[i])
		}
		t.Logf("%s, %s: %d readings and %d windows in %d files; rows, nulls and sums of %d and %d columns compared",
			reader, a.when, a.want[0].Rows, a.want[1].Rows, a.files, len(a.want[0].Columns), len(a.want[1].Columns))
	}
}

func compare(t *testing.T, what string, got, want found) {
	t.Helper()
	if got.Rows != want.Rows || want.Rows == 0 {
		t.Errorf("%s: %d rows, want %d", what, got.Rows, want.Rows)
	}
	for name, w := range want.Columns {
		g, ok := got.Columns[name]
		switch {
		case !ok:
			t.Errorf("%s: no column %s", what, name)
		case g.Nulls != w.Nulls, (g.Sum == nil) != (w.Sum == nil), g.Sum != nil && *g.Sum != *w.Sum:
			t.Errorf("%s: %s has %s, want %s", what, name, g, w)
		}
	}
	if len(got.Columns) != len(want.Columns) {
		t.Errorf("%s: %d columns, want %d", what, len(got.Columns), len(want.Columns))
	}
}

func (c column) String() string {
	if c.Sum == nil {
		return fmt.Sprintf("%d nulls", c.Nulls)
	}
	return fmt.Sprintf("%d nulls and the sum %v", c.Nulls, *c.Sum)
}

// count reads a table with Gantry's own reader. numbers gives the columns of a row: a float64, a string, or nil for
// null.
func count[R any](
	t *testing.T, fsys archive.Reader, table archive.Table, read func(archive.Reader, string) ([]R, error),
	numbers func(*R) map[string]any,
) found {
	t.Helper()
	f := found{Columns: make(map[string]column)}
	for name, err := range archive.Walk(fsys, table) {
		if err != nil {
			t.Fatal(err)
		}
		rows, err := read(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		parts := partitions(t, name)
		for i := range rows {
			f.Rows++
			values := numbers(&rows[i])
			for key, n := range parts {
				values[key] = n
			}
			for key, value := range values {
				f.add(key, value)
			}
		}
	}
	return f
}

func (f *found) add(name string, value any) {
	c := f.Columns[name]
	switch v := value.(type) {
	case nil:
		c.Nulls++
	case nullNumber:
		c.Nulls++
		if c.Sum == nil {
			c.Sum = new(float64)
		}
	case float64:
		if c.Sum == nil {
			c.Sum = new(float64)
		}
		*c.Sum += v
	}
	f.Columns[name] = c
}

// partitions are the columns that a reader takes from the names of the folders.
func partitions(t *testing.T, name string) map[string]float64 {
	t.Helper()
	parts := make(map[string]float64)
	for _, folder := range strings.Split(path.Dir(name), "/") {
		key, value, ok := strings.Cut(folder, "=")
		if !ok {
			continue
		}
		var n float64
		if _, err := fmt.Sscanf(value, "%g", &n); err != nil {
			t.Fatal(err)
		}
		parts[key] = n
	}
	return parts
}

// base is the time from which times are counted.
var base = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func since(ms int64) float64 { return float64(ms - base.UnixMilli()) }

func rawNumbers(r *archive.RawRow) map[string]any {
	return map[string]any{
		"sensor_id": r.SensorID, "timestamp": since(r.Timestamp), "speed_mph": double(r.SpeedMPH),
		"volume_vph": integer(r.VolumeVPH), "occupancy_percent": double(r.OccupancyPercent), "latitude": r.Latitude,
		"longitude": r.Longitude, "received_at": since(r.ReceivedAt), "sequence": float64(r.Sequence),
		"flags": float64(r.Flags), "freeway": text(r.Freeway), "direction": text(r.Direction), "lanes": integer(r.Lanes),
		"source_partition": float64(r.SourcePartition), "source_offset": float64(r.SourceOffset),
	}
}

func aggregateNumbers(w *archive.AggregateRow) map[string]any {
	flags := 0.0
	for _, n := range w.FlagCounts {
		flags += float64(n)
	}
	return map[string]any{
		"sensor_id": w.SensorID, "window_start": since(w.WindowStart), "window_end": since(w.WindowEnd),
		"avg_speed": double(w.AvgSpeed), "avg_volume": double(w.AvgVolume), "avg_occupancy": double(w.AvgOccupancy),
		"speed_variance": double(w.SpeedVariance), "message_count": float64(w.MessageCount),
		"min_speed": double(w.MinSpeed), "max_speed": double(w.MaxSpeed),
		"flow_weighted_speed": double(w.FlowWeightedSpeed), "harmonic_speed": double(w.HarmonicSpeed),
		"expected_count": float64(w.ExpectedCount), "completeness": w.Completeness, "flag_counts": flags,
		"revision": float64(w.Revision), "close_reason": w.CloseReason, "latitude": w.Latitude, "longitude": w.Longitude,
	}
}

// nullNumber is a null of a column whose sum counts.
type nullNumber struct{}

func double(v *float64) any {
	if v == nil {
		return nullNumber{}
	}
	return *v
}

func integer(v *int32) any {
	if v == nil {
		return nullNumber{}
	}
	return float64(*v)
}

func text(v *string) any {
	if v == nil {
		return nil
	}
	return *v
}

// copyOf copies an archive's data files to this machine.
func copyOf(t *testing.T, fsys archive.Reader) string {
	t.Helper()
	root := t.TempDir()
	for _, table := range archive.Tables {
		for name, err := range archive.Walk(fsys, table) {
			if err != nil {
				t.Fatal(err)
			}
			data, err := fsys.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(root, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

func files(t *testing.T, fsys archive.Reader) (n int) {
	t.Helper()
	for _, table := range archive.Tables {
		for _, err := range archive.Walk(fsys, table) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	return n
}
