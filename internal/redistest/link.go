package redistest

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// link is one client's connection and the proxy's own to the server. Three
// goroutines work on it: forward reads the client's requests and sends them on,
// collect reads the server's replies, and answer writes to the client.
//
// However it ends, it ends in one order, so that no command is lost by
// accident: the client's side closes, forward sends on what had arrived and
// closes its half towards the server, the server answers the rest and closes,
// collect ends, answer ends.
type link struct {
	proxy  *Proxy
	id     int
	client net.Conn
	server net.Conn

	replies chan []byte   // from collect to answer; closed when the server's side has ended
	wake    chan struct{} // says that pending has grown; holds one signal
	muted   bool          // of answer: nothing is written any more

	mu         sync.Mutex // protects the fields below
	pending    []*call    // requests without a complete answer, in order
	subscribed bool       // messages may come between the replies
}

// call is a request that waits for its answer.
type call struct {
	action  Action
	sent    time.Time // when it was about to be forwarded
	replies int       // how many values answer it
}

// local says whether the proxy answers the call by itself.
func (c *call) local() bool { return c.action.Kind == sim.Cuts || c.action.Kind == sim.Answers }

func newLink(p *Proxy, client, server net.Conn) *link {
	return &link{
		proxy: p, client: client, server: server,
		replies: make(chan []byte), wake: make(chan struct{}, 1),
	}
}

// run returns when both sides are closed.
func (l *link) run() {
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		defer wg.Done()
		l.forward()
	}()
	go func() {
		defer wg.Done()
		l.collect()
	}()
	l.answer()
	l.client.Close() // so that forward ends too, if it was the server that went
	wg.Wait()
}

// forward reads the client's requests, asks the rule, and sends them on.
func (l *link) forward() {
	defer l.server.(*net.TCPConn).CloseWrite()
	r := bufio.NewReaderSize(l.client, 64<<10)
	for {
		words, err := sim.ReadCommand(r)
		if err != nil || !l.handle(words) {
			return // the client has gone, or does not speak RESP
		}
	}
}

// handle does with one request what the rule says. It returns false if nothing
// more is to be read.
func (l *link) handle(words []string) bool {
	name := strings.ToUpper(words[0])
	act := l.proxy.decide(Request{Conn: l.id, Name: name, Args: words[1:]})
	if act.Kind == sim.IsLate {
		select {
		case <-act.Release:
		case <-l.proxy.closing:
			return false
		}
	}
	// First it waits for its answer, then it is forwarded: the other way round
	// the answer might be faster.
	l.enqueue(name, &call{action: act, sent: time.Now(), replies: answers(name, words)})
	switch act.Kind {
	case sim.Cuts:
		return false
	case sim.Answers:
		return true
	}
	_, err := l.server.Write(encode(words))
	return err == nil
}

// answers returns how many values answer the request: one for each channel of
// a subscription, else one. To leave all subscriptions is one value or more;
// those beyond the first pass as what nobody asked for.
func answers(name string, words []string) int {
	if strings.HasSuffix(name, "SUBSCRIBE") && len(words) > 1 {
		return len(words) - 1
	}
	return 1
}

func (l *link) enqueue(name string, c *call) {
	l.mu.Lock()
	l.pending = append(l.pending, c)
	l.subscribed = l.subscribed || strings.HasSuffix(name, "SUBSCRIBE")
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // one signal is as good as two
	}
}

// collect reads the server's replies until it closes.
func (l *link) collect() {
	defer close(l.replies)
	r := bufio.NewReaderSize(l.server, 64<<10)
	for {
		var buf bytes.Buffer
		if err := readValue(r, &buf); err != nil {
			return
		}
		l.replies <- buf.Bytes()
	}
}

// answer writes to the client, in the order of the requests, what answers them.
func (l *link) answer() {
	for {
		l.answerLocal()
		select {
		case <-l.wake:
		case raw, ok := <-l.replies:
			if !ok {
				l.answerLocal() // nothing more comes, but these may be due
				return
			}
			l.deliver(raw)
		}
	}
}

// answerLocal gives the answers that need no server, up to the first call that
// does.
func (l *link) answerLocal() {
	for {
		l.mu.Lock()
		if len(l.pending) == 0 || !l.pending[0].local() {
			l.mu.Unlock()
			return
		}
		c := l.pending[0]
		l.pending = l.pending[1:]
		l.mu.Unlock()
		if c.action.Kind == sim.Cuts {
			l.end()
		}
		l.write([]byte(c.action.Text))
	}
}

// deliver does with a value from the server what the action of its call says.
func (l *link) deliver(raw []byte) {
	l.answerLocal() // calls that came since answer looked
	switch act := l.match(raw); act.Kind {
	case sim.Drops:
		l.end()
	case sim.Swallows:
		l.muted = true
	case sim.Truncates:
		l.write(raw[:min(act.N, len(raw))])
		l.end()
	default:
		l.write(raw)
	}
}

// match finds the call that the value answers, waits as long as its action
// wants, and returns the action. What answers no call passes.
func (l *link) match(raw []byte) Action {
	l.mu.Lock()
	if len(l.pending) == 0 || l.subscribed && isMessage(raw) {
		l.mu.Unlock()
		return Pass()
	}
	c := l.pending[0]
	// What is no array is a refusal, or QUEUED: one for all the channels.
	if c.replies--; c.replies == 0 || raw[0] != '*' {
		l.pending = l.pending[1:]
	}
	l.mu.Unlock()
	switch c.action.Kind {
	case sim.IsSlow:
		select {
		case <-time.After(time.Until(c.sent.Add(c.action.For))):
		case <-l.proxy.closing:
		}
	case sim.Holds:
		select {
		case <-c.action.Release:
		case <-l.proxy.closing:
		}
	}
	return c.action
}

// write sends bytes to the client. One that has gone is no reason to stop: what
// it asked for is carried out all the same.
func (l *link) write(raw []byte) {
	if !l.muted {
		_, _ = l.client.Write(raw)
	}
}

// end closes the client's side.
func (l *link) end() {
	l.muted = true
	l.client.Close()
}
