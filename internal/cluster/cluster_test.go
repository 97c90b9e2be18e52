package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// Keys of the three thirds: their slots are 3300, 7365 and 15495.
const keyA, keyB, keyC = "b", "c", "a"

// does sends one command on a connection of its own, within a second.
func does(c *Cluster, cmd string, args ...any) (any, error) {
	x := c.Conn(false)
	defer x.Close()
	return x.DoWithTimeout(time.Second, cmd, args...)
}

func mustDo(t *testing.T, c *Cluster, cmd string, args ...any) any {
	t.Helper()
	reply, err := does(c, cmd, args...)
	if err != nil {
		t.Fatalf("%s %v: %v", cmd, args, err)
	}
	return reply
}

// pipes sends requests as one exchange, as a Locker does.
func pipes(c *Cluster, reqs ...wire.Request) ([]any, wire.Result) {
	x := c.Conn(false)
	defer x.Close()
	replies := make([]any, len(reqs))
	return replies, wire.Exchange(bg, wire.BoundBy(x, time.Now().Add(time.Second)), reqs, replies)
}

func req(cmd string, args ...any) wire.Request { return wire.Request{Cmd: cmd, Args: args} }

// moveSlot gives a slot to another node, and has these nodes know that.
func (w *world) moveSlot(key, to string, epoch int, told ...string) {
	old, slot := w.truth, names.Slot(key)
	w.share(func(s int) string {
		if s == slot {
			return to
		}
		return old(s)
	}, epoch, told...)
}

func TestLeadsToNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		for _, key := range []string{keyA, keyB, keyC} {
			mustDo(t, c, "SET", key, "v")
		}
		for addr, want := range map[string]string{"a:1": "SET b", "b:1": "SET c", "c:1": "SET a"} {
			if got := w.heard(addr); got != want {
				t.Errorf("%s: %s", addr, got)
			}
		}
		if n := c.Counts(); n != (Counts{Refreshes: 1}) {
			t.Error(n)
		}
	})
}

func TestMoved(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		w.moveSlot(keyA, "d:1", 2, "d:1")
		mustDo(t, c, "SET", keyA, "v")
		mustDo(t, c, "SET", keyA, "v")
		if got := w.heard("d:1"); got != "SET b, SET b" {
			t.Errorf("the new node: %s", got)
		}
		if got := w.heard("a:1"); got != "GET b, SET b" {
			t.Errorf("the old node: %s", got)
		}
		time.Sleep(time.Second)
		if n := c.Counts(); n.Moved != 1 || n.Refreshes != 2 {
			t.Error(n)
		}
	})
}

func TestThousandMovedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster(func(e *Env) { e.MaxActive = 2000 })
		mustDo(t, c, "GET", keyA)
		maps := w.maps()
		var reached, done sync.WaitGroup
		reached.Add(1000)
		go_ := make(chan struct{})
		for i := range 1000 {
			done.Go(func() {
				x := c.Conn(false)
				defer x.Close()
				key := fmt.Sprintf("{%s}%d", []string{keyA, keyB, keyC, "d", "e"}[i%5], i)
				if err := x.Bind(key); err != nil {
					t.Error(err)
				}
				reached.Done()
				<-go_
				if _, err := x.DoWithTimeout(time.Second, "SET", key, "v"); err != nil {
					t.Error(err)
				}
			})
		}
		reached.Wait()
		w.share(all("d:1"), 2)
		close(go_)
		done.Wait()
		time.Sleep(5 * time.Second)
		if n := c.Counts(); n.Moved == 0 || n.Refreshes > 3 || w.maps()-maps > 6 {
			t.Errorf("%+v, %d nodes were asked", n, w.maps()-maps)
		}
	})
}

func TestMovedWithoutHost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.servers["a:2"] = w.servers["d:1"]
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		w.moveSlot(keyA, ":2", 1, "d:1")
		w.servers["d:1"].addr = ":2" // as it calls itself
		mustDo(t, c, "SET", keyA, "v")
		if got := w.heard("d:1"); got != "SET b" {
			t.Error(got)
		}
	})
}

