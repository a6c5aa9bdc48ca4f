package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"golang.org/x/sync/singleflight"
)

const (
	namenodePort = "8020" // where a URL names none
	// exclusiveMember is the file that holds the content of what CreateExclusive makes; see there.
	exclusiveMember = "content"

	closeWaitMin  = 5 * time.Millisecond
	closeWaitMax  = 500 * time.Millisecond
	closeTriesMax = 60 // with the waits above: about half a minute

	// writePiece is how much of a file is handed to the client at once: a packet. The client never frees what it has
	// buffered for a block whose datanode dies before it has acknowledged it.
	writePiece = 64 << 10
)

// HDFSOptions say which folder of which HDFS cluster is meant, and how long its servers may take.
type HDFSOptions struct {
	Namenodes []string // host:port of each namenode of one cluster
	User      string
	Login     *Login // who is the user where HDFS wants Kerberos; else nil
	Root      string // absolute; created with the first connection

	DialTimeout   time.Duration // to be connected
	AnswerTimeout time.Duration // of a connected server, for each read and each write of the connection
}

// DefaultHDFSOptions leave a namenode the time of a long garbage collection.
func DefaultHDFSOptions() HDFSOptions {
	return HDFSOptions{User: "gantry", Root: "/", DialTimeout: 10 * time.Second, AnswerTimeout: 30 * time.Second}
}

// hdfsFS is a folder of an HDFS cluster. The client has no recovery inside a write: each file is written whole or
// removed. It has no time limits either; those of its connections are in network.
type hdfsFS struct {
	opts    HDFSOptions
	network *network
	metrics hdfsMetrics

	connecting singleflight.Group
	mu         sync.Mutex
	client     *hdfs.Client // nil until a namenode has answered once
	closed     bool
}

var _ FS = (*hdfsFS)(nil)

// NewHDFS returns a file system on HDFS. It connects when it is first used, and again after any failure, so that HDFS
// may be away when this is called. While it is away a call fails within DialTimeout + 2 AnswerTimeouts: one that
// another call has begun to wait for, and its own. Close ends all calls at once.
//
// It is also a prometheus.Collector.
func NewHDFS(o HDFSOptions) FS {
	o.Root = path.Clean(o.Root)
	return &hdfsFS{opts: o, network: newNetwork(o.DialTimeout, o.AnswerTimeout), metrics: newHDFSMetrics()}
}

// connect returns the client, which all calls share. Those that wait for a first connection wait for one attempt, not
// each for its own after the other's.
func (h *hdfsFS) connect() (*hdfs.Client, error) {
	h.mu.Lock()
	client, closed := h.client, h.closed
	h.mu.Unlock()
	if closed {
		return nil, fs.ErrClosed
	}
	if client != nil {
		return client, nil
	}
	c, err, _ := h.connecting.Do("", func() (any, error) { return h.dial() })
	if err != nil {
		return nil, fmt.Errorf("connect to HDFS at %s as %s: %w", strings.Join(h.opts.Namenodes, ","), h.opts.User,
			explain(err))
	}
	return c.(*hdfs.Client), nil
}

func (h *hdfsFS) dial() (*hdfs.Client, error) {
	o := hdfs.ClientOptions{
		Addresses:        h.opts.Namenodes,
		User:             h.opts.User,
		NamenodeDialFunc: h.network.dial,
		DatanodeDialFunc: h.network.dial,
	}
	h.opts.Login.apply(&o)
	client, err := hdfs.NewClient(o)
	if err != nil {
		return nil, err
	}
	// This asks the namenode for the first time. It also fills what the client keeps of the answer, which it does not
	// guard against concurrent first use.
	_, err = client.ServerDefaults()
	if err == nil {
		err = client.MkdirAll(h.opts.Root, 0o755)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && h.closed {
		err = fs.ErrClosed
	}
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	h.client = client
	return client, nil
}

// namenodes splits the host part of a URL, "a:8020,b:8020".
func namenodes(hosts string) ([]string, error) {
	var addresses []string
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" {
			return nil, errors.New("a namenode is missing: hdfs://namenode:port/folder")
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), namenodePort)
		}
		addresses = append(addresses, host)
	}
	return addresses, nil
}

func (h *hdfsFS) path(name string) string { return path.Join(h.opts.Root, name) }

func (h *hdfsFS) WriteFile(name string, data []byte) error {
	return h.WriteFrom(name, bytes.NewReader(data), int64(len(data)))
}

func (h *hdfsFS) WriteFrom(name string, r io.Reader, size int64) error {
	if err := checkName("write", name); err != nil {
		return err
	}
	client, err := h.connect()
	if err != nil {
		return err
	}
	return explain(h.write(client, h.path(name), r, size))
}

// write creates a file whole, or removes it. A file whose last block is not yet known to the namenode reads well and
// loses its bytes when the namenode restarts, so the length is compared only after Close has succeeded. If somebody
// else has removed the file meanwhile, that is fs.ErrNotExist, whatever the client says: it may fail at any step.
func (h *hdfsFS) write(client *hdfs.Client, p string, r io.Reader, size int64) error {
	w, err := client.Create(p)
	if err != nil {
		return err
	}
	if err := h.fill(client, w, p, r, size); err != nil {
		// What cannot be removed either is a leftover that is swept later.
		if gone := client.Remove(p); errors.Is(gone, fs.ErrNotExist) {
			err = fmt.Errorf("it was removed while it was written: %w", gone)
		}
		return err
	}
	return nil
}

