// Package fstest holds what tests of the archive share: the contract of archive.FS, a file system that fails, and ones that
// lack a mechanism.
package fstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"testing"

	"gantry/store/archive"
)

// Contract is the suite that each implementation of archive.FS passes. open returns an empty file system; the suite
// closes it.
func Contract(t *testing.T, open func(t *testing.T) archive.FS) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, archive.FS)
	}{
		{"WriteFile", writeFile},
		{"WriteFileRefuses", writeFileRefuses},
		{"Streams", streams},
		{"CreateExclusive", createExclusive},
		{"CreateExclusiveRace", createExclusiveRace},
		{"Rename", rename},
		{"RenameReplaces", renameReplaces},
		{"RenameMissing", renameMissing},
		{"Remove", remove},
		{"List", list},
		{"MkdirAll", mkdirAll},
		{"NamesStayInside", namesStayInside},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := open(t)
			c.run(t, fsys)
			if err := fsys.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func content(t *testing.T, fsys archive.FS, name string, data []byte) {
	t.Helper()
	got, err := fsys.ReadFile(name)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatalf("%s holds %d bytes %.40q, want %d bytes %.40q", name, len(got), got, len(data), data)
	}
}

// A file holds what was written, from nothing to more than a packet and a buffer.
func writeFile(t *testing.T, fsys archive.FS) {
	for _, size := range []int{0, 1, 4096, 1 << 20} {
		name := fmt.Sprintf("f%d", size)
		data := bytes.Repeat([]byte{'x', 0, 0xff}, size/3+1)[:size]
		must(t, fsys.WriteFile(name, data))
		content(t, fsys, name, data)
	}
}

// A file can be written from a stream, and read as one; it refuses what WriteFile refuses, and a stream that ends early
// leaves nothing that looks finished.
func streams(t *testing.T, fsys archive.FS) {
	for _, size := range []int{0, 1, 1 << 20} {
		name := fmt.Sprintf("f%d", size)
		data := bytes.Repeat([]byte{'x', 0, 0xff}, size/3+1)[:size]
		must(t, fsys.WriteFrom(name, bytes.NewReader(append(data, "beyond"...)), int64(size)))
		content(t, fsys, name, data)
		var got bytes.Buffer
		must(t, fsys.CopyTo(&got, name))
		if !bytes.Equal(got.Bytes(), data) {
			t.Fatalf("copied %d bytes that are not the %d written", got.Len(), size)
		}
	}
	want(t, fsys.WriteFrom("f1", bytes.NewReader([]byte("2")), 1), fs.ErrExist)
	want(t, fsys.WriteFrom("nowhere/a", bytes.NewReader(nil), 0), fs.ErrNotExist)
	want(t, fsys.WriteFrom("../a", bytes.NewReader(nil), 0), fs.ErrInvalid)
	want(t, fsys.CopyTo(io.Discard, "b"), fs.ErrNotExist)
	if err := fsys.WriteFrom("short", bytes.NewReader([]byte("12")), 3); err == nil {
		t.Fatal("a stream of 2 bytes was taken for 3")
	}
	there, err := fsys.Exists("short")
	must(t, err)
	if there {
		t.Fatal("a part of a file was left")
	}
}

// A file is never overwritten, and folders do not appear by themselves: a spelling mistake is an error.
func writeFileRefuses(t *testing.T, fsys archive.FS) {
	must(t, fsys.WriteFile("a", []byte("first")))
	want(t, fsys.WriteFile("a", []byte("second")), fs.ErrExist)
	content(t, fsys, "a", []byte("first"))
	want(t, fsys.WriteFile("nowhere/a", nil), fs.ErrNotExist)
	_, err := fsys.ReadFile("b")
	want(t, err, fs.ErrNotExist)
}

// The first content stands. The name can be listed, and removed, and then it is free.
func createExclusive(t *testing.T, fsys archive.FS) {
	must(t, fsys.MkdirAll("i"))
	must(t, fsys.CreateExclusive("i/1", []byte("first")))
	want(t, fsys.CreateExclusive("i/1", []byte("second")), fs.ErrExist)
	content(t, fsys, "i/1", []byte("first"))
	entries, err := fsys.List("i")
	must(t, err)
	if len(entries) != 1 || entries[0].Name != "1" {
		t.Fatalf("the folder holds %v, want the file alone", entries)
	}
	there, err := fsys.Exists("i/1")
	must(t, err)
	if !there {
		t.Fatal("the file does not exist")
	}
	must(t, fsys.Remove("i/1"))
	must(t, fsys.CreateExclusive("i/1", []byte("third")))
	content(t, fsys, "i/1", []byte("third"))
}

