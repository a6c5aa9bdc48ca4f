// Package progress shows how far long work is: a bar on a terminal, a line every 10 s otherwise, so that a log stays
// readable. It says nothing about work that takes less than that.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// lineEvery is the time between two lines.
const lineEvery = 10 * time.Second

// Options say what is shown, and where.
type Options struct {
	Writer   io.Writer
	Terminal bool             // Writer is one
	Title    string           // "publishing los_speed.csv"
	Unit     string           // "readings"
	Total    int64            // 0: unknown
	Now      func() time.Time // the clock of the lines
}

// Reporter shows the progress of one piece of work. Its methods may be called from several goroutines.
type Reporter struct {
	mu    sync.Mutex
	opt   Options
	bar   *progressbar.ProgressBar // nil without a terminal
	start time.Time
	line  time.Time // of the last line
	ended bool
}

// Start begins to report.
func Start(opt Options) *Reporter {
	r := &Reporter{opt: opt, start: opt.Now()}
	r.line = r.start
	if opt.Terminal {
		total := opt.Total
		if total == 0 {
			total = -1 // the bar's word for unknown
		}
		r.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(opt.Writer), progressbar.OptionSetDescription(opt.Title),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(opt.Unit),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(),
			progressbar.OptionSetPredictTime(opt.Total > 0))
	}
	return r
}

// Update says how much is done.
func (r *Reporter) Update(done int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	if r.bar != nil {
		r.bar.Set64(done)
		return
	}
	if now := r.opt.Now(); now.Sub(r.line) >= lineEvery {
		r.line = now
		fmt.Fprintln(r.opt.Writer, r.text(done, now))
	}
}

func (r *Reporter) text(done int64, now time.Time) string {
	s := fmt.Sprintf("%s: %d", r.opt.Title, done)
	if r.opt.Total > 0 {
		s += fmt.Sprintf(" of %d", r.opt.Total)
	}
	s += " " + r.opt.Unit
	if r.opt.Total > 0 {
		s += fmt.Sprintf(" (%d %%)", 100*done/r.opt.Total)
	}
	if elapsed := now.Sub(r.start).Seconds(); elapsed > 0 {
		s += fmt.Sprintf(", %.0f/s", float64(done)/elapsed)
	}
	return s
}

// Watch calls Update with what done returns, five times a second, until stop is called. Stop shows the last state and
// ends the bar's line.
func (r *Reporter) Watch(done func() int64) (stop func()) {
	ticker := time.NewTicker(200 * time.Millisecond)
	quit, quitted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quitted)
		for {
			select {
			case <-ticker.C:
				r.Update(done())
			case <-quit:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		ticker.Stop()
		close(quit)
		<-quitted
		r.Update(done())
		r.end()
	})
}

// Print writes a line of its own. A bar is wiped before it; the next Update draws it again below.
func (r *Reporter) Print(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bar != nil && !r.ended {
		_ = r.bar.Clear() // a terminal that is gone shows no bar either
	}
	fmt.Fprintln(r.opt.Writer, line)
}

func (r *Reporter) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.bar != nil {
		fmt.Fprintln(r.opt.Writer)
	}
}
