package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Options configure a Server. Start from DefaultOptions.
type Options struct {
	Directory Directory    // required
	Changes   *Hub         // required
	Readiness Readiness    // required
	Pipeline  Pipeline     // without it /api/v1/pipeline is not found
	Metrics   http.Handler // without it /metrics is not found

	// Tokens, where there are any, are the bearer tokens of which a request to /api/v1 must carry one. The page's files,
	// health, readiness, metrics and the OpenAPI document stay open: they show no measurement.
	Tokens []string
	TLS    *tls.Config // nil serves plain HTTP
	Logger *slog.Logger
	Now    func() time.Time // for staleness

	// StreamsMax bounds the streams that are open at once; one more is answered 503.
	StreamsMax int
	// StreamPace is the shortest time between two writes to a stream. Within it the changes of a window collapse into
	// the newest, so a replay at full speed does not flood its readers. 0 writes at once.
	StreamPace time.Duration
	// StreamHeartbeat is the time between comments on a stream, which keep proxies from closing a quiet one.
	StreamHeartbeat time.Duration
	// WriteTimeout bounds one answer, and each write to a stream: a reader that takes longer is disconnected, and
	// resumes where it was.
	WriteTimeout time.Duration
	// ShutdownTimeout bounds how long Run waits for requests under way.
	ShutdownTimeout time.Duration
}

// DefaultOptions returns the defaults of everything that is not required.
func DefaultOptions() Options {
	return Options{
		Logger:          slog.Default(),
		Now:             time.Now,
		StreamsMax:      256,
		StreamPace:      250 * time.Millisecond,
		StreamHeartbeat: 15 * time.Second,
		WriteTimeout:    30 * time.Second,
		ShutdownTimeout: 3 * time.Second,
	}
}

// Validate reports every option that cannot work.
func (o *Options) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(o.Directory != nil, "Directory is required")
	need(o.Changes != nil, "Changes is required")
	need(o.Readiness != nil, "Readiness is required")
	need(o.Logger != nil, "Logger is required")
	need(o.Now != nil, "Now is required")
	need(o.StreamsMax >= 1, "StreamsMax is %d: at least 1 is allowed", o.StreamsMax)
	need(o.StreamPace >= 0, "StreamPace is %s: at least 0 is allowed", o.StreamPace)
	need(o.StreamHeartbeat > 0, "StreamHeartbeat is %s: above 0 is allowed", o.StreamHeartbeat)
	need(o.WriteTimeout > 0, "WriteTimeout is %s: above 0 is allowed", o.WriteTimeout)
	need(o.ShutdownTimeout > 0, "ShutdownTimeout is %s: above 0 is allowed", o.ShutdownTimeout)
	for i, token := range o.Tokens {
		need(token != "", "Tokens[%d] is empty: that would let everybody in", i)
	}
	return errors.Join(errs...)
}
