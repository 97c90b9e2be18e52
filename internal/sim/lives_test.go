package sim_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A life is what has become of a token: what its process has sent for it, and what the server did.
type life struct {
	ttl       time.Duration // that was asked for
	sent      time.Time     // when the command was that has put it into its key
	asked     time.Time     // when a command was last sent that asks for it
	extending time.Time     // when a command was last sent that extends it
	made      time.Time     // when its key has begun to carry it
	removed   time.Time     // when its own process has removed it
	nothing   []time.Time   // when the server has said that it is not there
	numbers   map[int64]bool
	verified  time.Time // when the server last said that it is there
	over      time.Time // when its Release had returned
	expired   bool      // its Deadline had passed before its holder said that it is over
	dead      bool      // it was released, and that was confirmed
	abandoned bool      // it may be left in its key
	refused   bool      // its clean-up was refused for good
	mayExtend bool      // an Extend of it has had no answer, and may be carried out at any time
	lost      bool      // a failover has lost what the server knew of it, or brought it back
	late      chan struct{}
}

// lifeAt is what is known of a token at a node, lifeOf what is known of it as a whole. A single server has all of it, and so has a cluster,
// where a key is at one node at a time. The caller holds c.mu.
func (c *checker) lifeAt(n *node, token string) *life {
	if len(c.w.nodes) > 1 && c.w.shards == nil {
		token += n.name()
	}
	return c.lifeOf(token)
}

// lifeOf is described above.
func (c *checker) lifeOf(token string) *life {
	l := c.tokens[token]
	if l == nil {
		l = &life{numbers: map[int64]bool{}}
		c.tokens[token] = l
	}
	return l
}

// What commands do with the tokens that they name, by the names of their scripts.
var (
	acquires = []string{"set", "setnx", "try", "enter", "rel", "poke"} // rel and poke: where they bring an entry
	removes  = []string{"release", "leave", "rel", "del", "quit"}
	extends  = []string{"extend", "fairextend"}
)

// sent is called with what a process writes: one or more commands.
func (c *checker) sent(i *incarnation, n *node, b []byte) {
	for _, words := range commandsIn(b) {
		verb := strings.ToLower(words[0])
		if verb == "evalsha" && len(words) > 1 {
			verb = scriptNames(nil)[words[1]]
		}
		asks, extending := slices.Contains(acquires, verb), slices.Contains(extends, verb)
		if !asks && !extending {
			continue
		}
		for at, word := range words {
			if token := tokenIn(word); token != "" {
				c.mu.Lock()
				l := c.lifeAt(n, token)
				switch {
				case extending:
					c.extending(i, n, token, l)
				case verb != "rel" || at > 6: // the entry that goes along, not the token that is released
					l.ttl, l.asked = ttlIn(verb, words, at), time.Now()
				}
				c.mu.Unlock()
			}
		}
	}
}

// ttlIn is the ttl that a command asks for a token, the argument at.
func ttlIn(verb string, words []string, at int) time.Duration {
	ms, _, isEntry := strings.Cut(words[at], " ")
	switch px := slices.Index(words, "PX"); {
	case isEntry:
	case verb == "set" && px > 0 && px+1 < len(words):
		ms = words[px+1]
	case at+1 < len(words):
		ms = words[at+1]
	}
	n, _ := strconv.Atoi(ms)
	return time.Duration(n) * time.Millisecond
}

// mayExtend is called when an Extend has ended.
func (c *checker) mayExtend(token string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lifeOf(token); errors.Is(err, redigolock.ErrUnknown) {
		l.mayExtend = true
	}
}

// extending is called when a command is sent that extends a token: nothing may be once its Release has returned.
func (c *checker) extending(i *incarnation, n *node, token string, l *life) {
	l.extending = time.Now()
	if over := c.lifeOf(token).over; !over.IsZero() && c.w.plan.mode != "cohort" && !c.stillAsked(n, token) {
		c.failLocked("renewed after release", "%s extends %s, whose Release had returned %v before", i.name, short(token), time.Since(over))
	}
}

// stillAsked reports whether a node of a Quorum is still asked to take a token in, which a release does not wait for; it adopts what a
// lost try has left, by an extension, and then removes it.
func (c *checker) stillAsked(n *node, token string) bool {
	return c.w.plan.mode == "quorum" && time.Since(c.lifeAt(n, token).asked) < c.w.plan.op
}