// TestNullHost has all nodes leave their hosts out: each is at that which was asked.
func TestNullHost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, s := range w.servers {
			s.slots = []any{[]any{int64(0), int64(names.Slots - 1), []any{nil, int64(1), bulk("id")}}}
		}
		w.truth = all("a:1")
		c := w.cluster()
		mustDo(t, c, "SET", keyC, "v")
		if got := w.heard("a:1"); got != "SET a" {
			t.Error(got)
		}
	})
}

// TestMovedToTheSameAddress is what a client sees when another server has taken over the address of its connection.
func TestMovedToTheSameAddress(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		dials := w.dials["a:1"]
		w.servers["a:1"].answer = func(string, []any) any {
			if w.dials["a:1"] > dials {
				return nil
			}
			return redis.Error("MOVED 3300 a:1")
		}
		mustDo(t, c, "SET", keyA, "v")
		if w.dials["a:1"] == dials {
			t.Error("no new connection")
		}
		w.servers["a:1"].answer = func(string, []any) any { return redis.Error("MOVED 3300 a:1") }
		if _, err := does(c, "SET", keyA, "v"); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
			t.Errorf("without end: %v", err)
		}
		if got := len(strings.Split(w.heard("a:1"), ", ")); got != 1+2+1+hopsMost {
			t.Errorf("%d commands: %s", got, w.heard("a:1"))
		}
	})
}

func TestAsk(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		w.importing[names.Slot(keyA)] = "d:1"
		replies, res := pipes(c, req("SET", keyA, "mine", "NX"), req("GET", keyA))
		if res.Err != nil || fmt.Sprint(replies) != "[OK [109 105 110 101]]" {
			t.Errorf("%v, %v", replies, res.Err)
		}
		if got := w.heard("d:1"); got != "ASKING, SET b, ASKING, GET b" {
			t.Error(got)
		}
		mustDo(t, c, "GET", keyA)
		if got := w.heard("a:1"); got != "SET b, GET b, GET b" {
			t.Errorf("ASK changes the map: %s", got)
		}
		if n := c.Counts(); n.Asked != 2 || n.Moved != 0 {
			t.Error(n)
		}
	})
}

// TestAskNoScript: a server that does not know a script gets its text, after ASKING again.
func TestAskNoScript(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		w.importing[names.Slot(keyA)] = "d:1"
		script := &wire.Script{Text: "return 1", Digest: "digest", Keys: 1}
		replies, res := pipes(c, script.Request([]any{script.Digest, script.Keys, keyA}))
		if res.Err != nil || replies[0] != int64(1) {
			t.Errorf("%v, %v", replies, res.Err)
		}
		if got := w.heard("d:1"); got != "ASKING, EVALSHA b, ASKING, EVAL b" {
			t.Error(got)
		}
	})
}

// TestStays: a script that stays at its node gets the redirect as its answer. The map learns from it all the same.
func TestStays(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		script := &wire.Script{Text: "return 1", Digest: "digest", Keys: 1, Stays: true}
		run := func() string {
			replies, res := pipes(c, script.Request([]any{script.Digest, script.Keys, keyA}))
			if res.Err != nil {
				t.Error(res.Err)
			}
			re, _ := replies[0].(redis.Error)
			return fault.Word(re)
		}
		w.importing[names.Slot(keyA)] = "d:1"
		if got := run(); got != "ASK" {
			t.Error(got)
		}
		delete(w.importing, names.Slot(keyA))
		w.moveSlot(keyA, "d:1", 2, "d:1")
		if got := run(); got != "MOVED" {
			t.Error(got)
		}
		if got := w.heard("d:1"); got != "" {
			t.Error(got)
		}
		if addr, err := c.NodeOf(context.Background(), keyA); addr != "d:1" || err != nil {
			t.Error(addr, err)
		}
		if got := run(); got != "" {
			t.Error(got)
		}
		if got := w.heard("d:1"); got != "EVALSHA b, EVAL b" {
			t.Error(got)
		}
	})
}

