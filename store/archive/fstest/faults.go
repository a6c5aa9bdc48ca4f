package fstest

import (
	"errors"
	"io"
	"io/fs"

	"gantry/store/archive"
)

// ErrFault is what a failing call returns, and every call after a crash.
var ErrFault = errors.New("injected fault")

// Fault says what happens to one call that changes the file system.
type Fault uint8

// The faults. After a crash the handle is dead: the process that used it is gone, and its files remain.
const (
	None        Fault = iota
	FailBefore        // an error, without effect
	FailAfter         // an error although the effect is there: the answer was lost
	CrashBefore       // the process dies before the call
	CrashHalf         // … in the middle: of a file being written a part is left, of a step that is atomic nothing
	CrashAfter        // … when the effect is there
)

// Faults are all of them but None.
var Faults = []Fault{FailBefore, FailAfter, CrashBefore, CrashHalf, CrashAfter}

func (f Fault) String() string {
	return [...]string{"none", "fail before", "fail after", "crash before", "crash half", "crash after"}[f]
}

// Faulty is one process's handle on a file system. It asks Decide before each call. A nil Decide lets everything pass.
type Faulty struct {
	archive.FS
	// Decide is told the call (the method's name and the file) and says what happens. Calls that only read are asked
	// about too; for them each Fail and Crash is without effect.
	Decide func(op, name string) Fault
	dead   bool
}

var _ archive.FS = (*Faulty)(nil)

// Dead tells whether the process has crashed.
func (f *Faulty) Dead() bool { return f.dead }

// do runs a call under the fault that Decide chooses; half is what a crash in its middle leaves behind.
func (f *Faulty) do(op, name string, call, half func() error) error {
	if f.dead {
		return ErrFault
	}
	fault := None
	if f.Decide != nil {
		fault = f.Decide(op, name)
	}
	f.dead = fault == CrashBefore || fault == CrashHalf || fault == CrashAfter
	switch fault {
	case None:
		return call()
	case FailAfter, CrashAfter:
		return errors.Join(ErrFault, hide(call()))
	case CrashHalf:
		if half != nil {
			return errors.Join(ErrFault, hide(half()))
		}
	}
	return ErrFault
}

// hide drops what a caller that got no answer cannot know.
func hide(err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// WriteFile implements archive.FS; a crash in its middle leaves half of the file.
func (f *Faulty) WriteFile(name string, data []byte) error {
	return f.do("WriteFile", name, func() error { return f.FS.WriteFile(name, data) },
		func() error { return f.FS.WriteFile(name, data[:len(data)/2]) })
}

// WriteFrom implements archive.FS; a crash in its middle leaves half of the file.
func (f *Faulty) WriteFrom(name string, r io.Reader, size int64) error {
	return f.do("WriteFrom", name, func() error { return f.FS.WriteFrom(name, r, size) },
		func() error { return f.FS.WriteFrom(name, r, size/2) })
}

// CreateExclusive implements archive.FS.
func (f *Faulty) CreateExclusive(name string, data []byte) error {
	return f.do("CreateExclusive", name, func() error { return f.FS.CreateExclusive(name, data) }, nil)
}

// Rename implements archive.FS.
func (f *Faulty) Rename(oldName, newName string) error {
	return f.do("Rename", newName, func() error { return f.FS.Rename(oldName, newName) }, nil)
}

// Remove implements archive.FS.
func (f *Faulty) Remove(name string) error {
	return f.do("Remove", name, func() error { return f.FS.Remove(name) }, nil)
}

// MkdirAll implements archive.FS.
func (f *Faulty) MkdirAll(dir string) error {
	return f.do("MkdirAll", dir, func() error { return f.FS.MkdirAll(dir) }, nil)
}

// ReadFile implements archive.Reader.
func (f *Faulty) ReadFile(name string) (data []byte, err error) {
	err = f.do("ReadFile", name, func() error { data, err = f.FS.ReadFile(name); return err }, nil)
	return data, err
}

// CopyTo implements archive.Reader.
func (f *Faulty) CopyTo(w io.Writer, name string) error {
	return f.do("CopyTo", name, func() error { return f.FS.CopyTo(w, name) }, nil)
}

// List implements archive.Reader.
func (f *Faulty) List(dir string) (entries []archive.Entry, err error) {
	err = f.do("List", dir, func() error { entries, err = f.FS.List(dir); return err }, nil)
	return entries, err
}

// Exists implements archive.Reader.
func (f *Faulty) Exists(name string) (there bool, err error) {
	err = f.do("Exists", name, func() error { there, err = f.FS.Exists(name); return err }, nil)
	return there, err
}