// commandsIn are the commands that begin in b.
func commandsIn(b []byte) (list [][]string) {
	lines := strings.Split(string(b), "\r\n")
	for at := 0; at < len(lines); {
		n, err := strconv.Atoi(strings.TrimPrefix(lines[at], "*"))
		if err != nil || !strings.HasPrefix(lines[at], "*") || at+2*n >= len(lines) {
			return list
		}
		words := make([]string, n)
		for i := range words {
			words[i] = lines[at+2+2*i]
		}
		list, at = append(list, words), at+1+2*n
	}
	return list
}

// tokenIn is the token that an argument is, or that an entry of a queue ends with; "": none of a Locker of the worlds.
func tokenIn(word string) string {
	token := word[strings.LastIndexByte(word, ' ')+1:]
	if owner, id, ok := strings.Cut(token, "|"); ok && strings.HasPrefix(owner, "p") && len(id) == len("00000000-0000-0000-0000-000000000000") {
		return token
	}
	return ""
}

// lives notes what a command has done to the tokens of a key.
func (c *checker) lives(n *node, r sim.Request, reply, key string, was, is state) {
	if strings.HasPrefix(reply, "-") {
		return // it was not carried out
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if is.token != "" && is.token != was.token {
		l := c.lifeAt(n, is.token)
		l.made = now
		if strings.HasPrefix(is.token, r.Link) {
			l.sent = r.Sent
		}
		if !c.lifeOf(is.token).over.IsZero() && c.w.plan.mode != "cohort" { // it was released, and has come back
			for _, p := range c.w.procs {
				if p.now().name == r.Link {
					c.mustGo(n, p, r, is.token)
				}
			}
		}
	}
	if was.token != "" && is.token != was.token && strings.HasPrefix(was.token, r.Link) {
		c.lifeAt(n, was.token).removed = now
	}
	for at, word := range r.Args {
		token := tokenIn(word)
		if token == "" {
			continue
		}
		l := c.lifeAt(n, token)
		missed := len(l.nothing)
		switch {
		case r.Verb == "fence" && strings.HasPrefix(reply, "$"):
			if _, number, ok := strings.Cut(strings.TrimSpace(reply), "\r\n"); ok {
				fence, _ := strconv.ParseInt(number, 10, 64)
				l.numbers[fence] = true
			}
		case r.Verb == "verify" && strings.HasPrefix(reply, ":") && reply != ":0\r\n":
			l.verified = now
		case slices.Contains(removes, r.Verb) && (r.Verb != "rel" || at == 5) && is.token != token: // it was not there, or is removed
			l.nothing = append(l.nothing, now)
		case r.Verb == "poke" && strings.Contains(word, " ") && was.token != token && is.token != token && !slices.Contains(is.queue, word):
			l.nothing = append(l.nothing, now)
		}
		if l.late != nil && (slices.Contains(removes, r.Verb) || len(l.nothing) > missed) { // what was held back until then comes right after it
			late := l.late
			l.late = nil
			time.AfterFunc(between(c.w.plan.seed.of("late", token, r.At.Sub(c.w.trace.begin)), 1, c.w.plan.op/2), func() { close(late) })
		}
	}
}

// untilRemoved ends when a command that removes the token has been carried out, or when over does.
func (c *checker) untilRemoved(n *node, token string, over <-chan struct{}) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lifeAt(n, token)
	if l.late == nil {
		l.late = make(chan struct{})
	}
	either, removed := make(chan struct{}), l.late
	go func() {
		defer close(either)
		select {
		case <-removed:
		case <-over:
		}
	}()
	return either
}

// mustGo is called when a clean-up is under way: some OpTimeouts later the token must have gone, if all was well meanwhile.
func (c *checker) mustGo(n *node, p *process, r sim.Request, token string) {
	soon, i := 6*c.w.plan.op+50*time.Millisecond, p.now()
	time.AfterFunc(soon, func() {
		if p.wellFor() < soon-3*c.w.plan.op || i.dead.Load() || c.mayBeLeft(n, token) {
			return
		}
		for _, key := range r.Args {
			if slices.Contains(n.keys, key) {
				if c.w.shards != nil {
					n = c.w.wards[key].nodes()[0]
				}
				if has, left := n.holds(key); has == token {
					c.fail("stray", "%s, for another %v, although nothing was wrong for %v: %s", key, left, p.wellFor(), short(token))
				}
			}
		}
	})
}

// refusedForGood is called when a command is refused in a way that a clean-up does not outlive.
func (c *checker) refusedForGood(r sim.Request) {
	if !slices.Contains(removes, r.Verb) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, word := range r.Args {
		if token := tokenIn(word); token != "" {
			c.lifeOf(token).refused = true
		}
	}
}