// TestMovesBetweenSetAndGet: what was carried out before the slot moved is not repeated, and the rest goes on.
func TestMovesBetweenSetAndGet(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		truth := w.truth
		w.servers["a:1"].answer = func(cmd string, args []any) any {
			if cmd != "INCR" {
				w.truth = all("d:1")
				return nil
			}
			return nil
		}
		replies, res := pipes(c, req("INCR", keyA), req("GET", keyA), req("GET", keyA))
		if res.Err != nil || replies[0] != int64(1) || replies[1] != nil || replies[2] != nil {
			t.Errorf("%v, %v", replies, res)
		}
		if got := w.heard("d:1"); got != "GET b, GET b" {
			t.Error(got)
		}
		w.truth = truth
	})
}

// TestRedirectedBeforeOneThatIsNot: the slot comes to the node in the middle of a pipeline. What was carried out is not repeated.
func TestRedirectedBeforeOneThatIsNot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		w.servers["a:1"].answer = func(cmd string, args []any) any {
			if cmd == "SET" {
				return redis.Error("MOVED 3300 d:1")
			}
			return nil
		}
		replies, res := pipes(c, req("SET", keyA, "v"), req("INCR", keyA))
		if re, ok := replies[0].(redis.Error); res.Err != nil || !ok || fault.Word(re) != "MOVED" || replies[1] != int64(1) {
			t.Errorf("%v, %v", replies, res)
		}
		if got := w.heard("d:1"); got != "" {
			t.Errorf("repeated: %s", got)
		}
	})
}

// TestNoReplyIsNotRepeated: neither by a command that has a connection that breaks, nor after a redirect.
func TestNoReplyIsNotRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		w.servers["a:1"].answer = func(string, []any) any { return redistest.Hang }
		_, res := pipes(c, req("INCR", keyA))
		if res.Err == nil || !res.Sent {
			t.Errorf("%+v", res)
		}
		if got := w.heard("a:1"); got != "GET b, INCR b" {
			t.Error(got)
		}
		w.moveSlot(keyA, "d:1", 1, "none")
		w.servers["a:1"].answer, w.servers["d:1"].answer = nil, w.servers["a:1"].answer
		_, res = pipes(c, req("INCR", keyA))
		if res.Err == nil || !res.Sent || w.heard("d:1") != "INCR b" {
			t.Errorf("%+v, %s", res, w.heard("d:1"))
		}
	})
}

// TestRedirectsEndWithTheirTime: what leads to a node that hangs takes no longer than what does not.
func TestRedirectsEndWithTheirTime(t *testing.T) {
	for _, ask := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.cluster()
			mustDo(t, c, "GET", keyA)
			if ask {
				w.importing[names.Slot(keyA)] = "d:1"
			} else {
				w.moveSlot(keyA, "d:1", 2)
			}
			w.set(func(s *server) { s.hangs = true }, "d:1")
			begin := time.Now()
			_, res := pipes(c, req("INCR", keyA), req("GET", keyA))
			if took := time.Since(begin); res.Err == nil || !res.Sent || took != time.Second {
				t.Errorf("ask %v: %+v after %v", ask, res, took)
			}
		})
	}
}

// TestRedirectedToNobody: nothing was carried out, and the caller may know.
func TestRedirectedToNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		for _, ask := range []bool{false, true} {
			if w.set(down, "d:1"); ask {
				w.moveSlot(keyA, "a:1", 1)
				w.importing[names.Slot(keyA)] = "d:1"
				time.Sleep(time.Second)
				c.Refresh()
				time.Sleep(time.Second)
			} else {
				w.moveSlot(keyA, "d:1", 1, "none")
			}
			if _, res := pipes(c, req("INCR", keyA)); !errors.Is(res.Err, errRefused) || res.Sent || res.Answered != 0 {
				t.Errorf("ask %v: %+v", ask, res)
			}
		}
	})
}

