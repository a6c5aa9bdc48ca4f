package feed

import "gantry/codecs"

// csvRows reads a reading a row, columns named as the fields of traffic-raw; unknown columns are a mistake.
type csvRows struct {
	*table
	arrivals
	number                               int64
	id, at, speed, volume, occ, lat, lon int
}

func openCSV(path string) (Source, error) {
	t, err := openTable(path)
	if err != nil {
		return nil, err
	}
	c := &csvRows{table: t, number: -1}
	if err := c.bind(); err != nil {
		t.Close()
		return nil, err
	}
	return c, nil
}

func (c *csvRows) bind() error {
	need, err := c.columns("sensor_id", "timestamp")
	if err != nil {
		return err
	}
	c.id, c.at = need[0], need[1]
	c.speed, c.volume, c.occ = c.column("speed_mph"), c.column("volume_vph"), c.column("occupancy_percent")
	c.lat, c.lon = c.column("latitude"), c.column("longitude")
	return c.onlyColumns("sensor_id", "timestamp", "speed_mph", "volume_vph", "occupancy_percent", "latitude",
		"longitude")
}

func (c *csvRows) Next() (Row, error) {
	if err := c.table.next(); err != nil {
		return Row{}, err
	}
	c.number++
	r := codecs.RawReading{SensorID: c.text(c.id)}
	var err error
	if r.Timestamp, err = c.time(c.at); err != nil {
		return Row{}, err
	}
	if r.VolumeVPH, err = c.int(c.volume); err != nil {
		return Row{}, err
	}
	for _, f := range []struct {
		at int
		to *codecs.Null[float64]
	}{{c.speed, &r.SpeedMPH}, {c.occ, &r.Occupancy}, {c.lat, &r.Latitude}, {c.lon, &r.Longitude}} {
		if *f.to, err = c.float(f.at); err != nil {
			return Row{}, err
		}
	}
	return Row{Number: c.number, Reading: r, Arrival: c.of(r.Timestamp)}, nil
}
