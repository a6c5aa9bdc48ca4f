package feed

import (
	"fmt"
	"time"

	"gantry/codecs"
)

// METR-LA has no time column: its first row is this moment, local standard time, and each row is a step later. The hour
// that daylight saving skips on 2012-03-11 has no rows of its own, so the steps are even in UTC.
var metrLAStart = time.Date(2012, 3, 1, 0, 0, 0, 0, time.FixedZone("PST", -8*3600)).UnixMilli()

const metrLAStep = 5 * time.Minute

// metrLA reads a row of the file and gives its sensors one after the other.
type metrLA struct {
	*table
	line    int64 // of the current row, from 0; -1 before the first
	next    int   // column to look at
	missing int64
}

func openMetrLA(path string) (Source, error) {
	t, err := openTable(path)
	if err != nil {
		return nil, err
	}
	for i, id := range t.header {
		if id == "" || len(id) > codecs.SensorIDBytesMax {
			t.Close()
			return nil, &FileError{Path: path, Line: 1, Value: id, Message: fmt.Sprintf("is no sensor id (column %d)", i+1)}
		}
	}
	return &metrLA{table: t, line: -1, next: len(t.header)}, nil
}

// Missing counts the zeros: in METR-LA a speed of 0 means that there is no data.
func (m *metrLA) Missing() int64 { return m.missing }

func (m *metrLA) Next() (Row, error) {
	for {
		if m.next == len(m.header) {
			if err := m.table.next(); err != nil {
				return Row{}, err
			}
			m.line++
			m.next = 0
		}
		i := m.next
		m.next++
		speed, err := m.float(i)
		if err != nil {
			return Row{}, err
		}
		if speed.Or(0) == 0 {
			m.missing++
			continue
		}
		at := metrLAStart + m.line*metrLAStep.Milliseconds()
		return Row{
			Number:  m.line*int64(len(m.header)) + int64(i),
			Arrival: at,
			Reading: codecs.RawReading{SensorID: m.header[i], Timestamp: codecs.Some(at), SpeedMPH: speed},
		}, nil
	}
}
