package simulate

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// writer is somebody who works in the archive's file system: a coroutine that hands control back before each of its
// calls, so that the scheduler interleaves writers call by call, and may leave one asleep in the middle of a commit for
// as long as it likes.
type writer struct {
	w    *world
	proc *process
	name string
	fs   *fstest.Faulty

	resume func() (struct{}, bool)
	yield  func(struct{}) bool
	stop   func()
	gone   bool // its process has ended, and it must too
	ended  bool

	call    string       // the call that it is at; "" between two of its tasks
	verdict fstest.Fault // what becomes of that call
	late    bool         // … its effect comes later, and the caller sees an error
	asleep  int          // it hangs in the file system until this step
}

func (x *writer) String() string { return fmt.Sprintf("%v: %s", x.proc, x.name) }

// start makes the coroutine; its first step runs up to its first call.
func (x *writer) start(p *process, name string, run func()) {
	x.w, x.proc, x.name = p.w, p, name
	x.fs = &fstest.Faulty{
		FS: fstest.Without(p.w.o.Without, &deferring{FS: p.w.files, x: x}),
		Decide: func(op, name string) fstest.Fault {
			x.wait(op + " " + name)
			if x.gone {
				return fstest.CrashBefore
			}
			v := x.verdict
			x.verdict = fstest.None
			return v
		},
	}
	x.resume, x.stop = iter.Pull(func(yield func(struct{}) bool) {
		x.yield = yield
		run()
	})
}

// wait hands control back, before a call or between two tasks.
func (x *writer) wait(call string) {
	x.call = call
	x.gone = x.gone || !x.yield(struct{}{})
}

// dead tells the coroutine that it must end.
func (x *writer) dead() bool { return x.gone || x.fs.Dead() }

// step lets the writer go on to its next call or task.
func (x *writer) step() {
	if _, ok := x.resume(); !ok {
		x.ended = true
	}
}

// steps lets the writer make up to n calls, with what goes wrong with them.
func (x *writer) steps(n int) {
	for ; n > 0 && !x.ended && x.w.step >= x.asleep; n-- {
		if x.call != "" {
			x.w.fateOfCall(x)
		}
		x.step()
	}
}

// stepsMax is more than anything takes that comes to an end.
const stepsMax = 20_000

// finish lets the writer go on to its end.
func (x *writer) finish() {
	for n := 0; !x.ended; n++ {
		if n == stepsMax {
			x.w.fail("%v does not come to an end", x)
		}
		x.step()
	}
}

// die ends the writer at the call where it stands, with this fate of the call.
func (x *writer) die(fate fstest.Fault) {
	if !x.ended && x.call != "" {
		x.verdict = fate
		x.w.tell("%v ends at %s: %v", x, x.call, fate)
		x.step()
	}
	x.stop()
	x.ended = true
}

// changes tells whether the call that the writer is at changes the file system in a way that can come late.
func (x *writer) changes() bool {
	op, _, _ := strings.Cut(x.call, " ")
	return slices.Contains([]string{"WriteFile", "WriteFrom", "CreateExclusive", "Rename", "Remove"}, op)
}

// deferring is a file system whose answer may overtake the effect: the caller sees an error, and what it asked for
// happens at some later time, also when the caller is long gone.
type deferring struct {
	archive.FS
	x *writer
}

// lateCall is a call whose effect is still to come.
type lateCall struct {
	what string
	do   func() error
}

func (d *deferring) do(op, name string, call func() error) error {
	if !d.x.late {
		return call()
	}
	d.x.late = false
	d.x.w.lateCalls = append(d.x.w.lateCalls, lateCall{fmt.Sprintf("%s %s by %v", op, name, d.x), call})
	return fstest.ErrFault
}

func (d *deferring) WriteFile(name string, data []byte) error {
	data = clone(data) // the caller uses its buffer again
	return d.do("WriteFile", name, func() error { return d.FS.WriteFile(name, data) })
}

func (d *deferring) WriteFrom(name string, r io.Reader, size int64) error {
	data, err := io.ReadAll(io.LimitReader(r, size))
	if err != nil {
		return err
	}
	return d.do("WriteFrom", name, func() error { return d.FS.WriteFrom(name, bytes.NewReader(data), size) })
}

func (d *deferring) CreateExclusive(name string, data []byte) error {
	data = clone(data)
	return d.do("CreateExclusive", name, func() error { return d.FS.CreateExclusive(name, data) })
}

func (d *deferring) Rename(oldName, newName string) error {
	return d.do("Rename", newName, func() error { return d.FS.Rename(oldName, newName) })
}

func (d *deferring) Remove(name string) error {
	return d.do("Remove", name, func() error { return d.FS.Remove(name) })
}
