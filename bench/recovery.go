package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Recovery is the time for which a lock stands still after the process of its holder was killed (kill -9) at a random
// moment of the first half of the ttl, while four others wait in another process. The processes are started for it:
// see [Join]. If the next holds before the lease of the dead one is over, less what clocks may drift apart, Run fails,
// and gives no figure.
type Recovery struct {
	Server *Server // Required.
	// Way is how they acquire: "polling", "fair" or "cohort", as of a Contention; or the name of a RivalKind that can
	// wait. Zero: "polling".
	Way string
	// TTL is 100 ms to 24 h in whole milliseconds. Zero: 1 s.
	TTL time.Duration
}

const (
	recoveryTTL     = time.Second
	minRecoveryTTL  = 100 * time.Millisecond // or the lease would be over before its holder is killed
	recoveryTries   = 4                      // to kill it before that
	recoveryWaiters = 4
)

// Recovered is what one Run of a Recovery has measured beside Result.
type Recovered struct {
	Gap time.Duration // from the kill until the next holds
	// Beyond is what of it was beyond the lease, which ends a ttl after the dead holder has asked for it. It can be below zero
	// by as much as clocks drift apart. It is not Known of a rival that renews by itself: when its last renewal was, nobody knows.
	Beyond time.Duration
	Known  bool
}

func (r Recovery) withDefaults() Recovery {
	if r.Way == "" {
		r.Way = "polling"
	}
	r.TTL = orDefault(r.TTL, recoveryTTL)
	return r
}

// Name is Recovery/server=…/way=…/ttl=….
func (r Recovery) Name() string {
	r = r.withDefaults()
	return fmt.Sprintf("Recovery/server=%s/way=%s/ttl=%v%s", r.Server.serverOf(r.Way), r.Way, r.TTL, r.Server.suffix())
}

func (r Recovery) check() error {
	if err := checkCommon(r.Server, r.TTL, 0); err != nil {
		return err
	}
	if err := (wayConfig{server: r.Server, name: r.Way}).check(waitingWays, WaitingRivals()); err != nil {
		return err
	}
	if r.TTL < minRecoveryTTL {
		return badConfig("a ttl of %v, below %v", r.TTL, minRecoveryTTL)
	}
	return checkJoined()
}

// Run kills one holder. An op is that; its time is the gap.
func (r Recovery) Run(ctx context.Context) (Result, error) {
	r = r.withDefaults()
	if err := r.check(); err != nil {
		return Result{}, err
	}
	if err := readyFor(r.Way); err != nil {
		return Result{}, err
	}
	clock := newSharedClock()
	for range recoveryTries {
		d, err := r.kill(ctx, clock)
		if err != nil {
			return Result{}, err
		}
		if gap := time.Duration(d.got - d.killed); gap > 0 {
			res := Result{Ops: 1, Elapsed: gap, Latency: newHistogram(), Allocs: -1, Recovered: &Recovered{gap, d.beyond(r.TTL), !r.renews()}}
			record(res.Latency, gap)
			return res, nil
		}
	}
	return Result{}, fmt.Errorf("bench: a ttl of %v was over before its holder was killed, again and again: choose a longer one", r.TTL)
}

// A death is when a holder had asked for the lock, when it was killed, and when the next had it, by the shared clock.
type death struct{ asked, killed, got int64 }

func (r Recovery) renews() bool {
	kind, _ := rivalNamed(r.Way)
	return kind.Renews
}

// beyond is how long after the end of the lease the next held.
func (d death) beyond(ttl time.Duration) time.Duration { return time.Duration(d.got-d.asked) - ttl }

// judge fails if the next held while the lease of the dead one still ran, by more than the 1 % and 2 ms of drift that
// the library reckons with; or while one who renews lived.
func (r Recovery) judge(d death) error {
	early := -d.beyond(r.TTL)
	if r.renews() {
		early = time.Duration(d.killed - d.got)
	}
	if drift := r.TTL/100 + 2*time.Millisecond; early > drift {
		return fmt.Errorf("bench: MUTUAL EXCLUSION VIOLATED: the next got the lock %v before the lease of its holder, "+
			"who was killed, was over, no figures", early)
	}
	return nil
}

// kill has one process hold and the other wait, and kills the first.
func (r Recovery) kill(ctx context.Context, clock sharedClock) (d death, err error) {
	if ctx.Err() != nil {
		return d, stoppedRun(ctx)
	}
	k := newKeys(2 + recoveryWaiters)
	key := k.names[:1]
	k.more = queueKeys(key)
	defer k.remove(ctx, r.Server, &err)
	holder, waiters := r.team(1, clock), r.team(recoveryWaiters, clock)
	holder.Hold = forever
	defer holder.end()
	defer waiters.end()
	if d.asked, err = r.ready(ctx, holder, waiters, key[0], k.names[1:]); err != nil {
		return d, err
	}
	d.killed = clock.now()
	_ = holder.children[0].cmd.Process.Kill()
	next, err := waiters.first(ctx, r.limit())
	if err != nil {
		return d, err
	}
	d.got = next.Got
	if err := r.judge(d); err != nil {
		return d, err
	}
	return d, waiters.collect(ctx)
}

// ready has one hold and the others wait, for a random part of the ttl. asked is when the holder called Acquire.
func (r Recovery) ready(ctx context.Context, holder, waiters *team, key string, own []string) (asked int64, err error) {
	if err := holder.start(key, own[:1], false); err != nil {
		return 0, err
	}
	if err := waiters.start(key, own[1:], true); err != nil {
		return 0, err
	}
	if err := holder.begin(ctx, 0, forever); err != nil {
		return 0, err
	}
	held, err := holder.first(ctx, r.limit())
	if err != nil {
		return 0, err
	}
	if err := waiters.begin(ctx, 0, forever); err != nil {
		return 0, err
	}
	return held.Asked, holder.listenFor(ctx, rand.N(r.TTL/2))
}

// limit is how long anybody may wait for the lock.
func (r Recovery) limit() time.Duration { return 10*r.TTL + 30*time.Second }

// team is that of one process.
func (r Recovery) team(waiters int, clock sharedClock) *team {
	c := Contention{Server: r.Server, Way: r.Way, Waiters: waiters, Processes: 1, TTL: r.TTL}
	return &team{Contention: c, clock: clock}
}

func (r *Recovered) addTo(m *metrics) {
	m.add(float64(r.Gap), "gap-p50-ns")
	m.add(float64(r.Gap), "gap-max-ns")
	if r.Known {
		m.add(float64(r.Beyond), "beyond-p50-ns")
		m.add(float64(r.Beyond), "beyond-max-ns")
	}
}
