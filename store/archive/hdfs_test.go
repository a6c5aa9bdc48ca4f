package archive

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/colinmarc/hdfs/v2"
)

// closer answers each Close with the next error, the last one for ever.
type closer struct {
	answers []error
	calls   int
}

func (c *closer) Close() error {
	err := c.answers[min(c.calls, len(c.answers)-1)]
	c.calls++
	return err
}

// HDFS confirms a quarter of all files late; until it has, their bytes are lost when the namenode restarts. Closing
// ends at the first nil (one more call would be a lease error), at any other error, or when patience is out.
func TestCloseReplicated(t *testing.T) {
	replicating := &os.PathError{Op: "create", Path: "f", Err: hdfs.ErrReplicating}
	broken := errors.New("broken pipe")
	for _, c := range []struct {
		name    string
		answers []error
		want    error
		calls   int
	}{
		{"at once", []error{nil}, nil, 1},
		{"late", []error{replicating, replicating, nil, broken}, nil, 3},
		{"broken", []error{replicating, broken}, broken, 2},
		{"never", []error{replicating}, hdfs.ErrReplicating, closeTriesMax},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &closer{answers: c.answers}
			var slept time.Duration
			m := newHDFSMetrics()
			err := m.closeReplicated(w, func(d time.Duration) { slept += d })
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if w.calls != c.calls {
				t.Errorf("Close was called %d times, want %d", w.calls, c.calls)
			}
			if slept > time.Minute {
				t.Errorf("waited %v for a datanode", slept)
			}
		})
	}
}

// mute is a server that accepts connections, reads what comes and answers nothing: a namenode that is stopped, or its
// machine. It returns its address and how many connections it has taken.
func mute(t *testing.T) (address string, taken *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken = new(atomic.Int64)
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			wg.Go(func() {
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			})
		}
	})
	return l.Addr().String(), taken
}

// A namenode that keeps its connections and does not answer ends every call with a time-out, those that wait at the
// same time after the same one.
func TestHDFSHung(t *testing.T) {
	o := DefaultHDFSOptions()
	address, taken := mute(t)
	o.Namenodes, o.AnswerTimeout = []string{address}, 50*time.Millisecond
	h := NewHDFS(o)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := h.WriteFile("a", nil); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write to a hung namenode: %v", err)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n > 5 {
		t.Errorf("%d connections for 5 calls", n)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// Closing ends a call that waits for a namenode, whatever its time limit, and those that come after.
func TestHDFSCloseEndsCalls(t *testing.T) {
	o := DefaultHDFSOptions()
	address, taken := mute(t)
	o.Namenodes, o.AnswerTimeout = []string{address}, time.Hour
	h := NewHDFS(o)
	ended := make(chan error)
	go func() { ended <- h.MkdirAll("a") }()
	for taken.Load() == 0 {
		runtime.Gosched()
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err == nil {
		t.Error("a call on a hung namenode succeeded")
	}
	if _, err := h.List("."); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A read or write that is too late closes its connection, so that nobody takes a late answer for one to a later call.
// A connection that nobody uses is closed too.
func TestDeadlineConn(t *testing.T) {
	for name, call := range map[string]func(net.Conn) error{
		"read":  func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"write": func(c net.Conn) error { _, err := c.Write([]byte{1}); return err },
	} {
		client, server := net.Pipe()
		conn := &deadlineConn{
			Conn: client, timeout: -time.Hour, idle: time.NewTimer(time.Hour), detach: func() bool { return true },
		}
		if err := call(conn); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after a late %s the connection is still open: %v", name, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		newNetwork(time.Minute, time.Minute).guard(client)
		began := time.Now()
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if d := time.Since(began); d != idleFactor*time.Minute {
			t.Errorf("an idle connection was closed after %v", d)
		}
	})
}

// refusal is an error of a namenode.
type refusal struct{ exception, message string }

func (r refusal) Error() string     { return "call failed (" + r.exception + ")" }
func (r refusal) Method() string    { return "create" }
func (r refusal) Desc() string      { return "ERROR_APPLICATION" }
func (r refusal) Exception() string { return r.exception }
func (r refusal) Message() string   { return r.message }

// What a namenode refuses is told with what it said, without its stack, or with what an operator can do; a file that is
// not there is fs.ErrNotExist from every call.
func TestExplain(t *testing.T) {
	for exception, want := range map[string]string{
		safeModeException:     "safe mode",
		spaceQuotaException:   "hdfs dfs -count",
		"java.io.IOException": "replicated to 0 nodes",
	} {
		err := explain(&os.PathError{Op: "create", Path: "f", Err: refusal{exception, "replicated to 0 nodes\n\tat org"}})
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", exception, err)
		}
	}
	if err := explain(refusal{exception: fileNotFoundException}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not fs.ErrNotExist: %v", err)
	}
	if err := explain(io.EOF); err != io.EOF {
		t.Errorf("another error: %v", err)
	}
}

func TestNamenodes(t *testing.T) {
	got, err := namenodes("a:9000,b,[::1]:8021")
	if want := []string{"a:9000", "b:8020", "[::1]:8021"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
