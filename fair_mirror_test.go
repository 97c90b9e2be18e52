package redigolock_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redigolock/redigolock/internal/redistest"
)

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
	switch n := len(m.queues["{"+key+"}:redigolock-q1"]); {
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
