package race

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"gantry/codecs"
	"gantry/store/archive"
)

// archiveRows are written by the archive writer: those of 400 sensors, a partition's share of 2,000.
const (
	archiveRows    = 400_000
	archiveSensors = 400
)

// archive measures Gantry's archive writer on one core: batches of the default size, sorted, written as Parquet and
// committed to a folder.
func (s *settings) archive(t *testing.T, dir string) result {
	records := archiveRecords()
	fsys, err := archive.NewLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	runtime.GC()
	before := ownCPU(t)
	p, err := archive.OpenPartition(t.Context(), fsys, 0, archive.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, r := range records {
		full, err := p.Add(r)
		if err == nil && full {
			_, err = p.Flush(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	seconds := ownCPU(t) - before
	rows, bytes := 0, int64(0)
	for name, err := range archive.Walk(fsys, archive.TableRaw) {
		if err != nil {
			t.Fatal(err)
		}
		read, err := archive.ReadRaw(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		rows += len(read)
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	res := result{Figures: map[string]float64{
		rowsPerCPUSecond: archiveRows / seconds, "bytes_per_row": float64(bytes) / archiveRows,
	}}
	res.check(t, differ("rows", archiveRows, int64(rows)))
	return res
}

// pyarrow measures what pyarrow needs on one core to write the very files that Gantry wrote, from its own tables in
// memory.
func (s *settings) pyarrow(t *testing.T, dir string) result {
	python := filepath.Join(s.dir, "python")
	if _, err := exec.LookPath(filepath.Join(python, "bin", "pip")); err != nil {
		output(t, exec.Command("python3", "-m", "venv", python))
	}
	output(t, exec.Command(filepath.Join(python, "bin", "pip"), "install", "-q", "-r", "requirements.txt"))
	var said struct {
		Rows, Bytes int64
		CPU         float64 `json:"cpu_s"`
	}
	out := output(t, exec.Command(filepath.Join(python, "bin", "python"), "write.py", filepath.Join(dir, "raw"),
		filepath.Join(s.dir, "state")))
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("write.py said %q: %v", out, err)
	}
	res := result{Figures: map[string]float64{
		rowsPerCPUSecond: float64(said.Rows) / said.CPU, "bytes_per_row": float64(said.Bytes) / float64(said.Rows),
	}}
	res.check(t, differ("rows", archiveRows, said.Rows))
	return res
}

// archiveRecords are readings as a partition has them, with values that the generator might have chosen.
func archiveRecords() []archive.Record {
	events := make([]codecs.Event, archiveRows)
	records := make([]archive.Record, archiveRows)
	const start = 1_764_000_000_000
	for i := range records {
		sensor, at := i%archiveSensors, start+int64(i)*cadence.Milliseconds()/archiveSensors
		noise := float64(uint32(i)*2_654_435_761) / (1 << 32) // spread over [0, 1)
		events[i] = codecs.Event{Kind: codecs.KindReading, Reading: codecs.Reading{
			SensorID: "METR_LA_" + strconv.Itoa(10_000+sensor), Timestamp: at, SpeedMPH: codecs.Some(40 + 30*noise),
			VolumeVPH: codecs.Some(int32(400 + 1400*noise)), Occupancy: codecs.Some(3 + 20*noise),
			Latitude:   33.75 + float64(sensor)*0.7/archiveSensors,
			Longitude:  -118.9 + float64(sensor)*1.8/archiveSensors,
			ReceivedAt: at + int64(2000*noise), Sequence: int64(1 + i/archiveSensors),
		}}
		records[i] = archive.Record{
			Offset: int64(i), Event: &events[i], Source: codecs.Source{Topic: "traffic-raw", Offset: int64(i)},
		}
	}
	return records
}

func ownCPU(t *testing.T) float64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
