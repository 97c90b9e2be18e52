package fair

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// Waiters that give up at random. What is checked:
//   - nobody is inside together with another (a counter on the server);
//   - within a Locker, nobody gets the lock before one who was in its queue when that call began, and who stays;
//   - between the Lockers, no entry is overtaken or passed over, and none has two (the server's log, see mirror);
//   - at the end there is no key on the server, no slot, no subscription, no goroutine, no connection that is not idle.

// A wait is one call of Acquire. The numbers order what happened in its crowd; 0: it did not happen.
type wait struct {
	asked int64 // the call began
	there int64 // it was in the Locker's queue, by then
	ended int64 // it got the lock, or was about to give up
	got   bool
}

// A crowd is the waiters of one Locker.
type crowd struct {
	t      *testing.T
	locker *redigolock.Locker
	pool   *redis.Pool
	clock  atomic.Int64 // numbers what happens

	mu        sync.Mutex // protects what follows
	waits     map[string][]wait
	got, left int // how many got the lock, and gave up
}

func newCrowd(t *testing.T, url string) *crowd {
	t.Helper()
	pool, err := redigolock.NewPool(url)
	if err != nil {
		t.Fatal(err)
	}
	l := &redigolock.Locker{Pool: pool, Fair: true, OpTimeout: 2 * time.Second}
	return &crowd{t: t, locker: l, pool: pool, waits: map[string][]wait{}}
}

// wanted is a key, how long one waits for it at most, mostly so short that many give up, and how long one then does
// something else at most. A slot of the hot key always has waiters; those of the cool keys lose their last one all the
// time; those of the rare keys begin anew.
func wanted(waiter int) (key string, patience, pause time.Duration) {
	switch {
	case rand.N(20) == 0:
		return "hot", 2 * time.Second, 100 * time.Millisecond
	case rand.N(20) == 0:
		return fmt.Sprint("rare", rand.N(500)), 5 * time.Millisecond, 500 * time.Millisecond
	case waiter%2 == 0:
		return "hot", 400 * time.Millisecond, 100 * time.Millisecond
	}
	return fmt.Sprint("cool", waiter%50), 20 * time.Millisecond, 500 * time.Millisecond
}

// run has n waiters wait, again and again, for d, and on until some have got the lock, some have not, and enough says so: a
// busy machine may take its time for that.
func (c *crowd) run(n int, d time.Duration, enough func() bool) {
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range n {
		wg.Go(func() {
			for now := time.Now(); now.Before(end) || (c.few() || !enough()) && now.Before(end.Add(crowdPatience)); now = time.Now() {
				key, patience, pause := wanted(i)
				c.wait(key, rand.N(rand.N(patience)+1))
				time.Sleep(rand.N(pause))
			}
		})
	}
	wg.Wait()
}

// crowdPatience is when a crowd ends that nothing happens to.
const crowdPatience = 5 * time.Minute

// few says that too few have got the lock, or have given up, for anything to be tested.
func (c *crowd) few() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got < 50 || c.left < 50
}

// seen is a context that notes when it is first asked for its end: by then Acquire has put the waiter into the queue.
type seen struct {
	context.Context
	note func()
}

func (s seen) Done() <-chan struct{} {
	s.note()
	return s.Context.Done()
}

