package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// Verb is one verb alone, by one goroutine on one connection. The verbs work on 64 keys in turn; before each turn what
// they need is restored, with the clock stopped: SetNX, SetNXVerified and SetNXScript find each key free; Verify,
// Extend, Fence, Inspect and the releases find it held. Each Extend raises the TTL by 1 ms, so that it writes. Guard
// and GuardDo pass with a number that was seen before; GuardDo does a SET.
type Verb struct {
	Server *Server       // Required.
	Verb   string        // One of Verbs. Required.
	TTL    time.Duration // Of the locks; a turn of 64 must not take longer. Zero: DefaultTTL.
	Time   time.Duration // How long a Run takes, stopped clock included. Zero: DefaultTime.
}

const turn = 64

// A verbSpec is a verb with what it needs before each turn; nil: nothing.
type verbSpec struct {
	name    string
	restore func(*verbRun) error
	op      func(v *verbRun, i int) error
}

// A verbRun is what the verbs work on.
type verbRun struct {
	c     redis.Conn
	keys  *keys
	token string
	ttl   time.Duration
	sink  string // so that nothing is optimized away
}

const fenceNumber = 1

var verbSpecs = []verbSpec{
	{"NewToken", nil, func(v *verbRun, _ int) error { v.sink = lock.NewToken(); return nil }},
	{"SetNX", (*verbRun).free, acquireOp(lock.SetNX)},
	{"SetNXVerified", (*verbRun).free, acquireOp(lock.SetNXVerified)},
	{"SetNXScript", (*verbRun).free, acquireOp(lock.SetNXScript)},
	{"Verify", (*verbRun).hold, func(v *verbRun, i int) error {
		_, err := lock.Verify(bg, v.c, v.keys.names[i], v.token)
		return err
	}},
	{"Extend", (*verbRun).hold, func(v *verbRun, i int) error {
		return lock.Extend(bg, v.c, v.keys.names[i], v.token, v.ttl+time.Millisecond)
	}},
	{"Release", (*verbRun).hold, releaseOp(lock.Release)},
	{"ReleaseTx", (*verbRun).hold, releaseOp(lock.ReleaseTx)},
	{"ReleaseNative", (*verbRun).hold, releaseOp(lock.ReleaseNative)},
	{"Fence", (*verbRun).hold, func(v *verbRun, i int) error {
		_, err := lock.Fence(bg, v.c, v.keys.names[i], v.token)
		return err
	}},
	{"Guard", (*verbRun).guard, func(v *verbRun, i int) error {
		return lock.Guard(bg, v.c, v.keys.names[i], fenceNumber)
	}},
	{"GuardDo", (*verbRun).guard, func(v *verbRun, i int) error {
		resource := v.keys.names[turn+i]
		_, err := lock.GuardDo(bg, v.c, v.keys.names[i], fenceNumber, "SET", resource, "x", "PX", v.ttl.Milliseconds())
		return err
	}},
	{"Inspect", (*verbRun).hold, func(v *verbRun, i int) error {
		_, err := lock.Inspect(bg, v.c, v.keys.names[i])
		return err
	}},
}

// Verbs are the names of the verbs that the server has.
func Verbs(s *Server) []string {
	var names []string
	for _, spec := range verbSpecs {
		if spec.name != "ReleaseNative" || s.Native {
			names = append(names, spec.name)
		}
	}
	return names
}

func acquireOp(acquire lock.AcquireFunc) func(*verbRun, int) error {
	return func(v *verbRun, i int) error { return acquire(bg, v.c, v.keys.names[i], v.token, v.ttl) }
}

func releaseOp(release lock.ReleaseFunc) func(*verbRun, int) error {
	return func(v *verbRun, i int) error { return release(bg, v.c, v.keys.names[i], v.token) }
}

// free makes all keys free.
func (v *verbRun) free() error {
	_, err := v.c.Do("DEL", redis.Args{}.AddFlat(v.keys.names[:turn])...)
	return err
}

