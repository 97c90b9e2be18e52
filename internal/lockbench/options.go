package lockbench

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
	goroutines []int // none: those of the workload
	approaches []string
	ways       []string
	waiters    []int
	processes  []int
	holds      []time.Duration
	delays     []time.Duration // of round trips; 0: none is added
	keys       []string        // of load
	rates      []int           // of load, a second
	locks      []int           // none: those of the server
	ttl        time.Duration   // 0: that of the workload
	time       time.Duration   // likewise
	count      int             // likewise
	out        string
	settings   string // the flags without those of the server and the files
}

// flags are all flags, with their defaults, for parse and for -h.
func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("lockbench", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.url, "url", "", "the server's `URL`: redis://[user:password@]host[:port][/db], rediss://… (TLS), unix:///path, or\n"+
		"redis-sentinel://[user:password@]host[:port],…[/db]?master=NAME (redis-sentinels://: TLS), or\n"+
		"redis-cluster://[user:password@]host[:port],… (redis-clusters://: TLS); env: what REDIS_URL says;\n"+
		"miniredis: one in this process; cluster: three masters, started for this. Default: the redis-server on\n"+
		"PATH, started on a Unix socket of its own; without one, miniredis. The password may be in REDISCLI_AUTH")
	o.workloads = []string{"overview"}
	fs.Var(&list[string]{&o.workloads, workloadNames}, "workload", "a `list` of workloads, see below; all: "+strings.Join(allWorkloads, ", "))
	fs.Var(&list[int]{&o.goroutines, between(1, bench.MaxWorkers)}, "goroutines", "a `list` for approaches (default 1,16,128) and ratios (default 1,2,16,128)")
	fs.Var(&list[string]{&o.approaches, approachNames}, "approaches",
		"a `list` for approaches, ratios and load:\n"+strings.Join(ownApproaches(), ", ")+",\n"+
			"all; locker-mux8: over a Mux of 8 connections; floor-pool16: over a pool of 16; ratios are to the first")
	o.ways = bench.ContentionWays()
	fs.Var(&list[string]{&o.ways, wayNames}, "ways",
		"a `list` for contention, load of shared keys, and recovery: floor (no lock, an EVALSHA that publishes to\nthe next; contention only), polling, fair, cohort, all; fair-mux2: over a Mux of 2 connections\n")
	o.waiters, o.processes = []int{8, 64}, []int{1, 4}
	fs.Var(&list[int]{&o.waiters, between(2, bench.MaxWorkers)}, "waiters", "a `list` for contention: waiters of all processes together")
	fs.Var(&list[int]{&o.processes, between(1, bench.MaxProcesses)}, "processes", "a `list` for contention: processes that the waiters are in")
	o.holds, o.delays = []time.Duration{0}, []time.Duration{0}
	fs.Var(&list[time.Duration]{&o.holds, lasting(0, bench.MaxTTL)}, "hold", "a `list` for contention, and load of shared keys: how long each holds the lock, as 0,1ms,10ms")
	fs.Var(&list[time.Duration]{&o.delays, lasting(0, bench.MaxDelay)}, "delay", "a `list` of what a link adds to each round trip, as a network does: 0.5ms,5ms")
	o.keys = []string{"own"}
	fs.Var(&list[string]{&o.keys, oneOf(bench.LoadKeys)}, "keys", "a `list` for load; own: each its own key, by -approaches; hot: one for all; zipf10000: 10,000 by Zipf's law;\nthese two are waited for, by -ways")
	o.rates = []int{1000, 10_000}
	fs.Var(&list[int]{&o.rates, between(1, 1_000_000)}, "rates", "a `list` for load: arrivals a second")
	fs.Var(&list[int]{&o.locks, between(1, bench.MaxLocks)}, "locks", "a `list` for keepalive: how many locks are kept alive (default 1,1000,10000; on miniredis 1,1000)")
	fs.DurationVar(&o.ttl, "ttl", 0, "the lease of the locks (default 10s; keepalive 30s; recovery 1s)")
	fs.DurationVar(&o.time, "time", 0, "how long each round is (default: see the workloads); contention with a hold: three turns of each waiter\nat least; keepalive: the ttl at least")
	fs.IntVar(&o.count, "count", 0, "how `many` rounds there are (default: see the workloads); an interval needs 6")
	fs.StringVar(&o.out, "out", "", "write each round to this `file`, in the Go benchmark format")
	return fs
}

