package suite

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gantry/codecs"
	"gantry/test/harness"
)

const portalFile = "portal/loopdata_one_hour.csv"

// Portal: the hour of PORTAL has real gaps, zeros and stuck detectors. Every row is accounted for, with the verdict and
// the flags that the published definitions give it when they are written down again here; blank stays null up to the
// archive.
func (s *Suite) Portal(t *testing.T) {
	s.parallel(t)
	t.Run("hour", func(t *testing.T) {
		s.parallel(t)
		from := TrafficData(t, portalFile)
		dir := t.TempDir()
		for _, name := range []string{"loopdata_one_hour.csv", "freeway_detectors.csv", "freeway_stations.csv"} {
			copyFile(t, filepath.Join(filepath.Dir(from), name), filepath.Join(dir, name))
		}
		s.portal(t, filepath.Join(dir, "loopdata_one_hour.csv"), 12420)
	})
	t.Run("synthetic", func(t *testing.T) {
		s.parallel(t)
		s.standIn(t, portalFile)
		s.portal(t, syntheticPortal(t), 5*180)
	})
}

// sample is a row of PORTAL as a reading of traffic-events must show it.
type sample struct {
	volume codecs.Null[int32] // vehicles per hour
	speed  codecs.Null[float64]
	occ    codecs.Null[float64]
	flags  string
}

func (s *Suite) portal(t *testing.T, path string, rows int) {
	want, rejects, dqflags := judge(t, path)
	if n := len(want) + total(rejects); n != rows {
		t.Fatalf("the file holds %d rows, not %d", n, rows)
	}
	u := s.Undisturb(t, path, s.Install(t, t.TempDir()))

	got := make(map[harness.WindowKey]sample)
	flags := make(map[string]int)
	nullSpeeds, published := 0, 0
	for _, r := range u.Outcomes.Readings {
		key := harness.WindowKey{Sensor: r.SensorID, Start: r.Timestamp}
		got[key] = sample{r.VolumeVPH, r.SpeedMPH, r.Occupancy, fmt.Sprint(r.Flags.Names())}
		for _, name := range r.Flags.Names() {
			flags[name]++
		}
		if !r.SpeedMPH.Valid {
			nullSpeeds++
		}
		if d, ok := dqflags[key]; ok {
			published++
			if uint64(r.Flags&0x7f) != d {
				t.Errorf("%v has the flags %07b in the file, %07b here", key, d, r.Flags&0x7f)
			}
		}
	}
	harness.Compare(t, "readings", got, want)
	harness.Compare(t, "rejects", u.Outcomes.Reasons(), rejects)
	if nullSpeeds == 0 {
		t.Error("no reading is without speed")
	}
	t.Logf("%d rows: %d accepted (%d without speed, %d of dqflags compared), rejected %v; flags %v; %d windows", rows,
		len(got), nullSpeeds, published, rejects, flags, len(u.Outcomes.Final))
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// judge reads the file again and gives each row its verdict: the samples that are accepted, by detector and time, and
// the number of rejects by reason. dqflags are those of the file, where they are more than a bare 0 for every row.
func judge(t *testing.T, path string) (
	accepted map[harness.WindowKey]sample, rejects map[string]int, dqflags map[harness.WindowKey]uint64,
) {
	t.Helper()
	known := make(map[string]bool)
	for _, row := range table(t, filepath.Join(filepath.Dir(path), "freeway_detectors.csv")) {
		known[row["detectorid"]] = true
	}
	accepted, rejects = make(map[harness.WindowKey]sample), make(map[string]int)
	dqflags = make(map[harness.WindowKey]uint64)
	type values struct{ volume, speed, occupancy string }
	runOf, runs := make(map[string]values), make(map[string]int)
	anyFlag := false
	for _, row := range table(t, path) { // by detector, and in the order of time
		id := row["detectorid"]
		at, err := time.ParseInLocation("1/2/2006 15:04:05", row["starttime"], time.FixedZone("PDT", -7*3600))
		if err != nil {
			t.Fatal(err)
		}
		v := values{row["volume"], row["speed"], row["occupancy"]}
		vehicles, hasVolume := number(t, v.volume)
		speed, hasSpeed := number(t, v.speed)
		occupancy, hasOccupancy := number(t, v.occupancy)
		vph := vehicles * 180
		reason := ""
		switch {
		case !known[id]:
			reason = "unknown_sensor"
		case !hasSpeed && !(hasVolume && vph == 0):
			reason = "missing_field"
		case hasSpeed && (speed < 0 || speed > 120):
			reason = "speed_range"
		case hasVolume && (vph < 0 || vph > 20000):
			reason = "volume_range"
		case hasOccupancy && (occupancy < 0 || occupancy > 100):
			reason = "occupancy_range"
		}
		if reason != "" {
			rejects[reason]++
			continue
		}
		if hasVolume && vph > 0 && runOf[id] == v {
			runs[id]++
		} else {
			runOf[id], runs[id] = v, 1
		}
		var names []string
		raise := func(name string, when bool) {
			if when {
				names = append(names, name)
			}
		}
		both := hasSpeed && hasVolume
		raise("count_high", vph > 3060)
		raise("occupancy_high", occupancy > 95)
		raise("speed_high", speed > 100)
		raise("speed_low", hasSpeed && speed < 5)
		raise("speed_zero_with_volume", both && speed == 0 && vph > 0)
		raise("volume_zero_with_speed", both && speed > 0 && vph == 0)
		raise("volume_zero_with_occupancy", hasVolume && occupancy > 0 && vph == 0)
		raise("occupancy_zero_with_volume", hasOccupancy && occupancy == 0 && vph > 0)
		raise("density_high", both && speed > 0 && vph/speed > 220)
		if both && hasOccupancy && speed > 0 && vph > 0 && occupancy > 0 {
			feet := 5280 * occupancy / 100 * speed / vph
			raise("vehicle_length", feet < 8 || feet > 60)
		}
		raise("stuck", hasVolume && vph > 0 && runs[id] >= 9)
		key := harness.WindowKey{Sensor: id, Start: at.UnixMilli()}
		accepted[key] = sample{
			codecs.Null[int32]{V: int32(vph), Valid: hasVolume},
			codecs.Null[float64]{V: speed, Valid: hasSpeed},
			codecs.Null[float64]{V: occupancy, Valid: hasOccupancy},
			fmt.Sprint(names),
		}
		if dqflags[key], err = strconv.ParseUint(row["dqflags"], 10, 16); err != nil {
			t.Fatal(err)
		}
		anyFlag = anyFlag || dqflags[key] != 0
	}
	if !anyFlag {
		clear(dqflags)
	}
	return accepted, rejects, dqflags
}

// number reads a field; blank is missing and 0.
func number(t *testing.T, text string) (v float64, ok bool) {
	t.Helper()
	if text == "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v, true
}

// table reads a CSV file as rows by column name.
func table(t *testing.T, path string) (rows []map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, fields := range all[1:] {
		row := make(map[string]string)
		for i, name := range all[0] {
			row[name] = fields[i]
		}
		rows = append(rows, row)
	}
	return rows
}
