package redigolock_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

var updateDay = flag.Bool("update-day", false, "write testdata/day.txt instead of comparing it")

// A diary writes down what Observers are told, for people: one line an event, with the time of day to the second, since
// pauses are jittered. What is told again and again is told once.
type diary struct {
	mu   sync.Mutex // protects what follows
	b    strings.Builder
	runs []*run // of the section, in their order
	left string // the call that has just given up, or lost its lock; "" once something else was told

	// several goroutines fail side by side after jittered pauses: what they tell is written in its alphabet, without a time,
	// when the call ends
	sideBySide bool

	waiting int // calls that have begun and not ended
}

// A run is a failure that may come again and again, until the call ends or something goes well.
type run struct {
	call, event string
	times       int
	later       bool // not written yet
}

// heading begins a section.
func (d *diary) heading(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end("")
	fmt.Fprintf(&d.b, "\n%s  # %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func (d *diary) event(who, what, key, rest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	event := strings.TrimRight(fmt.Sprintf("%-5s %-9s %-7s %s", who, what, key, rest), " ")
	call := who + " " + key
	if d.left == call && (strings.HasPrefix(rest, "poke") || strings.HasPrefix(rest, "extend")) { // it was under way, or was not
		return
	}
	d.left = ""
	switch what {
	case "contended", "failed", "unknown":
		for _, r := range d.runs {
			if r.event == event {
				r.times++
				return
			}
		}
		r := &run{call, event, 1, d.sideBySide && what != "contended"}
		d.runs = append(d.runs, r)
		if r.later {
			return
		}
	case "waiting":
		d.waiting++
	case "acquired", "gave up":
		d.waiting--
		d.end(call)
		if what == "gave up" {
			d.left = call
		}
	default:
		d.end(call)
		if what == "lost" {
			d.left = call
		}
	}
	fmt.Fprintf(&d.b, "%s  %s\n", time.Now().Format(time.TimeOnly), event)
}

// end says how often the failures of a call came that came more than once; "" is all calls.
func (d *diary) end(call string) {
	var later []string
	d.runs = slices.DeleteFunc(d.runs, func(r *run) bool {
		if call != "" && r.call != call {
			return false
		}
		if r.later {
			later = append(later, fmt.Sprintf("%8s  %s\n", "", r.event))
		} else if r.times > 1 { // how often depends on the jitter of pauses
			fmt.Fprintf(&d.b, "%8s  %s … more than once\n", "", strings.Join(strings.Fields(r.event)[:4], " "))
		}
		return true
	})
	slices.Sort(later)
	d.b.WriteString(strings.Join(later, ""))
}

// chance is what is not the same at each run: the hashes of tokens, and which of two failures was the newer one.
var chance = regexp.MustCompile(`(#)[0-9a-f]{8}|(; and before: ).*(  \[)`)

func (d *diary) tellSideBySide(is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sideBySide = is
}

func (d *diary) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end("")
	return chance.ReplaceAllString(d.b.String(), "$1$2…$3")
}

// tokens are whole ones, without their owner.
var tokens = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// callKey is the key of the name that a call has in its context.
type callKey struct{}

func named(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callKey{}, name)
}

