package sentinel

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	pingEvery   = time.Second
	askEvery    = 10 * time.Second // the one that is listened to may be cut off from the others
	silenceMost = 3 * time.Second  // a subscription without any answer for so long is dead
)

// watch keeps a subscription to the messages about failovers at one of the Sentinels until ctx ends. When it breaks, the next one's turn
// has come.
func (g *Group) watch(ctx context.Context) {
	pause := 10 * time.Millisecond
	for i := 0; ctx.Err() == nil; i++ {
		if g.listen(ctx, g.env.Addrs[i%len(g.env.Addrs)]) {
			pause = 10 * time.Millisecond
		}
		sleep(ctx, pause)
		pause = min(2*pause, time.Second)
	}
}

// listen subscribes at one Sentinel, and returns when that breaks. What it hears is only a reason to ask all of them: it may
// be old. The Sentinel that leads a failover names the new master from +promoted-slave on, and says +switch-master when the other
// replicas follow, which may take long; all that while the old master, if it lives, takes writes that are lost. What was said before it listened would be missed, so they are asked at the begin, too.
func (g *Group) listen(ctx context.Context, addr string) (heard bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dial, stop := context.WithTimeout(ctx, stepMost)
	defer stop()
	var c redis.Conn
	err := quietly(func() (err error) {
		c, err = g.connect(dial, g.env.DialSentinel, addr)
		return err
	})
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := do(dial, c, "SUBSCRIBE", "+promoted-slave", "+switch-master"); err != nil {
		return false
	}
	defer cutWith(ctx, c)()
	g.askSoon()
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		g.tend(ctx, c)
	}()
	defer func() {
		cancel()
		<-tended
	}()
	for {
		values, err := redis.Values(redis.ReceiveWithTimeout(c, silenceMost))
		if err != nil {
			return heard
		}
		heard = true
		if kind, _ := redis.String(first(values), nil); kind == "message" {
			g.askSoon()
		}
	}
}

// tend asks the Sentinels when that is due, until they have answered, and has the subscription show that it lives.
func (g *Group) tend(ctx context.Context, c redis.Conn) {
	ticks := time.NewTicker(pingEvery)
	defer ticks.Stop()
	asks := time.NewTicker(askEvery)
	defer asks.Stop()
	owed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.again:
			owed = true
		case <-asks.C:
			owed = true
		case <-ticks.C:
			if c.Send("PING") != nil || c.Flush() != nil {
				return
			}
		}
		if owed {
			owed = g.locateQuietly(ctx) != nil
		}
	}
}

// locateQuietly is locate, for those that have no caller.
func (g *Group) locateQuietly(ctx context.Context) error {
	return quietly(func() error { return g.locate(ctx) })
}

// quietly runs f, which may call a func of the user's, on a goroutine that has no caller whom a panic could reach.
func quietly(f func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	return f()
}
