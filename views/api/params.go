package api

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gantry/codecs"
)

// Limits of a page.
const (
	limitDefault = 100
	limitMax     = 1000
)

// params reads query parameters and collects every fault, so that a caller mends them in one go. A parameter that the
// path does not have is a fault too: a misspelt filter would otherwise return everything.
type params struct {
	values url.Values
	bad    []badParameter
}

func parseParams(r *http.Request, allowed ...string) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	p := &params{values: values}
	if err != nil {
		p.fail("query", r.URL.RawQuery, "name=value pairs joined by &, percent-encoded")
		return p
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(allowed, name) {
			known := "no parameters here"
			if len(allowed) > 0 {
				known = "only " + strings.Join(allowed, ", ")
			}
			p.fail(name, values.Get(name), known)
		} else if len(values[name]) > 1 {
			p.fail(name, strings.Join(values[name], " "), "once")
		}
	}
	return p
}

func (p *params) fail(name, value, allowed string) {
	p.bad = append(p.bad, badParameter{Parameter: name, Value: value, Allowed: allowed})
}

// problem is nil where every parameter was good.
func (p *params) problem() *problem {
	if len(p.bad) == 0 {
		return nil
	}
	details := make([]string, len(p.bad))
	for i, b := range p.bad {
		details[i] = fmt.Sprintf("%s=%q: allowed is %s", b.Parameter, b.Value, b.Allowed)
	}
	return &problem{status: http.StatusBadRequest, detail: strings.Join(details, "; "), bad: p.bad}
}

func (p *params) limit() int {
	text, ok := p.get("limit")
	if !ok {
		return limitDefault
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limitMax {
		p.fail("limit", text, fmt.Sprintf("a whole number, 1..%d", limitMax))
	}
	return n
}

// cursor returns the sensor id after which the page starts. Cursors are opaque to clients, and need no escaping.
func (p *params) cursor() string {
	text, _ := p.get("cursor")
	id, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(id) > codecs.SensorIDBytesMax {
		p.fail("cursor", text, "the next_cursor of the page before")
	}
	return string(id)
}

func formatCursor(sensorID string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(sensorID))
}

func (p *params) bbox() *BBox {
	text, ok := p.get("bbox")
	if !ok {
		return nil
	}
	var v [4]float64
	parts := strings.Split(text, ",")
	good := len(parts) == len(v)
	for i := 0; good && i < len(v); i++ {
		var err error
		v[i], err = strconv.ParseFloat(parts[i], 64)
		good = err == nil && !math.IsNaN(v[i])
	}
	box := &BBox{MinLon: v[0], MinLat: v[1], MaxLon: v[2], MaxLat: v[3]}
	if !good || box.MinLon < -180 || box.MaxLon > 180 || box.MinLat < -90 || box.MaxLat > 90 ||
		box.MinLon > box.MaxLon || box.MinLat > box.MaxLat {
		p.fail("bbox", text, "minLon,minLat,maxLon,maxLat in degrees, -180..180 and -90..90, each min at most its max")
	}
	return box
}

// timeRange returns from and to in epoch milliseconds, with the ends of time where they are not given.
func (p *params) timeRange() (from, to int64) {
	from, to = p.time("from", math.MinInt64), p.time("to", math.MaxInt64)
	if from > to {
		text, _ := p.get("to")
		p.fail("to", text, "not before from")
	}
	return from, to
}

// time reads RFC 3339. An instant between two milliseconds is rounded up: windows start on whole ones, so both
// from ≤ start and start < to hold for the rounded value exactly when they hold for the given one.
func (p *params) time(name string, missing int64) int64 {
	text, ok := p.get(name)
	if !ok {
		return missing
	}
	// A plus that was not percent-encoded arrives as a space, and RFC 3339 knows no other place for one.
	t, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "+", 1))
	if err != nil {
		p.fail(name, text, "a time as RFC 3339, such as 2026-03-01T08:05:00Z")
		return missing
	}
	return t.Add(time.Millisecond - time.Nanosecond).UnixMilli()
}

func (p *params) get(name string) (value string, given bool) {
	return p.values.Get(name), p.values.Has(name)
}
