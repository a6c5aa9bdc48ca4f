package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"go.uber.org/goleak"

	"gantry/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, url string) *Client {
	t.Helper()
	o := DefaultOptions()
	o.URL = url
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func startEmbedded(t *testing.T, dir string) (*Embedded, *Client) {
	t.Helper()
	e, err := StartEmbedded("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, newClient(t, e.URL())
}

// answering serves one answer to every request.
func answering(t *testing.T, status int, body string) *Client {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return newClient(t, server.URL)
}

const (
	schemaA = `{"type":"record","name":"A","fields":[{"name":"x","type":"int"}]}`
	schemaB = `{"type":"record","name":"A","fields":[{"name":"x","type":"int"},{"name":"y","type":"int","default":0}]}`
	schemaC = `{"type":"record","name":"A","fields":[{"name":"z","type":"int"}]}` // cannot read A
)

// Only the registry's own word is a verdict. A proxy's page, an overload, refused credentials and nonsense are not.
func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		want   error
		word   error // of codecs
	}{
		"no such id":       {404, `{"error_code":40403,"message":"none"}`, ErrNotFound, codecs.ErrSchemaUnknown},
		"a proxy's 404":    {404, `<html>404 Not Found</html>`, ErrUnavailable, nil},
		"no such path":     {404, `{"error_code":404,"message":"HTTP 404 Not Found"}`, ErrUnavailable, nil},
		"code 0":           {404, `{"error_code":0}`, ErrUnavailable, nil},
		"a code under 500": {500, `{"error_code":40403}`, ErrUnavailable, nil},
		"overload":         {429, ``, ErrUnavailable, nil},
		"internal error":   {500, `{"error_code":50001,"message":"Error in the backend data store"}`, ErrUnavailable, nil},
		"unauthorized":     {401, `{"error_code":40101,"message":"no"}`, ErrUnauthorized, nil},
		"forbidden":        {403, ``, ErrUnauthorized, nil},
		"not JSON":         {200, `<html>welcome</html>`, ErrUnavailable, nil},
		"no schema":        {200, `{}`, ErrUnavailable, nil},
		"protobuf":         {200, `{"schema":"message X {}","schemaType":"PROTOBUF"}`, nil, codecs.ErrSchemaNotAvro},
		"Avro by name":     {200, `{"schema":"\"int\"","schemaType":"AVRO"}`, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			schema, err := answering(t, tt.status, tt.body).Schema(t.Context(), 7)
			if tt.want == nil && tt.word == nil {
				if err != nil || schema != `"int"` {
					t.Errorf("got %q, %v", schema, err)
				}
				return
			}
			if tt.want != nil && !errors.Is(err, tt.want) || tt.word != nil && !errors.Is(err, tt.word) {
				t.Errorf("got %v", err)
			}
			final := errors.Is(err, codecs.ErrSchemaUnknown) || errors.Is(err, codecs.ErrSchemaNotAvro)
			if final != (tt.word != nil) {
				t.Errorf("a verdict is %v: %v", final, err)
			}
		})
	}
}

// A registry that is down, or hangs, is unavailable.
func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	if _, err := newClient(t, server.URL).Schema(t.Context(), 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}

	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hanging.Close()
	c := newClient(t, hanging.URL)
	c.o.Timeout = time.Millisecond
	if _, err := c.Schema(t.Context(), 1); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// An answer without end is cut off.
func TestEndlessAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<16)
		for n := 0; n < 4*answerBytesMax; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
		t.Error("the whole answer was read")
	}))
	defer server.Close()
	if _, err := newClient(t, server.URL).Schema(t.Context(), 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// The base of the API may be a path; credentials are sent; a subject may hold any character.
func TestRequests(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		_, _ = io.WriteString(w, `{"id":3,"schema":"\"int\""}`)
	}))
	defer server.Close()
	o := DefaultOptions()
	o.URL, o.User, o.Password = server.URL+"/apis/ccompat/v7/", "u", "p"
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if id, _, err := c.Latest(t.Context(), "a/b c"); id != 3 || err != nil {
		t.Fatal(id, err)
	}
	user, password, _ := got.BasicAuth()
	if got.URL.EscapedPath() != "/apis/ccompat/v7/subjects/a%2Fb%20c/versions/latest" || user != "u" || password != "p" {
		t.Errorf("%s as %s:%s", got.URL.EscapedPath(), user, password)
	}
}

