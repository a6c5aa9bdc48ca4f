package archive

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// Memory is a file system in memory, for tests. Its zero value is not ready: use NewMemory. It is safe for concurrent
// use; each call is one step.
type Memory struct {
	mu    sync.Mutex
	files map[string][]byte
	dirs  map[string]bool
}

var _ FS = (*Memory)(nil)

// NewMemory returns an empty file system.
func NewMemory() *Memory {
	return &Memory{files: make(map[string][]byte), dirs: map[string]bool{".": true}}
}

// Clone returns a copy that shares nothing, so that a test can go on from one state in several ways.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{files: maps.Clone(m.files), dirs: maps.Clone(m.dirs)}
}

// WriteFile implements FS.
func (m *Memory) WriteFile(name string, data []byte) error { return m.create("write", name, data) }

// WriteFrom implements FS.
func (m *Memory) WriteFrom(name string, r io.Reader, size int64) error {
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return m.create("write", name, data)
}

// CreateExclusive implements FS.
func (m *Memory) CreateExclusive(name string, data []byte) error {
	return m.create("create", name, data)
}

func (m *Memory) create(op, name string, data []byte) error {
	if err := checkName(op, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[path.Dir(name)] {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	if _, ok := m.files[name]; ok || m.dirs[name] {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrExist}
	}
	m.files[name] = bytes.Clone(data)
	return nil
}

// ReadFile implements Reader.
func (m *Memory) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return bytes.Clone(data), nil
}

// CopyTo implements Reader.
func (m *Memory) CopyTo(w io.Writer, name string) error {
	data, err := m.ReadFile(name)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

// List implements Reader.
func (m *Memory) List(dir string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []Entry
	for name, data := range m.files {
		if path.Dir(name) == dir {
			entries = append(entries, Entry{Name: path.Base(name), Size: int64(len(data))})
		}
	}
	for name := range m.dirs {
		if path.Dir(name) == dir && name != "." {
			entries = append(entries, Entry{Name: path.Base(name), Dir: true})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// Exists implements Reader.
func (m *Memory) Exists(name string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.files[name]
	return ok || m.dirs[name], nil
}

// Rename implements FS.
func (m *Memory) Rename(oldName, newName string) error {
	if err := checkName("rename", newName); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[oldName]
	if !ok || !m.dirs[path.Dir(newName)] {
		return &fs.PathError{Op: "rename", Path: oldName, Err: fs.ErrNotExist}
	}
	delete(m.files, oldName)
	m.files[newName] = data
	return nil
}

// Remove implements FS.
func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(m.files, name)
	return nil
}

// MkdirAll implements FS.
func (m *Memory) MkdirAll(dir string) error {
	if err := checkName("mkdir", dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; dir != "."; dir = path.Dir(dir) {
		m.dirs[dir] = true
	}
	return nil
}

// Close implements FS.
func (m *Memory) Close() error { return nil }
