package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Until the views have caught up, every data path answers 503 with the progress and when to come back, whatever the
// other roles do: a part of the table must not pass for the whole.
func TestRecovering(t *testing.T) {
	f := newFixture(sensorWith("a"))
	f.readiness.set(
		Role{Name: "dedup", Ready: true},
		Role{Name: RoleServe, Partitions: []Partition{
			{Partition: 0, Ready: true, Start: 100, Offset: 200, End: 200},
			{Partition: 1, Start: 100, Offset: 150, End: 400},
		}},
	)
	for _, path := range everyPath[:6] {
		w := f.get(t, path)
		got := object(t, w, 503)
		serve := got["roles"].([]any)[1].(map[string]any)
		if serve["role"] != "serve" || serve["ready"] != false || serve["progress"] != 0.375 ||
			len(serve["partitions"].([]any)) != 2 {
			t.Errorf("%s: %v, want role serve at 150 of 400 records", path, serve)
		}
		if w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	object(t, f.get(t, "/api/v1/pipeline"), 200)
	object(t, f.get(t, "/healthz"), 200)
	object(t, f.get(t, "/readyz"), 503)
}

// The data paths need the views alone; /readyz needs every role, and at least one.
func TestReadiness(t *testing.T) {
	serve, dedup := Role{Name: RoleServe, Ready: true}, Role{Name: "dedup"}
	for _, c := range []struct {
		name        string
		roles       []Role
		data, ready int
	}{
		{"none yet", nil, 503, 503},
		{"views only", []Role{serve}, 200, 200},
		{"dedup recovers", []Role{dedup, serve}, 200, 503},
		{"no views here", []Role{{Name: "dedup", Ready: true}}, 503, 200},
	} {
		f := newFixture(sensorWith("a"))
		f.readiness.set(c.roles...)
		object(t, f.get(t, "/api/v1/sensors/a"), c.data)
		got := object(t, f.get(t, "/readyz"), c.ready)
		if got["ready"] != (c.ready == 200) || len(got["roles"].([]any)) != len(c.roles) {
			t.Errorf("%s: /readyz says %v", c.name, got)
		}
	}
}

// With tokens configured each data path wants one of them, and nothing else does. A prefix, another scheme or the empty
// token is none.
func TestTokens(t *testing.T) {
	f := newFixture(sensorWith("a"))
	f.options.Tokens = []string{"first-token", "second-token"}
	f.readiness.set() // a caller without a token learns nothing, not even the progress
	for i, path := range everyPath {
		w := f.get(t, path)
		if guarded := i < 7; guarded != (w.Code == 401) {
			t.Errorf("%s without a token: %d", path, w.Code)
		} else if guarded && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: no WWW-Authenticate", path)
		}
	}
	for authorization, want := range map[string]int{
		"Bearer first-token": 200, "bearer second-token": 200, "Bearer  first-token ": 200,
		"Bearer first-toke": 401, "Bearer first-tokens": 401, "Bearer ": 401, "Basic first-token": 401, "first-token": 401,
	} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/pipeline", nil)
		r.Header.Set("Authorization", authorization)
		if w := f.do(t, r); w.Code != want {
			t.Errorf("%q: %d, want %d", authorization, w.Code, want)
		}
	}
}

// Every answer, errors too, carries the headers that keep a browser from running or framing what is not ours; the page
// keeps within them, so it has no inline script or style and names no other host.
func TestSecurityHeaders(t *testing.T) {
	f := newFixture(sensorWith("a"))
	for _, path := range append([]string{"/nothing"}, everyPath[6:]...) {
		h := f.get(t, path).Header()
		if h.Get("Content-Security-Policy") != contentSecurityPolicy || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	for _, path := range []string{"/", "/page.js", "/api.js", "/table.js", "/format.js", "/page.css"} {
		w := f.get(t, path)
		body := w.Body.String()
		if w.Code != 200 || w.Header().Get("ETag") == "" {
			t.Errorf("%s: %d, ETag %q", path, w.Code, w.Header().Get("ETag"))
		}
		for _, foreign := range []string{"<style", " style=", "onclick=", "onload=", "http://", "https://", "<script>"} {
			if strings.Contains(body, foreign) {
				t.Errorf("%s holds %q, which the policy forbids", path, foreign)
			}
		}
	}
}

// A browser that has the page is told that it still holds.
func TestPageIsRevalidated(t *testing.T) {
	f := newFixture()
	first := f.get(t, "/")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("If-None-Match", first.Header().Get("ETag"))
	if w := f.do(t, r); w.Code != http.StatusNotModified {
		t.Errorf("status %d, want 304", w.Code)
	}
}

// New reports every bad option together.
func TestOptions(t *testing.T) {
	o := DefaultOptions()
	o.Tokens, o.StreamsMax, o.WriteTimeout = []string{""}, 0, -1
	_, err := New(o)
	for _, name := range []string{"Directory", "Changes", "Readiness", "Tokens[0]", "StreamsMax", "WriteTimeout"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
}