// parse returns flag.ErrHelp for -h. No error shows the value of -url.
func parse(args []string, getenv func(string) string) (*options, error) {
	o := &options{}
	fs := o.flags()
	if err := fs.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) && strings.Contains(err.Error(), "://") {
			return nil, errors.New("a flag has a URL as its value that belongs to -url")
		}
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, errors.New("there is an argument without a flag; a server's URL goes behind -url")
	}
	if o.url == urlFromEnv { // only then: what an application's environment names may be in production
		if o.url, o.fromEnv = getenv("REDIS_URL"), true; o.url == "" {
			return nil, errors.New("-url env: REDIS_URL is not set")
		}
	}
	o.password = getenv("REDISCLI_AUTH")
	given := map[string]bool{}
	var settings []string
	fs.Visit(func(f *flag.Flag) {
		given[f.Name] = true
		if f.Name != "url" && f.Name != "out" {
			settings = append(settings, "-"+f.Name+" "+f.Value.String())
		}
	})
	o.settings = strings.Join(settings, " ")
	return o, errors.Join(o.checkNumbers(given), o.checkTogether())
}

// checkNumbers looks at what zero would hide: a flag that was not given has a default.
func (o *options) checkNumbers(given map[string]bool) error {
	switch {
	case given["count"] && o.count <= 0:
		return fmt.Errorf("-count %d: must be above zero", o.count)
	case given["time"] && o.time <= 0:
		return fmt.Errorf("-time %v: must be above zero", o.time)
	case given["ttl"] && (o.ttl < bench.MinTTL || o.ttl > bench.MaxTTL || o.ttl%time.Millisecond != 0):
		return fmt.Errorf("-ttl %v: allowed are whole milliseconds from %v to %v", o.ttl, bench.MinTTL, bench.MaxTTL)
	case given["out"] && o.out == "":
		return errors.New("-out: the file has no name")
	}
	return nil
}

// checkTogether looks at what does not fit together, before anything is sent.
func (o *options) checkTogether() error {
	shared := o.has("load") && slices.ContainsFunc(o.keys, func(keys string) bool { return keys != "own" })
	switch {
	case slices.Max(o.holds) > o.ttlOf("contention")/2:
		return fmt.Errorf("-hold: allowed is 0 to half of the ttl, %v", o.ttlOf("contention")/2)
	case o.has("recovery") && o.ttlOf("recovery") < 100*time.Millisecond:
		return fmt.Errorf("-ttl %v: recovery needs 100ms at least, to kill a holder while it holds", o.ttl)
	case o.has("keepalive") && o.time > 0 && o.time < o.ttlOf("keepalive"):
		return fmt.Errorf("-time %v: keepalive needs its ttl at least, %v (-ttl)", o.time, o.ttlOf("keepalive"))
	case shared && !slices.ContainsFunc(o.ways, isLock):
		return errors.New("-ways: the floor is no lock, which load of hot or zipf10000 waits for (-keys)")
	case o.has("recovery") && !slices.ContainsFunc(o.ways, recovers):
		return errors.New("-ways: recovery has none of them: the floor is no lock, and it goes through no Mux")
	case slices.Max(o.delays) > 0 && slices.ContainsFunc(bench.RivalKinds(), func(k bench.RivalKind) bool {
		return k.Server != "" && slices.Contains(slices.Concat(o.ways, o.approaches), k.Name)
	}):
		return errors.New("-delay: a rival that is not on Redis has a server of its own, which the link does not lead to")
	case o.isCluster() && (o.has("verbs") || o.has("keepalive")):
		return errors.New("-workload: verbs and keepalive measure one server, and no Redis Cluster")
	}
	return nil
}

func (o *options) isCluster() bool {
	return o.url == urlCluster || strings.HasPrefix(o.url, "redis-cluster")
}

func (o *options) has(workload string) bool { return slices.Contains(o.workloads, workload) }

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
