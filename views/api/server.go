package api

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gantry/views/web"
)

// Bounds of a request. No path takes a body.
const (
	headerBytesMax    = 16 << 10
	requestTimeout    = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	tlsVersionMinimum = tls.VersionTLS12
)

// Server answers HTTP. It is made by New, and serves once.
type Server struct {
	o       Options
	tokens  [][sha256.Size]byte // hashed, so that comparing takes the same time for every length
	handler http.Handler
	streams chan struct{} // holds one element per open stream

	stopping chan struct{} // closed when streams must end
	stop     sync.Once
}

// New returns a Server, or an error that names every bad option.
func New(o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("http server: %w", err)
	}
	s := &Server{o: o, streams: make(chan struct{}, o.StreamsMax), stopping: make(chan struct{})}
	for _, token := range o.Tokens {
		s.tokens = append(s.tokens, sha256.Sum256([]byte(token)))
	}
	s.handler = secure(s.routes())
	return s, nil
}

// Handler answers every path. Its streams end with their requests, or when Run ends.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves on the listener, which it closes, until the context ends; then it ends the streams, waits for the requests
// under way up to ShutdownTimeout, and returns nil. An error means that it could not serve.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      s.o.WriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
	}
	serve := server.Serve
	if s.o.TLS != nil {
		server.TLSConfig = s.o.TLS.Clone()
		server.TLSConfig.MinVersion = max(server.TLSConfig.MinVersion, tlsVersionMinimum)
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	failed := make(chan error, 1)
	go func() { failed <- serve(listener) }()

	select {
	case err := <-failed:
		s.endStreams()
		return fmt.Errorf("serve http on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	s.endStreams()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		s.o.Logger.Warn("requests were cut off at shutdown", "error", err)
		server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http on %s: %w", listener.Addr(), err)
	}
	return nil
}

func (s *Server) endStreams() { s.stop.Do(func() { close(s.stopping) }) }

// routes maps every path. The patterns carry no method, so that a wrong one is answered in our form.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	open := func(path string, h http.HandlerFunc) { mux.Handle(path, readOnly(h)) }
	guarded := func(path string, h http.HandlerFunc) { open(path, s.authorised(h)) }
	ready := func(path string, h http.HandlerFunc) { guarded(path, s.whenReady(h)) }

	ready("/api/v1/sensors", s.listSensors)
	ready("/api/v1/sensors/{id}", s.getSensor)
	ready("/api/v1/sensors/{id}/windows", s.listSensorWindows)
	ready("/api/v1/sensors/{id}/windows/current", s.getCurrentWindow)
	ready("/api/v1/windows/current", s.listCurrentWindows)
	ready("/api/v1/stream", s.stream)
	if s.o.Pipeline != nil {
		guarded("/api/v1/pipeline", s.getPipeline)
	}
	open("/healthz", getHealth)
	open("/readyz", s.getReadiness)
	open("/openapi.json", getOpenAPI)
	if s.o.Metrics != nil {
		open("/metrics", s.o.Metrics.ServeHTTP)
	}
	page := web.Handler()
	open("/{$}", page.ServeHTTP)
	for _, file := range web.Files() {
		open("/"+file, page.ServeHTTP)
	}
	mux.HandleFunc("/", notFound)
	return mux
}

func notFound(w http.ResponseWriter, r *http.Request) {
	problemf(http.StatusNotFound, "there is nothing at %s; the paths are described at /openapi.json", r.URL.Path).write(w)
}
