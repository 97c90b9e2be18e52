package redigolock_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// Waiters whose machines vanish, with connections that the server takes for alive: what they cost those behind them.

// beatsCost is what the server needs at most to find those who beat no more.
const beatsCost = 8 * capOfPokes

// However many waiters die together, who stands behind them waits for the smaller of all their ttls, and one ttl and eight caps.
func TestFairDeadWaitersDoNotAddUp(t *testing.T) {
	for _, n := range []int{1, 4, 10} {
		for _, ttl := range []time.Duration{2 * time.Second, 20 * time.Second} {
			for _, lag := range []time.Duration{0, 3 * time.Second, 10 * time.Second} { // from their death to the release
				t.Run(fmt.Sprintf("%d of %v, %v before", n, ttl, lag), func(t *testing.T) {
					t.Parallel()
					inFairBubble(t, func(t *testing.T, s *sim.Server) { fairDead(t, s, n, ttl, lag) })
				})
			}
		}
	}
}

func fairDead(t *testing.T, s *sim.Server, n int, ttl, lag time.Duration) {
	s.Delay(time.Millisecond)
	holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
	machine := s.NewLink("vanishes")
	machine.Delay(time.Millisecond)
	var dead []<-chan acquired
	var lockers []*redigolock.Locker
	for i := range n {
		pool := machine.Pool()
		defer pool.Close()
		l := &redigolock.Locker{Pool: pool, Fair: true}
		lockers = append(lockers, l)
		dead = append(dead, waits(bg, l, "key", ttl))
		fairQueued(t, s, i+1)
	}
	live := waits(bg, simFair(t, s), "key", time.Minute)
	fairQueued(t, s, n+1)
	time.Sleep(5 * time.Second) // all have beaten
	heal := machine.BlackHole()
	time.Sleep(lag)
	begin := time.Now()
	if err := holder.Release(bg); err != nil {
		t.Fatal(err)
	}
	a := <-live
	took := time.Since(begin)
	const late = 260 * time.Millisecond // a poke comes after the end of a lease, not in step with others, and takes a round trip
	bound := min(time.Duration(n)*(ttl+late), ttl+beatsCost)
	t.Logf("%v; the bound is %v", took, bound)
	if took > bound {
		t.Errorf("it took %v, want %v at most", took, bound)
	}
	if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
		t.Error(err)
	}
	heal()
	for i, l := range lockers {
		go func() { <-dead[i] }()
		l.Close()
	}
}

