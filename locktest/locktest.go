package locktest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/sim"
)

// A Server is a Redis server in memory, for one test. All methods may be called at any time, by any goroutine, until the test
// ends. Bad arguments, such as an empty key, fail the test at once.
type Server struct {
	t      testing.TB
	sim    *sim.Server
	bubble string // what Start ran in; "": no bubble

	mu       sync.Mutex // protects what follows
	ended    bool
	lockers  []*redigolock.Locker
	faultsUp []func() // end the faults
	refusals []*refusal
	losses   []*loss
	visits   map[int]*visit  // by connection
	loaded   map[string]bool // the scripts that the server was told, by name
	known    map[string]bool
	pruneAt  int               // so many known keys are looked through
	leave    map[string]bool   // by Leave
	held     map[string]string // by Hold: the tokens
	atEnd    map[string]redigolock.Info
	ranUntil map[string]time.Time // when the locks of atEnd expire
}

// Start starts a server that ends with the test. In a bubble of testing/synctest t must be the bubble's.
//
// The end of the test, after its other clean-ups, ends all faults, closes the Lockers that [Server.Locker] has made, fails the
// test for each lock that is left (see [Server.Leave]), and cuts all connections; who still waits for a lock gets an error. In a
// bubble it then waits until no goroutine of the library is left.
func Start(t testing.TB) *Server {
	t.Helper()
	bubble := sim.Bubble()
	if bubble != "" && !isOfBubble(t) {
		t.Fatalf("locktest: Start in a bubble of testing/synctest needs the t of the bubble's func, not that of the test around it")
	}
	s := &Server{
		t: t, sim: sim.NewServer(t), bubble: bubble,
		visits: map[int]*visit{}, loaded: map[string]bool{}, known: map[string]bool{}, pruneAt: minPrune,
		leave: map[string]bool{}, held: map[string]string{},
	}
	s.sim.KeepNoLog()
	s.sim.Rule(s.decide)
	s.sim.Around(s.carry)
	if bubble != "" {
		s.sim.Delay(bubbleDelay)
		countOpen(bubble, 1)
	}
	t.Cleanup(s.end)
	return s
}

// bubbleDelay is what each way takes in a bubble: without it time stands still while commands are exchanged, so that those who
// contend for a second never end.
const bubbleDelay = 50 * time.Microsecond

// isOfBubble reports whether t may be the t of the bubble that this is called in: that one panics when it is asked for its
// deadline, and the t of the test around it does not.
func isOfBubble(t testing.TB) (is bool) {
	outer, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return true
	}
	defer func() { is = recover() != nil }()
	outer.Deadline()
	return false
}

// Pool returns a new pool that leads to the server, as redigolock.NewPool makes it. Its fields may be changed before it is
// used. It is closed with the test.
func (s *Server) Pool() *redis.Pool {
	s.t.Helper()
	p, err := redigolock.NewPool("redis://locktest", redis.DialContextFunc(s.dial))
	if err != nil {
		s.t.Fatalf("locktest: %v", err)
	}
	s.sim.CleanUp(func() { _ = p.Close() })
	return p
}

// dial fails for good once the test has ended, so that nobody goes on trying.
func (s *Server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended {
		return nil, &net.OpError{Op: "dial", Net: "locktest", Err: &net.DNSError{Err: "the test has ended", Name: "locktest", IsNotFound: true}}
	}
	c, err := s.sim.Dial(ctx)
	if failed := (*net.OpError)(nil); errors.As(err, &failed) {
		return nil, &net.OpError{Op: "dial", Net: "locktest", Err: failed.Err}
	}
	return c, err
}

