package lockbench

import (
	"errors"
	"flag"
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
	rates      []int    // nil: loads
	loads      []int    // in percent
	served     int      // 0: that of the keys
	keys       []string // of a load
	waiters    []int
	processes  []int
	ways       []string // as names call those of a bench.Contention
	approaches []string // as names call those of a bench.Uncontended; nil: those of the workload
	holds      []time.Duration
	delays     []time.Duration // of round trips; 0: none is added
	locks      []int           // nil: those of the server
	ttl        time.Duration   // 0: that of the workload
	time       time.Duration   // 0: that of the workload
	count      int             // 0: that of the workload
	out        string
	hist       string
	resume     bool
	settings   string // the command line without what is no setting
}

const (
	urlFromEnv  = "env"       // the -url that means REDIS_URL
	urlEmbedded = "miniredis" // the -url that means one in this process
)

// A pace is what -time and -count are by default.
type pace struct {
	time  time.Duration
	count int
}

var (
	allWorkloads = []string{"approaches", "verbs", "contention", "ratios"} // that all means
	// These take minutes.
	workloads = append([]string{"overview"}, append(slices.Clone(allWorkloads), "keepalive", "mux", "load", "recovery", "rivals")...)
	paces     = map[string]pace{
		"overview":   {120 * time.Millisecond, 6},
		"approaches": {80 * time.Millisecond, 6},
		"verbs":      {80 * time.Millisecond, 6},
		"contention": {150 * time.Millisecond, 3},
		"ratios":     {30 * time.Millisecond, 200},
		"keepalive":  {0, 1}, // its ttl
		"mux":        {30 * time.Millisecond, 200},
		"load":       {time.Second, 3},
		"rivals":     {80 * time.Millisecond, 10},
		"recovery":   {0, 5},
	}
	goroutines = map[string][]int{"approaches": {1, 16, 128}, "ratios": {1, 16, 128}, "mux": {1, 2, 16, 128, 1024},
		"rivals": {1, 16, 128}}
	miniLocks = []int{1, 1000}
	realLocks = []int{1, 1000, 10_000}
)

// parse returns flag.ErrHelp for -h. No error shows the value of -url.
func parse(args []string, getenv func(string) string) (options, error) {
	o := options{waiters: []int{8, 64}, processes: []int{1, 4}, ways: bench.ContentionWays(), holds: []time.Duration{0},
		delays: []time.Duration{0},
		pools:  []int{1, 2, 4, 8, 16, 32, 64}, loads: []int{10, 25, 50, 70, 80, 90, 95},
		keys: []string{"own"}}
	fs := flag.NewFlagSet("lockbench", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	workloads := fs.String("workload", "overview", "")
	fs.StringVar(&o.url, "url", "", "")
	fs.Var((*intList)(&o.goroutines), "goroutines", "")
	fs.Var((*intList)(&o.pools), "pools", "")
	fs.Var((*intList)(&o.loads), "loads", "")
	fs.Var((*intList)(&o.rates), "rates", "")
	fs.IntVar(&o.served, "served", 0, "")
	fs.Var(nameList{&o.keys, bench.LoadKeys, checkKeys}, "keys", "")
	fs.Var((*intList)(&o.waiters), "waiters", "")
	fs.Var((*intList)(&o.locks), "locks", "")
	fs.Var((*intList)(&o.processes), "processes", "")
	fs.Var(nameList{&o.ways, allWays, checkWay}, "ways", "")
	fs.Var(nameList{&o.approaches, allApproaches, checkApproach}, "approaches", "")
	fs.Var((*durationList)(&o.holds), "hold", "")
	fs.Var((*durationList)(&o.delays), "delay", "")
	fs.Var((*duration)(&o.ttl), "ttl", "")
	fs.Var((*duration)(&o.time), "time", "")
	fs.IntVar(&o.count, "count", 0, "")
	fs.StringVar(&o.out, "out", "", "")
	fs.StringVar(&o.hist, "hist", "", "")
	fs.BoolVar(&o.resume, "resume", false, "")
	if err := fs.Parse(args); err != nil {
		return o, plain(err)
	}
	if fs.NArg() > 0 {
		return o, errors.New("there is an argument without a flag; a server's URL goes behind -url")
	}
	if o.url == urlFromEnv { // only then: what an application's environment names may be in production
		if o.url, o.fromEnv = getenv("REDIS_URL"), true; o.url == "" {
			return o, errors.New("-url env: REDIS_URL is not set")
		}
	}
	o.password, o.settings = getenv("REDISCLI_AUTH"), settings(args)
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return o, o.check(*workloads, given)
}

// settings are the flags without the server and the files, whose figures they do not change, and so without a password.
// There is no argument but flags.
func settings(args []string) string {
	var list []string
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if name == "" { // the end of the flags
			break
		}
		if !joined && name != "resume" && i+1 < len(args) {
			i++
			value = args[i]
		}
		if !slices.Contains([]string{"url", "out", "hist", "resume"}, name) {
			list = append(list, "-"+name+" "+oneLine(value))
		}
	}
	return strings.Join(list, " ")
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

// servedOwn is what -served says, or else that of keys of one's own.
func (o *options) servedOwn() int {
	if o.served > 0 {
		return o.served
	}
	return 256
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
	case workload == "recovery":
		return time.Second
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
