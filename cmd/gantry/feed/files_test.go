package feed

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/codecs"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func rowsOf(t *testing.T, path string, format Format) []Row {
	t.Helper()
	src, err := Open(path, format)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var rows []Row
	for {
		row, err := src.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		row.Verbatim = append([]byte(nil), row.Verbatim...)
		rows = append(rows, row)
	}
}

func utc(text string) int64 {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return at.UnixMilli()
}

// METR-LA: a row is 5 minutes, starting at 2012-03-01 local; a 0 is no data, and never a reading.
func TestMetrLA(t *testing.T) {
	path := write(t, "speed.csv", "773869,767541\n64.375,0\n0.0,12\n")
	rows := rowsOf(t, path, "")
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	first, second := rows[0], rows[1]
	if first.Reading.SensorID != "773869" || first.Reading.SpeedMPH != codecs.Some(64.375) || first.Number != 0 ||
		first.Reading.Timestamp != codecs.Some(utc("2012-03-01T08:00:00Z")) || first.Reading.VolumeVPH.Valid {
		t.Errorf("%+v", first)
	}
	if second.Reading.SensorID != "767541" || second.Number != 3 ||
		second.Reading.Timestamp.V != utc("2012-03-01T08:05:00Z") || second.Arrival != second.Reading.Timestamp.V {
		t.Errorf("%+v", second)
	}
	src, err := Open(path, MetrLA)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	info, err := Scan(src)
	if err != nil || info.Rows != 2 || info.Missing != 2 || info.Last-info.First != 300_000 {
		t.Errorf("%+v, %v", info, err)
	}
}

// PORTAL: time order across detectors, vehicles per 20 s as a rate, blank is missing and 0 is 0.
func TestPortal(t *testing.T) {
	rows := rowsOf(t, write(t, "loop.csv", `detectorid,starttime,volume,speed,occupancy,status,dqflags
1345,9/15/2011 0:00:00,0,,0,0,0
1345,9/15/2011 0:00:20,3,61,2.5,0,0
1346,9/15/2011 0:00:00,,,,0,0
`), "")
	if len(rows) != 3 || rows[1].Reading.SensorID != "1346" || rows[2].Number != 2 {
		t.Fatalf("%+v", rows)
	}
	zero, blank, moving := rows[0].Reading, rows[1].Reading, rows[2].Reading
	if zero.VolumeVPH != codecs.Some[int64](0) || zero.SpeedMPH.Valid || zero.Occupancy != codecs.Some(0.0) ||
		zero.Timestamp.V != utc("2011-09-15T07:00:00Z") {
		t.Errorf("zero %+v", zero)
	}
	if blank.VolumeVPH.Valid || blank.SpeedMPH.Valid || blank.Occupancy.Valid {
		t.Errorf("blank %+v", blank)
	}
	if moving.VolumeVPH != codecs.Some[int64](540) || moving.SpeedMPH != codecs.Some(61.0) {
		t.Errorf("moving %+v", moving)
	}
}