// Locker returns a new Locker with a new pool, as another host would have it: two of them exclude each other. Its fields may
// be changed before it is used; its Owner is locker1, locker2 and so on. It is closed with the test.
func (s *Server) Locker() *redigolock.Locker {
	s.t.Helper()
	l := &redigolock.Locker{Pool: s.Pool()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lockers = append(s.lockers, l)
	l.Owner = fmt.Sprintf("locker%d", len(s.lockers))
	return l
}

// Lose deletes the key, whoever has the lock: it is lost as after an expiry, a DEL or a failover. The holder learns of it when
// it next asks the server, with KeepAlive or Do at the next renewal.
func (s *Server) Lose(key string) {
	s.t.Helper()
	s.needsKey("Lose", key)
	if n, err := redis.Int(s.sim.Do("DEL", key)); err != nil || n == 0 {
		s.t.Logf("locktest: Lose(%q): nobody had it", key)
	}
}

// Hold takes the lock for somebody else, whom errors and [Server.Locks] call owner, for ttl. It fails the test if the lock is
// held: [Server.Lose] it first. It is not a lock that is left. release gives it back, if it is not lost or expired by then.
func (s *Server) Hold(key, owner string, ttl time.Duration) (release func()) {
	s.t.Helper()
	s.needsKey("Hold", key)
	if !ownerPattern.MatchString(owner) {
		s.t.Fatalf("locktest: Hold(%q): an owner is at most 128 bytes of printable ASCII without space and '|', not %q", key, owner)
	}
	token := redigolock.NewToken()
	if owner != "" {
		token = owner + "|" + token
	}
	if err := redigolock.SetNXVerified(context.Background(), &direct{server: s.sim}, key, token, ttl); err != nil {
		s.t.Fatalf("locktest: Hold(%q): %v", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[key] = true
	s.held[key] = token
	return sync.OnceFunc(func() { _ = redigolock.Release(context.Background(), &direct{server: s.sim}, key, token) })
}

var ownerPattern = regexp.MustCompile(`^[!-{}~]{0,128}$`)

// Leave lets the lock of this key be left when the test ends: because the test means to, or because the fault that it tests
// keeps the release away. One that Locker.MinHold left always may be.
func (s *Server) Leave(key string) {
	s.t.Helper()
	s.needsKey("Leave", key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave[key] = true
}

// Locks are the locks that are held, sorted by their keys. It works in spite of all faults. A key counts as a lock's once a verb
// or a Locker has named it, or a SET NX; data of the test's own do not.
func (s *Server) Locks() []redigolock.Info {
	s.mu.Lock()
	keys := slices.Collect(maps.Keys(s.known))
	s.mu.Unlock()
	var list []redigolock.Info
	for _, key := range keys {
		info, err := redigolock.Inspect(context.Background(), &direct{server: s.sim}, key)
		if info.Held || err != nil && info.Token != "" { // a string without TTL, too, which will be in the way for ever
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b redigolock.Info) int { return cmp.Compare(a.Key, b.Key) })
	return list
}

func (s *Server) needsKey(method, key string) {
	s.t.Helper()
	if key == "" {
		s.t.Fatalf("locktest: %s: the key is empty", method)
	}
}

// minPrune is how many keys are known at least before those that are gone are forgotten.
const minPrune = 1024

// carry carries a command out, and notes which keys are of locks, and which locks that were there when the test ended have gone.
func (s *Server) carry(r sim.Request, carry func() string) {
	carry()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range (&visit{}).read(r, func(key string) bool { return s.known[key] }).keys {
		s.known[key] = true
		if until, ok := s.ranUntil[key]; ok && time.Now().Before(until) && s.value(key) != s.atEnd[key].Token {
			delete(s.atEnd, key) // not expired: released
		}
	}
	if len(s.known) < s.pruneAt {
		return
	}
	maps.DeleteFunc(s.known, func(key string, _ bool) bool { return !s.sim.Miniredis().Exists(key) })
	s.pruneAt = max(minPrune, 2*len(s.known))
}

// value is what is in the key; "": nothing.
func (s *Server) value(key string) string {
	v, _ := s.sim.Miniredis().Get(key)
	return v
}

// end is the end of the test.
func (s *Server) end() {
	s.t.Helper()
	s.endFaults()
	s.noteLocks()
	s.closeLockers()
	s.complain()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.sim.Close()
	s.awaitGoroutines()
}

func (s *Server) endFaults() {
	s.mu.Lock()
	ends := s.faultsUp
	s.losses = nil
	s.mu.Unlock()
	for _, end := range ends {
		end()
	}
}

// noteLocks notes the locks that are there before the Lockers are closed, which takes time when they have to clean up.
func (s *Server) noteLocks() {
	locks := s.Locks()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.atEnd, s.ranUntil = map[string]redigolock.Info{}, map[string]time.Time{}
	for _, info := range locks {
		s.atEnd[info.Key] = info
		s.ranUntil[info.Key] = time.Now().Add(info.TTL)
	}
}

func (s *Server) closeLockers() {
	s.mu.Lock()
	lockers := slices.Clone(s.lockers)
	s.mu.Unlock()
	var closing sync.WaitGroup
	for _, l := range lockers {
		closing.Go(func() { l.Close() })
	}
	closing.Wait()
}

// complain fails the test for each lock that is left.
func (s *Server) complain() {
	s.t.Helper()
	now := s.Locks()
	s.mu.Lock()
	for _, info := range now {
		s.atEnd[info.Key] = info
	}
	maps.DeleteFunc(s.atEnd, func(key string, info redigolock.Info) bool {
		return s.leave[key] || s.held[key] == info.Token || strings.HasSuffix(info.Token, names.LeftSuffix)
	})
	left := slices.SortedFunc(maps.Values(s.atEnd), func(a, b redigolock.Info) int { return cmp.Compare(a.Key, b.Key) })
	s.mu.Unlock()
	for _, info := range left {
		s.t.Errorf("locktest: the lock %q is left by %s. Release it, or let it be left by Leave(%q).", info.Key, ownerOf(info), info.Key)
	}
}

func ownerOf(info redigolock.Info) string {
	if info.Owner == "" {
		return "a holder without Owner"
	}
	return info.Owner
}

var ofLibrary = regexp.MustCompile(`(?m)^(created by )?github\.com/redigolock/redigolock(/internal/[a-z]+)?\.`)

// longest is more than any ttl, so that whatever the library does has ended.
const longest = 25 * time.Hour

// open is how many servers there are in each bubble.
var open struct {
	sync.Mutex // never held while anything waits, for goroutines of all bubbles take it
	in         map[string]int
}

// countOpen adds n servers to a bubble, and returns how many there are then.
func countOpen(bubble string, n int) int {
	open.Lock()
	defer open.Unlock()
	if open.in == nil {
		open.in = map[string]int{}
	}
	n += open.in[bubble]
	open.in[bubble] = n
	if n == 0 {
		delete(open.in, bubble)
	}
	return n
}

// awaitGoroutines waits in the time of a bubble until no goroutine runs the library's code: with one left that waits for what never comes,
// the bubble ends in a panic that says nothing of why. Of several servers in a bubble, the last one that ends waits.
func (s *Server) awaitGoroutines() {
	s.t.Helper()
	if s.bubble == "" || countOpen(s.bubble, -1) > 0 {
		return
	}
	var left []string
	for start, pause := time.Now(), time.Millisecond; time.Since(start) < longest; pause = min(2*pause, 10*time.Minute) {
		synctest.Wait() // the stack of a goroutine that runs cannot always be read
		left = slices.DeleteFunc(sim.Goroutines("redigolock"), func(stack string) bool { return !ofLibrary.MatchString(stack) })
		if len(left) == 0 {
			return
		}
		time.Sleep(pause)
	}
	s.t.Errorf("locktest: %d goroutines still run code of the library, %v after the end of the test:\n\n%s", len(left), longest, strings.Join(left, "\n\n"))
}