// verified is called when Verify has said yes: so must have the server, meanwhile.
func (c *checker) verified(h *held, begin time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	yes := 0
	for _, n := range h.nodes() {
		if !c.lifeAt(n, h.token).verified.Before(begin) {
			yes++
		}
	}
	if yes < h.majority() {
		c.failLocked("not verified", "%s was told that %s is in %s, and not by the server", h.who, short(h.token), h.key)
	}
}

// valid checks Valid against the server.
func (c *checker) valid(h *held) {
	if h.k.Valid() {
		now := time.Now()
		c.truth(h.who, h.ward, h.token, func() time.Time { return now.Add(1) })
	}
}

// wasRenewed checks, when a lock is lost because no renewal has succeeded, that renewals were tried until the end: the pauses between
// them are 250 ms at most, and each dial and each batch takes an OpTimeout at most.
func (c *checker) wasRenewed(p *process, i *incarnation, h *held, begin time.Time, cause error) {
	if errors.Is(cause, redigolock.ErrNotHeld) || i.dead.Load() {
		return
	}
	due := h.k.Deadline().Add(-h.ttl / 2)
	c.mu.Lock()
	tried := later(due, begin)
	for _, n := range h.nodes() {
		tried = later(tried, c.lifeAt(n, h.token).extending)
	}
	c.mu.Unlock()
	dials := h.nodes()
	if c.w.shards != nil { // it may have dialled one that has the key no more
		dials = c.w.nodes
	}
	for _, n := range dials {
		tried = later(tried, i.lastDial(n))
	}
	most := 250*time.Millisecond + 2*c.w.plan.op
	if took := time.Since(tried); took > most && !p.hungSince(tried) {
		c.fail("not renewed", "%s of %s was lost, and nothing was tried for %v, which is more than %v: %v", h.key, h.who, took, most, cause)
	}
}

// isGone checks that a lock is gone of which a server is said to have said so.
func (c *checker) isGone(h *held, begin time.Time, cause error) {
	if !errors.Is(cause, redigolock.ErrNotHeld) || c.w.plan.mode == "cohort" || !time.Now().Before(h.k.Deadline()) {
		return
	}
	have := 0
	for _, n := range h.nodes() {
		has, _ := n.holds(h.key)
		c.mu.Lock()
		if has == h.token && c.lifeAt(n, has).made.Before(begin) {
			have++
		}
		c.mu.Unlock()
	}
	if have >= h.majority() {
		c.fail("lost though held", "%s of %s is still at %d of %d servers: %v", h.key, h.who, have, len(h.nodes()), cause)
	}
}

// wasHeld is called when a Release has said that its lock was not held any more, before its Deadline: it has not removed it itself, then.
func (c *checker) wasHeld(h *held, begin time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if removed := c.lifeAt(h.nodes()[0], h.token).removed; len(h.nodes()) == 1 && c.w.plan.mode != "cohort" && !removed.Before(begin) {
		c.failLocked("not held though released", "%s was told that %s was not in %s, and has removed it %v before", h.who, short(h.token), h.key, time.Since(removed))
	}
}

// noStrays checks that what a failed acquire, or a released lock, may have left behind was cleaned up: nobody works any more, and
// nothing is wrong with the network. What the Lockers still owe they have to be done with within a minute and some (a clean-up
// pauses for as long as it has failed, a minute at most); then no token may be left but for the reasons of [checker.mayBeLeft].
func (c *checker) noStrays() {
	const longest = 75 * time.Second
	begin := time.Now()
	owed := func() (n int) {
		for _, p := range c.w.procs {
			n += p.owes()
		}
		return n
	}
	for owed() > 0 && time.Since(begin) < longest {
		time.Sleep(c.w.plan.op / 4)
	}
	if n := owed(); n > 0 {
		c.fail("owed", "%d clean-ups are not done %v after the work", n, longest)
	}
	if c.w.isFair() { // a waiter that has given up may be granted the lock still, and is told by a message, or asks once a second
		time.Sleep(time.Second + 2*c.w.plan.op)
	}
	for _, key := range c.w.names {
		for _, n := range c.w.wards[key].nodes() {
			token, left := n.holds(key)
			if token != "" && !c.mayBeLeft(n, token) {
				c.fail("stray", "%s%s, for another %v: %s", key, n.name(), left, short(token))
			}
		}
	}
}

