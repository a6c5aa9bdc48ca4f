package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/codecs"
)

// streamClient reads the blocks of a stream.
type streamClient struct {
	t      *testing.T
	body   io.ReadCloser
	blocks *bufio.Reader
}

// open connects, and reads the first block, which tells the reconnection time.
func open(t *testing.T, url, lastEventID string) *streamClient {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream answers %d, %q", answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	c := &streamClient{t: t, body: answer.Body, blocks: bufio.NewReader(answer.Body)}
	if got := c.block(); got != "retry: 2000" {
		t.Fatalf("first block %q", got)
	}
	return c
}

// block returns the next block, or "" at the end of the stream.
func (c *streamClient) block() string {
	c.t.Helper()
	var block []string
	for {
		line, err := c.blocks.ReadString('\n')
		if err != nil {
			return ""
		}
		if line == "\n" {
			return lines(block...)
		}
		block = append(block, strings.TrimSuffix(line, "\n"))
	}
}

// expect reads one block for each of the given texts, each of which its block must hold.
func (c *streamClient) expect(parts ...[]string) {
	c.t.Helper()
	for _, want := range parts {
		got := c.block()
		for _, part := range want {
			if !strings.Contains(got, part) {
				c.t.Fatalf("block %q, want %q in it", got, part)
			}
		}
	}
}

func serve(t *testing.T, f *fixture) string {
	t.Helper()
	server := httptest.NewServer(f.server(t).Handler())
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server.URL
}

// A new client is told where it stands, then gets changes in their order, each with its id and whole on one line.
func TestStreamOrder(t *testing.T) {
	f := newFixture()
	f.hub.testWindow("before", t0, 1)
	c := open(t, serve(t, f), "")
	c.expect([]string{"id: e1-1"})
	f.hub.testWindow("a", t0, 1)
	c.expect([]string{
		"event: window\ndata: {\"sensor_id\":\"a\",\"window_start\":\"2026-03-01T08:00:00Z\"",
		`"watermark":"2026-03-01T08:00:00Z"}`, "id: e1-2",
	})
	f.hub.Sensor(Sensor{ID: "a\nb", Silent: true})
	c.expect([]string{"event: sensor\ndata: {\"sensor_id\":\"a\\nb\"", `"silent":true`, "id: e1-3"})
	f.hub.Removed("a\nb")
	c.expect([]string{"event: removed\ndata: {\"sensor_id\":\"a\\nb\"}", "id: e1-4"})
}

// A client that comes back gets what changed since the id that it has: nothing twice, nothing missing, and the newest
// state of what changed often.
func TestStreamResumes(t *testing.T) {
	f := newFixture()
	for i := range 3 {
		f.hub.testWindow(fmt.Sprint(i), t0, 1)
	}
	f.hub.testWindow("1", t0, 2)
	c := open(t, serve(t, f), "e1-1")
	c.expect(
		[]string{`"sensor_id":"2"`, "id: e1-3"},
		[]string{`"sensor_id":"1"`, `"message_count":2`, "id: e1-4"},
	)
	f.hub.testWindow("3", t0, 1)
	c.expect([]string{`"sensor_id":"3"`, "id: e1-5"})
}

// An id of another process, from before a restart, or older than what is remembered cannot be resumed: the client is
// told to reload, gets an id to go on from, and then what changes next.
func TestStreamResets(t *testing.T) {
	for id, reason := range map[string]string{"e0-3": "unknown_id", "nonsense": "unknown_id", "e1-1": "expired"} {
		f := newFixture()
		f.hub = newHub("e1", 2)
		f.options.Changes = f.hub
		for i := range 5 {
			f.hub.testWindow(fmt.Sprint(i), t0, 1)
		}
		c := open(t, serve(t, f), id)
		c.expect([]string{"event: reset\ndata: {\"reason\":\"" + reason + "\"}\nid: e1-5"})
		f.hub.testWindow("next", t0, 1)
		c.expect([]string{`"sensor_id":"next"`, "id: e1-6"})
	}
}

// One client more than allowed is a 503; when one goes, another finds its place.
func TestStreamsAreBounded(t *testing.T) {
	f := newFixture()
	f.options.StreamsMax = 1
	s := f.server(t)
	s.streams <- struct{}{}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/stream", nil))
	object(t, w, 503)
	<-s.streams
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the client goes at once
	for range 3 {
		w = httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/stream", nil).WithContext(ctx))
		if w.Code != 200 {
			t.Fatalf("a free stream is answered %d", w.Code)
		}
	}
}

// slowConnection is a connection whose first write waits until the test lets it go on.
type slowConnection struct {
	http.ResponseWriter
	entered, release chan struct{}
	once             sync.Once
	written          chan string
	deadlines        int
	fail             error
}

func (c *slowConnection) Write(b []byte) (int, error) {
	c.once.Do(func() {
		close(c.entered)
		<-c.release
	})
	if c.fail != nil {
		return 0, c.fail
	}
	c.written <- string(b)
	return len(b), nil
}

func (c *slowConnection) SetWriteDeadline(time.Time) error { c.deadlines++; return nil }
func (c *slowConnection) FlushError() error                { return nil }

