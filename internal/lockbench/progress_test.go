package lockbench

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func TestProgressSaysTheWholeTimeAndThenWhatIsLeft(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, true, estimate{4, 2, 40 * time.Minute})
	p.show("one", 10*time.Minute)
	p.began = time.Now().Add(-5 * time.Minute) // twice as fast as was estimated
	p.show("two", 10*time.Minute)
	p.clear()
	want := "\r\x1b[K  0 %  4 runs of 2 cells, about 40 min  one\r\x1b[K 25 %  15 min left  two\r\x1b[K"
	if b.String() != want {
		t.Errorf("got %q", b.String())
	}
}

func TestProgressIsForATerminalOnly(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, false, estimate{4, 2, time.Minute})
	p.show("one", time.Second)
	p.clear()
	if b.Len() > 0 {
		t.Errorf("no terminal, but %q", b.String())
	}
}

func TestAPipeIsNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if isTerminal(w) || isTerminal(&strings.Builder{}) {
		t.Error("a pipe passes for a terminal")
	}
}
