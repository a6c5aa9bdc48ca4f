package archive

import (
	"context"
	"net"
	"time"
)

// deadlineConn gives each read and write its own deadline. The HDFS client waits without limit for a server that has
// stopped answering but keeps its connections; one lock for all namenode calls would then hold every flush for ever.
type deadlineConn struct {
	net.Conn
	wait time.Duration
	now  func() time.Time
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(c.now().Add(c.wait)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *deadlineConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.now().Add(c.wait)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func dialDeadline(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: hdfsDialWait}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &deadlineConn{Conn: conn, wait: hdfsAnswerWait, now: time.Now}, nil
}
