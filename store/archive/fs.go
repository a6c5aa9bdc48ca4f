package archive

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Reader is the part of a file system that readers of an archive need. Names are slash-separated, relative to the
// archive's root, and valid in the sense of fs.ValidPath; "." is the root. Most files are small (one batch), and are
// read whole; that of a sealed hour may be large.
type Reader interface {
	// ReadFile returns the content of a file. A missing one is fs.ErrNotExist.
	ReadFile(name string) ([]byte, error)
	// CopyTo writes the content of a file to w, without holding all of it. A missing one is fs.ErrNotExist. After an
	// error a part may have been written.
	CopyTo(w io.Writer, name string) error
	// List returns what stands in a folder, by name. A missing folder is empty.
	List(dir string) ([]Entry, error)
	// Exists tells whether there is a file or folder of that name.
	Exists(name string) (bool, error)
}

// FS is what an archive is written to. An error means that the effect is unknown, unless it wraps fs.ErrExist or
// fs.ErrNotExist: those say that the call changed nothing. What a call has done when it returns nil survives a crash of
// this process and of the servers behind it. Package fstest holds the suite that each implementation passes.
type FS interface {
	Reader
	// WriteFile creates a file that must not exist (else fs.ErrExist), in a folder that must (else fs.ErrNotExist), and
	// returns when all of data is safely stored. After an error a part of it may be left under the name.
	WriteFile(name string, data []byte) error
	// WriteFrom is WriteFile for size bytes that are read from r; a source that gives fewer is an error.
	WriteFrom(name string, r io.Reader, size int64) error
	// CreateExclusive creates a file with its whole content in one step: of several callers exactly one succeeds, the
	// others get fs.ErrExist, and nobody ever sees a part of the content. A call that is interrupted may leave a name
	// that begins with "." + path.Base(name) + "." beside it; Remove clears it.
	CreateExclusive(name string, data []byte) error
	// Rename moves a file in one step and replaces what stands at the new name. A missing source, or a missing folder
	// of the new name, is fs.ErrNotExist.
	Rename(oldName, newName string) error
	// Remove deletes a file, however it was made. A missing one is fs.ErrNotExist.
	Remove(name string) error
	// MkdirAll creates a folder and those above it; one that exists is no error.
	MkdirAll(dir string) error
	// Close gives up connections. Files are not affected.
	Close() error
}

// Entry is a name in a folder.
type Entry struct {
	Name string // without the folder
	Dir  bool   // some file systems store what CreateExclusive makes as a folder
	Size int64  // bytes; 0 for a folder
}

// Open opens the file system of an archive URL: file:///folder, or hdfs://namenode:port/folder with further namenodes
// of the same cluster after commas. The HDFS user is $HADOOP_USER_NAME, or gantry. The root folder is created.
// HDFS need not answer yet: see NewHDFS.
func Open(url string) (FS, error) { return OpenAs(url, Kerberos{}) }

// OpenAs is Open for an HDFS that wants Kerberos; the principal is the user then.
func OpenAs(url string, k Kerberos) (FS, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return nil, fmt.Errorf("archive URL %q: expected file:///folder or hdfs://namenode:port/folder", url)
	}
	host, root, _ := strings.Cut(rest, "/")
	root = "/" + root
	switch scheme {
	case "file":
		if host != "" && host != "localhost" {
			return nil, fmt.Errorf("archive URL %q: a file URL has no host: file:///folder", url)
		}
		return NewLocal(root)
	case "hdfs":
		o := DefaultHDFSOptions()
		o.Root = root
		var err error
		if o.Namenodes, err = namenodes(host); err != nil {
			return nil, fmt.Errorf("archive URL %q: %w", url, err)
		}
		if user := os.Getenv("HADOOP_USER_NAME"); user != "" {
			o.User = user
		}
		if o.Login, err = k.Login(); err != nil {
			return nil, fmt.Errorf("archive URL %q: %w", url, err)
		}
		if k.Principal != "" {
			o.User = k.Principal
		}
		return NewHDFS(o), nil
	default:
		return nil, fmt.Errorf("archive URL %q: scheme %q is neither file nor hdfs", url, scheme)
	}
}

// checkName refuses names that would leave the root.
func checkName(op, name string) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}