// observer is one that writes under a name. Each line ends with whose call it was, as ctx tells.
func (d *diary) observer(who string) *redigolock.Observer {
	write := func(ctx context.Context, what, key, format string, args ...any) {
		rest := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " / ")
		if name, _ := ctx.Value(callKey{}).(string); name != "" {
			rest += "  [" + name + "]"
		}
		if what == "acquired" { // the Release that has let it in is told of on another goroutine, maybe after this
			time.Sleep(time.Nanosecond)
		}
		d.event(who, what, key, rest)
	}
	return &redigolock.Observer{
		Waiting: func(ctx context.Context, key, verb string) context.Context {
			write(ctx, "waiting", key, "%s", verb)
			return ctx
		},
		Acquired: func(ctx context.Context, k *redigolock.Lock, waited time.Duration) {
			write(ctx, "acquired", k.Key(), "after %v", round(waited))
		},
		GaveUp: func(ctx context.Context, key string, waited time.Duration, err error) {
			write(ctx, "gave up", key, "after %v: %v", round(waited), err)
		},
		Contended: func(ctx context.Context, key string, held *redigolock.HeldError) {
			write(ctx, "contended", key, "by %s", held.Holder)
		},
		Failed: func(ctx context.Context, key, verb string, err error) {
			write(ctx, "failed", key, "%s: %v", verb, err)
		},
		Extended: func(ctx context.Context, k *redigolock.Lock, margin time.Duration) {
			write(ctx, "extended", k.Key(), "with %v left", margin.Round(time.Second))
		},
		Lost: func(ctx context.Context, k *redigolock.Lock, cause error) {
			write(ctx, "lost", k.Key(), "%v", cause)
		},
		Released: func(ctx context.Context, k *redigolock.Lock, held time.Duration, err error) {
			if err != nil {
				write(ctx, "released", k.Key(), "after %v: %v", round(held), err)
				return
			}
			write(ctx, "released", k.Key(), "after %v", round(held))
		},
		Unknown: func(ctx context.Context, key, verb string, err error) {
			write(ctx, "unknown", key, "%s: %v", verb, err)
		},
	}
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// A day is the life of two processes that use the same locks.
type day struct {
	*testing.T
	s         *sim.Server
	d         *diary
	links     []*sim.Link
	web, cron *redigolock.Locker
}

// locker is a Locker of a process. Each has a link of its own, whose delay tells what happens first.
func (y *day) locker(name string, delay time.Duration, fair bool) *redigolock.Locker {
	link := y.s.NewLink(name)
	link.Delay(delay)
	link.SlowDials(delay) // a refusal comes after what happens at once
	y.links = append(y.links, link)
	pool, err := redigolock.NewPool("redis://sim", link.Options()...)
	if err != nil {
		y.Fatal(err)
	}
	y.Cleanup(func() { pool.Close() })
	l := &redigolock.Locker{Pool: pool, Owner: name, Observer: y.d.observer(name), Fair: fair}
	if !fair {
		l.Retry = func(int, time.Duration) time.Duration { return time.Second }
	}
	return simLocker(y.T, l)
}

// goDown cuts all connections, and refuses new ones until up.
func (y *day) goDown() (up func()) {
	var accept []func()
	for _, link := range y.links {
		accept = append(accept, link.RefuseDials())
		link.Cut()
	}
	return func() {
		for _, f := range accept {
			f()
		}
	}
}

// at sleeps until a time of the day.
func (y *day) at(clock, format string, args ...any) {
	y.Helper()
	t, err := time.Parse(time.DateTime, "2000-01-01 "+clock)
	if err != nil {
		y.Fatal(err)
	}
	time.Sleep(time.Until(t))
	synctest.Wait()
	y.d.heading(format, args...)
}

func (y *day) must(k *redigolock.Lock, err error) *redigolock.Lock {
	y.Helper()
	if err != nil {
		y.Fatal(err)
	}
	return k
}

// TestObserversDay compares what Observers are told through a day with testdata/day.txt, which is for people to read.
// Whoever changes an error's text writes it again by
//
//	go test -run TestObserversDay . -update-day
func TestObserversDay(t *testing.T) {
	var d *diary
	inBubble(t, func(t *testing.T, s *sim.Server) {
		d = &diary{}
		y := &day{T: t, s: s, d: d}
		y.web, y.cron = y.locker("web", time.Millisecond, false), y.locker("cron", 2*time.Millisecond, false)
		y.quiet()
		y.contended()
		y.lostReplies()
		y.down()
		y.readOnly()
		y.lost()
		y.fair(y.locker("web", time.Millisecond, true), y.locker("cron", 2*time.Millisecond, true))
		y.closed()
	})
	const path = "testdata/day.txt"
	got := d.text()
	if token := tokens.FindString(got); token != "" {
		t.Errorf("the observers were told a whole token: %s", token)
	}
	if d.waiting != 0 {
		t.Errorf("%d calls have begun and not ended", d.waiting)
	}
	if *updateDay {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		var g, w string
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Fatalf("%s:%d says\n%s\nthe observers were told\n%s", path, i+1, w, g)
		}
	}
}

