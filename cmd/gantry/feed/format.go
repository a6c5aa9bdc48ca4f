package feed

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Format is the form of a file with readings.
type Format string

// The formats.
const (
	MetrLA Format = "metr-la" // METR-LA: a column a sensor, a row each 5 minutes, mph
	Portal Format = "portal"  // PORTAL: 20-second loop readings
	NDJSON Format = "ndjson"  // a JSON reading of traffic-raw on each line
	CSV    Format = "csv"     // a reading a row, the contract's field names in the header
)

// Formats lists all of them.
var Formats = []Format{MetrLA, Portal, NDJSON, CSV}

// ParseFormat reads the name of a format.
func ParseFormat(name string) (Format, error) {
	for _, f := range Formats {
		if string(f) == name {
			return f, nil
		}
	}
	return "", fmt.Errorf("format %q: allowed are metr-la, portal, ndjson, csv", name)
}

// Detect tells the format of a file from its first line.
func Detect(path string) (Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head, _ := bufio.NewReaderSize(f, 1<<16).Peek(1 << 16) // a short file is no error: what there is decides
	text := strings.TrimPrefix(string(head), "\xef\xbb\xbf")
	line, _, _ := strings.Cut(strings.TrimLeft(text, " \t\r\n"), "\n")
	names := strings.Split(strings.TrimSpace(line), ",")
	has := func(name string) bool {
		for _, n := range names {
			if strings.TrimSpace(n) == name {
				return true
			}
		}
		return false
	}
	switch {
	case strings.HasPrefix(line, "{"):
		return NDJSON, nil
	case has("detectorid") && has("starttime"):
		return Portal, nil
	case has("sensor_id") && has("timestamp"):
		return CSV, nil
	case len(names) > 1 && allNumbers(names[:len(names)-1]): // the last may be cut off
		return MetrLA, nil
	default:
		return "", &FileError{
			Path: path, Line: 1, Value: line,
			Message: "is the start of no known format; name it with --format metr-la, portal, ndjson or csv",
		}
	}
}

func allNumbers(names []string) bool {
	for _, n := range names {
		if _, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64); err != nil {
			return false
		}
	}
	return true
}

// Open opens a file of a format; an empty one is detected.
func Open(path string, format Format) (Source, error) {
	if format == "" {
		var err error
		if format, err = Detect(path); err != nil {
			return nil, err
		}
	}
	switch format {
	case MetrLA:
		return openMetrLA(path)
	case Portal:
		return openPortal(path)
	case NDJSON:
		return openNDJSON(path)
	default:
		return openCSV(path)
	}
}
