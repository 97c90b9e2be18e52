package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Contest is what one Run of a Contention has measured beside Result.
type Contest struct {
	// Handoff is in ns, from just before the holder sends its release until the Acquire of another waiter returns.
	// Handoffs to the same waiter are left out: they would flatter a lock that lets its holder come back. Inside are
	// those to a waiter of the same process, Across those to one of another.
	Handoff, Inside, Across *hdrhistogram.Histogram
	// Again is the share of the acquisitions by the waiter that has just released.
	Again float64
	// WaitP50 and WaitP99 are percentiles of the waits, from the call of Acquire until it returned, and WaitBeyond the share
	// of the waits that is longer than WaitP99. If that is more than 1 %, WaitP99 is a lower bound; if it is more than half,
	// WaitP50 is, too. Waiting are those who still waited when the time was up: of their waits it is known that they are
	// longer.
	WaitP50, WaitP99 time.Duration
	WaitBeyond       float64
	Waiting          int
	// Longest is the longest wait: a lower bound, if it is that of one who still waited.
	Longest time.Duration
	// Round is the time in which as many acquisitions were made as there are waiters: that of a full round of a queue.
	Round time.Duration
	// Jain is Jain's index of fairness over the acquisitions of the waiters: 1 if all have the same, 1/waiters if one
	// has all.
	Jain float64
}

// A tenure is a cycle with who had it.
type tenure struct {
	cycle
	waiter, process int
}

// tenures are all acquisitions, in order.
func (t *team) tenures() []tenure {
	var list []tenure
	for _, r := range t.reports {
		for w, cycles := range r.Cycles {
			for _, c := range cycles {
				if c.Got > 0 {
					list = append(list, tenure{c, w*t.Processes + r.Process, r.Process})
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b tenure) int { return int(a.Got - b.Got) })
	return list
}

// overlap fails if two have held at the same time. Nobody knows when a lock was really free, but each says when it had
// it for sure: from when its Acquire returned until before its release was sent.
func overlap(tenures []tenure) error {
	for i := 1; i < len(tenures); i++ {
		if a, b := tenures[i-1], tenures[i]; b.Got < a.Left {
			return fmt.Errorf("bench: MUTUAL EXCLUSION VIOLATED: waiter %d of process %d got the lock %v before waiter %d "+
				"of process %d released it, no figures", b.waiter, b.process, time.Duration(a.Left-b.Got), a.waiter, a.process)
		}
	}
	return nil
}

// result is nil, and an error, if the lock did not hold.
func (t *team) result() (Result, error) {
	tenures := t.tenures()
	if err := overlap(tenures); err != nil {
		return Result{}, err
	}
	con := &Contest{Handoff: newHistogram(), Inside: newHistogram(), Across: newHistogram()}
	var all waits
	counts := make([]int64, t.Waiters)
	var ops, again int64
	for i, c := range tenures {
		if !t.has(c.Got) {
			continue
		}
		ops++
		counts[c.waiter]++
		all.add(time.Duration(c.Got-c.Asked), time.Duration(t.From-c.Asked), false)
		if i > 0 && tenures[i-1].waiter == c.waiter {
			again++
		} else if i > 0 {
			con.handedOver(tenures[i-1], c)
		}
	}
	if ops == 0 {
		return Result{}, errNoOps
	}
	con.Waiting = t.waiting(&all)
	con.Longest = all.longest()
	con.WaitP50, _ = all.longerThan(0.5)
	con.WaitP99, con.WaitBeyond = all.longerThan(0.01)
	res := Result{Ops: ops, Elapsed: t.length(), Latency: con.Handoff, Contest: con}
	con.Jain, con.Again = Jain(counts), float64(again)/float64(ops)
	con.Round = res.Elapsed * time.Duration(t.Waiters) / time.Duration(ops)
	return t.used(res)
}

func (con *Contest) handedOver(from, to tenure) {
	took := time.Duration(to.Got - from.Left)
	record(con.Handoff, took)
	if from.process == to.process {
		record(con.Inside, took)
	} else {
		record(con.Across, took)
	}
}

// waiting adds those who still waited when the time was up, and says how many.
func (t *team) waiting(all *waits) (n int) {
	for _, r := range t.reports {
		for _, cycles := range r.Cycles {
			for _, c := range cycles {
				if c.Asked < t.Until && (c.Got == 0 || c.Got >= t.Until) {
					n++
					all.add(time.Duration(t.Until-c.Asked), time.Duration(t.From-c.Asked), true)
				}
			}
		}
	}
	return n
}

// used adds what was used by the clients and by the server.
func (t *team) used(res Result) (Result, error) {
	var allocs uint64
	res.CPU = &CPU{}
	for _, r := range t.reports {
		allocs += r.Allocs
		if res.CPU.Client += r.ClientCPU; r.ClientCPU < 0 || t.Server.Embedded() {
			res.CPU.Client = -1
		}
	}
	used := t.after.since(t.before)
	res.CPU.Server, res.Cost = used.cpu, &used.cost
	return res.withAllocs(t.Server, allocs)
}

// Jain is Jain's index of fairness of what several have got: (Σx)² / (n Σx²). It is 0 if nobody has got anything.
func Jain(counts []int64) float64 {
	var sum, squares float64
	for _, n := range counts {
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(counts)) * squares)
}
