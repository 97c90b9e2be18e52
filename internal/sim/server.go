package sim

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"
)

// A Server is a miniredis in a bubble, whose TTLs run, and the network before it. The Link in it is the way of those who
// name none.
//
// Commands are carried out one at a time, in the order in which they come; one that blocks (BLPOP and its like) would stop
// the whole bubble.
type Server struct {
	*Link
	redis *miniredis.Miniredis
	over  chan struct{} // closed by Close
	conns sync.WaitGroup
	apart uint64                                     // the seed of Apart; 0: things may happen at one moment
	gate  func(Request) (reply string, instead bool) // asked when a command is carried out; nil: all are

	turn     sync.Mutex // held while a command is carried out
	deciding sync.Mutex // held while the rule runs, so that it sees one command at a time; taken before mu

	mu       sync.Mutex // protects what follows
	open     []*pair    // whose server's end is served
	accepted int        // connections so far
	closed   bool
	dead     int               // Kill is under way so often
	killed   int               // connections up to this one are not served any more
	verbs    map[string]string // the verb of a script, by its hash
	rule     func(Request) Action
	counts   map[string]int // of each verb, since the rule was set
	next     map[string][]Action
	noLog    bool
	arrived  []Request
	carried  []Carried
	around   func(Request, func() string)
	clock    func() time.Time // nil: the bubble's
	pauses   int
	waiting  []chan struct{} // of the connections whose commands came while the server was paused, in their order
	stepped  chan struct{}   // sent to by one that was let go on, when it has carried out what had come
	cleanups []func()
}

// A Request is one command that came to the server.
type Request struct {
	Link string    // the name of its link
	Conn int       // the connection; they count from 1, over all links
	Verb string    // the name of its script, as NameScripts has it, else the command in lower case
	N    int       // the how manieth of its verb, from 1, since the last call of Rule
	Name string    // the command in upper case
	Args []string  // what follows the command
	Sent time.Time // when its client wrote it
	At   time.Time // when it came
}

// Carried is a command that was carried out.
type Carried struct {
	Request
	Ran   time.Time
	Reply string // as it was sent, or would have been
}

// NewServer starts a server that ends with the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{redis: miniredis.NewMiniRedis(), over: make(chan struct{}), stepped: make(chan struct{})}
	s.redis.ClockTTL(true)
	first, err := s.redis.Dial() // starts it without a listener
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	s.Link = s.NewLink("")
	t.Cleanup(s.Close)
	return s
}

// NewLink makes a link. name is what [Request] and [Carried] have.
func (s *Server) NewLink(name string) *Link { return &Link{server: s, name: name} }

// Miniredis is the server itself, past the network: its keys, its clock. Its Close is not for tests.
func (s *Server) Miniredis() *miniredis.Miniredis { return s.redis }

// Do asks the server past the network, its pauses, its rule, and its log.
func (s *Server) Do(cmd string, args ...any) (any, error) {
	words := []string{cmd}
	for _, a := range args {
		if b, ok := a.([]byte); ok {
			a = string(b)
		}
		words = append(words, fmt.Sprint(a))
	}
	var raw bytes.Buffer
	peer := server.NewPeer(bufio.NewWriter(&raw))
	s.dispatch(peer, words)
	peer.Flush()
	return redis.NewConn(answer{&raw}, 0, 0).Receive()
}

// answer is a connection that has nothing but a reply.
type answer struct{ *bytes.Buffer }

func (answer) Close() error                     { return nil }
func (answer) LocalAddr() net.Addr              { return addr("sim") }
func (answer) RemoteAddr() net.Addr             { return addr("sim") }
func (answer) SetDeadline(time.Time) error      { return nil }
func (answer) SetReadDeadline(time.Time) error  { return nil }
func (answer) SetWriteDeadline(time.Time) error { return nil }

// NameScripts tells what [Request].Verb is for a script, by the hash that EVALSHA has.
func (s *Server) NameScripts(verbs map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verbs = verbs
}

// Rule has f decide about every command that comes from now on; nil: all pass. It is called for one command at a time, in
// their order, so it may count without a lock. It may call Do; it must not block, nor call Rule.
func (s *Server) Rule(f func(Request) Action) {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rule, s.counts = f, map[string]int{}
}

// Next decides about the next commands of a verb ("": of any), before the rule is asked.
func (s *Server) Next(verb string, actions ...Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = map[string][]Action{}
	}
	s.next[verb] = append(s.next[verb], actions...)
}

// Around has f carry out every command that comes from now on: f calls carry once, which returns the reply. Nothing else is
// carried out meanwhile, and f may look at what [Server.Miniredis] has before and after. nil: nothing is looked at.
func (s *Server) Around(f func(r Request, carry func() (reply string))) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.around = f
}

