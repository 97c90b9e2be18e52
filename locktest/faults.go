package locktest

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/scripts"
	"github.com/redigolock/redigolock/internal/sim"
)

// Down takes the server down: connections are refused, and those that there are cut, until up. Its data stay.
func (s *Server) Down() (up func()) {
	accept := s.fault(s.sim.RefuseDials())
	s.sim.Cut()
	return accept
}

// Hang makes the server stand still, as a paused process or a slow command does: it takes connections and commands, and answers
// none, until goOn. goOn carries out what has come, in its order, also for callers that gave up meanwhile, and returns when
// that is done.
func (s *Server) Hang() (goOn func()) { return s.fault(s.sim.Pause()) }

// fault has the test's end call end, unless the test does.
func (s *Server) fault(end func()) func() {
	end = sync.OnceFunc(end)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faultsUp = append(s.faultsUp, end)
	return end
}

// A loss is what LoseReplies asked for.
type loss struct {
	left  int
	verbs []string // none: all
}

// LoseReplies has the next n commands of these verbs carried out, and their replies lost: the connection breaks instead. Their
// callers cannot know whether they were carried out. No verb: all commands.
//
// A Locker asks again where it may: a lost reply of an acquire is mostly found, and one of a renewal is sent again.
func (s *Server) LoseReplies(n int, verbs ...string) {
	s.t.Helper()
	s.needsVerbs("LoseReplies", verbs)
	if n < 1 {
		s.t.Fatalf("locktest: LoseReplies(%d): at least 1 reply can be lost", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = append(s.losses, &loss{left: n, verbs: verbs})
}

// A refusal is what Refuse asked for.
type refusal struct {
	err   string
	verbs []string // none: all
}

// Refuse has the server answer commands of these verbs with an error, and not carry them out, until stop. err is what a
// server says, its first word in capitals, as in
//
//	READONLY You can't write against a read only replica.
//	LOADING Redis is loading the dataset in memory
//	NOPERM User app has no permissions to run the 'set' command
//	OOM command not allowed when used memory > 'maxmemory'.
//
// No verb: all commands.
func (s *Server) Refuse(err string, verbs ...string) (stop func()) {
	s.t.Helper()
	s.needsVerbs("Refuse", verbs)
	if !errorPattern.MatchString(err) {
		s.t.Fatalf("locktest: Refuse(%q): an error of a server is one line whose first word, in capitals, tells its kind: "+
			"READONLY, LOADING, NOPERM, OOM, ERR …", err)
	}
	r := &refusal{err: err, verbs: verbs}
	s.mu.Lock()
	s.refusals = append(s.refusals, r)
	s.mu.Unlock()
	return s.fault(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refusals = slices.DeleteFunc(s.refusals, func(q *refusal) bool { return q == r })
	})
}

var (
	errorPattern   = regexp.MustCompile(`^[A-Z][A-Z0-9]*( [^\r\n]*)?$`)
	commandPattern = regexp.MustCompile(`^[A-Z]+$`)
)

// unknownHere are commands that the library sends and this server does not have.
var unknownHere = []string{"DELIFEQ", "SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH", "ROLE"}

// otherWords are words of an Observer that are not told apart here, and what is to be said instead.
var otherWords = map[string]string{
	"attach":      verify,
	"clean up":    release,
	"subscribe":   "SUBSCRIBE",
	"try acquire": acquire,
}

// needsVerbs fails the test unless each is a verb, or a command in capitals.
func (s *Server) needsVerbs(method string, given []string) {
	s.t.Helper()
	for _, v := range given {
		known := slices.Contains(verbs, v) ||
			commandPattern.MatchString(v) && (s.sim.Knows(v) || slices.Contains(unknownHere, v))
		if other := otherWords[v]; other != "" {
			s.t.Fatalf("locktest: %s: %q is not told apart: say %q", method, v, other)
		}
		if !known {
			s.t.Fatalf("locktest: %s: there is no verb %q: it is one of %s, or the name of a command in capitals",
				method, v, strings.Join(verbs, ", "))
		}
	}
}

// asked reports whether a command is one of these.
func asked(list []string, r sim.Request, w wish) bool {
	return len(list) == 0 || w.verb != "" && slices.Contains(list, w.verb) || slices.Contains(list, r.Name)
}

// decide decides about a command. The server calls it for one at a time, so visits and loaded need no mutex. It asks the server
// without mu, which carry takes while the server carries a command out.
func (s *Server) decide(r sim.Request) sim.Action {
	v := s.visits[r.Conn]
	if v == nil {
		v = &visit{}
		s.visits[r.Conn] = v
	}
	w := v.read(r, s.isKnown)
	s.load(scriptNames[w.digest])
	if r.Name == "EVALSHA" && w.digest != "" && s.loses() {
		known, err := redis.Ints(s.sim.Do("SCRIPT", "EXISTS", w.digest))
		w.refused = err == nil && len(known) == 1 && known[0] == 0
	}
	return s.judge(r, w)
}

func (s *Server) isKnown(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[key]
}

// loses reports whether replies are to be lost.
func (s *Server) loses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.losses) > 0
}

// judge decides by the faults that there are.
func (s *Server) judge(r sim.Request, w wish) sim.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.refusals {
		if asked(q.verbs, r, w) {
			return sim.Refuse(q.err)
		}
	}
	if blocks(r) {
		return sim.Refuse("ERR locktest: " + r.Name + " may block, which this server cannot")
	}
	for i, l := range s.losses {
		if !asked(l.verbs, r, w) || !carriesOut(l.verbs, r, w) {
			continue
		}
		if l.left--; l.left == 0 {
			s.losses = slices.Delete(s.losses, i, i+1)
		}
		return sim.Drop()
	}
	return sim.Pass()
}

// load tells the server a script of the library before it is first asked for it by its digest, so that each verb is one command,
// which Hang and LoseReplies have carried out. To tell it all of them at the start would take longer than most tests.
func (s *Server) load(name string) {
	if name == "" || s.loaded[name] {
		return
	}
	s.loaded[name] = true
	_, _ = s.sim.Do("SCRIPT", "LOAD", scripts.Texts[name]) // one that it will not take is sent as a text, too
}

// carriesOut reports whether the command is what does the work: not the GET of a double check, nor the WATCH of a release,
// nor an EVALSHA of a script that the server does not know. One that was asked for by its own name does, unless it is an
// EVALSHA like that.
func carriesOut(list []string, r sim.Request, w wish) bool {
	return !w.refused && (w.verb == "" || w.does || slices.Contains(list, r.Name))
}

// blocks reports whether a command may block, which would stop the whole server.
func blocks(r sim.Request) bool {
	switch r.Name {
	case "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP":
		return true
	case "XREAD", "XREADGROUP":
		return slices.ContainsFunc(r.Args, func(a string) bool { return strings.EqualFold(a, "BLOCK") })
	}
	return false
}
