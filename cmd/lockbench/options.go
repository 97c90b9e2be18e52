package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/redigolock/redigolock/bench"
)

type options struct {
	url        string
	fromEnv    bool // url comes from REDIS_URL
	password   string
	workloads  []string
	goroutines []int // nil: those of the workload
	pools      []int
	rates      []int // nil: loads
	loads      []int // in percent
	served     int
	waiters    []int
	processes  []int
	ways       []string // as those of bench.Contention are called
	holds      []time.Duration
	locks      []int         // nil: those of the server
	ttl        time.Duration // 0: that of the workload
	time       time.Duration // 0: that of the workload
	count      int           // 0: that of the workload
	out        string
}

// A pace is what -time and -count are by default.
type pace struct {
	time  time.Duration
	count int
}

var (
	allWorkloads = []string{"approaches", "verbs", "contention", "ratios"}        // that all means
	workloads    = append(slices.Clone(allWorkloads), "keepalive", "mux", "load") // which take minutes
	paces        = map[string]pace{
		"approaches": {80 * time.Millisecond, 6},
		"verbs":      {80 * time.Millisecond, 6},
		"contention": {150 * time.Millisecond, 3},
		"ratios":     {30 * time.Millisecond, 200},
		"keepalive":  {0, 1}, // its ttl
		"mux":        {30 * time.Millisecond, 200},
		"load":       {time.Second, 3},
	}
	goroutines = map[string][]int{"approaches": {1, 16, 128}, "ratios": {1, 16, 128}, "mux": {1, 2, 16, 128, 1024}}
	miniLocks  = []int{1, 1000}
	realLocks  = []int{1, 1000, 10_000}
)

const usageText = `Lockbench measures the locks of redigolock on a Redis or Valkey server.

usage: go run ./cmd/lockbench [flags]
       go run ./cmd/lockbench report [-out report.html] FILE...     (a page from what -out has written)

  -url URL          the server: redis://[user:password@]host[:port][/db], rediss://… (TLS) or unix:///path.
                    Default: REDIS_URL of the environment; without it a miniredis in this process, whose
                    figures compare the approaches only. The password may be in REDISCLI_AUTH instead.
  -workload LIST    approaches, verbs, contention, ratios, or all, which is these; keepalive, mux, load
                    (default approaches,contention)
  -goroutines LIST  for approaches, ratios and mux (default 1,16,128; mux 1,2,16,128,1024)
  -pools LIST       sizes of bounded pools, for mux and load (default 1,2,4,8,16,32,64)
  -loads LIST       for load: arrivals as percent of what the fastest can do in a closed loop
                    (default 10,25,50,70,80,90,95)
  -rates LIST       for load, instead of -loads: arrivals a second
  -served N         for load: how many are served at once (default 256)
  -waiters LIST     for contention: of all processes together (default 8,64)
  -processes LIST   for contention: in how many processes they are, at most one for each waiter (default 1,4)
  -ways LIST        for contention: floor, polling, fair, cohort; fair-mux2: through a Mux of 2 connections
                    (default floor,polling,fair,cohort)
  -hold LIST        for contention: how long each holder holds (default 0s)
  -locks LIST       for keepalive (default 1,1000,10000; on miniredis 1,1000)
  -ttl DURATION     of the locks (default 10s, keepalive 30s)
  -time DURATION    how long each round of a cell takes; for keepalive the ttl at least
                    (default approaches and verbs 80ms, contention 150ms, ratios and mux 30ms, load 1s,
                    keepalive its ttl); contention with a hold: six turns of each waiter at least
  -count N          how many rounds each cell has
                    (default approaches and verbs 6, contention and load 3, ratios and mux 200, keepalive 1)
  -out FILE         write each round in the Go benchmark format, for go tool benchstat
  -h                show this

workloads:
  approaches   acquire + release of distinct keys: approach x release x goroutines
  verbs        each verb alone, one goroutine on one connection
  contention   waiters of one key, in several processes: release to next holder, acquisitions/s, fairness, waits
  ratios       paired ratios with interval: Locker against redigo by hand, double check against SetNX
  keepalive    many locks kept alive: CPU for a renewal, memory, goroutines, lateness; takes minutes
  mux          paired ratios: Locker through a Mux against a pool, and redigo by hand over an unbounded and
               over the best bounded pool, which it looks for first; takes minutes
  load         open loop: latency (p50, p99, p99.9) at a rate of arrivals, goodput; takes minutes

exit codes: 0 done, 1 failed, 2 bad flag, 3 server unreachable, 4 server denies a command, 130 stopped by Ctrl-C

examples:
  go run ./cmd/lockbench
  go run ./cmd/lockbench -url redis://localhost:6379 -time 1s -count 10 -out new.txt && go tool benchstat new.txt
  go run ./cmd/lockbench -url redis://localhost:6379 -workload ratios
  go run ./cmd/lockbench -url redis://localhost:6379 -workload contention -waiters 2,512 -ways floor,fair
  go run ./cmd/lockbench -url redis://localhost:6379 -workload keepalive -locks 100000 -time 90s
  go run ./cmd/lockbench -url unix:///run/redis.sock -workload mux -goroutines 128 -out mux.txt
  go run ./cmd/lockbench -url redis://localhost:6379 -workload load -rates 1000,10000 -time 10s
`

