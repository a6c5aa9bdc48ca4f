package api

import (
	_ "embed"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

//go:embed openapi.json
var openAPI []byte

func getOpenAPI(w http.ResponseWriter, _ *http.Request) { writeJSON(w, openAPI) }

// getHealth says that the process serves HTTP. Whether it is any use yet is readiness.
func getHealth(w http.ResponseWriter, _ *http.Request) { writeJSON(w, []byte(`{"status":"ok"}`)) }

// getReadiness is 200 only when every role of this process has caught up and can work. A process without roles is not
// ready: it has only begun.
func (s *Server) getReadiness(w http.ResponseWriter, _ *http.Request) {
	roles := s.o.Readiness.Roles()
	if len(roles) == 0 || slices.ContainsFunc(roles, func(r Role) bool { return !r.Ready || r.Trouble != "" }) {
		p := problemf(http.StatusServiceUnavailable, "%s", unreadiness(roles))
		p.roles = append([]Role{}, roles...)
		p.write(w)
		return
	}
	b := strconv.AppendBool(appendKey([]byte{'{'}, "ready"), true)
	writeJSON(w, append(appendRoles(appendKey(b, "roles"), roles), '}'))
}

// unreadiness says why a process is not ready: the first trouble, since one cause mostly troubles every role.
func unreadiness(roles []Role) string {
	for _, r := range roles {
		if r.Trouble != "" {
			return r.Trouble
		}
	}
	return "not every role of this process has caught up yet"
}

// getPipeline is answered while the views recover, too: that is when one wants to see that something moves.
func (s *Server) getPipeline(w http.ResponseWriter, r *http.Request) {
	if bad := parseParams(r).problem(); bad != nil {
		bad.write(w)
		return
	}
	c := s.o.Pipeline.Counts()
	number := func(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }
	b := number(appendKey([]byte{'{'}, "read"), c.Read)
	b = number(appendKey(b, "accepted"), c.Accepted)
	b = appendCounts(appendKey(b, "rejected"), c.Rejected)
	b = number(appendKey(b, "sensor"), c.Sensor)
	b = number(appendKey(b, "repeat"), c.Repeat)
	b = appendCounts(appendKey(b, "windows_published"), c.WindowsPublished)
	b = appendNull(appendKey(b, "lag"), c.Lag, number)
	writeJSON(w, append(b, '}'))
}

func appendCounts(b []byte, counts map[string]int64) []byte {
	b = append(b, '{')
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(appendText(b, name), ':'), counts[name], 10)
	}
	return append(b, '}')
}