func fairQueued(t *testing.T, s *sim.Server, n int) {
	t.Helper()
	for range 1000 {
		if have, _ := redis.Int(s.Do("LLEN", "{key}:redigolock-q2")); have == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("there are not %d in the queue", n)
}

// Who lives keeps the place, however the server stalls, however often the subscription breaks, and however late replies are.
func TestFairLivingWaitersKeepTheirPlaces(t *testing.T) {
	for name, hurt := range map[string]func(s *sim.Server){
		"nothing happens": func(*sim.Server) {},
		"the server stalls": func(s *sim.Server) {
			goOn := s.Pause()
			time.Sleep(20 * time.Second)
			goOn()
		},
		"subscriptions break": func(s *sim.Server) {
			for range 20 {
				time.Sleep(700 * time.Millisecond)
				s.CutSubscribers()
			}
		},
		"replies of one are lost": func(s *sim.Server) {
			mine := "" // whoever pokes first
			s.Rule(func(r sim.Request) sim.Action {
				if r.Verb == "poke" {
					entry := r.Args[len(r.Args)-2]
					if mine == "" {
						mine = entry
					}
					if entry == mine {
						return sim.Drop()
					}
				}
				return sim.Action{}
			})
			time.Sleep(30 * time.Second)
			s.Rule(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				s.Delay(time.Millisecond)
				holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
				var all []<-chan acquired
				for i := range 6 {
					all = append(all, waits(bg, simFair(t, s), "key", time.Minute))
					fairQueued(t, s, i+1)
				}
				before, _ := redis.Strings(s.Do("LRANGE", "{key}:redigolock-q2", 0, -1))
				hurt(s)
				time.Sleep(30 * time.Second)
				after, _ := redis.Strings(s.Do("LRANGE", "{key}:redigolock-q2", 0, -1))
				if !slices.Equal(before, after) {
					t.Errorf("the queue was %q, and is %q", before, after)
				}
				if err := holder.Release(bg); err != nil {
					t.Fatal(err)
				}
				for _, ch := range all {
					a := <-ch
					if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// poke is a POKE of token's entry that beats.
func (s *fairSite) poke(token string) redigolock.FairReply {
	s.t.Helper()
	reply, err := redis.DoWithTimeout(s.c, time.Minute, "EVAL", redigolock.FairScripts["poke"], 3, fairKey, fairQueue, fairBeats, "", fairEntry(token), 40_000)
	r, ok := redigolock.ReadFair(reply)
	if err != nil || !ok {
		s.t.Fatalf("POKE: %v, %v", reply, err)
	}
	return r
}

func (s *fairSite) queue() string {
	s.t.Helper()
	entries, _ := redis.Strings(s.do("LRANGE", fairQueue, 0, -1), nil)
	for i, e := range entries {
		entries[i] = e[strings.LastIndexByte(e, ' ')+1:]
	}
	return strings.Join(entries, " ")
}

// A tick ends when one entry beats twice in it. Who was silent for more than four is dropped, who has just come is not, and the
// queue's order stays.
func TestFairBeatsDropTheSilent(t *testing.T) {
	onFairServers(t, func(t *testing.T, pool *redis.Pool) {
		s := newFairSite(t, pool, "")
		s.set(&fairState{holder: "foe", pttl: 50_000, queue: []string{"dead", "me", "live"}, hears: []string{"me", "live"}})
		s.poke("live")
		for range 5 { // the first tick begins with the first, and ends with the second
			s.poke("me")
		}
		if got := s.queue(); got != "dead me live" {
			t.Fatalf("after 5 beats of one the queue is %s", got)
		}
		s.do("RPUSH", fairQueue, fairEntry("next"))
		s.poke("me")
		if got := s.queue(); got != "me next" { // live has beaten in the first tick only
			t.Errorf("after 6 beats the queue is %s", got)
		}
		if n := s.do("HLEN", fairBeats).(int64); n != 3 {
			t.Errorf("%d fields are left, want the tick and two entries", n)
		}
		if left := s.do("PTTL", fairBeats).(int64); left < 60_000-fairSlack || left > 60_000 {
			t.Errorf("what they beat in is kept for %d ms", left)
		}
		s.do("RPUSH", fairQueue, fairEntry("live"))
		before := s.poke("me").Was || s.do("HGET", fairBeats, "") == nil
		tick := fmt.Sprintf("%s", s.do("HGET", fairBeats, ""))
		s.poke("live") // the first beat of one that came since
		if got := fmt.Sprintf("%s", s.do("HGET", fairBeats, "")); got != tick || before {
			t.Errorf("a newcomer's first beat moved the clock from %s to %s", tick, got)
		}
		s.do("LREM", fairQueue, 0, fairEntry("live"))
		for range 20 { // these beat in turn: a tick takes each of them one beat
			s.poke("me")
			s.poke("next")
		}
		if got := s.queue(); got != "me next" {
			t.Errorf("of those who beat in turn the queue has %s", got)
		}
		s.do("DEL", fairBeats)
		s.poke("me")
		if got := s.queue(); got != "me next" {
			t.Errorf("after what they beat in was lost the queue has %s", got)
		}
	})
}

// A queue of thousands is swept in one script, which takes all arguments in portions.
func TestFairBeatsOfThousands(t *testing.T) {
	onFairServers(t, func(t *testing.T, pool *redis.Pool) {
		s := newFairSite(t, pool, "")
		s.set(&fairState{holder: "foe", pttl: 50_000, queue: []string{"me"}, hears: []string{"me"}})
		for i := range 3000 {
			s.do("RPUSH", fairQueue, fmt.Sprintf("7000 1 c t%d", i))
		}
		for range 5 {
			s.poke("me")
		}
		if n := s.do("HLEN", fairBeats).(int64); n != 3002 {
			t.Errorf("%d fields, want the tick and 3001 entries", n)
		}
		s.poke("me")
		if got := s.queue(); got != "me" {
			t.Errorf("%.40s is left", got)
		}
	})
}

// What the server refuses in a beat comes after the hand-on, and is told as it is.
func TestFairBeatsThatAreRefused(t *testing.T) {
	server := redistest.Start(t)
	s := newFairSite(t, server.Pool(), "")
	waiting := &fairState{queue: []string{"live", "me"}, hears: []string{"me", "live"}}
	s.set(waiting)
	s.do("SET", fairBeats, "no hash")
	r := s.poke("me")
	if !r.Was || r.Deaf == nil || !strings.HasPrefix(r.Deaf.Error(), "WRONGTYPE") || r.Said != 2 || r.Holder != "live" {
		t.Errorf("with a string in its place it replied %+v", r)
	}
	s.set(waiting)
	s.do("CONFIG", "SET", "maxmemory", "1")
	r = s.poke("me")
	s.do("CONFIG", "SET", "maxmemory", "0")
	if r.Holder != "live" || r.Said != 2 {
		t.Errorf("without memory it replied %+v", r)
	}
	s.set(&fairState{holder: "foe", pttl: 50_000, queue: []string{"me"}, hears: []string{"me"}})
	s.do("CONFIG", "SET", "maxmemory", "1")
	r = s.poke("me")
	s.do("CONFIG", "SET", "maxmemory", "0")
	if !r.Was || r.Deaf == nil || !strings.HasPrefix(r.Deaf.Error(), "OOM") || r.Said != 2 {
		t.Errorf("without memory, and nothing to hand on, it replied %+v", r)
	}
}

// While a slot moves, a script gets only keys that are all there, or none is: what they beat in may not be. The same POKE goes
// again at once without it.
func TestFairBeatWhileTheSlotMoves(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
		waiter := waits(bg, simFair(t, s), "key", time.Minute)
		fairQueued(t, s, 1)
		time.Sleep(100 * time.Millisecond)
		s.Next("poke", sim.Refuse("TRYAGAIN Multiple keys request during rehashing of slot"))
		time.Sleep(capOfPokes)
		var keys []string
		var at []time.Time
		for _, q := range s.Requests() {
			if q.Verb == "poke" && time.Since(q.At) < 500*time.Millisecond {
				keys, at = append(keys, q.Args[1]), append(at, q.At)
			}
		}
		if !slices.Equal(keys, []string{"3", "2"}) || at[1].Sub(at[0]) > 5*time.Millisecond {
			t.Errorf("the POKEs had %q keys, at %v", keys, at)
		}
		if err := holder.Release(bg); err != nil {
			t.Fatal(err)
		}
		a := <-waiter
		if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// A beat that is refused for good ends the wait, as a POKE that is; what is refused for now does not.
func TestFairWaiterWhoseBeatsAreRefused(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
		waiter := waits(bg, simFair(t, s), "key", time.Minute)
		fairQueued(t, s, 1)
		if _, err := s.Do("SET", "{key}:redigolock-h2", "no hash"); err != nil {
			t.Fatal(err)
		}
		a := <-waiter
		wants(t, a.Err, redigolock.ErrConflict)
		if a.Err != nil && !strings.Contains(a.Err.Error(), "poke") {
			t.Errorf("the error is %v", a.Err)
		}
		fairQueued(t, s, 0)
		if err := holder.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// During a rolling upgrade a Locker of an older version waits in a queue of its own, and does not beat. Each version hands
// on to its own: no order holds between them. The lock has one holder all the same, and neither drops the other's entries. Who
// waits in the one queue gets the lock when a release finds the other empty, within a poke.
func TestFairBesideAnOlderVersion(t *testing.T) {
	const oldQueue = "{key}:redigolock-q1"
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		old := func(script string, args ...any) redigolock.FairReply {
			t.Helper()
			all := append([]any{redigolock.FairScripts[script], 2, "key", oldQueue, ""}, args...)
			reply, err := s.Do("EVAL", all...)
			r, ok := redigolock.ReadFair(reply)
			if err != nil || !ok {
				t.Fatalf("%s: %v, %v", script, reply, err)
			}
			return r
		}
		channel := mustDial(t, s)
		if err := errors.Join(channel.Send("SUBSCRIBE", "c-old"), channel.Flush()); err != nil {
			t.Fatal(err)
		}
		if _, err := channel.Receive(); err != nil {
			t.Fatal(err)
		}
		const entry = "60000 5 c-old old"
		holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
		if r := old("enter", entry); r.Said != 2 {
			t.Fatalf("the old one is not queued: %+v", r)
		}
		l := simFair(t, s)
		first := waits(bg, l, "key", time.Minute)
		fairQueued(t, s, 1)
		second := waits(bg, simFair(t, s), "key", time.Minute)
		fairQueued(t, s, 2)
		time.Sleep(20 * time.Second) // the new ones beat, and drop nobody of the other queue
		if r := old("poke", entry, 60000); r.Said != 2 {
			t.Errorf("after 20 s of beats the old one is not queued: %+v", r)
		}
		if err := holder.Release(bg); err != nil {
			t.Fatal(err)
		}
		a := <-first
		k := mustGet(t)(a.K, a.Err)
		if r := old("try", "barges", 60000); r.Said != 2 || r.Holder != k.Token() {
			t.Errorf("beside the new holder the old one is told %+v", r)
		}
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		a = <-second
		k = mustGet(t)(a.K, a.Err)
		third := waits(bg, l, "key", time.Minute)
		fairQueued(t, s, 1)
		if err := mustGet(t)(k, nil).Release(bg); err != nil {
			t.Fatal(err)
		}
		a = <-third
		if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil { // nobody new waits: the lock is free
			t.Fatal(err)
		}
		if r := old("poke", entry, 60000); r.Said != 1 || r.Holder != "old" {
			t.Fatalf("the old one's next poke finds the lock free, and is told %+v", r)
		}
		fourth := waits(bg, l, "key", time.Minute)
		fairQueued(t, s, 1)
		begin := time.Now()
		if r := old("rel", "old"); !r.Was {
			t.Fatalf("the old one's release: %+v", r)
		}
		a = <-fourth
		if took := time.Since(begin); took > capOfPokes+10*time.Millisecond {
			t.Errorf("the new one had the lock %v after the old one's release, want a cap at most", took)
		}
		if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
			t.Error(err)
		}
	})
}

func mustDial(t *testing.T, s *sim.Server) redis.Conn {
	t.Helper()
	c, err := s.DialRedis(bg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
