package suite

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gantry/codecs"
	"gantry/test/harness"
)

// Write writes a file and returns its path.
func Write(t *testing.T, path string, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	Write(t, to, string(text))
}

// CopyFolder makes a folder an exact copy of another one.
func CopyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TrafficData finds a file of the published data sets, or skips the test.
func TrafficData(t *testing.T, file string) string {
	t.Helper()
	path, ok := published(t, file)
	if !ok {
		t.Skipf("%s is nowhere: set GANTRY_TRAFFIC_DATA to the folder that holds metr-la and portal", file)
	}
	return path
}

func published(t *testing.T, file string) (path string, ok bool) {
	t.Helper()
	dirs := []string{os.Getenv("GANTRY_TRAFFIC_DATA")}
	if dirs[0] == "" { // beside the repository, or above a work tree of it
		dirs = []string{"../../shared/data", "../../../shared/data", "../../../../shared/data"}
	}
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
	}
	return "", false
}

// standIn runs a part of a test that stands in for one with a published file. Where that is there, servers which all
// tests share need not do the same work twice.
func (s *Suite) standIn(t *testing.T, file string) {
	t.Helper()
	if _, ok := published(t, file); ok && s.Alone {
		harness.Long(t)
	}
}

// Speeds is the content of a METR-LA file: a row each 5 minutes, a column a sensor, nil where there is no data.
type Speeds struct {
	Sensors []string
	Rows    [][]*float64
}

// ReadSpeeds reads a METR-LA file.
func ReadSpeeds(t *testing.T, path string) (s Speeds) {
	t.Helper()
	for i, line := range csvLines(t, path) {
		fields := strings.Split(line, ",")
		if i == 0 {
			s.Sensors = fields
			continue
		}
		row := make([]*float64, len(fields))
		for j, f := range fields {
			if v, err := strconv.ParseFloat(f, 64); err != nil {
				t.Fatalf("%s:%d: %v", path, i+1, err)
			} else if v != 0 {
				row[j] = &v
			}
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}

func csvLines(t *testing.T, path string) (lines []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		if line := strings.TrimSpace(scan.Text()); line != "" {
			lines = append(lines, line)
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// metrLADay cuts the first day from the published file, and puts its sensors beside it.
func metrLADay(t *testing.T) string {
	t.Helper()
	from := TrafficData(t, metrLAFile)
	dir := t.TempDir()
	copyFile(t, filepath.Join(filepath.Dir(from), "graph_sensor_locations.csv"),
		filepath.Join(dir, "graph_sensor_locations.csv"))
	return Write(t, filepath.Join(dir, "los_speed.csv"), strings.Join(csvLines(t, from)[:1+288], "\n")+"\n")
}

// SyntheticMetrLA writes a day like METR-LA, with gaps: single ones and, as in the full data set, whole rows.
func SyntheticMetrLA(t *testing.T) string {
	t.Helper()
	const sensors, rows = 12, 288
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	var table, places strings.Builder
	places.WriteString("index,sensor_id,latitude,longitude\n")
	for s := range sensors {
		fmt.Fprintf(&places, "%d,%d,%.4f,%.4f\n", s, 700000+s, 34+float64(s)/100, -118-float64(s)/100)
		fmt.Fprintf(&table, "%d%s", 700000+s, separator(s, sensors))
	}
	for r := range rows {
		gap := r%97 == 50
		for s := range sensors {
			speed := 1 + 69*random.Float64()
			if gap || random.IntN(20) == 0 {
				speed = 0
			}
			fmt.Fprintf(&table, "%v%s", speed, separator(s, sensors))
		}
	}
	Write(t, filepath.Join(dir, "graph_sensor_locations.csv"), places.String())
	return Write(t, filepath.Join(dir, "los_speed.csv"), table.String())
}

func separator(i, n int) string {
	if i == n-1 {
		return "\n"
	}
	return ","
}

// syntheticPortal writes an hour like PORTAL's: blanks, zeros, a stuck detector, one that nobody knows.
func syntheticPortal(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	detectors := strings.Builder{}
	detectors.WriteString("detectorid,highwayid,milepost,locationtext,detectorclass,lanenumber,stationid\n")
	for d := range 4 {
		fmt.Fprintf(&detectors, "%d,3,14.32,Sunnyside NB,1,%d,1045\n", 1345+d, d+1)
	}
	Write(t, filepath.Join(dir, "freeway_detectors.csv"), detectors.String())
	Write(t, filepath.Join(dir, "freeway_stations.csv"),
		"stationid,highwayid,milepost,locationtext,upstream,downstream,stationclass,numberlanes,latlon,length\n"+
			`1045,3,14.32,Sunnyside NB,0,1046,1,4,"45.43324,-122.565775",0.94`+"\n")
	var rows strings.Builder
	rows.WriteString("detectorid,starttime,volume,speed,occupancy,status,dqflags\n")
	for d := range 5 {
		for i := range 180 {
			at := time.Date(2011, 9, 15, 0, 0, 20*i, 0, time.UTC).Format("1/2/2006 15:04:05")
			volume, speed, occupancy := strconv.Itoa(random.IntN(20)), strconv.Itoa(random.IntN(118)),
				strconv.Itoa(random.IntN(101))
			switch {
			case d == 1 && i > 100: // stuck
				volume, speed, occupancy = "7", "55", "9"
			case volume == "0" || random.IntN(10) == 0:
				speed = ""
			case random.IntN(20) == 0:
				volume, speed, occupancy = "", "", ""
			}
			fmt.Fprintf(&rows, "%d,%s,%s,%s,%s,0,0\n", 1345+d, at, volume, speed, occupancy)
		}
	}
	return Write(t, filepath.Join(dir, "loopdata_one_hour.csv"), rows.String())
}

// mixed writes what a network of 30-second sensors sends in four hours, with everything that makes windows and verdicts
// hard: late and too late readings, readings that come out of order, twice, or twice with other values, invalid and
// broken ones, missing ones.
func mixed(t *testing.T, dir string, seed uint64) string {
	t.Helper()
	const sensors, steps = 24, 480
	start := time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)
	random := rand.New(rand.NewPCG(seed, 6))
	file, err := os.Create(filepath.Join(dir, "mixed.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	for step := range steps {
		for s := range sensors {
			if random.IntN(12) == 0 {
				continue
			}
			at := start.Add(time.Duration(step) * 30 * time.Second)
			switch random.IntN(40) {
			case 0:
				at = at.Add(-time.Duration(random.IntN(600)) * time.Second) // late
			case 1:
				at = at.Add(-2 * time.Hour) // too old
			}
			r := codecs.RawReading{
				SensorID:  fmt.Sprintf("s%02d", s),
				Timestamp: codecs.Some(at.UnixMilli()),
				SpeedMPH:  codecs.Some(float64(random.IntN(500)) / 7),
				VolumeVPH: codecs.Some(int64(random.IntN(2000))),
				Occupancy: codecs.Some(float64(random.IntN(300)) / 9),
				Latitude:  codecs.Some(34 + float64(s)/100),
				Longitude: codecs.Some(-118.5),
			}
			send(out, &r)
			switch random.IntN(60) {
			case 0:
				send(out, &r) // duplicate
			case 1:
				r.SpeedMPH.V++ // conflict
				send(out, &r)
			case 2:
				r.SpeedMPH.V = 400
				send(out, &r)
			case 3:
				fmt.Fprintln(out, `{"sensor_id": "s01", "timestamp": "yesterday"}`)
			}
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

func send(w io.Writer, r *codecs.RawReading) {
	w.Write(append(codecs.AppendRawJSON(nil, r), '\n')) // into memory
}
