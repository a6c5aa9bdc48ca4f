// Package feed publishes readings to traffic-raw: those of a file, with its event times, and those of a simulator that
// knows what Gantry will answer to each.
//
// A feed is a numbered sequence of rows. Reading it again gives the same rows with the same numbers, and each record
// carries its number in a header, so that a publisher that was killed finds in the topic itself where it stopped
// (Resume), and every row is published exactly once: the rows of a partition are sent in order by an idempotent
// producer that stops at its first error, so that what a partition holds is always a prefix of them.
//
// Files are checked completely before anything is published (Scan). A file's own mistakes stop a feed with file, line,
// column and value; only lines of NDJSON that are no reading are published as they are, because such a file may be a
// recording of a topic and its broken messages are part of it.
package feed

import (
	"errors"
	"fmt"
	"io"

	"gantry/codecs"
)

// Row is one message of a feed.
type Row struct {
	Number   int64             // from 0, increasing, the same each time the feed is read
	Reading  codecs.RawReading // its id is the key
	Verbatim []byte            // published as it is, in place of the reading; its event time is not moved
	Arrival  int64             // when it reached the road's operator, epoch milliseconds; never goes back
	Outcome  Outcome           // what Gantry will answer; known to the simulator alone
}

// Source gives the rows of a feed in the order of their arrival; io.EOF ends it. A row's Verbatim is valid until the
// next call.
type Source interface {
	Next() (Row, error)
	Close() error
}

// Info is what a first pass over a feed finds.
type Info struct {
	Rows        int64
	Missing     int64           // places of the file that hold "no data" and give no row
	First, Last int64           // event times, epoch milliseconds; 0 where no row has one
	Sensors     []codecs.Sensor // those whose rows have coordinates, in the order of their appearance
}

// Scan reads a feed to its end.
func Scan(src Source) (Info, error) {
	var in Info
	timed := false
	seen := make(map[string]bool)
	for {
		row, err := src.Next()
		switch {
		case errors.Is(err, io.EOF):
			if m, ok := src.(interface{ Missing() int64 }); ok {
				in.Missing = m.Missing()
			}
			return in, nil
		case err != nil:
			return in, err
		}
		in.Rows++
		r := &row.Reading
		if t := r.Timestamp; t.Valid {
			if !timed {
				in.First, in.Last, timed = t.V, t.V, true
			}
			in.First, in.Last = min(in.First, t.V), max(in.Last, t.V)
		}
		if r.SensorID != "" && r.Latitude.Valid && r.Longitude.Valid && !seen[r.SensorID] {
			seen[r.SensorID] = true
			in.Sensors = append(in.Sensors, codecs.Sensor{
				SensorID: r.SensorID, Latitude: r.Latitude.V, Longitude: r.Longitude.V,
			})
		}
	}
}

// FileError is a mistake in a file, with its place. Line and Column count from 1; 0 where there is none.
type FileError struct {
	Path         string
	Line, Column int
	Value        string
	Message      string
}

func (e *FileError) Error() string {
	s := e.Path
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	if e.Column > 0 {
		s += fmt.Sprintf(":%d", e.Column)
	}
	s += ": "
	if e.Value != "" {
		const most = 80 // a value may be a whole line
		s += fmt.Sprintf("%.*q ", most, e.Value)
	}
	return s + e.Message
}

// arrivals gives file rows their arrival: the event time, or that of the newest row before, because a row that stands
// later in the file came later.
type arrivals struct{ newest int64 }

func (a *arrivals) of(event codecs.Null[int64]) int64 {
	if event.Valid {
		a.newest = max(a.newest, event.V)
	}
	return a.newest
}