// TestStaleMapFromMinority: a node that is behind, or that was cut off, does not change the map; all together do.
func TestStaleMapFromMinority(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		w.share(w.truth, 7)
		mustDo(t, c, "GET", keyA)
		w.set(down, "b:1", "c:1", "d:1")
		refreshed := func() {
			c.Refresh()
			time.Sleep(3 * time.Second)
		}
		w.tell(all("d:1"), 6, "a:1")
		refreshed()
		if c.owners[0].Load().addr != "a:1" {
			t.Error("older")
		}
		w.tell(all("d:1"), 8, "a:1")
		w.set(func(s *server) { s.state = "fail" }, "a:1")
		refreshed()
		if c.owners[0].Load().addr != "a:1" {
			t.Error("cut off")
		}
		w.set(func(s *server) { s.down, s.state = false, "ok" }, "a:1", "b:1", "c:1", "d:1")
		w.tell(all("d:1"), 6)
		refreshed()
		if c.owners[0].Load().addr != "d:1" {
			t.Error("all say it: a cluster that was set up again")
		}
	})
}

// TestFirstMapIsOfSeveral: of nodes that answer at first, the one that was cut off is not believed.
func TestFirstMapIsOfSeveral(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.tell(all("d:1"), 9, "a:1")
		w.set(func(s *server) { s.state = "fail" }, "a:1")
		c := w.cluster(func(e *Env) { e.Addrs = []string{"a:1", "b:1", "c:1"} })
		mustDo(t, c, "GET", keyB)
		if c.owners[0].Load().addr != "a:1" || c.epoch != 1 {
			t.Errorf("%s, epoch %d", c.owners[0].Load().addr, c.epoch)
		}
	})
}

func TestShardsWhereThereIsNoSlots(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(func(s *server) { s.noSlots = true }, "a:1", "b:1", "c:1", "d:1")
		c := w.cluster()
		mustDo(t, c, "SET", keyB, "v")
		if w.heard("b:1") != "SET c" {
			t.Error(w.heard("b:1"))
		}
	})
}

// TestNoRightToInfo: without CLUSTER INFO a map is taken as it comes, also a later one.
func TestNoRightToInfo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(func(s *server) { s.noInfo = true }, "a:1", "b:1", "c:1", "d:1")
		c := w.cluster()
		mustDo(t, c, "SET", keyB, "v")
		w.moveSlot(keyB, "d:1", 2)
		c.Refresh()
		time.Sleep(time.Second)
		mustDo(t, c, "SET", keyB, "v")
		if n := c.Counts(); w.heard("b:1") != "SET c" || w.heard("d:1") != "SET c" || n.Moved != 0 {
			t.Errorf("the old node heard %s, the new one %s, %+v", w.heard("b:1"), w.heard("d:1"), n)
		}
	})
}

// TestDeadNode: its slots go to another node, which the next try finds.
func TestDeadNode(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyB)
		w.set(down, "b:1")
		if _, err := does(c, "GET", keyB); err == nil {
			t.Error("no error")
		}
		old := w.truth
		w.share(func(slot int) string {
			if old(slot) == "b:1" {
				return "d:1"
			}
			return old(slot)
		}, 2)
		begin := time.Now()
		for {
			_, err := does(c, "GET", keyB)
			if err == nil {
				break
			}
			if took := time.Since(begin); took > 2*refreshPause {
				t.Fatalf("not found after %v: %v", took, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.nodes); n != 3 {
			t.Errorf("%d nodes are known", n)
		}
	})
}