// hold puts the token into all keys.
func (v *verbRun) hold() error { return v.fill(v.token) }

func (v *verbRun) fill(value any) error {
	for _, key := range v.keys.names[:turn] {
		if err := v.c.Send("SET", key, value, "PX", v.ttl.Milliseconds()); err != nil {
			return err
		}
	}
	return v.flush()
}

// guard puts the number into all guards. A guard has no TTL by itself; here it gets one, in case that this process
// dies.
func (v *verbRun) guard() error { return v.fill(fenceNumber) }

// flush sends what was prepared, and finds the first that was refused.
func (v *verbRun) flush() error {
	replies, err := redis.Values(v.c.Do(""))
	for _, reply := range replies {
		if refused, ok := reply.(redis.Error); ok {
			return refused
		}
	}
	return err
}

// Name is Verb/server=…/verb=….
func (v Verb) Name() string {
	return fmt.Sprintf("Verb/server=%s/verb=%s%s", v.Server.Name, v.Verb, v.Server.suffix())
}

// spec checks the configuration too.
func (v *Verb) spec() (verbSpec, error) {
	v.TTL, v.Time = orDefault(v.TTL, DefaultTTL), orDefault(v.Time, DefaultTime)
	if err := checkCommon(v.Server, v.TTL, v.Time); err != nil {
		return verbSpec{}, err
	}
	if err := checkOneServer(v.Server, "a verb alone"); err != nil {
		return verbSpec{}, err
	}
	i := slices.IndexFunc(verbSpecs, func(spec verbSpec) bool { return spec.name == v.Verb })
	switch {
	case i < 0:
		return verbSpec{}, badConfig("unknown verb %q", v.Verb)
	case v.Verb == "ReleaseNative" && !v.Server.Native:
		return verbSpec{}, badConfig("ReleaseNative: the server has no command for it, or denies it")
	case v.Verb == "Extend" && v.TTL == MaxTTL:
		return verbSpec{}, badConfig("Extend: the ttl must be below %v", MaxTTL)
	}
	return verbSpecs[i], nil
}

// open makes what the verb works on. The caller removes the keys and closes the connection.
func (v Verb) open() *verbRun {
	k := newKeys(2 * turn)
	if v.Verb == "Fence" {
		k.more = k.counters()
	}
	return &verbRun{c: v.Server.Pool.Get(), keys: k, token: lock.NewToken(), ttl: v.TTL}
}

// Run measures for Time.
func (v Verb) Run(ctx context.Context) (res Result, err error) {
	spec, err := v.spec()
	if err != nil {
		return Result{}, err
	}
	run := v.open()
	defer run.keys.remove(ctx, v.Server, &err)
	defer run.c.Close()
	res = Result{Latency: newHistogram(), Allocs: -1}
	c := crew{server: v.Server, workers: 1, time: v.Time}
	c.warm = func(int) error {
		return run.turn(spec, &Result{Latency: newHistogram()}, func() bool { return false })
	}
	c.work = func(int) error {
		for {
			if err := run.turn(spec, &res, c.stopped.Load); err != nil || c.stopped.Load() {
				return err
			}
		}
	}
	if err := c.run(ctx); err != nil {
		return Result{}, err
	}
	return res, nil
}

// turn does one turn of ops, or fewer if it is stopped, and adds it to res.
func (v *verbRun) turn(spec verbSpec, res *Result, stopped func() bool) error {
	if spec.restore != nil {
		if err := spec.restore(v); err != nil {
			return fmt.Errorf("bench: prepare %s: %w", spec.name, err)
		}
	}
	began := time.Now()
	at := began
	for i := range turn {
		if err := spec.op(v, i); err != nil {
			return err
		}
		now := time.Now()
		record(res.Latency, now.Sub(at))
		at = now
		res.Ops++
		if stopped() {
			break
		}
	}
	res.Elapsed += at.Sub(began)
	return nil
}
