package lockbench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// check looks at all before anything is sent.
func (o *options) check(workloads string, given map[string]bool) error {
	var err error
	if o.workloads, err = readWorkloads(workloads); err != nil {
		return err
	}
	for _, check := range []func(map[string]bool) error{o.checkNumbers, o.checkTimes, o.checkNames, o.checkFiles} {
		if err := check(given); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) has(workload string) bool { return slices.Contains(o.workloads, workload) }

func (o *options) checkNumbers(given map[string]bool) error {
	var served []int
	if given["served"] {
		served = []int{o.served}
	}
	for _, l := range []struct {
		flag        string
		list        []int
		least, most int
	}{
		{"goroutines", o.goroutines, 1, bench.MaxWorkers}, {"waiters", o.waiters, 2, bench.MaxWorkers},
		{"processes", o.processes, 1, bench.MaxProcesses}, {"locks", o.locks, 1, bench.MaxLocks},
		{"pools", o.pools, 1, bench.MaxWorkers}, {"loads", o.loads, 1, 200},
		{"rates", o.rates, 1, 1_000_000}, {"served", served, 1, bench.MaxWorkers},
	} {
		if len(l.list) > 0 && (slices.Min(l.list) < l.least || slices.Max(l.list) > l.most) {
			return fmt.Errorf("-%s: allowed are %d to %d", l.flag, l.least, l.most)
		}
	}
	if given["count"] && o.count <= 0 {
		return fmt.Errorf("-count %d: must be above zero", o.count)
	}
	return nil
}

func (o *options) checkTimes(given map[string]bool) error {
	switch {
	case given["ttl"] && (o.ttl < bench.MinTTL || o.ttl > bench.MaxTTL || o.ttl%time.Millisecond != 0):
		return fmt.Errorf("-ttl %v: allowed are whole milliseconds from %v to %v", o.ttl, bench.MinTTL, bench.MaxTTL)
	case slices.Min(o.holds) < 0 || slices.Max(o.holds) > o.ttlOf("contention")/2:
		return fmt.Errorf("-hold: allowed is 0 to half of the ttl, %v", o.ttlOf("contention")/2)
	case slices.Min(o.delays) < 0 || slices.Max(o.delays) > bench.MaxDelay:
		return fmt.Errorf("-delay: allowed is 0 to %v", bench.MaxDelay)
	case o.has("recovery") && o.ttlOf("recovery") < 100*time.Millisecond:
		return fmt.Errorf("-ttl %v: recovery needs 100ms at least, to kill a holder while it holds", o.ttl)
	case o.time > 0 && o.time < o.ttlOf("keepalive") && o.has("keepalive"):
		return fmt.Errorf("-time %v: keepalive needs its ttl at least, %v (-ttl)", o.time, o.ttlOf("keepalive"))
	case given["time"] && o.time <= 0:
		return fmt.Errorf("-time %v: must be above zero", o.time)
	}
	return nil
}

func (o *options) checkNames(map[string]bool) error {
	shared := o.has("load") && slices.ContainsFunc(o.keys, func(keys string) bool { return keys != "own" })
	switch {
	case o.has("rivals") && len(bench.Rivals()) == 0:
		return errors.New("-workload rivals: this program has none; cd bench/peers && go run ./cmd/lockbench has them")
	case shared && o.rates == nil:
		return errors.New("-keys: hot and zipf10000 take -rates; -loads are shares of a closed loop of own keys")
	case shared && !slices.ContainsFunc(o.ways, isLock):
		return errors.New("-ways: the floor is no lock, which load of hot or zipf10000 waits for (-keys)")
	case o.has("recovery") && !slices.ContainsFunc(o.ways, recovers):
		return errors.New("-ways: recovery has none of them: the floor is no lock, and it goes through no Mux")
	}
	return nil
}

func isLock(way string) bool { return way != "floor" }

func recovers(name string) bool {
	w, _ := wayOf(name) // which was checked
	return w.Way != "floor" && w.Lanes == 0
}

func (o *options) checkFiles(given map[string]bool) error {
	switch {
	case given["out"] && o.out == "":
		return errors.New("-out: the file has no name")
	case given["hist"] && o.hist == "":
		return errors.New("-hist: the file has no name")
	case given["hist"] && !o.has("overview") && !o.has("contention") && !o.has("load"):
		return errors.New("-hist: there are histograms of overview, contention and load only")
	case o.resume && o.out == "":
		return errors.New("-resume goes on with a file: give -out")
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