// wait waits for the lock, for so long, and uses it.
func (c *crowd) wait(key string, patience time.Duration) {
	var there, left atomic.Int64
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	timer := time.AfterFunc(patience, func() {
		left.Store(c.clock.Add(1))
		cancel()
	})
	defer timer.Stop()
	x := wait{asked: c.clock.Add(1)}
	k, err := c.locker.Acquire(seen{ctx, func() { there.CompareAndSwap(0, c.clock.Add(1)) }}, key, time.Minute)
	if err == nil {
		x.ended, x.got = c.clock.Add(1), true
		c.inside(k)
	} else {
		x.ended = left.Load()
		wants(c.t, err, context.Canceled)
	}
	if x.there = there.Load(); x.there == 0 {
		return // its time was over before it began
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits[key] = append(c.waits[key], x)
	if x.got {
		c.got++
	} else {
		c.left++
	}
}

// inside is the work under the lock.
func (c *crowd) inside(k *redigolock.Lock) {
	conn := c.pool.Get()
	defer conn.Close()
	if n, err := redis.Int(conn.Do("INCR", "inside "+k.Key())); err != nil || n != 1 {
		c.t.Errorf("%d hold %s, %v", n, k.Key(), err)
	}
	if n, err := redis.Int(conn.Do("DECR", "inside "+k.Key())); err != nil || n != 0 {
		c.t.Errorf("%d more hold %s, %v", n, k.Key(), err)
	}
	if err := k.Release(bg); err != nil {
		c.t.Error(err)
	}
}

// skipped returns how many got the lock while one waited who had been in the same Locker's queue before they came.
func skipped(waits []wait) (n int) {
	slices.SortFunc(waits, func(a, b wait) int { return cmp.Compare(a.there, b.there) })
	last := make([]int64, len(waits)+1) // when the last of the first i ended
	for i, x := range waits {
		last[i+1] = max(last[i], x.ended)
	}
	for _, y := range waits {
		earlier := func(x wait, asked int64) int { return cmp.Compare(x.there, asked) }
		before, _ := slices.BinarySearchFunc(waits, y.asked, earlier)
		if y.got && last[before] > y.ended {
			n++
		}
	}
	return n
}

func TestSkippedFindsWhoWasOvertaken(t *testing.T) {
	stays := wait{asked: 1, there: 2, ended: 9, got: true}
	gaveUp := wait{asked: 1, there: 2, ended: 9}
	for name, tt := range map[string]struct {
		x, y wait
		want int
	}{
		"in order":             {stays, wait{3, 4, 10, true}, 0},
		"overtaken":            {stays, wait{3, 4, 8, true}, 1},
		"overtaken by two":     {gaveUp, wait{3, 4, 8, true}, 1},
		"after it gave up":     {gaveUp, wait{3, 4, 10, true}, 0},
		"came together":        {wait{1, 4, 9, true}, wait{3, 5, 8, true}, 0},
		"the later one leaves": {stays, wait{3, 4, 8, false}, 0},
	} {
		if got := skipped([]wait{tt.y, tt.x}); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// close checks what the crowd has seen, and that nothing is left of it.
func (c *crowd) close() {
	t := c.t
	for key, list := range c.waits {
		if n := skipped(list); n > 0 {
			t.Errorf("%s: %d got the lock before one who had come before them", key, n)
		}
	}
	t.Logf("%d got the lock, %d gave up", c.got, c.left)
	if c.few() {
		t.Error("too few for anything to be tested")
	}
	if err := c.locker.Close(); err != nil {
		t.Error(err)
	}
	if active, idle := c.pool.ActiveCount(), c.pool.IdleCount(); active != idle || active > 64 {
		t.Errorf("%d connections, %d of them idle", active, idle)
	}
	if err := c.pool.Close(); err != nil {
		t.Error(err)
	}
}

// crowdSize is how many wait in all, and for how long.
func crowdSize() (waiters int, d time.Duration) {
	if testbed.Long() {
		return 1000, time.Minute
	}
	return 200, time.Second
}

func TestFairCrowdThatGivesUpSkipsNobodyAndLeavesNothing(t *testing.T) {
	server := redistest.Start(t)
	for name, run := range map[string]func(t *testing.T, url string, m *mirror){
		"four Lockers": crowdsHere, "four processes": crowdsElsewhere,
	} {
		t.Run(name, func(t *testing.T) {
			m := watch(t, server)
			before := goleak.IgnoreCurrent()
			run(t, server.URL(), m)
			goleak.VerifyNone(t, before)
			leavesNothing(t, server)
			m.stop()
			t.Logf("%d grants to who was in the queue, %d to who came to a free lock; %d entries given up; at most %d at a time",
				m.grants, m.takes, m.quits, m.most)
			if !m.saw() {
				t.Error("too few for anything to be tested")
			}
		})
	}
}

// crowds is how many Lockers, or processes, share the waiters.
const crowds = 4

func crowdsHere(t *testing.T, url string, m *mirror) {
	waiters, d := crowdSize()
	var all []*crowd
	var wg sync.WaitGroup
	for range crowds {
		c := newCrowd(t, url)
		all = append(all, c)
		wg.Go(func() { c.run(waiters/crowds, d, m.enough.Load) })
	}
	wg.Wait()
	for _, c := range all {
		c.close()
	}
}

// crowdEnv has the server's address in a process that crowdsElsewhere has started.
const crowdEnv = "REDIGOLOCK_TEST_FAIR_CROWD"

// The processes go on until enough has happened: then they are told, by the end of their input.
func crowdsElsewhere(t *testing.T, url string, m *mirror) {
	var wg sync.WaitGroup
	var inputs []io.Closer
	for range crowds {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFairCrowdChild$", "-test.v")
		cmd.Env = append(os.Environ(), crowdEnv+"="+url)
		input, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, input)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "_test.go") {
					t.Log(strings.TrimSpace(line))
				}
			}
			if err != nil || !strings.Contains(string(out), "PASS") {
				t.Errorf("a process failed: %v\n%s", err, out)
			}
		})
	}
	for end := time.Now().Add(crowdPatience); !m.enough.Load() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	for _, input := range inputs {
		_ = input.Close() // the process may have ended
	}
	wg.Wait()
}

