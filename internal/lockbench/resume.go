package lockbench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/bench"
)

// A past is the file of -out as it is found.
type past struct {
	path  string
	lines []pastLine
}

type pastLine struct {
	name   string // with GOMAXPROCS
	number int    // in the file, from 1
	end    int64  // of the line in the file
	ops    int
	perOp  float64 // in seconds; 0 of a ratio
}

// resume has the sections take the whole rounds of before, and returns how many bytes of the file they are. They are as
// many as the histograms are of, which are written after the lines of a round.
func (o *output) resume(opts *options, sections []*section) (kept int64, err error) {
	p, err := readPast(opts.out, o.config)
	if err != nil || len(p.lines) == 0 {
		return 0, err
	}
	whole := len(p.lines)
	if o.hist != nil {
		if whole, err = o.hist.read(); err != nil {
			return 0, err
		}
	}
	if o.lines, err = p.take(sections, o.suffix, whole); err != nil {
		return 0, err
	}
	if o.hist != nil && o.lines != whole {
		return 0, fmt.Errorf("%s has the histograms of %d lines, of which %s has %d", opts.hist, whole, p.path, o.lines)
	}
	if o.lines == 0 {
		return 0, nil
	}
	return p.lines[o.lines-1].end, nil
}

// readPast reads what is whole in the file, which must have these configuration lines. They get its load average: they
// stay those of the begin. A file that does not exist has no lines.
func readPast(path string, config []benchfmt.Config) (*past, error) {
	p := &past{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	} else if err != nil {
		return nil, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	ends := []int64{0}
	for i, b := range text {
		if b == '\n' {
			ends = append(ends, int64(i+1))
		}
	}
	r := benchfmt.NewReader(bytes.NewReader(text), path)
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, rec
		case *benchfmt.Result:
			if err := p.sameConfig(rec, config); err != nil {
				return nil, err
			}
			_, number := rec.Pos()
			perOp, _ := rec.Value("sec/op")
			p.lines = append(p.lines, pastLine{rec.Name.String(), number, ends[number], rec.Iters, perOp})
		}
	}
	return p, r.Err()
}

func (p *past) sameConfig(r *benchfmt.Result, config []benchfmt.Config) error {
	for i, c := range config {
		was := r.GetConfig(c.Key)
		switch {
		case c.Key == loadKey:
			config[i].Value = []byte(was)
		case was != string(c.Value):
			return fmt.Errorf("%s has another %s: %q, and now it is %q", p.path, c.Key, was, c.Value)
		}
	}
	if len(r.Config) > len(config) {
		return fmt.Errorf("%s has other configuration lines than this run", p.path)
	}
	return nil
}

// take gives the sections their whole rounds, of the first so many lines, and returns how many lines those are. What is
// behind them must be a part of the next round.
func (p *past) take(sections []*section, suffix string, most int) (taken int, err error) {
	for _, s := range sections {
		for i := range s.groups {
			g := &s.groups[i]
			for ; g.past < s.countOf(*g); g.past++ {
				lines := s.linesOf(*g)
				n := p.matching(taken, lines, suffix)
				if n == len(lines) && taken+n <= most {
					p.give(taken, lines)
					taken += n
					continue
				}
				return taken, p.torn(taken, lines, suffix)
			}
		}
	}
	if taken < len(p.lines) {
		return 0, fmt.Errorf("%s is of another plan: it has more than this one, from line %d", p.path, p.lines[taken].number)
	}
	return taken, nil
}

// matching is how many lines from there are those of the round.
func (p *past) matching(from int, lines []line, suffix string) (n int) {
	for n < len(lines) && from+n < len(p.lines) && p.lines[from+n].name == lines[n].name()+suffix {
		n++
	}
	return n
}

// give gives the cells a round. What ratios are of is not in the file.
func (p *past) give(from int, lines []line) {
	for i, l := range lines {
		if l.base == nil {
			was := p.lines[from+i]
			elapsed := time.Duration(was.perOp * float64(was.ops) * float64(time.Second))
			l.cell.past = append(l.cell.past, bench.Result{Ops: int64(was.ops), Elapsed: elapsed})
		}
	}
}

// torn is nil if all lines from there are some of the round, in its order: others had not been run.
func (p *past) torn(from int, lines []line, suffix string) error {
	rest := p.lines[from:]
	for _, l := range lines {
		if len(rest) > 0 && rest[0].name == l.name()+suffix {
			rest = rest[1:]
		}
	}
	if len(rest) == 0 {
		return nil
	}
	was := p.lines[from:][min(p.matching(from, lines, suffix), len(p.lines)-from-1)]
	return fmt.Errorf("%s is of another plan: line %d is %s", p.path, was.number, was.name)
}
