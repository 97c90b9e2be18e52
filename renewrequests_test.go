package redigolock_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// tokensOf are the tokens of the locks that a renewal is for.
func tokensOf(q redistest.Request) (tokens []string) {
	n := locksOf(q)
	for i := range n {
		tokens = append(tokens, q.Args[2+n+2*i])
	}
	return tokens
}

// locksOf is how many locks a renewal is for.
func locksOf(q redistest.Request) int {
	n, err := strconv.Atoi(q.Args[1])
	if err != nil {
		panic(err)
	}
	return n
}

// together are the renewals for more than one lock that came to the proxy from index on.
func (r *rig) together(index int) (found []redistest.Request) {
	for _, q := range r.Proxy.Requests()[index:] {
		if verbOf(q) == "extend" && locksOf(q) > 1 {
			found = append(found, q)
		}
	}
	return found
}

// allKept wants each context to live.
func (r *rig) allKept(kept []context.Context) {
	r.T.Helper()
	for i, ctx := range kept {
		if ctx.Err() != nil {
			r.T.Fatalf("lock %d of %d: %v", i, len(kept), context.Cause(ctx))
		}
	}
}

func tenMinutes(int) time.Duration { return 10 * time.Minute }

func TestLocksThatAreDueTogetherShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		locks := r.dueMany(3*redigolock.GroupMost+1, tenMinutes)
		before := deadlines(locks)
		kept := r.inOneBatch(locks, nil)
		r.renewedSince(locks, before)
		r.allKept(kept)
		var sizes []int
		for _, q := range r.Sent("extend") {
			sizes = append(sizes, locksOf(q))
		}
		if want := []int{1, redigolock.GroupMost, redigolock.GroupMost, redigolock.GroupMost, 1}; !slices.Equal(sizes, want) {
			t.Errorf("requests for %v locks, want %v", sizes, want)
		}
		for _, k := range locks {
			if left := r.PTTL(k.Key()); left < 9*time.Minute {
				t.Errorf("%s has %v left", k.Key(), left)
			}
		}
	})
}

// mayUse lets a user use these keys only.
func (r *rig) mayUse(keys ...any) {
	r.T.Helper()
	r.Do("ACL", append([]any{"SETUSER", "app", "reset", "on", ">pw", "+@all"}, keys...)...)
}

// userPool is a pool of that user's connections through the proxy.
func (r *rig) userPool() *redis.Pool {
	pool := &redis.Pool{MaxIdle: 4, Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", r.TCP().Addr(), redis.DialUsername("app"), redis.DialPassword("pw"))
	}}
	r.T.Cleanup(func() { pool.Close() })
	return pool
}

// The server refuses a whole request if one key of it is out of bounds for the user.
func TestLockWithoutRightsCostsTheOthersOfItsRequestNothing(t *testing.T) {
	r := newRig(t)
	r.mayUse("~*")
	r.Locker.Pool = r.userPool()
	locks := r.dueMany(redigolock.GroupMost/2, tenMinutes)
	denied := r.due("denied", 10*time.Minute) // in their midst, for requests are in the order of the due times
	for i := len(locks); i < redigolock.GroupMost-1; i++ {
		locks = append(locks, r.due(fmt.Sprint("key", i), 10*time.Minute))
	}
	r.mayUse("~key*", "~decoy")
	before := deadlines(locks)
	kept := r.inOneBatch(append(slices.Clone(locks), denied), nil)
	r.renewedSince(locks, before)
	for _, k := range locks {
		if sent := r.extends(0, k.Token()); len(sent) != 2 || locksOf(sent[0]) != redigolock.GroupMost || locksOf(sent[1]) != 1 {
			t.Errorf("%s was sent in %v, want with all others, and alone", k.Key(), sent)
		}
	}

	index := len(r.Proxy.Requests())
	more := []*redigolock.Lock{r.due("key one more", 10*time.Minute), r.due("key another", 10*time.Minute)}
	before = deadlines(more)
	start := time.Now()
	kept = append(kept, r.inOneBatchAfter(func() { // it is due, too, when they are
		eventually(t, "a pause passes", func() bool { return time.Since(start) > 300*time.Millisecond })
	}, more, nil)...)
	r.renewedSince(more, before)
	eventually(t, "it is tried again", func() bool { return len(r.extends(index, denied.Token())) > 2 })
	r.allKept(kept)
	for _, q := range r.extends(index, denied.Token()) {
		if n := locksOf(q); n != 1 {
			t.Errorf("it is tried again together with %d others", n-1)
		}
	}
	if len(r.together(index)) == 0 {
		t.Error("for the sake of one lock, all are sent alone from now on")
	}
}

func TestServerInClusterModeIsAskedOneByOne(t *testing.T) {
	t.Parallel() // in real time: miniredis has no cluster mode
	server := redistest.Start(t, "--cluster-enabled", "yes")
	if _, err := server.Do("CLUSTER", "ADDSLOTSRANGE", 0, 16383); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		info, err := redis.String(server.Do("CLUSTER", "INFO"))
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	newRigOn(t, server).renewsOneByOne(nil)
}

