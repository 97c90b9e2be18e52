package redigolock_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// What a Deadline counts from, to the nanosecond: in a bubble nothing takes time that is not told to.

// inFairBubble is inBubble with a server that knows the scripts, so that each command is one request.
func inFairBubble(t *testing.T, f func(t *testing.T, s *sim.Server)) {
	t.Helper()
	inBubble(t, func(t *testing.T, s *sim.Server) {
		for _, src := range redigolock.FairScripts {
			if _, err := s.Do("SCRIPT", "LOAD", src); err != nil {
				t.Fatal(err)
			}
		}
		f(t, s)
	})
}

// sentAt is when the newest command of this verb was sent.
func sentAt(t *testing.T, s *sim.Server, verb string) (at time.Time) {
	t.Helper()
	for _, q := range s.Requests() {
		if q.Verb == verb {
			at = q.At
		}
	}
	if at.IsZero() {
		t.Fatalf("no %s was sent", verb)
	}
	return at
}

// endsWith checks that a handle's Deadline counts from that send.
func endsWith(t *testing.T, k *redigolock.Lock, sent time.Time, ttl time.Duration) {
	t.Helper()
	if off := k.Deadline().Sub(sent.Add(validFor(ttl))); off != 0 {
		t.Errorf("Deadline is %v off what the send allows", off)
	}
}

// A message counts from the send of the command whose reply said "queued", however late that reply came.
func TestFairMessageCountsFromTheSendNotFromItsReply(t *testing.T) {
	for verb, wait := range map[string]time.Duration{"enter": 800 * time.Millisecond, "poke": 1800 * time.Millisecond} {
		t.Run(verb, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l, other := simFair(t, s), simFair(t, s)
				holder := mustGet(t)(other.Acquire(bg, "key", time.Minute))
				s.Next(verb, sim.Slow(700*time.Millisecond))
				waiter := waits(bg, l, "key", time.Minute)
				time.Sleep(wait)
				if n := s.Count("poke"); (verb == "poke") != (n == 1) {
					t.Fatalf("%d pokes", n)
				}
				if err := holder.Release(bg); err != nil {
					t.Fatal(err)
				}
				a := <-waiter
				k := mustGet(t)(a.k, a.err)
				endsWith(t, k, sentAt(t, s, verb), time.Minute)
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A POKE that is told "nosub" has its place, but says nothing of a grant from then on: until the subscription stands the entry
// is passed over. So a message counts from the command before.
func TestFairMessageDoesNotCountFromANoSub(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l, other := simFair(t, s), simFair(t, s)
		holder := mustGet(t)(other.Acquire(bg, "key", time.Minute))
		waiter := waits(bg, l, "key", time.Minute)
		nosub := fmt.Sprintf("*5\r\n:0\r\n:3\r\n$%d\r\n%s\r\n:50000\r\n$-1\r\n", len(holder.Token()), holder.Token())
		s.Next("poke", sim.Answer(nosub))
		s.Next("poke", sim.LateUntil(nil)) // that after the next subscription
		for s.Count("poke") < 2 {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if err := holder.Release(bg); err != nil {
			t.Fatal(err)
		}
		a := <-waiter
		k := mustGet(t)(a.k, a.err)
		endsWith(t, k, sentAt(t, s, "enter"), time.Minute)
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

func simCohort(t *testing.T, s *sim.Server) *redigolock.Locker {
	return simLocker(t, &redigolock.Locker{
		Pool: simPool(t, s, "redis"), Fair: true,
		Cohort: redigolock.Cohort{Passes: 10, Slice: time.Hour},
	})
}

// What a cohort's hand-off extends counts from the send of that EXTEND.
func TestCohortExtensionCountsFromItsSend(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l := simCohort(t, s)
		k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
		time.Sleep(50 * time.Second) // less than a third is left
		waiter := waits(bg, l, "key", time.Minute)
		synctest.Wait()
		s.Next("fairextend", sim.Slow(700*time.Millisecond))
		inTime(t, "Release", 700*time.Millisecond, func() {
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
		})
		a := <-waiter
		next := mustGet(t)(a.k, a.err)
		if next.Token() != k.Token() {
			t.Fatal("it was not handed on in the process")
		}
		endsWith(t, next, sentAt(t, s, "fairextend"), time.Minute)
		if err := next.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// While a cohort's hand-off extends the lease, nothing else is sent for the key: neither a question about the holder, nor an
// entry when the holder's Deadline passes meanwhile, for the hand-off may be about to take place.
func TestCohortNothingIsSentDuringAHandOff(t *testing.T) {
	for name, left := range map[string]time.Duration{"held all the time": 15 * time.Second, "Deadline passes": time.Second} {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l := simCohort(t, s)
				l.OpTimeout = 10 * time.Second
				k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
				time.Sleep(time.Until(k.Deadline()) - left)
				waiter := waits(bg, l, "key", time.Minute)
				synctest.Wait()
				before := len(evals(s))
				s.Next("fairextend", sim.Slow(4*time.Second))
				released := inBackground(func() error { return k.Release(bg) })
				time.Sleep(3900 * time.Millisecond)
				if sent := evals(s)[before:]; len(sent) != 1 {
					t.Errorf("%q were sent, want one EXTEND", sent)
				}
				err := <-released
				if left > 4*time.Second && err != nil {
					t.Error(err)
				}
				a := <-waiter
				if err := mustGet(t)(a.k, a.err).Release(bg); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// evals are the verbs of all scripts that were sent.
func evals(s *sim.Server) (verbs []string) {
	for _, q := range s.Requests() {
		if q.Name == "EVALSHA" || q.Name == "EVAL" {
			verbs = append(verbs, q.Verb)
		}
	}
	return verbs
}