func (y *day) quiet() {
	y.at("08:00:00", "nobody else wants it")
	k := y.must(y.web.TryAcquire(named(bg, "order 1"), "invoice", time.Minute))
	time.Sleep(250 * time.Millisecond)
	_ = k.Verify(bg)
	_ = k.Extend(named(bg, "order 1"), time.Minute)
	time.Sleep(250 * time.Millisecond)
	_ = k.Release(named(bg, "order 1"))

	y.at("08:10:00", "kept alive for five minutes")
	k = y.must(y.cron.TryAcquire(named(bg, "report"), "report", 4*time.Minute))
	k.KeepAlive(named(bg, "report"))
	time.Sleep(5 * time.Minute)
	_ = k.Release(bg)

	y.at("08:20:00", "taken over from another process")
	k = y.must(y.web.TryAcquire(bg, "move", time.Minute))
	_ = y.must(y.cron.Attach(named(bg, "takeover"), "move", k.Token(), time.Minute)).Release(bg)
	_ = k.Release(bg)
	_, _ = y.cron.Attach(bg, "move", "some token", time.Minute)
}

func (y *day) contended() {
	y.at("09:00:00", "web has it for 2.5 s, cron waits")
	k := y.must(y.web.TryAcquire(bg, "invoice", time.Minute))
	cron := inBackground(func() error {
		return y.cron.Do(named(bg, "job"), "invoice", time.Minute, func(context.Context, *redigolock.Lock) error { return nil })
	})
	time.Sleep(2500 * time.Millisecond)
	_ = k.Release(bg)
	<-cron

	y.at("09:10:00", "web has it, cron tries once, and then waits in vain")
	k = y.must(y.web.TryAcquire(bg, "invoice", time.Minute))
	_ = y.cron.TryDo(bg, "invoice", time.Minute, nothing)
	ctx, cancel := context.WithTimeoutCause(bg, 1500*time.Millisecond, errors.New("the job has only a moment"))
	defer cancel()
	_, _ = y.cron.Acquire(ctx, "invoice", time.Minute)
	_ = k.Release(bg)
}

func nothing(context.Context, *redigolock.Lock) error { return nil }

func (y *day) lostReplies() {
	y.at("10:00:00", "the reply to the SET is lost: it is looked for")
	y.s.Next("set", sim.Drop())
	_ = y.must(y.web.TryAcquire(bg, "invoice", time.Minute)).Release(bg)

	y.at("10:10:00", "the caller goes while the server is silent, and the token is removed in the background")
	y.s.Next("set", sim.Swallow())
	y.s.Next("release", sim.Drop())
	ctx, cancel := context.WithCancelCause(named(bg, "request 7"))
	time.AfterFunc(300*time.Millisecond, func() { cancel(errors.New("the client has hung up")) })
	_, _ = y.web.TryAcquire(ctx, "invoice", time.Minute)
	time.Sleep(10 * time.Second)

	y.at("10:20:00", "both replies to a release are lost")
	k := y.must(y.web.TryAcquire(bg, "invoice", time.Minute))
	y.s.Next("delex", sim.Drop(), sim.Drop())
	_ = k.Release(bg)
}

func (y *day) down() {
	y.at("11:00:00", "web keeps a lock alive")
	report := y.must(y.web.TryAcquire(bg, "report", 4*time.Minute))
	report.KeepAlive(named(bg, "report"))
	y.at("11:01:30", "the server is down for a minute, and cron wants a lock")
	up := y.goDown()
	cron := inBackground(func() error { return y.cron.Do(named(bg, "job"), "invoice", time.Minute, nothing) })
	synctest.Wait()
	_ = report.Verify(bg)
	time.Sleep(time.Minute - 500*time.Millisecond)
	up()
	<-cron
	time.Sleep(time.Minute)
	_ = report.Release(bg)

	y.at("11:10:00", "the server is down when web releases")
	k := y.must(y.web.TryAcquire(bg, "invoice", time.Minute))
	up = y.goDown()
	_ = k.Release(bg)
	up()
	time.Sleep(time.Minute)
}