// mayBeLeft reports whether a token may be in its key although nobody has it: its process has crashed, or has left it there, or
// its Locker was closed before it was removed; MinHold has left it; its clean-up was refused for good; or the command that put it
// into the key was so late that the server had been seen without the token twice before, at least (an entry that a POKE did not find
// counts, too), or that its ttl and an OpTimeout are over since it was sent.
func (c *checker) mayBeLeft(n *node, token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lifeAt(n, token)
	if c.lifeOf(token).abandoned || c.lifeOf(token).refused || c.lifeOf(token).lost || strings.HasSuffix(token, "|left") || !c.isOfALiveLocker(token) {
		return true
	}
	confirmed := 0
	for _, at := range l.nothing {
		if at.Before(l.made) {
			confirmed++
		}
	}
	return confirmed >= 2 || !l.sent.IsZero() && time.Now().After(l.sent.Add(l.ttl+c.w.plan.op))
}

// isOfALiveLocker reports whether the Locker lives that has made a token.
func (c *checker) isOfALiveLocker(token string) bool {
	owner, _, _ := strings.Cut(token, "|")
	for _, p := range c.w.procs {
		i := p.now()
		i.mu.Lock()
		alive := slices.ContainsFunc(i.opened, func(l *locker) bool { return l.owner == owner && !l.closed })
		i.mu.Unlock()
		if alive {
			return true
		}
	}
	return false
}

// listeners are the channels of the entries in the queues that somebody hears.
func (c *checker) listeners(n *node, states []state) map[string]bool {
	heard := map[string]bool{}
	for _, s := range states {
		for _, e := range s.queue {
			channel := channelOf(e)
			heard[channel] = n.s.Miniredis().PubSubNumSub(channel)[channel] > 0
		}
	}
	return heard
}

// channelOf is the channel of an entry: <ttl> <length> <channel> <token>.
func channelOf(entry string) string {
	words := strings.Split(entry, " ")
	if len(words) != 4 {
		return ""
	}
	return words[2]
}

// silence is how long an entry's Locker must not have been heard before another may have it dropped, by a POKE that beats: four
// ticks, of three quarters of a second or more by the clock of whoever ends them; but what comes late may come closer together.
const silence = 2500 * time.Millisecond

// A beat is what an entry of a queue was last heard by: the command that has queued it, or a POKE that beats.
type beat struct{ sent, came time.Time }

// isSilent reports whether the Locker of that beat was silent for long enough before r. What a pause of the server has held back comes
// all at once, so when it was sent tells, too.
func (b beat) isSilent(r sim.Request) bool {
	return time.Since(b.came) > silence || r.Sent.Sub(b.sent) > silence
}

// heardOf notes which entries have come or beaten, and reports whether r is a POKE that beats.
func (c *checker) heardOf(r sim.Request, was, is state) (beats bool) {
	if c.beats == nil {
		c.beats = map[string]beat{}
	}
	heard := func(entry string) {
		c.beats[entry] = beat{sent: later(c.beats[entry].sent, r.Sent), came: time.Now()}
	}
	for _, e := range is.queue {
		if !slices.Contains(was.queue, e) {
			heard(e)
		}
	}
	if beats = r.Verb == "poke" && len(r.Args) == 8 && r.Args[1] == "3"; beats {
		heard(r.Args[6])
	}
	return beats
}

// inOrder checks that a fair lock goes to the first entry of its queue whose channel is heard, or to a newcomer where there is none,
// and that no other leaves the queue but by its own process, or because that was silent.
func (c *checker) inOrder(r sim.Request, key string, was, is state, heard map[string]bool) {
	if !strings.HasPrefix(r.Name, "EVAL") {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	beats := c.heardOf(r, was, is)
	granted := is.token != "" && is.token != was.token
	for _, e := range was.queue {
		token := tokenIn(e)
		switch {
		case granted && is.token == token:
			return // it was its turn
		case !heard[channelOf(e)]:
		case granted && slices.Contains(is.queue, e):
			c.failLocked("overtaken", "%s gave %s to %s, and %s waits before: %s", r.Link, key, short(is.token), short(token), describe(r, ""))
		case !slices.Contains(is.queue, e) && beats && c.beats[e].isSilent(r):
		case !slices.Contains(is.queue, e) && c.owner(token) != r.Link:
			c.failLocked("thrown out", "%s took %s out of the queue of %s: %s", r.Link, short(token), key, describe(r, ""))
		}
	}
}
