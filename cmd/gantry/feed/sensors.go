package feed

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"gantry/codecs"
)

// rowErrorsMax bounds how many mistakes of a file are reported together.
const rowErrorsMax = 20

// LoadSensors reads sensor metadata from CSV: sensor_id, latitude, longitude, and optionally freeway, direction, lanes,
// length_mi, interval_s; an empty field is unknown. A column index is ignored. The mistakes of all rows come in one
// error, the first 20 of them.
func LoadSensors(path string) ([]codecs.Sensor, error) {
	t, err := openTable(path)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	known := []string{"sensor_id", "latitude", "longitude", "freeway", "direction", "lanes", "length_mi", "interval_s"}
	if _, err := t.columns(known[:3]...); err != nil {
		return nil, err
	}
	if err := t.onlyColumns(append(known, "index")...); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	return eachSensor(t, func() (codecs.Sensor, error) {
		s, err := sensorRow(t)
		if err == nil && seen[s.SensorID] {
			err = t.fail(t.column("sensor_id"), "is there twice")
		}
		seen[s.SensorID] = true
		return s, err
	})
}

// eachSensor collects the sensors of all rows, or the errors of all rows.
func eachSensor(t *table, read func() (codecs.Sensor, error)) ([]codecs.Sensor, error) {
	var sensors []codecs.Sensor
	var errs []error
	for {
		err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		var s codecs.Sensor
		if err == nil {
			s, err = read()
		}
		if err == nil {
			sensors = append(sensors, s)
			continue
		}
		if errs = append(errs, err); len(errs) == rowErrorsMax {
			errs = append(errs, fmt.Errorf("%s: further rows were not looked at", t.path))
			break
		}
		if located := new(FileError); !errors.As(err, &located) { // the file itself cannot be read on
			break
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return sensors, nil
}

// sensorRow reads the current row; columns that the file does not have are unknown.
func sensorRow(t *table) (s codecs.Sensor, err error) {
	id := t.column("sensor_id")
	if s.SensorID = t.text(id); s.SensorID == "" || len(s.SensorID) > codecs.SensorIDBytesMax {
		return s, t.fail(id, fmt.Sprintf("is no sensor id: 1 to %d bytes", codecs.SensorIDBytesMax))
	}
	if s.Latitude, err = degrees(t, "latitude", 90); err != nil {
		return s, err
	}
	if s.Longitude, err = degrees(t, "longitude", 180); err != nil {
		return s, err
	}
	s.Freeway, s.Direction = nonEmpty(t.text(t.column("freeway"))), nonEmpty(t.text(t.column("direction")))
	if s.Lanes, err = positive(t, "lanes"); err != nil {
		return s, err
	}
	if s.IntervalS, err = positive(t, "interval_s"); err != nil {
		return s, err
	}
	at := t.column("length_mi")
	if s.LengthMi, err = t.float(at); err == nil && s.LengthMi.Valid && s.LengthMi.V <= 0 {
		err = t.fail(at, "must be above 0")
	}
	return s, err
}

func degrees(t *table, name string, limit float64) (float64, error) {
	at := t.column(name)
	v, err := t.float(at)
	if err == nil && (!v.Valid || math.Abs(v.V) > limit) {
		err = t.fail(at, fmt.Sprintf("is no %s: %v to %v", name, -limit, limit))
	}
	return v.V, err
}

func positive(t *table, name string) (codecs.Null[int32], error) {
	at := t.column(name)
	v, err := t.int(at)
	if err == nil && v.Valid && (v.V < 1 || v.V > math.MaxInt32) {
		err = t.fail(at, "must be a whole number from 1")
	}
	return codecs.Null[int32]{V: int32(v.V), Valid: v.Valid}, err
}

func nonEmpty(s string) codecs.Null[string] { return codecs.Null[string]{V: s, Valid: s != ""} }

// SensorsOf gives the sensors that belong to a file of readings. For METR-LA and PORTAL they are the published tables
// beside it; for the others sensors.csv beside it, in the form of LoadSensors, or else the coordinates of its own rows,
// which a Scan found.
func SensorsOf(path string, format Format, scanned Info) ([]codecs.Sensor, error) {
	beside := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
	switch format {
	case MetrLA:
		return metrLASensors(beside("graph_sensor_locations.csv"))
	case Portal:
		return portalSensors(beside("freeway_detectors.csv"), beside("freeway_stations.csv"))
	default:
		sensors, err := LoadSensors(beside("sensors.csv"))
		if errors.Is(err, fs.ErrNotExist) {
			return scanned.Sensors, nil
		}
		return sensors, err
	}
}

func metrLASensors(path string) ([]codecs.Sensor, error) {
	sensors, err := LoadSensors(path)
	for i := range sensors {
		sensors[i].IntervalS = codecs.Some(int32(metrLAStep.Seconds()))
	}
	return sensors, err
}

// portalSensors joins detectors with their stations. A detector is one lane; place, length and direction are those of
// its station. Detectors that the published tables do not have remain unknown.
func portalSensors(detectors, stations string) ([]codecs.Sensor, error) {
	byStation, err := portalStations(stations)
	if err != nil {
		return nil, err
	}
	t, err := openTable(detectors)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	at, err := t.columns("detectorid", "stationid")
	if err != nil {
		return nil, err
	}
	return eachSensor(t, func() (codecs.Sensor, error) {
		s, ok := byStation[t.text(at[1])]
		if !ok {
			return s, t.fail(at[1], "is no station of "+filepath.Base(stations))
		}
		s.SensorID = t.text(at[0])
		return s, nil
	})
}

// portalStations reads stations as sensors that have no id yet, by the station's id.
func portalStations(path string) (map[string]codecs.Sensor, error) {
	t, err := openTable(path)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	at, err := t.columns("stationid", "highwayid", "locationtext", "latlon", "length")
	if err != nil {
		return nil, err
	}
	byID := make(map[string]codecs.Sensor)
	_, err = eachSensor(t, func() (s codecs.Sensor, err error) {
		s = codecs.Sensor{
			Freeway:   nonEmpty(t.text(at[1])),
			Direction: nonEmpty(direction(t.text(at[2]))),
			Lanes:     codecs.Some[int32](1),
			IntervalS: codecs.Some[int32](3600 / portalVPH),
		}
		if _, err := fmt.Sscanf(t.text(at[3]), "%g,%g", &s.Latitude, &s.Longitude); err != nil {
			return s, t.fail(at[3], "is not latitude,longitude")
		}
		s.LengthMi, err = t.float(at[4])
		byID[t.text(at[0])] = s
		return s, err
	})
	return byID, err
}

// direction reads the last word of a PORTAL location, "Sunnyside NB", as N, S, E or W; "" where it is something else.
func direction(location string) string {
	words := strings.Fields(location)
	if len(words) == 0 {
		return ""
	}
	switch words[len(words)-1] {
	case "NB":
		return "N"
	case "SB":
		return "S"
	case "EB":
		return "E"
	case "WB":
		return "W"
	default:
		return ""
	}
}
