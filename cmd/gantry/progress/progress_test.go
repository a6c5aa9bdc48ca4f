package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Without a terminal there is a line when 10 s have passed since the last, and none before.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	now := time.UnixMilli(0)
	r := Start(Options{
		Writer: &out, Title: "publishing f.csv", Unit: "readings", Total: 2000, Now: func() time.Time { return now },
	})
	for done := range int64(1001) {
		now = time.UnixMilli(25 * done) // 25 s in all
		r.Update(done)
	}
	want := "publishing f.csv: 400 of 2000 readings (20 %), 40/s\npublishing f.csv: 800 of 2000 readings (40 %), 40/s\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}
}

// Of work whose size is not known neither size nor share is shown.
func TestLineWithoutTotal(t *testing.T) {
	var out bytes.Buffer
	now := time.UnixMilli(0)
	r := Start(Options{Writer: &out, Title: "simulating", Unit: "readings", Now: func() time.Time { return now }})
	now = now.Add(10 * time.Second)
	if r.Update(50); out.String() != "simulating: 50 readings, 5/s\n" {
		t.Errorf("%q", out.String())
	}
}

// On a terminal there is a bar, which reaches the end and leaves its line; after that nothing is written.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	r := Start(Options{Writer: &out, Terminal: true, Title: "publishing", Unit: "readings", Total: 10, Now: time.Now})
	stop := r.Watch(func() int64 { return 10 })
	stop()
	stop()
	text := out.String()
	if !strings.Contains(text, "100%") || !strings.Contains(text, "10/10") || !strings.HasSuffix(text, "\n") {
		t.Errorf("%q", text)
	}
	if r.Update(11); out.String() != text {
		t.Errorf("after the end: %q", out.String())
	}
}

// A line that is printed beside a bar has a row of its own: the bar is wiped before it.
func TestPrintBesideBar(t *testing.T) {
	var out bytes.Buffer
	r := Start(Options{Writer: &out, Terminal: true, Title: "feeding", Unit: "readings", Total: 10, Now: time.Now})
	r.Update(5)
	out.Reset()
	r.Print("read 5")
	before, line, _ := strings.Cut(strings.TrimPrefix(out.String(), "\r"), "\r")
	if strings.TrimSpace(before) != "" || line != "read 5\n" {
		t.Errorf("%q", out.String())
	}
	r.end()
	out.Reset()
	if r.Print("done"); out.String() != "done\n" {
		t.Errorf("after the end: %q", out.String())
	}
}