// NDJSON: what is a reading is one, with its own time; what is not is published as it is, in its place.
func TestNDJSON(t *testing.T) {
	rows := rowsOf(t, write(t, "raw.ndjson",
		`{"sensor_id":"a","timestamp":"2026-01-01T00:00:10Z","speed_mph":1,"coordinates":{"latitude":34,"longitude":-118}}

{"sensor_id":"b","timestamp":1767225600000}
{"sensor_id":"c"}
not json
{"sensor_id":"d","timestamp":1767225600000,"speed_mph":"fast"}
`), "")
	want := []struct {
		id, verbatim, arrival string
	}{
		{"a", "", "2026-01-01T00:00:10Z"},
		{"b", "", "2026-01-01T00:00:10Z"}, // older, but it came later
		{"c", `{"sensor_id":"c"}`, "2026-01-01T00:00:10Z"},
		{"", "not json", "2026-01-01T00:00:10Z"},
		{"", `{"sensor_id":"d","timestamp":1767225600000,"speed_mph":"fast"}`, "2026-01-01T00:00:10Z"},
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, w := range want {
		r := rows[i]
		if r.Reading.SensorID != w.id || string(r.Verbatim) != w.verbatim || r.Arrival != utc(w.arrival) ||
			r.Number != int64(i) {
			t.Errorf("row %d: %+v", i, r)
		}
	}
}

func TestCSV(t *testing.T) {
	rows := rowsOf(t, write(t, "r.csv", "\xef\xbb\xbftimestamp,sensor_id,speed_mph,volume_vph,latitude,longitude\n"+
		"2026-01-01T00:00:00.5Z,a,60.5,1200,34.1,-118.2\n1767225600000,a,,0,,\n"), "")
	if len(rows) != 2 || rows[0].Reading != (codecs.RawReading{
		SensorID: "a", Timestamp: codecs.Some[int64](1767225600500), SpeedMPH: codecs.Some(60.5),
		VolumeVPH: codecs.Some[int64](1200), Latitude: codecs.Some(34.1), Longitude: codecs.Some(-118.2),
	}) {
		t.Fatalf("%+v", rows)
	}
	if r := rows[1]; r.Reading.SpeedMPH.Valid || r.Reading.Timestamp.V != 1767225600000 || r.Arrival != 1767225600500 {
		t.Errorf("%+v", r)
	}
}

// A file's mistake is named by file, line, column and value.
func TestFileErrors(t *testing.T) {
	portal := "detectorid,starttime,volume,speed,occupancy\n"
	for _, tt := range []struct{ name, text, want string }{
		{"a.csv", "1,2\n60,fast\n", `a.csv:2:4: "fast" is not a finite number`},
		{"a.csv", "1,2\n60,NaN\n", `a.csv:2:4: "NaN" is not a finite number`},
		{"a.csv", "1,2\n60\n", "a.csv:2:1: wrong number of fields"},
		{"a.csv", "", "no known format"},
		{"a.csv", "x,y\n", "no known format"},
		{"p.csv", portal + "1,15.9.2011,0,,0\n", `p.csv:2:3: "15.9.2011" is not a time like`},
		{"p.csv", portal + "1,9/15/2011 0:00:00,-1,,0\n", `p.csv:2:21: "-1" is no number of vehicles`},
		{"p.csv", "detectorid,starttime,volume\n", "p.csv:1: the header has no column speed"},
		{"c.csv", "sensor_id,timestamp,sped_mph\n", `"sped_mph" is no known column`},
		{"c.csv", "sensor_id,timestamp\na,yesterday\n", `c.csv:2:3: "yesterday" is neither RFC 3339`},
		{"n.ndjson", `{"a":"` + strings.Repeat("x", lineBytesMax) + `"}`, "n.ndjson:1: is longer than"},
	} {
		src, err := Open(write(t, tt.name, tt.text), "")
		if err == nil {
			_, err = Scan(src)
			src.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// Sensors are loaded whole or not at all, with the mistakes of all rows in one error, but not with thousands.
func TestLoadSensors(t *testing.T) {
	sensors, err := LoadSensors(write(t, "s.csv",
		"sensor_id,latitude,longitude,freeway,lanes,interval_s,length_mi\na,34.1,-118.2,I-5,4,30,0.5\nb,34,-118,,,,\n"))
	if err != nil || len(sensors) != 2 {
		t.Fatalf("%+v, %v", sensors, err)
	}
	if sensors[0] != (codecs.Sensor{
		SensorID: "a", Latitude: 34.1, Longitude: -118.2, Freeway: codecs.Some("I-5"), Lanes: codecs.Some[int32](4),
		IntervalS: codecs.Some[int32](30), LengthMi: codecs.Some(0.5),
	}) || sensors[1] != (codecs.Sensor{SensorID: "b", Latitude: 34, Longitude: -118}) {
		t.Errorf("%+v", sensors)
	}
	_, err = LoadSensors(write(t, "s.csv", "sensor_id,latitude,longitude,lanes\n"+
		"a,34,-118,0\n,34,-118,\nb,91,-118,\nc,34,west,\nd,34\ne,34,-118,2\ne,34,-118,2\n"))
	for _, want := range []string{
		`s.csv:2:11: "0" must be a whole number from 1`, "s.csv:3:1: is no sensor id", `s.csv:4:3: "91" is no latitude`,
		`s.csv:5:6: "west" is not a finite number`, "s.csv:6:1: wrong number", `s.csv:8:1: "e" is there twice`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	_, err = LoadSensors(write(t, "s.csv", "sensor_id,latitude,longitude\n"+strings.Repeat("a,x,y\n", 5000)))
	if n := strings.Count(err.Error(), "\n"); n > rowErrorsMax {
		t.Errorf("%d lines of errors", n)
	}
}

// The sensors of a data set come from the tables that were published with it.
func TestSensorsOf(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"graph_sensor_locations.csv": "index,sensor_id,latitude,longitude\n0,773869,34.15497,-118.31829\n",
		"freeway_detectors.csv": "detectorid,highwayid,milepost,locationtext,detectorclass,lanenumber,stationid\n" +
			"1345,3,14.32,Sunnyside NB,1,1,1045\n1950,4,24.66,Airportway EB to SB,1,1,1050\n",
		"freeway_stations.csv": "stationid,highwayid,milepost,locationtext,latlon,length\n" +
			"1045,3,14.32,Sunnyside NB,\"45.43324,-122.565775\",0.94\n1050,4,24.66,Airportway EB to SB,\"45.5,-122.5\",0.68\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "data.csv")
	metr, err := SensorsOf(file, MetrLA, Info{})
	if err != nil || len(metr) != 1 || metr[0].IntervalS.V != 300 || metr[0].SensorID != "773869" {
		t.Errorf("%+v, %v", metr, err)
	}
	portal, err := SensorsOf(file, Portal, Info{})
	if err != nil || len(portal) != 2 || portal[0] != (codecs.Sensor{
		SensorID: "1345", Latitude: 45.43324, Longitude: -122.565775, Freeway: codecs.Some("3"),
		Direction: codecs.Some("N"), Lanes: codecs.Some[int32](1), LengthMi: codecs.Some(0.94),
		IntervalS: codecs.Some[int32](20),
	}) || portal[1].Direction.V != "S" {
		t.Errorf("%+v, %v", portal, err)
	}
	derived := []codecs.Sensor{{SensorID: "x", Latitude: 1, Longitude: 2}}
	if own, err := SensorsOf(file, CSV, Info{Sensors: derived}); err != nil || len(own) != 1 || own[0] != derived[0] {
		t.Errorf("%+v, %v", own, err)
	}
}

// Any bytes are rows or an error, in every format: no panic, and arrivals never go back.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("1,2\n60,0\n"))
	f.Add([]byte("detectorid,starttime,volume,speed,occupancy\n1,9/15/2011 0:00:00,1,,0\n"))
	f.Add([]byte("sensor_id,timestamp\na,1\n"))
	f.Add([]byte(`{"sensor_id":"a","timestamp":1}` + "\n\x00\x00\x00\x00\x01a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		LoadSensors(path)
		for _, format := range append(Formats, "") {
			src, err := Open(path, format)
			if err != nil {
				continue
			}
			arrival, number := int64(-1<<63), int64(-1)
			for {
				row, err := src.Next()
				if err != nil {
					break
				}
				if row.Arrival < arrival || row.Number <= number {
					t.Fatalf("%s: arrival %d after %d, row %d after %d", format, row.Arrival, arrival, row.Number, number)
				}
				arrival, number = row.Arrival, row.Number
			}
			src.Close()
		}
	})
}
