package archive

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"
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
			err := closeReplicated(w, func(d time.Duration) { slept += d })
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

// A server that keeps its connection and does not answer ends the call with a time-out, for reads and for writes.
func TestDeadlineConn(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	defer client.Close()
	past := func() time.Time { return time.Now().Add(-time.Hour) }
	conn := &deadlineConn{Conn: client, wait: time.Minute, now: past}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := conn.Write([]byte{1}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}

func TestNamenodes(t *testing.T) {
	got, err := namenodes("a:9000,b,[::1]:8021")
	if want := []string{"a:9000", "b:8020", "[::1]:8021"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