// parse returns flag.ErrHelp for -h. No error shows the value of -url.
func parse(args []string, getenv func(string) string) (options, error) {
	o := options{waiters: []int{8, 64}, processes: []int{1, 4}, ways: bench.ContentionWays(), holds: []time.Duration{0},
		pools: []int{1, 2, 4, 8, 16, 32, 64}, loads: []int{10, 25, 50, 70, 80, 90, 95}}
	fs := flag.NewFlagSet("lockbench", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	workloads := fs.String("workload", "approaches,contention", "")
	fs.StringVar(&o.url, "url", "", "")
	fs.Var((*intList)(&o.goroutines), "goroutines", "")
	fs.Var((*intList)(&o.pools), "pools", "")
	fs.Var((*intList)(&o.loads), "loads", "")
	fs.Var((*intList)(&o.rates), "rates", "")
	fs.IntVar(&o.served, "served", 256, "")
	fs.Var((*intList)(&o.waiters), "waiters", "")
	fs.Var((*intList)(&o.locks), "locks", "")
	fs.Var((*intList)(&o.processes), "processes", "")
	fs.Var((*wayList)(&o.ways), "ways", "")
	fs.Var((*durationList)(&o.holds), "hold", "")
	fs.Var((*duration)(&o.ttl), "ttl", "")
	fs.Var((*duration)(&o.time), "time", "")
	fs.IntVar(&o.count, "count", 0, "")
	fs.StringVar(&o.out, "out", "", "")
	if err := fs.Parse(args); err != nil {
		return o, plain(err)
	}
	if fs.NArg() > 0 {
		return o, errors.New("there is an argument without a flag; a server's URL goes behind -url")
	}
	if o.url == "" {
		o.url, o.fromEnv = getenv("REDIS_URL"), true
	}
	o.password = getenv("REDISCLI_AUTH")
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return o, o.check(*workloads, given)
}

// plain is an error of package flag that does not show a URL.
func plain(err error) error {
	if !errors.Is(err, flag.ErrHelp) && strings.Contains(err.Error(), "://") {
		return errors.New("a flag has a URL as its value that belongs to -url")
	}
	if text, ok := strings.CutSuffix(err.Error(), "parse error"); ok {
		return errors.New(text + "it is no number")
	}
	return err
}

func (o *options) check(workloads string, given map[string]bool) error {
	var err error
	if o.workloads, err = readWorkloads(workloads); err != nil {
		return err
	}
	for _, l := range []struct {
		flag        string
		list        []int
		least, most int
	}{
		{"goroutines", o.goroutines, 1, bench.MaxWorkers}, {"waiters", o.waiters, 2, bench.MaxWorkers},
		{"processes", o.processes, 1, bench.MaxProcesses}, {"locks", o.locks, 1, bench.MaxLocks},
		{"pools", o.pools, 1, bench.MaxWorkers}, {"loads", o.loads, 1, 200},
		{"rates", o.rates, 1, 1_000_000}, {"served", []int{o.served}, 1, bench.MaxWorkers},
	} {
		if len(l.list) > 0 && (slices.Min(l.list) < l.least || slices.Max(l.list) > l.most) {
			return fmt.Errorf("-%s: allowed are %d to %d", l.flag, l.least, l.most)
		}
	}
	switch {
	case given["ttl"] && (o.ttl < bench.MinTTL || o.ttl > bench.MaxTTL || o.ttl%time.Millisecond != 0):
		return fmt.Errorf("-ttl %v: allowed are whole milliseconds from %v to %v", o.ttl, bench.MinTTL, bench.MaxTTL)
	case slices.Min(o.holds) < 0 || slices.Max(o.holds) > o.ttlOf("contention")/2:
		return fmt.Errorf("-hold: allowed is 0 to half of the ttl, %v", o.ttlOf("contention")/2)
	case o.time > 0 && o.time < o.ttlOf("keepalive") && slices.Contains(o.workloads, "keepalive"):
		return fmt.Errorf("-time %v: keepalive needs its ttl at least, %v (-ttl)", o.time, o.ttlOf("keepalive"))
	case given["time"] && o.time <= 0:
		return fmt.Errorf("-time %v: must be above zero", o.time)
	case given["count"] && o.count <= 0:
		return fmt.Errorf("-count %d: must be above zero", o.count)
	case given["out"] && o.out == "":
		return errors.New("-out: the file has no name")
	}
	return nil
}

func readWorkloads(list string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "all":
			names = append(names, allWorkloads...)
		case slices.Contains(workloads, name):
			names = append(names, name)
		default:
			return nil, fmt.Errorf("-workload %q: there are %s and all", name, strings.Join(workloads, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(workloads), func(name string) bool {
		return !slices.Contains(names, name)
	}), nil
}

// pace is what -time and -count say, or else the workload's own.
func (o *options) pace(workload string) pace {
	p := paces[workload]
	if workload == "keepalive" {
		p.time = o.ttlOf(workload)
	}
	if o.time > 0 {
		p.time = o.time
	}
	if o.count > 0 {
		p.count = o.count
	}
	return p
}

// goroutinesOf is what -goroutines says, or else the workload's own.
func (o *options) goroutinesOf(workload string) []int {
	if o.goroutines != nil {
		return o.goroutines
	}
	return goroutines[workload]
}

// shares are in percent; none if there are rates.
func (o *options) shares() []int {
	if o.rates != nil {
		return nil
	}
	return o.loads
}

// ttlOf is what -ttl says, or else the workload's own.
func (o *options) ttlOf(workload string) time.Duration {
	switch {
	case o.ttl > 0:
		return o.ttl
	case workload == "keepalive":
		return bench.DefaultKeepTTL
	}
	return bench.DefaultTTL
}

// locksOn is what -locks says, or else what the server can do in a few minutes.
func (o *options) locksOn(s *bench.Server) []int {
	switch {
	case o.locks != nil:
		return o.locks
	case s.Embedded():
		return miniLocks
	}
	return realLocks
}