// TestFairCrowdChild is one of the processes. TestMain checks that it has no goroutine left.
func TestFairCrowdChild(t *testing.T) {
	url := os.Getenv(crowdEnv)
	if url == "" {
		t.Skip("not started by a test")
	}
	waiters, d := crowdSize()
	c := newCrowd(t, url)
	var told atomic.Bool
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, os.Stdin)
		told.Store(true)
	}()
	c.run(waiters/crowds, d, told.Load)
	c.close()
	<-over
}

// leavesNothing checks that the server has no key, no channel and no connection left but those of the test itself: its
// asking, and the mirror. What those who waited for long have beaten in ends by itself.
func leavesNothing(t *testing.T, server *redistest.Server) {
	t.Helper()
	keys, err := redis.Strings(server.Do("KEYS", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if testbed.IsBeats(key) {
			if left, err := redis.Int(server.Do("PTTL", key)); left == -1 || left > 60_000 || err != nil {
				t.Errorf("%s is left for %d ms, %v", key, left, err)
			}
			continue
		}
		if n, err := redis.Int(server.Do("GETDEL", key)); !strings.HasPrefix(key, "inside ") || err != nil || n != 0 {
			t.Errorf("%s is left: %d, %v", key, n, err)
		}
	}
	eventually(t, "the channels and connections go", func() bool {
		channels, err := redis.Strings(server.Do("PUBSUB", "CHANNELS"))
		return err == nil && len(channels) == 0 && testbed.ServerFigure(t, server, "clients", "connected_clients") == 2
	})
}

// A mirror follows what the server does to the queues and the locks of fair Lockers, by MONITOR, in the order in which the
// server does it. It sees an entry that is passed over, or overtaken: on the clients' side nobody does.
type mirror struct {
	t      *testing.T
	server *redistest.Server
	conn   net.Conn
	done   chan struct{} // closed when nothing more is read
	end    string        // is in the last line

	queues map[string][]string // the entries, by queue
	holder map[string]string   // the token, by key
	popped string              // the entry that the script at work has taken and not granted
	faults []string
	grants int         // to who waited in the queue
	takes  int         // of a free lock with an empty queue
	quits  int         // entries that were given up
	most   int         // entries in a queue
	enough atomic.Bool // saw, for others than the goroutine that reads
}

// saw says that all kinds of what is to be tested have happened.
func (m *mirror) saw() bool { return m.grants >= 50 && m.quits > 0 && m.most >= 2 }

// watch starts a mirror. Nobody may wait or hold yet.
func watch(t *testing.T, server *redistest.Server) *mirror {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(conn)
	if !lines.Scan() || lines.Text() != "+OK" {
		t.Fatalf("MONITOR: %q, %v", lines.Text(), lines.Err())
	}
	m := &mirror{
		t: t, server: server, conn: conn, done: make(chan struct{}), end: "the end of " + t.Name(),
		queues: map[string][]string{}, holder: map[string]string{},
	}
	go m.read(lines)
	return m
}

func (m *mirror) read(lines *bufio.Scanner) {
	defer close(m.done)
	for lines.Scan() {
		line := lines.Text()
		if strings.Contains(line, m.end) {
			return
		}
		_, call, isLua := strings.Cut(line, ` lua] "`)
		if !isLua { // the script has ended
			m.passedOver()
			continue
		}
		m.follow(strings.Split(strings.TrimSuffix(call, `"`), `" "`))
		m.enough.Store(m.saw())
	}
	m.fault("MONITOR ended: %v", lines.Err())
}

// stop returns when all that the server has done until now was followed.
func (m *mirror) stop() {
	m.t.Helper()
	if _, err := m.server.Do("ECHO", m.end); err != nil {
		m.t.Fatal(err)
	}
	receive(m.t, "the server's log is read to its end", m.done)
	for _, f := range m.faults {
		m.t.Error(f)
	}
	for queue, list := range m.queues {
		if len(list) > 0 {
			m.t.Errorf("%s has %d entries left", queue, len(list))
		}
	}
	for key, token := range m.holder {
		if token != "" {
			m.t.Errorf("%s is held", key)
		}
	}
}

// follow does what a script's command has done.
func (m *mirror) follow(call []string) {
	key := call[min(1, len(call)-1)]
	switch call[0] {
	case "RPUSH":
		m.push(key, call[2])
	case "LPOP":
		m.passedOver()
		if list := m.queues[key]; len(list) > 0 {
			m.popped, m.queues[key] = list[0], list[1:]
		}
	case "LREM":
		if i := slices.Index(m.queues[key], call[3]); i >= 0 {
			m.queues[key] = slices.Delete(m.queues[key], i, i+1)
			m.quits++
		}
	case "SET":
		m.grant(key, call[2])
	case "DEL":
		m.holder[key] = ""
	}
}

// push checks that a Locker has one place in a queue: its channel is in one entry.
func (m *mirror) push(queue, entry string) {
	channel := strings.Fields(entry)[2]
	for _, other := range m.queues[queue] {
		if strings.Fields(other)[2] == channel {
			m.fault("%s has a second entry of the same Locker", queue)
		}
	}
	m.queues[queue] = append(m.queues[queue], entry)
	m.most = max(m.most, len(m.queues[queue]))
}

// grant checks that the lock is free, and that nobody stands before who gets it.
func (m *mirror) grant(key, token string) {
	if m.holder[key] != "" {
		m.fault("%s was granted while it was held", key)
	}
	m.holder[key] = token
	switch n := len(m.queues["{"+key+"}:redigolock-q2"]); {
	case m.popped != "" && strings.HasSuffix(m.popped, " "+token):
		m.popped = ""
		m.grants++
	case n > 0:
		m.fault("%s was taken past %d entries", key, n)
	default:
		m.takes++
	}
}

// passedOver finds an entry that was taken from the queue and not granted: its process was taken for dead.
func (m *mirror) passedOver() {
	if m.popped != "" {
		m.fault("the entry of a live Locker was passed over: %q", m.popped)
		m.popped = ""
	}
}

func (m *mirror) fault(format string, args ...any) {
	if len(m.faults) < 20 {
		m.faults = append(m.faults, fmt.Sprintf(format, args...))
	}
}

// windows checks that the times in which holders may act do not overlap.
type windows struct {
	t      *testing.T
	mu     sync.Mutex // protects what follows
	until  time.Time  // the newest holder's Deadline; zero: it has released
	holder *redigolock.Lock
	served int
}

func (w *windows) enter(k *redigolock.Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge("a second holder", k.Deadline())
	w.until, w.holder, w.served = k.Deadline(), k, w.served+1
}

// judge is about somebody who may act until then. The clock is read under the mutex: who comes to it late may act no
// more, and the lock is another's.
func (w *windows) judge(who string, until time.Time) {
	if now := time.Now(); now.Before(w.until) && now.Before(until) {
		w.t.Errorf("%s has the lock, for which a holder may act for another %v", who, w.until.Sub(now))
	}
}

func (w *windows) extended(k *redigolock.Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder == k {
		w.until = k.Deadline()
	}
}

func (w *windows) leave(k *redigolock.Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder == k {
		w.until = time.Time{}
	}
}

const enoughServed = 50

// goesOn reports whether the time is not over, or too few were served yet, on a machine that is busy.
func (w *windows) goesOn(end time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	late := time.Since(end)
	return late < 0 || w.served < enoughServed && late < 30*time.Second
}

// fairChaos is a proxy's rule that does something to some of the commands, and to the subscription.
func fairChaos(q redistest.Request) redistest.Action {
	switch rand.N(60) {
	case 0:
		return redistest.Cut()
	case 1:
		return redistest.Drop()
	case 2:
		return redistest.Delay(rand.N(100 * time.Millisecond))
	case 3:
		late := make(chan struct{})
		time.AfterFunc(rand.N(300*time.Millisecond), func() { close(late) })
		return redistest.Late(late)
	case 4:
		return redistest.Truncate(rand.N(5))
	case 5:
		return redistest.Reply("-LOADING Redis is loading the dataset in memory\r\n")
	}
	return redistest.Pass()
}

// Whatever happens to commands and messages, with waiters that give up, holders that never release, cohorts, and foreign
// clients that take the lock and drop it: no two may act at a time, somebody always gets the lock, and nothing is left.
func TestFairChaos(t *testing.T) {
	r := newFairRig(t)
	const ttl = 400 * time.Millisecond
	w := &windows{t: t}
	var lockers []*redigolock.Locker
	var proxies []*redistest.Proxy
	for i := range 3 {
		proxy := redistest.NewProxy(t, r.Real().Addr())
		l := r.Fair(proxy.Pool())
		l.OpTimeout = 100 * time.Millisecond
		if i == 0 {
			l.Cohort = redigolock.Cohort{Passes: 3, Slice: 50 * time.Millisecond}
		}
		lockers, proxies = append(lockers, l), append(proxies, proxy)
		proxy.Rule(fairChaos)
	}
	end := time.Now().Add(5 * time.Second)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for w.goesOn(end) {
				r.chaoticCycle(lockers[i%3], w, ttl)
			}
		})
	}
	wg.Go(func() {
		for w.goesOn(end) {
			r.foreignCycle(w, ttl)
		}
	})
	wg.Wait()
	if w.served < enoughServed {
		t.Errorf("only %d were served", w.served)
	}
	for i, l := range lockers {
		proxies[i].Rule(nil)
		r.OK(l.Close())
	}
	r.Gone()
}

