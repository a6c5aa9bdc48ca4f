package archive

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// network makes the connections of one hdfsFS, with the time limits that the client lacks. It waits without limit for
// a server that has stopped answering but keeps its connections, and one lock for all namenode calls would then hold
// every flush for ever.
type network struct {
	dialTimeout, answerTimeout time.Duration

	open  context.Context // until close
	close context.CancelFunc
}

func newNetwork(dial, answer time.Duration) *network {
	n := &network{dialTimeout: dial, answerTimeout: answer}
	n.open, n.close = context.WithCancel(context.Background())
	return n
}

// dial connects to a namenode or a datanode. The client passes a context that never ends.
func (n *network) dial(_ context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(n.open, n.dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return n.guard(conn), nil
}

// guard gives a connection its limits. One that is not used any more is closed after a while: where a datanode refuses
// a block, the client drops its connection without closing it.
func (n *network) guard(conn net.Conn) *deadlineConn {
	c := &deadlineConn{Conn: conn, timeout: n.answerTimeout}
	c.detach = context.AfterFunc(n.open, func() { conn.Close() })
	c.idle = time.AfterFunc(idleFactor*n.answerTimeout, func() {
		c.detach()
		conn.Close()
	})
	return c
}

// idleFactor times the limit of an answer is longer than any connection in use is silent: leases are renewed each
// second while the namenode answers, and nobody keeps the stream of a block open for later.
const idleFactor = 4

// deadlineConn gives each read and write its own deadline, and is closed by the first that fails. Else the client would
// send its next call on it and get the late answer to the last one: it counts them, but does not give up a connection
// whose count is wrong, so that after one time-out every call would fail for as long as the process lives.
type deadlineConn struct {
	net.Conn
	timeout time.Duration
	idle    *time.Timer
	detach  func() bool
	failure atomic.Pointer[error] // the first, which says more than that the connection is closed
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	return c.limited(c.SetReadDeadline, c.Conn.Read, b)
}

func (c *deadlineConn) Write(b []byte) (int, error) {
	return c.limited(c.SetWriteDeadline, c.Conn.Write, b)
}

func (c *deadlineConn) limited(
	setDeadline func(time.Time) error, call func([]byte) (int, error), b []byte,
) (n int, err error) {
	if first := c.failure.Load(); first != nil {
		return 0, fmt.Errorf("the connection to %s failed before: %w", c.RemoteAddr(), *first)
	}
	c.idle.Reset(idleFactor * c.timeout)
	if err = setDeadline(time.Now().Add(c.timeout)); err == nil {
		n, err = call(b)
	}
	if err != nil {
		c.failure.CompareAndSwap(nil, &err)
		c.Close()
	}
	return n, err
}

// Close is called more than once; only the first call has an effect.
func (c *deadlineConn) Close() error {
	c.idle.Stop()
	c.detach()
	return c.Conn.Close()
}
