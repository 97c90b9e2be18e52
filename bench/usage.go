package bench

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// CPU is processor time, in user mode and in the kernel for it. Negative: not known.
type CPU struct {
	Client time.Duration // of this process, by getrusage; not known where an embedded server's is among it
	Server time.Duration // of the server's process, by INFO
}

// Cost is what the server has done for all Ops together, by its INFO, and for others who use it. Negative: not known,
// as of a rival that has a server of its own.
type Cost struct {
	Calls   int64 // commands that it has executed, with those that scripts call
	EvalSha int64 // how many of them were EVALSHA, and so sent
	Reads   int64 // how often it has read from a connection, which is once for a pipeline that came in one piece
	Bytes   int64 // that it has received and sent on the network
}

// A meter finds what is spent between its start and its stop. The server is asked outside of the two, so that the asking
// is not the client's.
type meter struct {
	busy        bool                        // with a server, too
	used        func(context.Context) usage // by the server
	before      usage
	client      time.Duration
	clientKnown bool
	mallocs     uint64
	began       time.Time
}

// A spent is what was.
type spent struct {
	elapsed time.Duration
	allocs  uint64 // of the whole process
	cpu     CPU
	cost    Cost
}

// newMeter is that of a way at a server; nil: of this process alone.
func newMeter(s *Server, way string) *meter {
	if s == nil {
		return &meter{used: func(context.Context) usage { return unknownUsage }}
	}
	return &meter{used: s.usageOf(way), busy: s.busyHere()}
}

func (m *meter) start(ctx context.Context) time.Time {
	var mem runtime.MemStats
	m.before = m.used(ctx)
	runtime.ReadMemStats(&mem)
	m.mallocs = mem.Mallocs
	m.client, m.clientKnown = ownCPU()
	m.began = time.Now()
	return m.began
}

func (m *meter) stop(ctx context.Context) spent {
	s := spent{elapsed: time.Since(m.began), cpu: CPU{Client: -1}}
	if now, ok := ownCPU(); ok && m.clientKnown && !m.busy {
		s.cpu.Client = now - m.client
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s.allocs = mem.Mallocs - m.mallocs
	used := m.used(ctx).since(m.before)
	s.cpu.Server, s.cost = used.cpu, used.cost
	return s
}

// A usage is what a server has used and done until some moment. Negative: not known.
type usage struct {
	cpu   time.Duration
	cost  Cost
	asked int64 // how many questions have told all this, each of which is a read
	reply int64 // how long the answers were, which the next ones count
}

var unknownUsage = usage{cpu: -1, cost: Cost{-1, -1, -1, -1}}

var usageSections = []string{"stats", "cpu", "commandstats"}

// askBytes is how long the question is.
var askBytes = func() (sum int64) {
	for _, section := range usageSections {
		sum += int64(len("*2\r\n")) + bulkBytes("INFO") + bulkBytes(section)
	}
	return sum
}()

// bulkBytes is how long a string is on the wire.
func bulkBytes(text string) int64 { return int64(len(fmt.Sprintf("$%d\r\n%s\r\n", len(text), text))) }

// usage is what all masters have used. Once ctx has ended nobody wants to know.
func (s *Server) usage(ctx context.Context) usage {
	if ctx.Err() != nil {
		return unknownUsage
	}
	var sum usage
	err := s.administer(ctx, func(c redis.Conn, timeout time.Duration) error {
		u, err := usageAt(c, timeout)
		sum.add(u)
		return err
	})
	if err != nil {
		return unknownUsage
	}
	return sum
}

// usageAt asks a server for everything at once.
func usageAt(c redis.Conn, timeout time.Duration) (usage, error) {
	u := unknownUsage
	for _, section := range usageSections {
		if err := c.Send("INFO", section); err != nil {
			return u, err
		}
	}
	texts := make([]string, len(usageSections))
	replies, err := redis.Values(redis.DoWithTimeout(c, timeout, ""))
	for i, reply := range replies {
		texts[i], _ = redis.String(reply, nil) // one that was refused stays empty
		u.reply += bulkBytes(texts[i])
	}
	u.asked = 1
	u.read(texts[0], texts[1], texts[2])
	return u, err
}

// add adds that of another server. What is not known of one is not known of all.
func (u *usage) add(v usage) {
	sum := func(a, b int64) int64 {
		if a < 0 || b < 0 {
			return -1
		}
		return a + b
	}
	u.cpu = time.Duration(sum(int64(u.cpu), int64(v.cpu)))
	u.cost = Cost{sum(u.cost.Calls, v.cost.Calls), sum(u.cost.EvalSha, v.cost.EvalSha), sum(u.cost.Reads, v.cost.Reads), sum(u.cost.Bytes, v.cost.Bytes)}
	u.asked, u.reply = u.asked+v.asked, u.reply+v.reply
}

func (u *usage) read(stats, cpu, commandstats string) {
	in, out := number(stats, "total_net_input_bytes"), number(stats, "total_net_output_bytes")
	if in >= 0 && out >= 0 {
		u.cost.Bytes = int64(in + out)
	}
	u.cost.Reads = int64(number(stats, "total_reads_processed"))
	if user, sys := number(cpu, "used_cpu_user"), number(cpu, "used_cpu_sys"); user >= 0 && sys >= 0 {
		u.cpu = time.Duration((user + sys) * float64(time.Second))
	}
	if commandstats != "" {
		u.cost.Calls, u.cost.EvalSha = sumCalls(commandstats)
	}
}

// number is a field of INFO, or -1 if it is not there.
func number(info, name string) float64 {
	n, err := strconv.ParseFloat(field(info, name), 64)
	if err != nil {
		return -1
	}
	return n
}

// sumCalls leaves INFO out, which is our asking.
func sumCalls(commandstats string) (all, evalsha int64) {
	for line := range strings.Lines(commandstats) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":calls=")
		n, _, _ := strings.Cut(rest, ",")
		var count int64
		if _, err := fmt.Sscan(n, &count); err != nil || name == "cmdstat_info" {
			continue
		}
		all += count
		if name == "cmdstat_evalsha" {
			evalsha = count
		}
	}
	return all, evalsha
}

// since is what was used and done since the usage before, which is the last that was asked for.
func (u usage) since(before usage) usage {
	d := usage{cpu: time.Duration(grown(int64(before.cpu), int64(u.cpu)))}
	d.cost.Calls = grown(before.cost.Calls, u.cost.Calls)
	d.cost.EvalSha = grown(before.cost.EvalSha, u.cost.EvalSha)
	d.cost.Bytes = grown(before.cost.Bytes, u.cost.Bytes)
	d.cost.Reads = grown(before.cost.Reads, u.cost.Reads)
	if d.cost.Reads >= 0 {
		d.cost.Reads = max(d.cost.Reads-u.asked, 0) // the questions of u
	}
	if d.cost.Bytes >= 0 {
		d.cost.Bytes = max(d.cost.Bytes-before.reply-u.asked*askBytes, 0)
	}
	return d
}

func grown(from, to int64) int64 {
	if from < 0 || to < 0 {
		return -1
	}
	return to - from
}

// usageOf finds what the server of an approach or a way has used.
func (s *Server) usageOf(way string) func(context.Context) usage {
	k, ok := rivalNamed(way)
	if !ok || k.Server == "" {
		return s.usage
	}
	return func(context.Context) usage {
		u := unknownUsage
		if k.ServerCPU == nil {
			return u
		}
		if used, known := k.ServerCPU(); known {
			u.cpu = used
		}
		return u
	}
}