func (h *hdfsFS) fill(client *hdfs.Client, w *hdfs.FileWriter, p string, r io.Reader, size int64) error {
	// A write of nothing would ask for a block, and the datanodes never confirm a block without bytes.
	piece := make([]byte, min(size, writePiece))
	for left := size; left > 0; left -= int64(len(piece)) {
		piece = piece[:min(left, writePiece)]
		_, err := io.ReadFull(r, piece)
		if err == nil {
			_, err = w.Write(piece)
		}
		if err != nil {
			_ = w.Close() // its connection to the datanode; it repeats the error
			return err
		}
	}
	if err := h.metrics.closeReplicated(w, time.Sleep); err != nil {
		return err
	}
	info, err := client.Stat(p)
	if err == nil && info.Size() != size {
		err = fmt.Errorf("%s has %d bytes after writing %d", p, info.Size(), size)
	}
	return err
}

// CreateExclusive makes a folder that holds one finished file, and renames the folder. HDFS refuses, in one step of the
// namenode, to rename onto a folder that is not empty; so the first one wins, and its content is whole.
//
// Creating the file under its own name would decide the race as well, but before there is content, and then nobody can
// tell a dead writer from a slow one: A creates the name and pauses; B reads an empty file; A closes it, which commits;
// B removes what it takes for a leftover, and commits its own; both batches are renamed into the archive.
func (h *hdfsFS) CreateExclusive(name string, data []byte) error {
	if err := checkName("create", name); err != nil {
		return err
	}
	client, err := h.connect()
	if err != nil {
		return err
	}
	if taken, err := h.Exists(name); err != nil {
		return err
	} else if taken {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	hidden := h.path(hiddenName(name))
	if err := client.Mkdir(hidden, 0o755); err != nil {
		return explain(err)
	}
	err = h.write(client, path.Join(hidden, exclusiveMember), bytes.NewReader(data), int64(len(data)))
	if err == nil {
		err = client.Rename(hidden, h.path(name))
	}
	if err == nil {
		return nil
	}
	// The answer to a rename that was done may have been lost, so look before anything is said about who has won.
	won, readErr := h.ReadFile(name)
	switch {
	case readErr == nil && bytes.Equal(won, data):
		return nil
	case readErr == nil:
		err = &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	case errors.Is(err, fs.ErrNotExist) && !errors.Is(readErr, fs.ErrNotExist):
		err = readErr // the rename may have been done, and the answer lost
	}
	_ = client.RemoveAll(hidden) // else it is swept
	return explain(err)
}

func (h *hdfsFS) ReadFile(name string) (data []byte, err error) {
	err = h.do(func(client *hdfs.Client) error {
		p := h.path(name)
		info, err := client.Stat(p)
		if err != nil {
			return err
		}
		if info.IsDir() {
			p = path.Join(p, exclusiveMember)
		}
		data, err = client.ReadFile(p)
		if err == nil && !info.IsDir() && int64(len(data)) != info.Size() {
			err = fmt.Errorf("%s: %d bytes of %d: %w", p, len(data), info.Size(), io.ErrUnexpectedEOF)
		}
		return err
	})
	return data, err
}

func (h *hdfsFS) CopyTo(w io.Writer, name string) error {
	return h.do(func(client *hdfs.Client) error {
		f, err := client.Open(h.path(name))
		if err != nil {
			return err
		}
		n, err := io.Copy(w, f)
		if want := f.Stat().Size(); err == nil && n != want {
			err = fmt.Errorf("%s: %d bytes of %d: %w", h.path(name), n, want, io.ErrUnexpectedEOF)
		}
		return errors.Join(err, f.Close())
	})
}

func (h *hdfsFS) List(dir string) (entries []Entry, err error) {
	err = h.do(func(client *hdfs.Client) error {
		found, err := client.ReadDir(h.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, f := range found {
			entries = append(entries, Entry{Name: f.Name(), Dir: f.IsDir(), Size: f.Size()})
		}
		return err
	})
	return entries, err
}

func (h *hdfsFS) Exists(name string) (bool, error) {
	err := h.do(func(client *hdfs.Client) error {
		_, err := client.Stat(h.path(name))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (h *hdfsFS) Rename(oldName, newName string) error {
	if err := checkName("rename", newName); err != nil {
		return err
	}
	return h.do(func(client *hdfs.Client) error { return client.Rename(h.path(oldName), h.path(newName)) })
}

// Remove deletes recursively, for what CreateExclusive makes; it is one step of the namenode. A file that a dead client
// has left open goes as any other: its lease need not be waited for.
func (h *hdfsFS) Remove(name string) error {
	if err := checkName("remove", name); err != nil {
		return err
	}
	return h.do(func(client *hdfs.Client) error {
		p := h.path(name)
		if _, err := client.Stat(p); err != nil {
			return err
		}
		return client.RemoveAll(p)
	})
}

func (h *hdfsFS) MkdirAll(dir string) error {
	if err := checkName("mkdir", dir); err != nil {
		return err
	}
	return h.do(func(client *hdfs.Client) error { return client.MkdirAll(h.path(dir), 0o755) })
}

// do runs a call on the client.
func (h *hdfsFS) do(call func(*hdfs.Client) error) error {
	client, err := h.connect()
	if err != nil {
		return err
	}
	return explain(call(client))
}

// Close ends the calls that wait for a server, with an error; so it does not wait for one itself.
func (h *hdfsFS) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	h.network.close()
	if h.client != nil {
		_ = h.client.Close() // its connections are closed already
	}
	h.opts.Login.close()
	return nil
}