func TestOptions(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://h:1": true, "https://h/apis/ccompat/v7": true, "h:1": false, "": false,
		"ftp://h": false, "http://h?x=1": false, "http://": false,
	} {
		if err := (Options{URL: url, Timeout: 1}).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
	if (Options{URL: "http://h"}).Validate() == nil {
		t.Error("no timeout")
	}
}

// EnsureSubject registers what is absent, finds what is there in any version, adds what is compatible, and refuses the
// rest.
func TestEnsureSubject(t *testing.T) {
	_, c := startEmbedded(t, t.TempDir())
	ensure := func(schema string) int32 {
		t.Helper()
		id, err := c.EnsureSubject(t.Context(), "s", schema)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a := ensure(schemaA)
	if ensure(strings.ReplaceAll(schemaA, ",", " , ")) != a {
		t.Error("white space makes another schema")
	}
	b := ensure(schemaB)
	if b == a || ensure(schemaB) != b || ensure(schemaA) != a {
		t.Error("ids have changed")
	}
	if id, latest, err := c.Latest(t.Context(), "s"); id != b || latest != schemaB || err != nil {
		t.Errorf("latest is %d %s, %v", id, latest, err)
	}
	if _, err := c.EnsureSubject(t.Context(), "s", schemaC); !errors.Is(err, ErrIncompatible) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Register(t.Context(), "s", `{"type":"nonsense"}`); !errors.Is(err, ErrIncompatible) {
		t.Errorf("got %v", err)
	}
	if id, err := c.EnsureSubject(t.Context(), "other", schemaA); id != a || err != nil {
		t.Errorf("the same schema under another subject is %d, %v", id, err)
	}
}

// A schema that is there is not registered again: not where only its white space differs, which some registries take
// for another schema, and not where a newer version stands above it, so that no right to write is needed.
func TestEnsureSubjectOnlyLooks(t *testing.T) {
	for name, tt := range map[string]struct {
		latest, lookup string
		want           int32
	}{
		"other white space": {`{"id":4,"schema":" \"int\" "}`, ``, 4},
		"an older version":  {`{"id":6,"schema":"\"long\""}`, `{"id":5,"version":1,"schema":"\"int\""}`, 5},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodGet:
					_, _ = io.WriteString(w, tt.latest)
				case r.URL.Path == "/subjects/s" && tt.lookup != "":
					_, _ = io.WriteString(w, tt.lookup)
				default:
					t.Errorf("%s %s", r.Method, r.URL)
				}
			}))
			defer server.Close()
			if id, err := newClient(t, server.URL).EnsureSubject(t.Context(), "s", `"int"`); id != tt.want || err != nil {
				t.Errorf("got %d, %v", id, err)
			}
		})
	}
}

// Gantry's own schemas can be registered, fetched and used to decode.
func TestOwnSchemas(t *testing.T) {
	_, c := startEmbedded(t, t.TempDir())
	if _, err := c.EnsureSubject(t.Context(), "traffic-events-value", codecs.EventSchema); err != nil {
		t.Fatal(err)
	}
	id, err := c.EnsureSubject(t.Context(), "traffic-raw-value", codecs.RawSchema)
	if err != nil {
		t.Fatal(err)
	}
	var d codecs.RawDecoder
	var r codecs.RawReading
	data := codecs.AppendRaw(nil, id, &codecs.RawReading{SensorID: "s"})
	var needed *codecs.SchemaNeededError
	if err := d.Decode(data, &r); !errors.As(err, &needed) {
		t.Fatal(err)
	}
	if err := d.Learn(t.Context(), needed.ID, c); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(data, &r); err != nil || r.SensorID != "s" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := d.Learn(t.Context(), 99, c); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(codecs.AppendRaw(nil, 99, &r), &r); !errors.Is(err, codecs.ErrSchemaUnknown) {
		t.Errorf("got %v", err)
	}
}