// What a proxy before several servers may say to a request with several keys. The first has asked the server of the
// first key, which has none of the others.
func TestRequestForManyThatGetsNoAnswerForEachIsSentForEachAlone(t *testing.T) {
	n := redigolock.GroupMost
	for name, reply := range map[string]string{
		"looked at the first key":   fmt.Sprintf("*%d\r\n:600000\r\n", n) + strings.Repeat(":0\r\n", n-1),
		"refuses":                   "-ERR unsupported command\r\n",
		"several keys of a slot":    "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
		"the same on Redis 6.2":     "-@user_script: 1: -TRYAGAIN Multiple keys request during rehashing of slot\r\n",
		"one answer":                ":600000\r\n",
		"one answer less":           fmt.Sprintf("*%d\r\n", n-1) + strings.Repeat(":600000\r\n", n-1),
		"one answer more":           fmt.Sprintf("*%d\r\n", n+1) + strings.Repeat(":600000\r\n", n+1),
		"no answer":                 "*0\r\n",
		"nil":                       "$-1\r\n",
		"no list":                   "*-1\r\n",
		"QUEUED":                    "+QUEUED\r\n",
		"a list for each":           fmt.Sprintf("*%d\r\n", n) + strings.Repeat("*1\r\n:600000\r\n", n),
		"nil for each":              fmt.Sprintf("*%d\r\n", n) + strings.Repeat("$-1\r\n", n),
		"negative for each":         fmt.Sprintf("*%d\r\n", n) + strings.Repeat(":-1\r\n", n),
		"an error for each":         fmt.Sprintf("*%d\r\n", n) + strings.Repeat("-ERR no\r\n", n),
		"that each is no lock":      fmt.Sprintf("*%d\r\n", n) + strings.Repeat("-WRONGTYPE no\r\n", n),
		"that the script is raised": "-ERR Error running script (call to f_0): @user_script:7: @user_script: 7: no\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newSimRig(t).renewsOneByOne(func(q redistest.Request) redistest.Action {
					if verbOf(q) == "extend" && locksOf(q) == n {
						return redistest.Reply(reply)
					}
					return redistest.Pass()
				})
			})
		})
	}
}

// renewsOneByOne wants the locks of a batch renewed, and those of later batches with no try to renew several at once.
func (r *rig) renewsOneByOne(rule func(redistest.Request) redistest.Action) {
	r.T.Helper()
	locks := r.dueMany(2*redigolock.GroupMost, tenMinutes)
	before := deadlines(locks)
	kept := r.inOneBatch(locks, rule)
	r.renewedSince(locks, before)
	r.allKept(kept)
	if n := len(r.together(0)); n != 2 {
		r.T.Errorf("%d requests for many", n)
	}
	alone := 0
	for i, k := range locks {
		for _, q := range r.extends(0, k.Token()) {
			if locksOf(q) == 1 {
				alone++
			}
		}
		if alone > i+1 {
			r.T.Fatalf("%s was sent again and again", k.Key())
		}
	}
	if alone < len(locks)-2 { // "looked at the first key" has answered for two
		r.T.Errorf("%d of %d were sent alone", alone, len(locks))
	}
	index := len(r.Proxy.Requests())
	more := []*redigolock.Lock{r.due("one more", 10*time.Minute), r.due("another", 10*time.Minute)}
	before = deadlines(more)
	kept = append(kept, r.inOneBatch(more, rule)...)
	r.renewedSince(more, before)
	r.allKept(kept)
	if len(r.together(index)) > 0 {
		r.T.Error("it is tried again with many")
	}
}

// extends are the renewals from index on that name the token.
func (r *rig) extends(index int, token string) (found []redistest.Request) {
	for _, q := range r.mentions(index, token) {
		if verbOf(q) == "extend" {
			found = append(found, q)
		}
	}
	return found
}

// Only what was said to it alone ends a lock, also when the connection breaks before it could be asked.
func TestWordOfABrokenBatchAboutOneOfManyEndsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		n := redigolock.GroupMost
		locks := r.dueMany(2*n, tenMinutes)
		before, many := deadlines(locks), 0
		kept := r.inOneBatch(locks, func(q redistest.Request) redistest.Action {
			if verbOf(q) != "extend" || locksOf(q) == 1 {
				return redistest.Pass()
			}
			if many++; many == 1 {
				return redistest.Reply(fmt.Sprintf("*%d\r\n", n) + strings.Repeat(":0\r\n", n))
			}
			return redistest.Swallow()
		})
		r.renewedSince(locks, before)
		r.allKept(kept)
	})
}

func TestReplyThatSaysNothingIsAFailedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.due("key", 10*time.Minute)
		before := k.Deadline()
		r.Rule(func(verb string, _ int) redistest.Action {
			if verb == "extend" {
				return redistest.Reply("$-1\r\n")
			}
			return redistest.Pass()
		})
		kept := k.KeepAlive(bg)
		start := time.Now()
		eventually(t, "a while passes", func() bool { return time.Since(start) > 500*time.Millisecond })
		if n := len(r.Sent("extend")); n > 60 || kept.Err() != nil || k.Deadline().After(before) {
			t.Errorf("%d renewals in half a second, %v", n, context.Cause(kept))
		}
		r.OK(k.Release(bg))
	})
}

// What a server says for a while, it would say to each lock alone as well.
func TestPassingRefusalOfManyIsNotMultiplied(t *testing.T) {
	for reply, passing := range map[redis.Error]bool{
		"LOADING a": true, "BUSY b": true, "MISCONF c": true, "READONLY d": true, "NOSCRIPT e": true,
		"@user_script: 8: -READONLY f": true,
		"TRYAGAIN g":                   false, "CROSSSLOT h": false, "NOPERM i": false, "ERR j": false, "WRONGTYPE k": false,
	} {
		if got := redigolock.IsPassing(reply); got != passing {
			t.Errorf("%v: %v", reply, got)
		}
	}
	for _, reply := range []any{nil, int64(0), int64(1), "QUEUED", []any{}} {
		if redigolock.IsPassing(reply) {
			t.Errorf("%v is taken for a refusal", reply)
		}
	}
}
