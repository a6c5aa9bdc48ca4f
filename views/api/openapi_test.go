package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gantry/codecs"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/schema_validation"
)

func newValidator(t *testing.T) validator.Validator {
	t.Helper()
	document, err := libopenapi.NewDocument(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return v
}

// The document is OpenAPI 3.1.
func TestOpenAPIIsValid(t *testing.T) {
	if ok, errs := newValidator(t).ValidateDocument(); !ok {
		for _, err := range errs {
			t.Error(err)
		}
	}
}

// What the server really answers is what the document says, member for member: the schemas allow no others, so a member
// that is added to one alone fails here.
func TestOpenAPIMatchesAnswers(t *testing.T) {
	v := newValidator(t)
	f := newFixture(sensorWith("a"), sensorWith("b"), Sensor{ID: "bare"})
	locked, recovering, bare := newFixture(), newFixture(), newFixture()
	locked.options.Tokens = []string{"secret"}
	recovering.readiness.set(Role{Name: RoleServe, Partitions: []Partition{{End: 9}}})
	bare.options.Pipeline, bare.options.Metrics = nil, nil
	for _, c := range []struct {
		f      *fixture
		method string
		target string
		status int
	}{
		{f, "GET", "/api/v1/sensors", 200},
		{f, "GET", "/api/v1/sensors?limit=1", 200},
		{f, "GET", "/api/v1/sensors?limit=1&cursor=YQ&bbox=-119,34,-118,35", 200},
		{f, "GET", "/api/v1/sensors?limit=0", 400},
		{locked, "GET", "/api/v1/sensors", 401},
		{recovering, "GET", "/api/v1/sensors", 503},
		{f, "POST", "/api/v1/sensors", 405},
		{f, "GET", "/api/v1/sensors/a", 200},
		{f, "GET", "/api/v1/sensors/bare", 200},
		{f, "GET", "/api/v1/sensors/x", 404},
		{f, "GET", "/api/v1/sensors/a?x=1", 400},
		{recovering, "GET", "/api/v1/sensors/a", 503},
		{f, "GET", "/api/v1/sensors/a/windows/current", 200},
		{f, "GET", "/api/v1/sensors/bare/windows/current", 404},
		{f, "GET", "/api/v1/sensors/a/windows", 200},
		{f, "GET", "/api/v1/sensors/a/windows?from=2026-03-01T08:00:00Z&to=2026-03-01T08:05:00Z", 200},
		{f, "GET", "/api/v1/sensors/a/windows?from=x", 400},
		{f, "GET", "/api/v1/sensors/x/windows", 404},
		{f, "GET", "/api/v1/windows/current", 200},
		{f, "GET", "/api/v1/windows/current?limit=1", 200},
		{f, "GET", "/api/v1/windows/current?bbox=1", 400},
		{recovering, "GET", "/api/v1/windows/current", 503},
		{locked, "GET", "/api/v1/stream", 401},
		{recovering, "GET", "/api/v1/stream", 503},
		{f, "GET", "/api/v1/stream?x=1", 400},
		{f, "GET", "/api/v1/pipeline", 200},
		{bare, "GET", "/api/v1/pipeline", 404},
		{f, "GET", "/healthz", 200},
		{f, "POST", "/healthz", 405},
		{f, "GET", "/readyz", 200},
		{recovering, "GET", "/readyz", 503},
		{f, "GET", "/openapi.json", 200},
		{f, "GET", "/metrics", 200},
		{bare, "GET", "/metrics", 404},
		{f, "GET", "/", 200},
	} {
		w := c.f.do(t, httptest.NewRequest(c.method, c.target, nil))
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.target, w.Code, c.status)
			continue
		}
		answer := w.Result()
		// The document describes no POST: an answer to one is held against the GET of its path.
		request := httptest.NewRequest(http.MethodGet, "http://localhost"+c.target, nil)
		if ok, errs := v.ValidateHttpResponse(request, answer); !ok {
			for _, err := range errs {
				t.Errorf("%s %s: %v\n%v", c.method, c.target, err, err.SchemaValidationErrors)
			}
		}
		if c.status < 300 && c.f == f {
			if ok, errs := v.ValidateHttpRequest(request); !ok {
				t.Errorf("%s is refused by the document: %v", c.target, errs)
			}
		}
	}
}

// The data of each stream event is what the document's schema for it says.
func TestOpenAPIMatchesEvents(t *testing.T) {
	h := newHub("e1", 0)
	w, s := windowAt("a", t0), sensorWith("a")
	h.Window(&w, s.Watermark)
	h.Window(&w, codecs.Null[int64]{})
	h.Sensor(s)
	h.Removed("b")
	changes, _, _ := h.since(0)
	var text []byte
	for _, c := range changes {
		text = append(c.appendEvent(text), '\n')
	}
	stream := &streamWriter{hub: h, buf: text}
	stream.reset("unknown_id")
	stream.reset("expired")

	document, err := libopenapi.NewDocument(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	schemas := schema_validation.NewSchemaValidator()
	seen := make(map[string]bool)
	for event := range strings.SplitSeq(strings.TrimSpace(string(stream.buf)), "\n\n") {
		name, data, _ := strings.Cut(strings.TrimPrefix(event, "event: "), "\ndata: ")
		data, _, _ = strings.Cut(data, "\n")
		title := map[string]string{"window": "StreamWindow", "sensor": "Sensor", "removed": "Removed", "reset": "Reset"}[name]
		schema := model.Model.Components.Schemas.GetOrZero(title).Schema()
		if ok, errs := schemas.ValidateSchemaStringWithVersion(schema, data, 3.1); !ok {
			t.Errorf("%s: %v %v", event, errs, errs[0].SchemaValidationErrors)
		}
		seen[name] = true
	}
	if len(seen) != 4 {
		t.Errorf("events %v, want each of 4 kinds", seen)
	}
}