// chaoticCycle acquires, acts, and releases; or gives up, or forgets the lock.
func (r *fairRig) chaoticCycle(l *redigolock.Locker, w *windows, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond+rand.N(time.Second))
	defer cancel()
	k, err := l.Acquire(ctx, r.Key, ttl)
	if err != nil {
		return
	}
	w.enter(k)
	switch rand.N(20) {
	case 0:
		time.Sleep(ttl) // past its Deadline
	case 1:
		return // never released
	case 2:
		_ = k.Extend(bg, ttl)
		w.extended(k)
	default:
		time.Sleep(rand.N(2 * time.Millisecond))
	}
	w.leave(k)
	_ = k.Release(bg)
}

// foreignCycle is a client that knows nothing of queues.
func (r *fairRig) foreignCycle(w *windows, ttl time.Duration) {
	token, asked := redigolock.NewToken(), time.Now()
	reply, err := r.Server.Do("SET", r.Key, token, "NX", "PX", ttl.Milliseconds())
	if err == nil && reply == "OK" {
		w.mu.Lock()
		w.judge("a foreign client", asked.Add(validFor(ttl)))
		w.mu.Unlock()
		time.Sleep(rand.N(10 * time.Millisecond))
		if got, err := redis.String(r.Server.Do("GET", r.Key)); err == nil && got == token {
			_, _ = r.Server.Do("DEL", r.Key)
		}
	}
	time.Sleep(rand.N(20 * time.Millisecond))
}
