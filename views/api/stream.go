package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// streamRetry tells clients how long to wait before they reconnect.
const streamRetry = 2 * time.Second

// chunkBytes is how much of a stream is written under one deadline.
const chunkBytes = 64 << 10

var errStopping = errors.New("the server is stopping")

// stream sends changes as server-sent events.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if bad := parseParams(r).problem(); bad != nil {
		bad.write(w)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		problemf(http.StatusServiceUnavailable, "all %d streams are taken", s.o.StreamsMax).write(w)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	t := &streamWriter{hub: s.o.Changes, w: w, control: http.NewResponseController(w), timeout: s.o.WriteTimeout}
	err := t.start(r.Header.Get("Last-Event-ID"))
	if err == nil {
		err = t.follow(r.Context(), s.stopping, s.o.StreamPace, s.o.StreamHeartbeat)
	}
	s.o.Logger.Debug("stream ended", "remote", r.RemoteAddr, "reason", err)
}

// streamWriter is one stream: a place in the Hub's changes, and a connection.
type streamWriter struct {
	hub     *Hub
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	after   uint64 // id of the last change sent
	buf     []byte
}

// start finds the place. A client without an id begins with the next change: what stands, it reads from the lists,
// after the stream has opened, so that nothing falls between the two.
func (t *streamWriter) start(lastEventID string) error {
	t.buf = append(t.buf, "retry: "...)
	t.buf = strconv.AppendInt(t.buf, streamRetry.Milliseconds(), 10)
	t.buf = append(t.buf, "\n\n"...)
	t.after = t.hub.head()
	if lastEventID == "" {
		// An id without data is no event, but a client remembers it: one that is cut off before the first change
		// resumes here.
		t.buf = append(append(append(t.buf, "id: "...), t.hub.formatID(t.after)...), "\n\n"...)
		return t.flush()
	}
	after, err := t.hub.parseID(lastEventID)
	if err != nil {
		t.reset("unknown_id")
	} else {
		t.after = after
	}
	return t.flush()
}

// reset tells the client that changes are missing between what it has and what comes next.
func (t *streamWriter) reset(reason string) {
	t.buf = appendText(appendKey(append(t.buf, "event: reset\ndata: {"...), "reason"), reason)
	t.buf = append(append(append(t.buf, "}\nid: "...), t.hub.formatID(t.after)...), "\n\n"...)
}

// follow sends changes until the client goes, the server stops or a write fails, and returns which.
func (t *streamWriter) follow(ctx context.Context, stopping <-chan struct{}, pace, heartbeat time.Duration) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		changes, lost, next := t.hub.since(t.after)
		switch {
		case lost:
			t.after = t.hub.head()
			t.reset("expired")
			if err := t.flush(); err != nil {
				return err
			}
			continue
		case len(changes) > 0:
			if err := t.send(changes); err != nil {
				return err
			}
			if err := pause(ctx, stopping, pace); err != nil {
				return err
			}
			continue
		}
		select {
		case <-next:
		case <-beat.C:
			t.buf = append(t.buf, ": still here\n\n"...)
			if err := t.flush(); err != nil {
				return err
			}
		case <-stopping:
			return errStopping
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pause(ctx context.Context, stopping <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-stopping:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *streamWriter) send(changes []*change) error {
	for _, c := range changes {
		c.once.Do(func() { c.text = c.appendEvent(nil) })
		t.buf = append(t.buf, c.text...)
		t.buf = append(append(append(t.buf, "id: "...), t.hub.formatID(c.id)...), "\n\n"...)
		t.after = c.id
		if len(t.buf) >= chunkBytes {
			if err := t.flush(); err != nil {
				return err
			}
		}
	}
	return t.flush()
}

// flush writes what has gathered, by a deadline of its own: the server's write timeout is for whole answers.
func (t *streamWriter) flush() error {
	if len(t.buf) == 0 {
		return nil
	}
	// A connection without deadlines, as in a test's recorder, cannot be held up either.
	if err := t.control.SetWriteDeadline(time.Now().Add(t.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := t.w.Write(t.buf); err != nil {
		return err
	}
	t.buf = t.buf[:0]
	return t.control.Flush()
}