func (y *day) readOnly() {
	y.at("12:00:00", "the server is a replica for 3.5 s")
	k := y.must(y.web.TryAcquire(bg, "report", time.Minute))
	y.s.Rule(func(r sim.Request) sim.Action {
		switch r.Verb {
		case "set", "extend", "release":
			return sim.Refuse("READONLY You can't write against a read only replica.")
		}
		return sim.Pass()
	})
	_ = k.Extend(bg, time.Minute)
	time.AfterFunc(3500*time.Millisecond, func() { y.s.Rule(nil) })
	_ = y.cron.Do(named(bg, "job"), "invoice", time.Minute, nothing)
	_ = k.Release(bg)
}

func (y *day) lost() {
	y.at("13:00:00", "somebody deletes the key of a lock that is kept alive")
	k := y.must(y.web.TryAcquire(bg, "report", time.Minute))
	k.KeepAlive(named(bg, "report"))
	_, _ = y.s.Do("DEL", "report")
	time.Sleep(time.Minute)
	_ = k.Release(bg)

	y.at("13:10:00", "the server is down until the lock is lost")
	k = y.must(y.web.TryAcquire(bg, "report", time.Minute))
	k.KeepAlive(named(bg, "report"))
	up := y.goDown()
	time.Sleep(time.Minute)
	up()
	_ = k.Release(bg)

	y.at("13:20:00", "a lock is left to expire, and extended too late")
	k = y.must(y.web.TryAcquire(bg, "invoice", time.Second))
	time.Sleep(time.Second)
	_ = k.Extend(bg, time.Second)
	_ = k.Release(bg)
}

func (y *day) fair(web, cron *redigolock.Locker) {
	y.at("14:00:00", "a fair queue: two wait in web, one in cron")
	k := y.must(web.Acquire(named(bg, "first"), "ticket", time.Minute))
	var all sync.WaitGroup
	for i, l := range []*redigolock.Locker{web, cron, web} {
		time.Sleep(100 * time.Millisecond)
		all.Go(func() {
			ctx := named(bg, []string{"second", "third", "fourth"}[i])
			k, err := l.Acquire(ctx, "ticket", time.Minute)
			if err == nil {
				time.Sleep(100 * time.Millisecond)
				err = k.Release(ctx)
			}
			if err != nil {
				y.Error(err)
			}
		})
		synctest.Wait()
	}
	_ = k.Release(named(bg, "first"))
	all.Wait()
	time.Sleep(10 * time.Second)

	y.at("14:10:00", "the server is down while somebody waits in the queue, and while he leaves it")
	y.d.tellSideBySide(true)
	defer y.d.tellSideBySide(false)
	k = y.must(cron.Acquire(named(bg, "first"), "ticket", 3*time.Minute))
	ctx, cancel := context.WithCancelCause(named(bg, "second"))
	waiter := inBackground(func() error {
		_, err := web.Acquire(ctx, "ticket", time.Minute)
		return err
	})
	time.Sleep(2 * time.Second)
	up := y.goDown()
	time.Sleep(5 * time.Second)
	cancel(errors.New("no longer needed"))
	<-waiter
	time.Sleep(5 * time.Second)
	up()
	time.Sleep(10 * time.Second)
	_ = k.Release(named(bg, "first"))
}

func (y *day) closed() {
	y.at("15:00:00", "cron is shut down while it waits, and holds a lock")
	k := y.must(y.web.TryAcquire(bg, "invoice", time.Minute))
	held := y.must(y.cron.TryAcquire(bg, "report", time.Minute))
	held.KeepAlive(bg)
	cron := inBackground(func() error { return y.cron.Do(named(bg, "job"), "invoice", time.Minute, nothing) })
	time.Sleep(500 * time.Millisecond)
	_ = y.cron.Close()
	<-cron
	_ = held.Release(bg)
	_ = k.Release(bg)
	_, _ = y.cron.TryAcquire(bg, "invoice", time.Minute)
}
