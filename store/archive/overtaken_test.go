package archive_test

import (
	"errors"
	"io/fs"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

// swept lets something happen while a file is written, and does not find that file again, as HDFS does not when it is
// removed in mid-write.
type swept struct {
	archive.FS
	meanwhile func()
}

func (f *swept) WriteFile(name string, data []byte) error {
	if f.meanwhile == nil {
		return f.FS.WriteFile(name, data)
	}
	f.meanwhile()
	f.meanwhile = nil
	return &fs.PathError{Op: "write", Path: name, Err: fs.ErrNotExist}
}

// Two archivers own one partition. The faster one commits, and sweeps away what the slower one is writing for the same
// offsets: for the slower one that is a lost race like any other, and it goes on at once with the rows beyond.
func TestSweptWhileWriting(t *testing.T) {
	store := archive.NewMemory()
	fast, slow := open(t, store, testOptions(10)), &swept{FS: store}
	p := open(t, slow, testOptions(10))
	log := []archive.Record{reading(0, "s1", 1), reading(1, "s1", 2), reading(2, "s1", 3)}
	add(t, fast, log[:2]...)
	add(t, p, log...)
	slow.meanwhile = func() { flush(t, fast) }
	if c := flush(t, p); c != (archive.Committed{}) {
		t.Fatalf("the slower one committed %+v", c)
	}
	if c := flush(t, p); c.Start != 2 || c.End != 3 || rows(c) != 1 {
		t.Fatalf("then it committed %+v, not offset 2 alone", c)
	}
	if err := checkOnce(store, log); err != nil {
		t.Error(err)
	}
}

// A file that vanishes although nobody has archived its offsets is an error, and the batch is written again.
func TestVanishedWhileWriting(t *testing.T) {
	store := &swept{FS: archive.NewMemory(), meanwhile: func() {}}
	p := open(t, store, testOptions(10))
	add(t, p, reading(0, "s1", 1))
	if _, err := p.Flush(bg); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("flush: %v", err)
	}
	if c := flush(t, p); rows(c) != 1 {
		t.Fatalf("then it committed %+v", c)
	}
}

// While the file system is away, a flush tries to remove one leftover, not each: every try may wait for a time-out.
func TestAwayIsAskedOnce(t *testing.T) {
	away, calls := false, 0
	fsys := &fstest.Faulty{FS: archive.NewMemory(), Decide: func(op, _ string) fstest.Fault {
		if op == "WriteFile" {
			calls++
			away = calls > 2 // of three files, one for each hour
		}
		if away {
			calls++
			return fstest.FailBefore
		}
		return fstest.None
	}}
	p := open(t, fsys, testOptions(1000))
	for seq := int64(1); seq <= 120; seq++ { // a minute apart
		add(t, p, reading(seq-1, "s1", seq))
	}
	if _, err := p.Flush(bg); !errors.Is(err, fstest.ErrFault) {
		t.Fatalf("flush: %v", err)
	}
	if calls > 5 {
		t.Errorf("%d calls", calls)
	}
}

// beforeRead lets something happen between a listing of the intents and the reading of the newest.
type beforeRead struct {
	archive.FS
	meanwhile func()
}

func (f *beforeRead) ReadFile(name string) ([]byte, error) {
	if f.meanwhile != nil {
		meanwhile := f.meanwhile
		f.meanwhile = nil
		meanwhile()
	}
	return f.FS.ReadFile(name)
}

// Three archivers own one partition. One has listed the intents and is about to read the newest; another commits the
// next and prunes that one; a third has slept through both, creates the pruned name anew, and dies. What the first then
// reads is an intent that counts for nothing, and must not be finished.
func TestIntentCreatedAnewBeforeItIsRead(t *testing.T) {
	log := []archive.Record{
		reading(0, "s1", 1), reading(1, "s1", 2), reading(2, "s1", 3), reading(3, "s1", 4), reading(4, "s1", 5),
	}
	store := archive.NewMemory()
	dying := &fstest.Faulty{FS: store}
	slow := &beforeRead{FS: store}
	fast := open(t, store, testOptions(10))
	sleeper, reader := open(t, dying, testOptions(10)), open(t, slow, testOptions(10))
	dying.Decide = diesCreating
	add(t, fast, log[:3]...)
	flush(t, fast)
	add(t, sleeper, log[:2]...)
	add(t, reader, log...)
	slow.meanwhile = func() {
		add(t, fast, log[3])
		flush(t, fast)
		if _, err := sleeper.Flush(bg); err == nil || !dying.Dead() {
			t.Fatalf("the sleeper has not created its intent: %v", err)
		}
	}
	flush(t, reader)
	if slow.meanwhile != nil {
		t.Fatal("the reader has read no intent")
	}
	flush(t, reader)
	if err := checkOnce(store, log); err != nil {
		t.Error(err)
	}
}

// The story of TestIntentCreatedAnewBeforeItIsRead, with a compactor instead of the archiver that reads: it must not
// give files of an intent that counts for nothing their names either.
func TestIntentCreatedAnewBeforeACompactorReadsIt(t *testing.T) {
	log := []archive.Record{reading(0, "s1", 1), reading(1, "s1", 2), reading(2, "s1", 3), reading(3, "s1", 4)}
	store := archive.NewMemory()
	dying := &fstest.Faulty{FS: store}
	fast, sleeper := open(t, store, testOptions(10)), open(t, dying, testOptions(10))
	dying.Decide = diesCreating
	add(t, fast, log[:3]...)
	flush(t, fast)
	add(t, sleeper, log[:2]...)
	slow := &beforeRead{FS: store, meanwhile: func() {
		add(t, fast, log[3])
		flush(t, fast)
		if _, err := sleeper.Flush(bg); err == nil || !dying.Dead() {
			t.Fatalf("the sleeper has not created its intent: %v", err)
		}
	}}
	if _, err := archive.NewCompactor(bg, slow, compactOptions()); err != nil {
		t.Fatal(err)
	}
	if slow.meanwhile != nil {
		t.Fatal("the compactor has read no intent")
	}
	if err := checkOnce(store, log); err != nil {
		t.Error(err)
	}
}

// diesCreating ends a process behind its next commit.
func diesCreating(op, _ string) fstest.Fault {
	if op == "CreateExclusive" {
		return fstest.CrashAfter
	}
	return fstest.None
}
