package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Cost is what the server has done for all Ops together, by its INFO, and for others who use it. Negative: not known,
// as of a rival that has a server of its own.
type Cost struct {
	Calls   int64 // commands that it has executed, with those that scripts call
	EvalSha int64 // how many of them were EVALSHA, and so sent
	Reads   int64 // how often it has read from a connection, which is once for a pipeline that came in one piece
	Bytes   int64 // that it has received and sent on the network
}

// metrics are those of so many ops, which units call op or acq.
func (c *Cost) metrics(ops int64, op string) []Metric {
	var list []Metric
	if c == nil {
		return nil
	}
	if c.Calls >= 0 {
		list = append(list, Metric{float64(c.Calls) / float64(ops), "cmds/" + op})
	}
	return append(list, c.network(ops, op)...)
}

func (c *Cost) network(ops int64, op string) []Metric {
	if c == nil {
		return nil
	}
	var list []Metric
	if c.Reads >= 0 {
		list = append(list, Metric{float64(c.Reads) / float64(ops), "reads/" + op})
	}
	if c.Bytes >= 0 {
		list = append(list, Metric{float64(c.Bytes) / float64(ops), "net-B/" + op})
	}
	return list
}

// A usage is what a server has used and done until some moment. Negative: not known.
type usage struct {
	cpu   time.Duration
	cost  Cost
	reply int64 // how long the answer was that has told all this, which the next one counts
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

// usage asks for everything at once.
func (s *Server) usage(ctx context.Context) usage {
	texts := make([]string, len(usageSections))
	u := unknownUsage
	_ = s.administer(ctx, func(c redis.Conn, timeout time.Duration) error {
		for _, section := range usageSections {
			if err := c.Send("INFO", section); err != nil {
				return err
			}
		}
		replies, err := redis.Values(redis.DoWithTimeout(c, timeout, ""))
		for i, reply := range replies {
			texts[i], _ = redis.String(reply, nil) // one that was refused stays empty
			u.reply += bulkBytes(texts[i])
		}
		return err
	})
	u.read(texts[0], texts[1], texts[2])
	return u
}

func (u *usage) read(stats, cpu, commandstats string) {
	in, inErr := strconv.ParseInt(field(stats, "total_net_input_bytes"), 10, 64)
	out, outErr := strconv.ParseInt(field(stats, "total_net_output_bytes"), 10, 64)
	if inErr == nil && outErr == nil {
		u.cost.Bytes = in + out
	}
	if reads, err := strconv.ParseInt(field(stats, "total_reads_processed"), 10, 64); err == nil {
		u.cost.Reads = reads
	}
	user, userErr := strconv.ParseFloat(field(cpu, "used_cpu_user"), 64)
	sys, sysErr := strconv.ParseFloat(field(cpu, "used_cpu_sys"), 64)
	if userErr == nil && sysErr == nil {
		u.cpu = time.Duration((user + sys) * float64(time.Second))
	}
	if commandstats != "" {
		u.cost.Calls, u.cost.EvalSha = sumCalls(commandstats)
	}
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
		d.cost.Reads = max(d.cost.Reads-1, 0) // the question of u, which is one read
	}
	if d.cost.Bytes >= 0 {
		d.cost.Bytes = max(d.cost.Bytes-before.reply-askBytes, 0)
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
