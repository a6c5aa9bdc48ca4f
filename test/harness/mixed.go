package harness

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gantry/codecs"
)

// Mixed writes what a network of 30-second sensors sent in the hours before now, with everything that makes windows and
// verdicts hard: late and too late readings, out of order, twice, or twice with other values, invalid and missing ones.
// It returns the file, and what must come of it.
func Mixed(t *testing.T, seed uint64, steps int) (path string, m *Model) {
	t.Helper()
	const sensors, step = 24, 30_000
	random := rand.New(rand.NewPCG(seed, 6))
	m = NewModel(5 * time.Minute)
	path = filepath.Join(t.TempDir(), "mixed.ndjson")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	newest := int64(0) // a reading that stands later in a file came later
	send := func(r codecs.RawReading) {
		newest = max(newest, r.Timestamp.V)
		m.Add(r, newest)
		out.Write(append(codecs.AppendRawJSON(nil, &r), '\n')) // its error is kept for Flush
	}
	// Every window is over, grace included, so that a silence closes those that the watermark does not.
	start := (time.Now().Add(-10*time.Minute).UnixMilli()/step - int64(steps)) * step
	for i := range int64(steps) {
		for s := range sensors {
			if random.IntN(12) == 0 {
				continue
			}
			at := start + i*step
			switch random.IntN(40) {
			case 0:
				at -= random.Int64N(600_000) // late
			case 1:
				at -= 7_200_000 // too old
			}
			r := codecs.RawReading{
				SensorID:  fmt.Sprintf("s%02d", s),
				Timestamp: codecs.Some(at),
				SpeedMPH:  codecs.Some(float64(random.IntN(500)) / 7),
				VolumeVPH: codecs.Some(int64(random.IntN(2000))),
				Occupancy: codecs.Some(float64(random.IntN(300)) / 9),
				Latitude:  codecs.Some(34 + float64(s)/100),
				Longitude: codecs.Some(-118.5),
			}
			if random.IntN(10) == 0 {
				r.Occupancy = codecs.Null[float64]{}
			}
			send(r)
			switch random.IntN(60) {
			case 0: // duplicate
				send(r)
			case 1: // conflict
				r.SpeedMPH.V++
				send(r)
			case 2:
				r.SpeedMPH.V = 400
				send(r)
			}
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return path, m
}
