package harness

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Running is something of this process that runs until it is stopped.
type Running struct {
	t      *testing.T
	what   string
	cancel context.CancelFunc
	ended  chan error // nil when its end was received
}

// Background runs something until Stop, or until the end of the test.
func Background(t *testing.T, what string, run func(context.Context) error) *Running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Running{t: t, what: what, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- run(ctx) }()
	t.Cleanup(r.Stop)
	return r
}

// Stop ends it as SIGTERM does, and wants a clean end. It is no error that it has been stopped already.
func (r *Running) Stop() {
	r.t.Helper()
	if r.ended == nil {
		return
	}
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("%s ended with %v", r.what, err)
		}
	case <-time.After(StopPatience):
		r.t.Errorf("%s has not stopped within %v", r.what, StopPatience)
	}
	r.ended = nil
}

// End waits until it ends by itself, and returns why.
func (r *Running) End() (err error) {
	r.t.Helper()
	select {
	case err = <-r.ended:
	case <-time.After(Patience):
		r.t.Fatalf("%s does not end", r.what)
	}
	r.ended = nil
	return err
}

// FreeAddress is an address of this machine at which nothing listens.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Get asks a server at host:port for a path.
func Get(t *testing.T, address, path string) (status int, body []byte) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}
