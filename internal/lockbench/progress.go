package lockbench

import (
	"fmt"
	"io"
	"os"
	"time"
)

// A progress is one line on a terminal that says where it is.
type progress struct {
	w     io.Writer // nil: no terminal
	total int       // runs
	done  int
	began time.Time
}

// newProgress shows nothing where w is no terminal.
func newProgress(w io.Writer, terminal bool, total int) *progress {
	p := &progress{total: total, began: time.Now()}
	if terminal {
		p.w = w
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show is called when a run begins.
func (p *progress) show(what string) {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r\x1b[K%3d %%  %s  %s", 100*p.done/max(p.total, 1), p.left(), what)
	}
	p.done++
}

// left guesses from the runs that are done.
func (p *progress) left() string {
	if p.done == 0 {
		return "…"
	}
	left := time.Since(p.began) / time.Duration(p.done) * time.Duration(p.total-p.done)
	return fmt.Sprintf("%v left", left.Round(time.Second))
}

// clear takes the line away, before something else is printed.
func (p *progress) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
