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
	"time"

	"github.com/colinmarc/hdfs/v2"
	krb5 "github.com/jcmturner/gokrb5/v8/client"
)

const (
	namenodePort = "8020" // where a URL names none
	// exclusiveMember is the file that holds the content of what CreateExclusive makes; see there.
	exclusiveMember = "content"

	closeWaitMin   = 5 * time.Millisecond
	closeWaitMax   = 500 * time.Millisecond
	closeTriesMax  = 60 // with the waits above: about half a minute
	hdfsDialWait   = 10 * time.Second
	hdfsAnswerWait = 30 * time.Second
)

// hdfsFS is a folder of an HDFS cluster. The client has no recovery inside a write and no time limit of its own: each
// file is written whole or removed, and every read and write of a connection has a deadline (see deadlineConn).
type hdfsFS struct {
	client *hdfs.Client
	login  *krb5.Client // nil without Kerberos
	root   string
}

var _ FS = (*hdfsFS)(nil)

func newHDFS(addresses []string, user, root string, k Kerberos) (FS, error) {
	o := hdfs.ClientOptions{
		Addresses:        addresses,
		User:             user,
		NamenodeDialFunc: dialDeadline,
		DatanodeDialFunc: dialDeadline,
	}
	if k.Principal != "" {
		user = k.Principal
	}
	login, err := k.apply(&o)
	if err != nil {
		return nil, err
	}
	h := &hdfsFS{login: login, root: path.Clean(root)}
	if h.client, err = hdfs.NewClient(o); err != nil {
		h.logout()
		return nil, fmt.Errorf("connect to HDFS at %s as %s: %w", strings.Join(addresses, ","), user, err)
	}
	if err := h.MkdirAll("."); err != nil {
		return nil, errors.Join(fmt.Errorf("create HDFS folder %s as %s: %w", root, user, err), h.Close())
	}
	return h, nil
}

func (h *hdfsFS) logout() {
	if h.login != nil {
		h.login.Destroy()
	}
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

func (h *hdfsFS) path(name string) string { return path.Join(h.root, name) }

func (h *hdfsFS) WriteFile(name string, data []byte) error {
	if err := checkName("write", name); err != nil {
		return err
	}
	return h.write(h.path(name), data)
}

// write creates a file whole, or removes it. A file whose last block is not yet known to the namenode reads well and
// loses its bytes when the namenode restarts, so the length is compared only after Close has succeeded.
func (h *hdfsFS) write(p string, data []byte) error {
	w, err := h.client.Create(p)
	if err != nil {
		return err
	}
	// A write of nothing would ask for a block, and the datanodes never confirm a block without bytes.
	if len(data) > 0 {
		_, err = w.Write(data)
	}
	if err == nil {
		err = closeReplicated(w, time.Sleep)
	} else {
		err = errors.Join(err, w.Close())
	}
	if err == nil {
		err = h.checkLength(p, len(data))
	}
	if err != nil {
		return errors.Join(err, h.client.Remove(p))
	}
	return nil
}

// closeReplicated calls Close until the namenode has heard of every block; a quarter of all first calls come too early.
func closeReplicated(w io.Closer, sleep func(time.Duration)) error {
	wait := closeWaitMin
	for range closeTriesMax {
		err := w.Close()
		if !hdfs.IsErrReplicating(err) {
			return err
		}
		sleep(wait)
		wait = min(2*wait, closeWaitMax)
	}
	return fmt.Errorf("the datanodes did not confirm the file: %w", hdfs.ErrReplicating)
}

func (h *hdfsFS) checkLength(p string, want int) error {
	info, err := h.client.Stat(p)
	if err == nil && info.Size() != int64(want) {
		err = fmt.Errorf("%s has %d bytes after writing %d", p, info.Size(), want)
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
	if taken, err := h.Exists(name); err != nil {
		return err
	} else if taken {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	hidden := h.path(hiddenName(name))
	if err := h.client.Mkdir(hidden, 0o755); err != nil {
		return err
	}
	err := h.write(path.Join(hidden, exclusiveMember), data)
	if err == nil {
		err = h.client.Rename(hidden, h.path(name))
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
	}
	if cleanErr := h.client.RemoveAll(hidden); cleanErr != nil && !errors.Is(err, fs.ErrExist) {
		err = errors.Join(err, cleanErr)
	}
	return err
}

func (h *hdfsFS) ReadFile(name string) ([]byte, error) {
	p := h.path(name)
	info, err := h.client.Stat(p)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		p = path.Join(p, exclusiveMember)
	}
	data, err := h.client.ReadFile(p)
	if err == nil && !info.IsDir() && int64(len(data)) != info.Size() {
		err = fmt.Errorf("%s: %d bytes of %d: %w", p, len(data), info.Size(), io.ErrUnexpectedEOF)
	}
	return data, err
}

func (h *hdfsFS) List(dir string) ([]Entry, error) {
	found, err := h.client.ReadDir(h.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(found))
	for i, f := range found {
		entries[i] = Entry{Name: f.Name(), Dir: f.IsDir(), Size: f.Size()}
	}
	return entries, nil
}

func (h *hdfsFS) Exists(name string) (bool, error) {
	_, err := h.client.Stat(h.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (h *hdfsFS) Rename(oldName, newName string) error {
	if err := checkName("rename", newName); err != nil {
		return err
	}
	return h.client.Rename(h.path(oldName), h.path(newName))
}

// Remove deletes recursively, for what CreateExclusive makes; it is one step of the namenode.
func (h *hdfsFS) Remove(name string) error {
	if err := checkName("remove", name); err != nil {
		return err
	}
	p := h.path(name)
	if _, err := h.client.Stat(p); err != nil {
		return err
	}
	return h.client.RemoveAll(p)
}

func (h *hdfsFS) MkdirAll(dir string) error {
	if err := checkName("mkdir", dir); err != nil {
		return err
	}
	return h.client.MkdirAll(h.path(dir), 0o755)
}

func (h *hdfsFS) Close() error {
	h.logout()
	return h.client.Close()
}