// What was acknowledged survives a restart with its id, its version and the levels; nothing else is left in the folder.
func TestEmbeddedRestart(t *testing.T) {
	dir := t.TempDir()
	e, err := StartEmbedded("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, e.URL())
	var ids []int32
	for i, schema := range []string{schemaA, schemaB} {
		id, err := c.Register(t.Context(), fmt.Sprint("s", i), schema)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := e.store.setLevel("s0", "NONE"); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, c = startEmbedded(t, dir)
	for i, schema := range []string{schemaA, schemaB} {
		if got, err := c.Schema(t.Context(), ids[i]); err != nil || got != schema {
			t.Errorf("%d is %s, %v", ids[i], got, err)
		}
		if id, _, err := c.Latest(t.Context(), fmt.Sprint("s", i)); id != ids[i] || err != nil {
			t.Errorf("latest is %d, %v", id, err)
		}
	}
	if id, err := c.Register(t.Context(), "s0", schemaC); err != nil || id != 3 {
		t.Errorf("the next id is %d, %v", id, err)
	}
	if e.store.level("s1") != levelDefault {
		t.Error("one subject's level holds for another")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

// A file that cannot be trusted stops the start instead of giving ids away twice.
func TestEmbeddedRefusesDamage(t *testing.T) {
	for _, content := range []string{`{"schemas":`, `{"schemas":["\"int\""],"subjects":{"s":[2]}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, storeFile), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if e, err := StartEmbedded("127.0.0.1:0", dir); err == nil {
			t.Errorf("%s is taken", content)
			e.Close()
		}
	}
}

// A registration that cannot be written down is not acknowledged and gives no id.
func TestEmbeddedDiskFailure(t *testing.T) {
	e, c := startEmbedded(t, t.TempDir())
	path := e.store.path
	e.store.path = filepath.Join(t.TempDir(), "gone", storeFile)
	if id, err := c.Register(t.Context(), "s", schemaA); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %d, %v", id, err)
	}
	if _, _, err := c.Latest(t.Context(), "s"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	e.store.path = path
	if id, err := c.Register(t.Context(), "s", schemaA); id != 1 || err != nil {
		t.Errorf("got %d, %v", id, err)
	}
}

// Another client of the same API agrees, with every call of the subset.
func TestEmbeddedForOtherClients(t *testing.T) {
	e, _ := startEmbedded(t, t.TempDir())
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c, err := sr.NewClient(sr.URLs(e.URL()), sr.HTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	a, err := c.CreateSchema(ctx, "s", sr.Schema{Schema: schemaA})
	if err != nil || a.ID != 1 || a.Version != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	if b, err := c.CreateSchema(ctx, "s", sr.Schema{Schema: schemaB}); err != nil || b.ID != 2 || b.Version != 2 {
		t.Fatalf("%+v, %v", b, err)
	}
	if subjects, err := c.Subjects(ctx); err != nil || len(subjects) != 1 || subjects[0] != "s" {
		t.Errorf("%v, %v", subjects, err)
	}
	if versions, err := c.SubjectVersions(ctx, "s"); err != nil || len(versions) != 2 {
		t.Errorf("%v, %v", versions, err)
	}
	for version, id := range map[int]int{1: 1, 2: 2, -1: 2} {
		if s, err := c.SchemaByVersion(ctx, "s", version); err != nil || s.ID != id {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if s, err := c.LookupSchema(ctx, "s", sr.Schema{Schema: schemaA}); err != nil || s.Version != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.SchemaByID(ctx, 2); err != nil || s.Schema != schemaB {
		t.Errorf("%+v, %v", s, err)
	}
	if r := c.Compatibility(ctx)[0]; r.Err != nil || r.Level != sr.CompatBackward {
		t.Errorf("%+v", r)
	}
	for _, r := range c.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatNone}, "s") {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	if r := c.Compatibility(ctx, "s")[0]; r.Err != nil || r.Level != sr.CompatNone {
		t.Errorf("%+v", r)
	}
	if r := c.Compatibility(ctx, "t")[0]; r.Err != nil || r.Level != sr.CompatBackward {
		t.Errorf("%+v", r)
	}
	for name, tt := range map[string]struct {
		code int
		call func() error
	}{
		"subject": {codeSubjectNotFound, func() error { _, err := c.SubjectVersions(ctx, "t"); return err }},
		"version": {codeVersionNotFound, func() error { _, err := c.SchemaByVersion(ctx, "s", 3); return err }},
		"zero":    {codeInvalidVersion, func() error { _, err := c.SchemaByVersion(ctx, "s", 0); return err }},
		"id":      {codeSchemaNotFound, func() error { _, err := c.SchemaByID(ctx, 3); return err }},
		"lookup": {codeSchemaNotFound, func() error {
			_, err := c.LookupSchema(ctx, "s", sr.Schema{Schema: schemaC})
			return err
		}},
		"not Avro": {codeInvalidSchema, func() error {
			_, err := c.CreateSchema(ctx, "s", sr.Schema{Schema: `message X {}`, Type: sr.TypeProtobuf})
			return err
		}},
	} {
		var answer *sr.ResponseError
		if err := tt.call(); !errors.As(err, &answer) || answer.ErrorCode != tt.code {
			t.Errorf("%s: got %v, want code %d", name, err, tt.code)
		}
	}
}

// Every level asks what its name says, of the last version or of all.
func TestLevels(t *testing.T) {
	const none = `{"type":"record","name":"A","fields":[]}`
	for level, want := range map[string]map[string]bool{
		"NONE":                {schemaA: true, schemaB: true, schemaC: true, none: true},
		"BACKWARD":            {schemaB: true, schemaC: false, none: true},
		"FORWARD":             {schemaB: true, schemaC: false, none: false},
		"FULL":                {schemaB: true, schemaC: false, none: false},
		"BACKWARD_TRANSITIVE": {schemaB: true, schemaC: false, none: true},
	} {
		for schema, ok := range want {
			s, err := openStore(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.register("s", schemaA); err != nil {
				t.Fatal(err)
			}
			if err := s.setLevel("s", level); err != nil {
				t.Fatal(err)
			}
			if _, err := s.register("s", schema); (err == nil) != ok {
				t.Errorf("%s, %s: %v", level, schema, err)
			}
		}
	}
	// A, then nothing, then C: A cannot read C, which a level sees only where it asks of all versions.
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, schema := range []string{schemaA, none} {
		if _, err := s.register("s", schema); err != nil {
			t.Fatal(err)
		}
	}
	for _, level := range []string{"FORWARD_TRANSITIVE", "FULL_TRANSITIVE", "FORWARD"} {
		if err := s.setLevel("", level); err != nil {
			t.Fatal(err)
		}
		if _, err := s.register("s", schemaC); (err == nil) != (level == "FORWARD") {
			t.Errorf("%s: %v", level, err)
		}
	}
	if s.setLevel("", "SIDEWAYS") == nil {
		t.Error("an unknown level is taken")
	}
}

// Registrations at once get distinct ids, and an equal schema one.
func TestEmbeddedConcurrently(t *testing.T) {
	_, c := startEmbedded(t, t.TempDir())
	var wg sync.WaitGroup
	ids := make([]int32, 8)
	for i := range ids {
		wg.Go(func() {
			schema := strings.Replace(schemaA, `"A"`, fmt.Sprintf(`"A%d"`, i%4), 1)
			id, err := c.Register(t.Context(), fmt.Sprint("s", i), schema)
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	seen := map[int32]bool{}
	for i, id := range ids[:4] {
		if id != ids[i+4] || seen[id] {
			t.Errorf("ids %v", ids)
		}
		seen[id] = true
	}
}