// TestHungNode: when its slots are another node's, those that wait for its replies are cut.
func TestHungNode(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyB)
		w.set(func(s *server) { s.hangs = true }, "b:1")
		var long, short time.Duration
		begin := time.Now()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			x := c.Conn(false)
			defer x.Close()
			if _, err := x.DoWithTimeout(time.Minute, "GET", keyB); err == nil {
				t.Error("a reply")
			}
			long = time.Since(begin)
		})
		synctest.Wait()
		w.share(func(slot int) string { return "d:1" }, 2, "a:1", "c:1", "d:1")
		if _, err := does(c, "GET", keyB); err == nil {
			t.Error("a reply")
		}
		short = time.Since(begin)
		waiting.Wait()
		if limit := short + refreshPause + cutAfter + 100*time.Millisecond; long > limit {
			t.Errorf("the caller was cut after %v, want less than %v", long, limit)
		}
		mustDo(t, c, "GET", keyB)
	})
}

// TestWatchIsNotLedElsewhere: a transaction is on its node's connection.
func TestWatchIsNotLedElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		x := c.Conn(false)
		defer x.Close()
		if _, err := x.Do("WATCH", keyA); err != nil {
			t.Fatal(err)
		}
		w.moveSlot(keyA, "d:1", 2)
		if _, err := x.Do("GET", keyA); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
			t.Errorf("GET: %v", err)
		}
		if _, err := x.Do("UNWATCH"); err != nil {
			t.Error(err)
		}
		if _, err := x.Do("WATCH", keyA); err != nil {
			t.Error(err)
		}
		if got := w.heard("d:1"); got != "WATCH b" {
			t.Error(got)
		}
	})
}

// TestUnfollowedMovedIsHeeded: who is told MOVED by what is not led elsewhere, as a transaction that is sent in one go, knows where the slot
// is from then on, though no node can be asked.
func TestUnfollowedMovedIsHeeded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		x := c.Conn(false)
		defer x.Close()
		if _, err := x.Do("GET", keyA); err != nil {
			t.Fatal(err)
		}
		maps := w.maps()
		w.moveSlot(keyA, "d:1", 2)
		for _, cmd := range []string{"WATCH", "GET"} {
			if err := x.Send(cmd, keyA); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := x.Do("MULTI"); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
			t.Errorf("MULTI behind a WATCH that was redirected: %v", err)
		}
		if addr := c.Where(keyA); addr != "d:1" || w.maps() != maps {
			t.Errorf("the key is at %s, and %d maps were asked for", addr, w.maps()-maps)
		}
	})
}

// TestTransactionIsOver: what a node kept for a transaction is gone with EXEC, also when that is refused. From then on the connection
// follows the slot again, and so it does with names in small letters.
func TestTransactionIsOver(t *testing.T) {
	for end, reply := range map[string]any{
		"exec": redis.Error("EXECABORT Transaction discarded because of previous errors."), "EXEC": redis.Error("MOVED 3300 d:1"),
		"Exec": []any{}, "discard": "OK", "unwatch": "OK",
	} {
		inBubble(t, func(t *testing.T, w *world) {
			x := w.cluster().Conn(false)
			defer x.Close()
			w.servers["a:1"].answer = func(cmd string, _ []any) any {
				if cmd == end {
					return reply
				}
				return nil
			}
			for _, cmd := range []string{"watch", "multi"} {
				if _, err := x.Do(cmd, keyA); err != nil || !x.tx {
					t.Fatalf("%s: %v, a transaction: %v", cmd, err, x.tx)
				}
			}
			w.moveSlot(keyA, "d:1", 2)
			if _, err := x.Do("set", keyA, "v"); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
				t.Errorf("%s: set: %v", end, err)
			}
			_, _ = x.Do(end)
			if _, err := x.Do("WATCH", keyA); err != nil || w.heard("d:1") != "WATCH b" {
				t.Errorf("%s: WATCH: %v, the new node heard %q", end, err, w.heard("d:1"))
			}
		})
	}
	inBubble(t, func(t *testing.T, w *world) {
		x := w.cluster().Conn(false)
		defer x.Close()
		w.servers["a:1"].answer = func(cmd string, _ []any) any {
			if cmd == "EXEC" {
				return redis.Error("ERR EXEC without MULTI")
			}
			return nil
		}
		_, _ = x.Do("WATCH", keyA)
		if _, err := x.Do("EXEC"); err == nil || !x.tx {
			t.Errorf("EXEC without MULTI: %v; the node keeps the WATCH", err)
		}
	})
}

