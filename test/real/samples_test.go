package real

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// series is a quantity over time. A moment at which it could not be measured is NaN.
type series struct {
	name   string // of a process, or of the whole
	unit   string
	values []float64
	// It is flat when its median grows by no more than a quarter and slack from the first to the last third.
	slack float64
}

const flatGrowth = 0.25

// thirds are the medians of the first and of the last third of what lies behind the warm-up.
func (s *series) thirds(warm int) (first, last float64) {
	measured := s.values[min(warm, len(s.values)):]
	n := len(measured) / 3
	return median(measured[:n]), median(measured[len(measured)-n:])
}

func (s *series) flat(warm int) bool {
	first, last := s.thirds(warm)
	return last <= first*(1+flatGrowth)+s.slack
}

// slope is the growth per hour of the straight line that fits best behind the warm-up.
func (s *series) slope(warm int, interval time.Duration) float64 {
	var n, sx, sy, sxx, sxy float64
	for i, y := range s.values[min(warm, len(s.values)):] {
		if math.IsNaN(y) {
			continue
		}
		x := float64(i) * interval.Hours()
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// median is NaN where there is nothing.
func median(values []float64) float64 {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(sorted) == 0 {
		return math.NaN()
	}
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// writeCSV writes a line for each moment.
func writeCSV(path string, interval time.Duration, all []*series) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	out := csv.NewWriter(file)
	line := []string{"seconds"}
	for _, s := range all {
		line = append(line, s.name+" "+s.unit)
	}
	_ = out.Write(line) // its error is kept for Flush
	for i := range all[0].values {
		line = append(line[:0], strconv.Itoa(i*int(interval.Seconds())))
		for _, s := range all {
			text := ""
			if v := s.values[i]; !math.IsNaN(v) {
				text = strconv.FormatFloat(v, 'f', -1, 64)
			}
			line = append(line, text)
		}
		_ = out.Write(line)
	}
	out.Flush()
	return errors.Join(out.Error(), file.Close())
}

// scrape reads metrics without labels of a process; those that it cannot read are NaN.
func scrape(client *http.Client, address string, names []string) []float64 {
	values := make([]float64, len(names))
	for i := range values {
		values[i] = math.NaN()
	}
	resp, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return values // it is being restarted
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return values
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if i := slices.Index(names, name); i >= 0 {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				values[i] = v
			}
		}
	}
	return values
}

// folderBytes is the size of a folder's files. They come and go meanwhile.
func folderBytes(dir string) (bytes float64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				bytes += float64(info.Size())
			}
		}
		return nil
	})
	return bytes
}

// quantity writes a number with three digits and a unit.
func quantity(v float64, unit string) string {
	for _, p := range []struct {
		factor float64
		prefix string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= p.factor {
			return fmt.Sprintf("%.3g %s%s", v/p.factor, p.prefix, unit)
		}
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}
