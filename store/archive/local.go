package archive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// localFS is a folder of this machine. Every file and every folder that changed is synced before a call returns, so
// that the order of the protocol's steps survives a power cut.
type localFS struct{ root string }

var _ FS = (*localFS)(nil)

// NewLocal returns the file system below a folder, which is created.
func NewLocal(root string) (FS, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("archive folder: %w", err)
	}
	if err := mkdirSynced(root); err != nil {
		return nil, fmt.Errorf("archive folder: %w", err)
	}
	return &localFS{root: root}, nil
}

func (l *localFS) path(name string) string { return filepath.Join(l.root, filepath.FromSlash(name)) }

func (l *localFS) WriteFile(name string, data []byte) error {
	return l.WriteFrom(name, bytes.NewReader(data), int64(len(data)))
}

func (l *localFS) WriteFrom(name string, r io.Reader, size int64) error {
	if err := checkName("write", name); err != nil {
		return err
	}
	p := l.path(name)
	if err := writeSynced(p, r, size); err != nil {
		return err
	}
	return syncDir(filepath.Dir(p))
}

// CreateExclusive finishes the file under a hidden name and then links it to its own: link(2) fails where the name is
// taken, and the content is whole before the name exists. (O_EXCL would decide the race before there is content.)
func (l *localFS) CreateExclusive(name string, data []byte) error {
	if err := checkName("create", name); err != nil {
		return err
	}
	hidden := l.path(hiddenName(name))
	if err := writeSynced(hidden, bytes.NewReader(data), int64(len(data))); err != nil {
		return err
	}
	err := os.Link(hidden, l.path(name))
	removeErr := os.Remove(hidden)
	if err != nil {
		return err
	}
	return errors.Join(removeErr, syncDir(filepath.Dir(hidden)))
}

func (l *localFS) ReadFile(name string) ([]byte, error) { return os.ReadFile(l.path(name)) }

func (l *localFS) CopyTo(w io.Writer, name string) error {
	f, err := os.Open(l.path(name))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

func (l *localFS) List(dir string) ([]Entry, error) {
	found, err := os.ReadDir(l.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(found))
	for _, f := range found {
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		e := Entry{Name: f.Name(), Dir: f.IsDir()}
		if !e.Dir {
			e.Size = info.Size()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (l *localFS) Exists(name string) (bool, error) {
	_, err := os.Stat(l.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (l *localFS) Rename(oldName, newName string) error {
	if err := checkName("rename", newName); err != nil {
		return err
	}
	from, to := l.path(oldName), l.path(newName)
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Dir(from)))
}

func (l *localFS) Remove(name string) error { return os.Remove(l.path(name)) }

func (l *localFS) MkdirAll(dir string) error {
	if err := checkName("mkdir", dir); err != nil {
		return err
	}
	return mkdirSynced(l.path(dir))
}

func (l *localFS) Close() error { return nil }

// writeSynced creates a file that must not exist; after an error it is removed again.
func writeSynced(name string, r io.Reader, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, r, size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = checkLength(name, size)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func checkLength(name string, want int64) error {
	info, err := os.Stat(name)
	if err == nil && info.Size() != want {
		err = fmt.Errorf("%s has %d bytes after writing %d", name, info.Size(), want)
	}
	return err
}

// mkdirSynced is os.MkdirAll that syncs the parent of each folder that it creates.
func mkdirSynced(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdirSynced(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil // somebody else made it meanwhile
		}
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// hiddenName is the name under which CreateExclusive prepares a file.
func hiddenName(name string) string {
	return path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text())
}