func TestWordsThatWantAnotherMap(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		words := []string{"READONLY You can't write", "CLUSTERDOWN Hash slot not served", "MASTERDOWN Link", "TRYAGAIN Multiple keys"}
		for i, word := range words {
			w.servers["a:1"].answer = func(string, []any) any { return redis.Error(word) }
			if _, err := does(c, "SET", keyA, "v"); err != redis.Error(word) {
				t.Errorf("%s: %v", word, err)
			}
			time.Sleep(time.Second)
			if n := c.Counts().Refreshes; n != int64(min(i+2, len(words))) { // a slot that is moving changes no map
				t.Errorf("%s: %d refreshes", word, n)
			}
		}
	})
}

func TestBindKeepsToOneSlot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		x := c.Conn(false)
		defer x.Close()
		if err := x.Bind(keyA, keyB); !errors.Is(err, fault.Invalid) {
			t.Errorf("two slots: %v", err)
		}
		if err := x.Bind("{"+keyA+"}1", keyA); err != nil {
			t.Error(err)
		}
		if err := x.Bind(keyB); !errors.Is(err, fault.Invalid) {
			t.Errorf("a second slot: %v", err)
		}
		if _, err := x.Do("GET", keyB); !errors.Is(err, fault.Invalid) || x.Err() != nil {
			t.Errorf("a command for another slot: %v, %v", err, x.Err())
		}
		if _, err := x.Do("EVAL", "return 1", 2, keyA, keyB); !errors.Is(err, fault.Invalid) || x.Err() != nil {
			t.Errorf("a script for two slots: %v, %v", err, x.Err())
		}
		if _, err := x.Do("GET", keyA); err != nil {
			t.Error(err)
		}
		if got := w.heard("a:1") + w.heard("b:1"); got != "GET b" {
			t.Error(got)
		}
	})
}

func TestPipelineOfAUser(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		x := c.Conn(false)
		defer x.Close()
		for _, cmd := range []string{"SET", "GET"} {
			if err := x.Send(cmd, keyB, "v"); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Flush(); err != nil {
			t.Fatal(err)
		}
		if reply, err := x.Receive(); reply != "OK" || err != nil {
			t.Error(reply, err)
		}
		if reply, err := redis.String(x.Receive()); reply != "v" || err != nil {
			t.Error(reply, err)
		}
		if _, err := x.Receive(); err != errNothing {
			t.Error(err)
		}
		_ = x.Send("INCR", keyC)
		if reply, err := redis.Int(x.Do("INCR", keyC)); reply != 2 || err != nil {
			t.Error(reply, err)
		}
		_ = x.Send("INCR", keyC)
		if replies, err := redis.Ints(x.Do("")); len(replies) != 1 || replies[0] != 3 || err != nil {
			t.Error(replies, err)
		}
	})
}

// TestCallersWait: no more connections than MaxActive to a node, and who waits for one does so until its time is over.
func TestCallersWait(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster(func(e *Env) { e.MaxActive, e.MaxIdle = 1, 1 })
		x := c.Conn(false)
		if err := x.Bind(keyA); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := does(c, "GET", keyA); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		mustDo(t, c, "GET", keyB) // another node
		time.AfterFunc(100*time.Millisecond, func() { x.Close() })
		mustDo(t, c, "GET", keyA)
		own := c.Conn(true)
		defer own.Close()
		y := c.Conn(false)
		defer y.Close()
		if err := errors.Join(y.Bind(keyA), own.Bind(keyA)); err != nil {
			t.Errorf("one of its own: %v", err)
		}
	})
}

func TestNoNodeAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(down, "a:1", "b:1", "c:1", "d:1")
		c := w.cluster()
		if _, err := does(c, "GET", keyA); !errors.Is(err, errRefused) || err.Error() != "cluster: no node answers; a:1: connection refused" {
			t.Error(err)
		}
		w.set(func(s *server) { s.down, s.hangs = false, true }, "a:1")
		begin := time.Now()
		if _, err := does(c, "GET", keyA); err == nil || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		x := c.Conn(false)
		if err := x.Bind(keyA); err != nil {
			t.Fatal(err)
		}
		c.Close()
		c.Close()
		if _, err := does(c, "GET", keyA); !errors.Is(err, fault.Closed) {
			t.Errorf("a command: %v", err)
		}
		x.Close()
		for addr, s := range w.servers {
			if len(s.conns) > 0 {
				t.Errorf("%s: %d connections are open", addr, len(s.conns))
			}
		}
	})
}

// TestDialByName: Dial gets each node's own name, as TLS needs it.
func TestDialByName(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, addr := range []string{"a:1", "b:1", "c:1"} {
			w.servers[addr[:1]+".example:1"] = w.servers[addr]
		}
		names := func(slot int) string {
			return []string{"a.example:1", "b.example:1", "[2001:db8::1]:1"}[min(slot/slotsAt, 2)]
		}
		w.tell(names, 1)
		for _, s := range w.servers {
			r := s.slots[len(s.slots)-1].([]any)[2].([]any)
			r[0], r[1] = bulk("2001:db8::1"), int64(1)
		}
		w.servers["[2001:db8::1]:1"] = w.servers["c:1"]
		c := w.cluster()
		for _, key := range []string{keyA, keyB, keyC} {
			mustDo(t, c, "GET", key)
		}
		for _, addr := range []string{"a.example:1", "b.example:1", "[2001:db8::1]:1"} {
			if w.dials[addr] == 0 {
				t.Errorf("%s was not dialled: %v", addr, w.dials)
			}
		}
	})
}

func TestKeyOf(t *testing.T) {
	for want, r := range map[string]wire.Request{
		"k1": req("get", "k1"), "k2": req("EVALSHA", "x", 1, "k2", "a"), "k3": req("XREAD", "COUNT", 1, "streams", []byte("k3"), 0),
		"k4": req("OBJECT", "ENCODING", "k4"), "k5": req("ZUNION", 2, "k5", "k6"), "k7": req("WATCH", "k7"), "k8": req("SSUBSCRIBE", "k8"),
		"k9": req("BLMPOP", 0, 1, "k9", "LEFT"), "7": req("UNHEARD-OF", 7), "1": req("GET", true),
	} {
		if key, ok := keyOf(r.Cmd, r.Args); key != want || !ok {
			t.Errorf("%v: %q", r, key)
		}
	}
	for _, r := range []wire.Request{req("PING", "x"), req("EVAL", "return 1", 0), req("EXEC"), req("SUBSCRIBE", "x"), req("GET"),
		req("XREAD", "COUNT", 1), req("EVAL", "return 1", 1)} {
		if key, ok := keyOf(r.Cmd, r.Args); ok {
			t.Errorf("%v: %q", r, key)
		}
	}
}

// TestRefreshesPause: a second of failures asks for four maps.
func TestRefreshesPause(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyB)
		w.set(down, "b:1")
		for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(time.Millisecond) {
			if _, err := does(c, "GET", keyB); err == nil {
				t.Fatal("no error")
			}
		}
		if n := c.Counts().Refreshes; n < 3 || n > 6 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// A Place is another one when its own slot has another node, by MOVED or by a newer map, and when its node is back.
func TestPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		first, other := c.Place(keyA), c.Place(keyB)
		another := c.Another()
		changed := func(what string, want bool) {
			t.Helper()
			synctest.Wait()
			select {
			case <-another:
				if !want {
					t.Errorf("%s: told of another place", what)
				}
			default:
				if want {
					t.Errorf("%s: not told of another place", what)
				}
			}
			if now := c.Place(keyA); (now != first) != want {
				t.Errorf("%s: the place is another: %v", what, !want)
			}
			if c.Place(keyB) != other {
				t.Errorf("%s: the place of another slot has changed", what)
			}
			first, another = c.Place(keyA), c.Another()
		}
		get := func() {
			x := c.Conn(false)
			defer x.Close()
			_, _ = x.Do("GET", keyA)
		}
		get()
		changed("a command that is served", false)
		w.moveSlot(keyA, "d:1", 2, "d:1")
		get()
		changed("MOVED", true)
		time.Sleep(time.Second)
		changed("the refresh after it", false)
		w.moveSlot(keyA, "c:1", 3)
		c.Refresh()
		time.Sleep(time.Second)
		changed("a newer map", true)
		w.set(down, "c:1")
		get()
		changed("a node that is away", false)
		w.set(func(s *server) { s.down = false }, "c:1")
		get()
		changed("a node that is back", true)
		w.set(func(s *server) {
			s.answer = func(string, []any) any { return redis.Error("CLUSTERDOWN The cluster is down") }
		}, "c:1")
		get()
		changed("a node that does not serve", false)
		w.set(func(s *server) { s.answer = nil }, "c:1")
		get()
		changed("a node that serves again", true)
	})
}

// A tenure ends when another node has taken over, or when its node is back after its connections have broken; not when a slot moves, or
// when a reply is late.
func TestTenure(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		mustDo(t, c, "GET", keyA)
		mustDo(t, c, "GET", keyB)
		tenure, at, other := c.Tenure(keyA), c.TenureAt("a:1"), c.Tenure(keyB)
		if tenure != at || tenure == other || tenure == nil || c.TenureAt("x:1") != nil {
			t.Error("whose tenures are these?")
		}
		ended := func(what string, want bool) {
			t.Helper()
			synctest.Wait()
			if wait.IsClosed(tenure) != want || wait.IsClosed(other) {
				t.Errorf("%s: it has ended: %v, that of another: %v", what, wait.IsClosed(tenure), wait.IsClosed(other))
			}
			tenure = c.Tenure(keyA)
		}
		get := func(within time.Duration) {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			x := c.Conn(false)
			defer x.Close()
			_, _ = x.DoContext(ctx, "GET", keyA)
		}
		w.set(func(s *server) { s.hangs = true }, "a:1")
		get(time.Second)
		w.set(func(s *server) { s.hangs = false }, "a:1")
		get(time.Second)
		ended("a node that was silent answers", false)
		w.set(down, "a:1")
		get(time.Second)
		ended("a node is away", false)
		time.Sleep(time.Millisecond)
		w.set(func(s *server) { s.down = false }, "a:1")
		get(time.Second)
		ended("it is back", true)
		time.Sleep(testAfter)
		w.set(down, "a:1")
		time.Sleep(time.Millisecond) // for its connections to end
		w.set(func(s *server) { s.down = false }, "a:1")
		get(time.Second)
		get(time.Second)
		ended("it was restarted while nothing was asked", true)
		time.Sleep(leastTenure)
		for range 10 {
			w.set(func(s *server) { s.refuses = true }, "a:1")
			_, _ = c.DialNode(context.Background(), "a:1")
			w.set(func(s *server) { s.refuses = false }, "a:1")
			get(time.Second)
		}
		ended("it refuses connections", false)
		breaks := func() { // while it is used
			c.nodes["a:1"].failed(context.Background(), io.EOF)
			get(time.Second)
		}
		breaks()
		ended("its connections break", true)
		for range 10 {
			breaks()
		}
		ended("they break again and again", false)
		w.moveSlot(keyA, "d:1", 2, "d:1")
		before := tenure
		get(time.Second)
		ended("its slot has moved", false)
		if tenure == before {
			t.Error("a slot that has moved has another tenure")
		}
		another := c.Another()
		w.share(func(slot int) string { return []string{"a:1", "b:1", "c:1"}[min(slot/slotsAt, 2)] }, 3)
		c.Refresh()
		<-another
		if !wait.IsClosed(tenure) {
			t.Error("told of another place before the tenure of a node without slots has ended")
		}
	})
}