func newSlowConnection() *slowConnection {
	return &slowConnection{
		ResponseWriter: httptest.NewRecorder(), entered: make(chan struct{}),
		release: make(chan struct{}), written: make(chan string, 10),
	}
}

func (c *slowConnection) follow(ctx context.Context, h *Hub) <-chan error {
	ended := make(chan error, 1)
	t := &streamWriter{hub: h, w: c, control: http.NewResponseController(c), timeout: time.Minute}
	go func() { ended <- t.follow(ctx, nil, 0, time.Hour) }()
	return ended
}

// While a reader is held up, publishing goes on and memory does not grow: what it finds afterwards are the newest
// states, or, where the hub has forgotten some, a reset.
func TestStreamSlowReader(t *testing.T) {
	for _, sensors := range []int{2, 20} {
		h := newHub("e1", 4)
		c := newSlowConnection()
		ctx, cancel := context.WithCancel(t.Context())
		h.testWindow("first", t0, 1)
		ended := c.follow(ctx, h)
		<-c.entered
		for i := range 1000 {
			h.testWindow(fmt.Sprint(i%sensors), t0, int32(i))
		}
		close(c.release)
		if first := <-c.written; !strings.Contains(first, `"first"`) {
			t.Errorf("first write %q", first)
		}
		got := <-c.written
		if sensors == 2 {
			if strings.Count(got, "event: window") != 2 || !strings.Contains(got, `"message_count":999`) {
				t.Errorf("after the hold-up: %q, want the newest state of 2 windows", got)
			}
		} else if !strings.Contains(got, "event: reset") || !strings.Contains(got, "id: e1-1001") {
			t.Errorf("after the hold-up: %q, want a reset to the newest id", got)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
}

// A reader that takes nothing within the write timeout is disconnected: every write has a deadline, and its error ends
// the stream.
func TestStreamDeadReader(t *testing.T) {
	h := newHub("e1", 4)
	c := newSlowConnection()
	c.fail = os.ErrDeadlineExceeded
	close(c.release)
	h.testWindow("a", t0, 1)
	if err := <-c.follow(t.Context(), h); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ended with %v, want the deadline", err)
	}
	if c.deadlines != 1 {
		t.Errorf("%d deadlines for 1 write", c.deadlines)
	}
}

// A quiet stream carries heartbeats.
func TestStreamHeartbeat(t *testing.T) {
	f := newFixture()
	f.options.StreamHeartbeat = time.Millisecond
	c := open(t, serve(t, f), "")
	c.expect([]string{"id: e1-0"}, []string{": still here"}, []string{": still here"})
}

// A stream lives on when the time for reading a request is over: that deadline is for requests.
func TestStreamOutlivesReadTimeout(t *testing.T) {
	f := newFixture()
	server := httptest.NewUnstartedServer(f.server(t).Handler())
	server.Config.ReadTimeout = 20 * time.Millisecond
	server.Config.WriteTimeout = 20 * time.Millisecond
	f.options.StreamHeartbeat = 10 * time.Millisecond
	server.Config.Handler = f.server(t).Handler()
	server.Start()
	defer func() {
		server.CloseClientConnections()
		server.Close()
	}()
	c := open(t, server.URL, "")
	c.expect([]string{"id: e1-0"})
	for range 10 {
		c.expect([]string{": still here"})
	}
}

// When the context ends, streams end and Run returns without cutting off anything by its time limit: neither a stream
// that waits for a change nor one in the pause after a write may hold up a shutdown.
func TestRunEndsStreams(t *testing.T) {
	f := newFixture()
	f.options.StreamPace = time.Hour
	var log bytes.Buffer
	f.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, ended := f.server(t), make(chan error, 1)
	go func() { ended <- s.Run(ctx, listener) }()
	url := "http://" + listener.Addr().String()
	pausing := open(t, url, "e1-0")
	f.hub.testWindow("a", t0, 1)
	pausing.expect([]string{"id: e1-1"})
	waiting := open(t, url, "")
	waiting.expect([]string{"id: e1-1"})
	cancel()
	for _, c := range []*streamClient{pausing, waiting} {
		if rest := c.block(); rest != "" {
			t.Errorf("after the end: %q", rest)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v, want nil", err)
	}
	if log.Len() > 0 {
		t.Errorf("a stream was cut off instead of ended: %s", log.String())
	}
	http.DefaultClient.CloseIdleConnections()
}

// Run reports a listener that cannot serve.
func TestRunFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := newFixture().server(t).Run(t.Context(), listener); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v, want that the listener is closed", err)
	}
}

// Publishing and reading race: under the race detector this covers the text that streams share.
func TestStreamsShareChanges(t *testing.T) {
	f := newFixture()
	url := serve(t, f)
	const changes = 200
	var clients sync.WaitGroup
	for range 4 {
		c := open(t, url, "e1-0")
		clients.Go(func() {
			var last uint64
			for last < changes {
				block := c.block()
				_, id, ok := strings.Cut(block, "id: e1-")
				var n uint64
				if _, err := fmt.Sscan(id, &n); !ok || err != nil || n <= last {
					t.Errorf("block %q after id %d", block, last)
					return
				}
				last = n
			}
		})
	}
	for i := range changes {
		w := windowAt(fmt.Sprint(i%7), t0)
		f.hub.Window(&w, codecs.Some(t0))
	}
	clients.Wait()
}