// SetClock gives the server another clock than the bubble's, one that drifts or has been stepped. A step back does not
// lengthen the TTLs that run, unlike that of a real server.
func (s *Server) SetClock(clock func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = clock
}

// Requests are all commands that have come, in their order, also those that were not carried out.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.arrived)
}

// Count is how many commands of this verb have come.
func (s *Server) Count(verb string) (n int) {
	for _, r := range s.Requests() {
		if r.Verb == verb {
			n++
		}
	}
	return n
}

// Log is what was carried out, in that order.
func (s *Server) Log() []Carried {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.carried)
}

// KeepNoLog has Requests and Log stay empty from now on, as where millions of commands come.
func (s *Server) KeepNoLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noLog = true
}

// Knows reports whether the server has this command.
func (s *Server) Knows(cmd string) bool {
	return s.redis.Server().IsRegisteredCommand(strings.ToUpper(cmd))
}

// Accepted is how many connections were made so far, over all links.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Pause makes the server stand still: it takes commands and answers none. goOn has it carry out what has come, in the order
// in which it came, also of callers that have gone, and returns when that is done.
func (s *Server) Pause() (goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pauses++
	return sync.OnceFunc(s.goOn)
}

func (s *Server) goOn() {
	for {
		s.mu.Lock()
		if s.pauses > 1 || len(s.waiting) == 0 {
			s.pauses--
			s.mu.Unlock()
			return
		}
		first := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		close(first)
		select {
		case <-s.stepped:
		case <-s.over:
			return
		}
		s.part("go on", 0, 0)
	}
}

// Kill ends all connections, over all links, and refuses all dials until back. What was not carried out by then is lost; what the server
// has is kept.
func (s *Server) Kill() (back func()) {
	s.mu.Lock()
	s.dead++
	s.killed = s.accepted
	open := slices.Clone(s.open)
	s.mu.Unlock()
	for _, p := range open {
		p.cut()
		s.part("kill", p.id, 0)
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dead--
	})
}

// isKilled reports whether a connection is not served any more.
func (s *Server) isKilled(conn int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return conn <= s.killed
}

// stand waits while the server is paused, and reports whether it did.
func (s *Server) stand() (stood bool) {
	s.mu.Lock()
	if s.pauses == 0 {
		s.mu.Unlock()
		return false
	}
	mine := make(chan struct{})
	s.waiting = append(s.waiting, mine)
	s.mu.Unlock()
	select {
	case <-mine:
	case <-s.over:
	}
	return true
}

// connect makes a connection of a link, and serves it.
func (s *Server) connect(l *Link) (*pair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.dead > 0 {
		return nil, syscall.ECONNREFUSED
	}
	p, err := l.add(s.accepted + 1)
	if err != nil {
		return nil, err
	}
	s.accepted++
	s.open = append(s.open, p)
	s.conns.Go(func() {
		(&visitor{server: s, pair: p}).serve()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open = slices.DeleteFunc(s.open, func(q *pair) bool { return q == p })
	})
	return p, nil
}

// request notes that a command has come, and decides about it.
func (s *Server) request(p *pair, words []string) (Request, Action) {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	r, a, rule := s.note(p, words)
	if rule == nil {
		return r, a
	}
	return r, rule(r)
}

// note notes it, and finds what decides: an action, or if there is one the rule.
func (s *Server) note(p *pair, words []string) (Request, Action, func(Request) Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Request{Link: p.link.name, Conn: p.id, Name: strings.ToUpper(words[0]), Args: words[1:], Sent: p.server.in.lastSent(), At: time.Now()}
	r.Verb = s.verb(r)
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[r.Verb]++
	r.N = s.counts[r.Verb]
	if !s.noLog {
		s.arrived = append(s.arrived, r)
	}
	for _, verb := range []string{r.Verb, ""} {
		if list := s.next[verb]; len(list) > 0 {
			s.next[verb] = list[1:]
			return r, list[0], nil
		}
	}
	return r, Pass(), s.rule
}

func (s *Server) verb(r Request) string {
	if len(r.Args) > 0 {
		hash := r.Args[0]
		if r.Name == "EVAL" {
			sum := sha1.Sum([]byte(r.Args[0]))
			hash = hex.EncodeToString(sum[:])
		}
		if verb := s.verbs[hash]; verb != "" && strings.HasPrefix(r.Name, "EVAL") {
			return verb
		}
	}
	return strings.ToLower(r.Name)
}

// CleanUp has f called by Close, before the connections are cut.
func (s *Server) CleanUp(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// Close ends the server: its pools, its connections, its goroutines. A dial that hangs returns. The test's end calls it.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	cleanups, open := s.cleanups, slices.Clone(s.open)
	s.mu.Unlock()
	close(s.over)
	for _, f := range cleanups {
		f()
	}
	for _, p := range open {
		p.cut()
		p.server.Close()
	}
	s.conns.Wait()
	s.redis.Close()
}