// Of many that create one name at once exactly one succeeds; the others learn that they lost; whoever reads meanwhile
// sees nothing or all of the winner's content.
func createExclusiveRace(t *testing.T, fsys archive.FS) {
	const racers, rounds = 8, 5
	for round := range rounds {
		name := fmt.Sprintf("r%d", round)
		body := func(racer int) []byte { return bytes.Repeat([]byte{byte('a' + racer)}, 10_000) }
		errs := make([]error, racers)
		var wg sync.WaitGroup
		for racer := range racers {
			wg.Go(func() { errs[racer] = fsys.CreateExclusive(name, body(racer)) })
			wg.Go(func() {
				got, err := fsys.ReadFile(name)
				if err == nil && (len(got) != 10_000 || bytes.Count(got, got[:1]) != len(got)) {
					t.Errorf("a reader saw %d bytes of an exclusive file", len(got))
				}
			})
		}
		wg.Wait()
		winner := slices.Index(errs, nil)
		if winner < 0 {
			t.Fatalf("nobody won: %v", errs)
		}
		for racer, err := range errs {
			if racer != winner {
				want(t, err, fs.ErrExist)
			}
		}
		content(t, fsys, name, body(winner))
	}
}

func rename(t *testing.T, fsys archive.FS) {
	must(t, fsys.MkdirAll("from"))
	must(t, fsys.MkdirAll("to/deep"))
	must(t, fsys.WriteFile("from/a", []byte("data")))
	must(t, fsys.Rename("from/a", "to/deep/b"))
	content(t, fsys, "to/deep/b", []byte("data"))
	there, err := fsys.Exists("from/a")
	must(t, err)
	if there {
		t.Fatal("the old name is still there")
	}
}

func renameReplaces(t *testing.T, fsys archive.FS) {
	must(t, fsys.WriteFile("a", []byte("new")))
	must(t, fsys.WriteFile("b", []byte("old")))
	must(t, fsys.Rename("a", "b"))
	content(t, fsys, "b", []byte("new"))
}

// A source that has been moved already is told apart from failure: repeating a rename depends on it.
func renameMissing(t *testing.T, fsys archive.FS) {
	want(t, fsys.Rename("a", "b"), fs.ErrNotExist)
	must(t, fsys.WriteFile("a", []byte("data")))
	want(t, fsys.Rename("a", "nowhere/b"), fs.ErrNotExist)
	content(t, fsys, "a", []byte("data"))
}

func remove(t *testing.T, fsys archive.FS) {
	want(t, fsys.Remove("a"), fs.ErrNotExist)
	must(t, fsys.WriteFile("a", []byte("data")))
	must(t, fsys.Remove("a"))
	there, err := fsys.Exists("a")
	must(t, err)
	if there {
		t.Fatal("the file is still there")
	}
}

// A folder lists what stands directly in it, by name; one that is missing is empty.
func list(t *testing.T, fsys archive.FS) {
	must(t, fsys.MkdirAll("d/sub/deeper"))
	for i, name := range []string{"c", "a", "b"} {
		must(t, fsys.WriteFile(path.Join("d", name), make([]byte, i)))
	}
	must(t, fsys.WriteFile("d/sub/x", nil))
	got, err := fsys.List("d")
	must(t, err)
	wanted := []archive.Entry{{Name: "a", Size: 1}, {Name: "b", Size: 2}, {Name: "c"}, {Name: "sub", Dir: true}}
	if !slices.Equal(got, wanted) {
		t.Fatalf("listed %v, want %v", got, wanted)
	}
	for _, dir := range []string{"d/sub/deeper", "nowhere"} {
		got, err := fsys.List(dir)
		must(t, err)
		if len(got) != 0 {
			t.Fatalf("folder %s lists %v", dir, got)
		}
	}
	got, err = fsys.List(".")
	must(t, err)
	if len(got) != 1 || got[0].Name != "d" {
		t.Fatalf("the root lists %v", got)
	}
}

func mkdirAll(t *testing.T, fsys archive.FS) {
	must(t, fsys.MkdirAll("."))
	must(t, fsys.MkdirAll("a/b/c"))
	must(t, fsys.MkdirAll("a/b/c"))
	must(t, fsys.WriteFile("a/b/c/f", nil))
	there, err := fsys.Exists("a/b")
	must(t, err)
	if !there {
		t.Fatal("a folder above does not exist")
	}
}

func namesStayInside(t *testing.T, fsys archive.FS) {
	for _, name := range []string{"../a", "/a", "a/../../b", ""} {
		want(t, fsys.WriteFile(name, nil), fs.ErrInvalid)
		want(t, fsys.CreateExclusive(name, nil), fs.ErrInvalid)
		want(t, fsys.MkdirAll(name), fs.ErrInvalid)
		want(t, fsys.Rename("a", name), fs.ErrInvalid)
	}
}
