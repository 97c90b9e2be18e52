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
	all   estimate
	done  time.Duration // of all.length, by what has begun
	began time.Time
	first bool // nothing has begun
}

// newProgress shows nothing where w is no terminal.
func newProgress(w io.Writer, terminal bool, all estimate) *progress {
	p := &progress{all: all, began: time.Now(), first: true}
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

// show is called when a run begins that takes so long.
func (p *progress) show(what string, length time.Duration) {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r\x1b[K%3d %%  %s  %s", 100*p.done/max(p.all.length, 1), p.left(), what)
	}
	p.first = false
	p.done += length
}

// left is the estimate, and later what is left of it, at the pace of what is done.
func (p *progress) left() string {
	if p.first {
		return p.all.String()
	}
	pace := float64(time.Since(p.began)) / float64(max(p.done, 1))
	return about(time.Duration(pace*float64(p.all.length-p.done))) + " left"
}

// clear takes the line away, before something else is printed.
func (p *progress) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
