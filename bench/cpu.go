package bench

import (
	"context"
	"time"
)

// CPU is processor time, in user mode and in the kernel for it. Negative: not known.
type CPU struct {
	Client time.Duration // of this process, by getrusage; not known where an embedded server's is among it
	Server time.Duration // of the server's process, by INFO
}

// A costMeter finds what is used between its start and its stop. The server is asked outside of the two, so that the
// asking is not the client's.
type costMeter struct {
	used         func(context.Context) usage // by the server
	embedded     bool
	before       usage
	clientBefore time.Duration
	clientKnown  bool
}

// ask must come before start.
func (m *costMeter) ask(ctx context.Context) { m.before = m.used(ctx) }

func (m *costMeter) start() { m.clientBefore, m.clientKnown = ownCPU() }

// stop is the client's part.
func (m *costMeter) stop() CPU {
	used := CPU{Client: -1, Server: -1}
	if now, ok := ownCPU(); ok && m.clientKnown && !m.embedded {
		used.Client = now - m.clientBefore
	}
	return used
}

// askAgain adds the server's part.
func (m *costMeter) askAgain(ctx context.Context, used *CPU) Cost {
	d := m.used(ctx).since(m.before)
	used.Server = d.cpu
	return d.cost
}

// metrics are those of so many ops.
func (c *CPU) metrics(ops int64) []Metric {
	var list []Metric
	if c == nil {
		return nil
	}
	if c.Client >= 0 {
		list = append(list, Metric{float64(c.Client.Nanoseconds()) / float64(ops), "cpu-ns/op"})
	}
	if c.Server >= 0 {
		list = append(list, Metric{float64(c.Server.Nanoseconds()) / float64(ops), "server-cpu-ns/op"})
	}
	return list
}
