package api

import (
	"net/http"

	"gantry/codecs"
)

func (s *Server) listSensors(w http.ResponseWriter, r *http.Request) {
	p := parseParams(r, "limit", "cursor", "bbox")
	limit, cursor, box := p.limit(), p.cursor(), p.bbox()
	if bad := p.problem(); bad != nil {
		bad.write(w)
		return
	}
	sensors, more := s.o.Directory.Page(cursor, limit, box)
	b := appendList([]byte{'{'}, "sensors", sensors, appendSensor)
	if n := len(sensors); n > 0 {
		cursor = sensors[n-1].ID
	}
	writeJSON(w, appendNextCursor(b, cursor, more))
}

func (s *Server) getSensor(w http.ResponseWriter, r *http.Request) {
	sensor, ok := s.known(w, r)
	if !ok {
		return
	}
	writeJSON(w, appendSensor(nil, &sensor))
}

func (s *Server) getCurrentWindow(w http.ResponseWriter, r *http.Request) {
	sensor, ok := s.known(w, r)
	if !ok {
		return
	}
	window := sensor.Current()
	if window == nil {
		problemf(http.StatusNotFound, "sensor %q has no current window", sensor.ID).write(w)
		return
	}
	staleness := float64(s.o.Now().UnixMilli()-sensor.Watermark.V) / 1000
	b := appendWindow(appendKey([]byte{'{'}, "window"), window)
	b = appendTime(appendKey(b, "watermark"), sensor.Watermark.V)
	b = appendNumber(appendKey(b, "staleness_seconds"), staleness)
	writeJSON(w, append(b, '}'))
}

func (s *Server) listSensorWindows(w http.ResponseWriter, r *http.Request) {
	p := parseParams(r, "from", "to")
	from, to := p.timeRange()
	if bad := p.problem(); bad != nil {
		bad.write(w)
		return
	}
	sensor, ok := s.find(w, r)
	if !ok {
		return
	}
	windows := make([]codecs.WindowAggregate, 0, len(sensor.Windows))
	for _, window := range sensor.Windows {
		if from <= window.WindowStart && window.WindowStart < to {
			windows = append(windows, window)
		}
	}
	writeJSON(w, append(appendList([]byte{'{'}, "windows", windows, appendWindow), '}'))
}

// listCurrentWindows pages by sensor. Not every sensor has a current window, so a page of windows can take several
// pages of sensors.
func (s *Server) listCurrentWindows(w http.ResponseWriter, r *http.Request) {
	p := parseParams(r, "limit", "cursor", "bbox")
	limit, cursor, box := p.limit(), p.cursor(), p.bbox()
	if bad := p.problem(); bad != nil {
		bad.write(w)
		return
	}
	windows := make([]codecs.WindowAggregate, 0, limit)
	more := true
	for more && len(windows) < limit {
		var sensors []Sensor
		sensors, more = s.o.Directory.Page(cursor, limit-len(windows), box)
		for i := range sensors {
			cursor = sensors[i].ID
			if window := sensors[i].Current(); window != nil {
				windows = append(windows, *window)
			}
		}
		more = more && len(sensors) > 0
	}
	writeJSON(w, appendNextCursor(appendList([]byte{'{'}, "windows", windows, appendWindow), cursor, more))
}

// known reads a request that has no parameters but the sensor's id.
func (s *Server) known(w http.ResponseWriter, r *http.Request) (Sensor, bool) {
	if bad := parseParams(r).problem(); bad != nil {
		bad.write(w)
		return Sensor{}, false
	}
	return s.find(w, r)
}

// find returns the sensor that the path names, or answers 404.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (Sensor, bool) {
	id := r.PathValue("id")
	sensor, ok := s.o.Directory.Get(id)
	if !ok {
		problemf(http.StatusNotFound, "sensor %q is unknown, or was removed", id).write(w)
	}
	return sensor, ok
}

func appendList[T any](b []byte, name string, list []T, appendItem func([]byte, *T) []byte) []byte {
	b = append(appendKey(b, name), '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendItem(b, &list[i])
	}
	return append(b, ']')
}

func appendNextCursor(b []byte, cursor string, more bool) []byte {
	b = appendKey(b, "next_cursor")
	if more {
		b = appendText(b, formatCursor(cursor))
	} else {
		b = append(b, "null"...)
	}
	return append(b, '}')
}
