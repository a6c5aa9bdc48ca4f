package feed

import (
	"cmp"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"gantry/codecs"
)

// Times of PORTAL are local. The published hour lies in September 2011, so the offset is that of daylight time.
var portalZone = time.FixedZone("PDT", -7*3600)

const (
	portalLayout = "1/2/2006 15:04:05"
	// A sample of PORTAL is 20 s long: its vehicles times this are vehicles per hour.
	portalVPH = 3600 / 20
)

// portal gives rows in time order. The file is ordered by detector, so it is read completely: 12,420 rows an hour for
// 69 detectors.
type portal struct {
	rows []Row
	next int
}

func openPortal(path string) (Source, error) {
	t, err := openTable(path)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	at, err := t.columns("detectorid", "starttime", "volume", "speed", "occupancy")
	if err != nil {
		return nil, err
	}
	p := &portal{}
	for {
		if err := t.next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		r, err := portalReading(t, at)
		if err != nil {
			return nil, err
		}
		p.rows = append(p.rows, Row{Reading: r, Arrival: r.Timestamp.V})
	}
	slices.SortStableFunc(p.rows, func(a, b Row) int { return cmp.Compare(a.Arrival, b.Arrival) })
	for i := range p.rows {
		p.rows[i].Number = int64(i)
	}
	return p, nil
}

func portalReading(t *table, at []int) (r codecs.RawReading, err error) {
	if r.SensorID = t.text(at[0]); r.SensorID == "" {
		return r, t.fail(at[0], "the detector has no id")
	}
	start, err := time.ParseInLocation(portalLayout, t.text(at[1]), portalZone)
	if err != nil {
		return r, t.fail(at[1], "is not a time like 9/15/2011 0:00:20")
	}
	r.Timestamp = codecs.Some(start.UnixMilli())
	volume, err := t.int(at[2])
	if err != nil {
		return r, err
	}
	if volume.Valid {
		if volume.V < 0 || volume.V > math.MaxInt32/portalVPH {
			return r, t.fail(at[2], "is no number of vehicles in 20 s")
		}
		r.VolumeVPH = codecs.Some(volume.V * portalVPH)
	}
	if r.SpeedMPH, err = t.float(at[3]); err != nil {
		return r, err
	}
	r.Occupancy, err = t.float(at[4])
	return r, err
}

func (p *portal) Next() (Row, error) {
	if p.next == len(p.rows) {
		return Row{}, io.EOF
	}
	p.next++
	return p.rows[p.next-1], nil
}

func (p *portal) Close() error { return nil }
