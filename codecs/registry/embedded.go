package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Embedded is a schema registry in this process, for gantry dev: the part of the Confluent API that serializers and
// tools commonly use, for Avro schemas, without authentication. What it acknowledged is on disk.
type Embedded struct {
	store  *store
	server *http.Server
	url    string
	served chan error
}

// StartEmbedded serves a registry on addr, such as "127.0.0.1:0", that keeps its schemas in dir. When it returns, the
// registry answers. One process at a time may use dir.
func StartEmbedded(addr, dir string) (*Embedded, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open the embedded registry: %w", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the embedded registry: %w", err)
	}
	e := &Embedded{store: s, url: "http://" + l.Addr().String(), served: make(chan error, 1)}
	e.server = &http.Server{Handler: e.routes(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute}
	go func() { e.served <- e.server.Serve(l) }()
	return e, nil
}

// URL is the base of the API.
func (e *Embedded) URL() string { return e.url }

// Close ends the registry, with the requests that are under way, and returns when nothing of it runs any more.
func (e *Embedded) Close() error {
	err := e.server.Close()
	if served := <-e.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (e *Embedded) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, answerBytesMax)
			respond(w, r, answer)
		})
	}
	handle("GET /{$}", func(*http.Request) (any, error) { return struct{}{}, nil })
	handle("GET /schemas/types", func(*http.Request) (any, error) { return []string{"AVRO"}, nil })
	handle("GET /schemas/ids/{id}", e.schemaByID)
	handle("GET /schemas/ids/{id}/versions", e.usesOfSchema)
	handle("GET /subjects", func(*http.Request) (any, error) { return e.store.subjects(), nil })
	handle("POST /subjects/{subject}", e.lookup)
	handle("GET /subjects/{subject}/versions", e.versions)
	handle("POST /subjects/{subject}/versions", e.register)
	handle("GET /subjects/{subject}/versions/{version}", e.version)
	handle("GET /config", func(*http.Request) (any, error) { return levelJSON{Level: e.store.level("")}, nil })
	handle("PUT /config", e.setLevel)
	handle("GET /config/{subject}", func(r *http.Request) (any, error) {
		return levelJSON{Level: e.store.level(r.PathValue("subject"))}, nil
	})
	handle("PUT /config/{subject}", e.setLevel)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusNotFound, errorJSON{Code: http.StatusNotFound, Message: "HTTP 404 Not Found"})
	})
	return mux
}

func respond(w http.ResponseWriter, r *http.Request, answer func(*http.Request) (any, error)) {
	v, err := answer(r)
	var refused *refusal
	switch {
	case err == nil:
		write(w, http.StatusOK, v)
	case errors.As(err, &refused):
		write(w, refused.status(), errorJSON{Code: refused.code, Message: refused.message})
	default:
		write(w, http.StatusInternalServerError, errorJSON{Code: codeInternalServerError, Message: err.Error()})
	}
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only where the client has gone
}

// refusal is an answer of the API that says no.
type refusal struct {
	code    int
	message string
}

func refuse(code int, format string, args ...any) error {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return r.message }

// status is the HTTP status, which begins the error code.
func (r *refusal) status() int {
	if r.code > 999 {
		return r.code / 100
	}
	return r.code
}

func (e *Embedded) schemaByID(r *http.Request) (any, error) {
	text, err := e.store.schema(r.PathValue("id"))
	return schemaJSON{Schema: text}, err
}

func (e *Embedded) usesOfSchema(r *http.Request) (any, error) {
	return e.store.uses(r.PathValue("id"))
}

func (e *Embedded) versions(r *http.Request) (any, error) {
	ids, err := e.store.versions(r.PathValue("subject"))
	if err != nil {
		return nil, err
	}
	numbers := make([]int, len(ids))
	for i := range ids {
		numbers[i] = i + 1
	}
	return numbers, nil
}

func (e *Embedded) version(r *http.Request) (any, error) {
	return e.store.version(r.PathValue("subject"), r.PathValue("version"))
}

func (e *Embedded) register(r *http.Request) (any, error) {
	text, err := requestSchema(r)
	if err != nil {
		return nil, err
	}
	id, err := e.store.register(r.PathValue("subject"), text)
	return schemaJSON{ID: id}, err
}

func (e *Embedded) lookup(r *http.Request) (any, error) {
	text, err := requestSchema(r)
	if err != nil {
		return nil, err
	}
	return e.store.lookup(r.PathValue("subject"), text)
}

// requestSchema reads the schema of a request.
func requestSchema(r *http.Request) (string, error) {
	var in struct {
		schemaJSON
		References []json.RawMessage `json:"references"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return "", refuse(codeInvalidSchema, "The request is not JSON: %v", err)
	}
	if !in.avro() || len(in.References) > 0 {
		return "", refuse(codeInvalidSchema, "The embedded registry takes Avro schemas without references only")
	}
	return in.Schema, nil
}

// levelJSON is a compatibility level. Answers and requests name it differently.
type levelJSON struct {
	Level string `json:"compatibilityLevel"`
}

func (e *Embedded) setLevel(r *http.Request) (any, error) {
	var in struct {
		Level string `json:"compatibility"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, refuse(codeInvalidLevel, "The request is not JSON: %v", err)
	}
	return in, e.store.setLevel(r.PathValue("subject"), in.Level)
}
