package wire_test

import (
	"sync"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/wire"
)

// dialectConn is a connection that leads to one of several servers.
type dialectConn struct {
	redis.Conn
	to *wire.Dialect
}

func (c *dialectConn) Dialect() *wire.Dialect { return c.to }

func lent(c redis.Conn, d *wire.Dialect) *wire.Bound {
	b := &wire.Bound{Conn: c}
	b.Borrow(true, d)
	return b
}

func TestDialectIsForgottenWhenTheConnectionsLeadToAnotherServer(t *testing.T) {
	changed := make(chan struct{})
	var d wire.Dialect
	d.Init(func() <-chan struct{} { return changed })
	b := lent(nil, &d)
	l := wire.Known(b)
	l.LearnSetGet(b, wire.SetGetKnown)
	l.LearnDelete(b, wire.DeleteByDELEX)
	if l = wire.Known(b); l.SetGet != wire.SetGetKnown || l.Delete != wire.DeleteByDELEX {
		t.Errorf("it knows %v, %v", l.SetGet, l.Delete)
	}
	old := changed
	changed = make(chan struct{})
	close(old)
	if k := wire.Known(b); k.SetGet != wire.SetGetUntold || k.Delete != wire.DeleteUntold {
		t.Errorf("of another server it knows %v, %v", k.SetGet, k.Delete)
	}
	l.LearnSetGet(b, wire.SetGetUnknown) // the late answer of the first server
	if k := wire.Known(b); k.SetGet != wire.SetGetUntold {
		t.Errorf("of another server it learned %v from the first", k.SetGet)
	}
	wire.Known(b).LearnDelete(b, wire.DeleteByScript)
	if k := wire.Known(b); k.SetGet != wire.SetGetUntold || k.Delete != wire.DeleteByScript {
		t.Errorf("it knows %v, %v", k.SetGet, k.Delete)
	}
}

func TestDialectIsThatOfTheServerThatAConnectionLeadsTo(t *testing.T) {
	var pool, a, b wire.Dialect
	c := &dialectConn{to: &a}
	x := lent(c, &pool)
	l := wire.Known(x)
	l.LearnSetGet(x, wire.SetGetKnown)
	c.to = &b
	if k := wire.Known(x); k.SetGet != wire.SetGetUntold {
		t.Errorf("of b it knows %v", k.SetGet)
	}
	l.LearnSetGet(x, wire.SetGetUnknown) // a redirect has led to b meanwhile
	for name, to := range map[string]*wire.Dialect{"a": &a, "b": &b} {
		c.to = to
		if k, want := wire.Known(x), map[string]wire.SetGet{"a": wire.SetGetKnown}[name]; k.SetGet != want {
			t.Errorf("of %s it knows %v, want %v", name, k.SetGet, want)
		}
	}
	if k := wire.Known(lent(nil, &pool)); k.SetGet != wire.SetGetUntold {
		t.Errorf("of the pool it knows %v", k.SetGet)
	}
}

func TestDialectOfABareConnectionLearnsNothing(t *testing.T) {
	for name, c := range map[string]redis.Conn{
		"bare": &dialectConn{to: new(wire.Dialect)}, "no dialect": lent(nil, nil), "leads to no server yet": lent(&dialectConn{}, new(wire.Dialect)),
	} {
		wire.Known(c).LearnSetGet(c, wire.SetGetKnown)
		if k := wire.Known(c); k.SetGet != wire.SetGetUntold {
			t.Errorf("%s: it knows %v", name, k.SetGet)
		}
	}
}

func TestDialectKeepsWhatOthersLearnMeanwhile(t *testing.T) {
	for range 200 {
		var d wire.Dialect
		b := lent(nil, &d)
		l := wire.Known(b)
		var wg sync.WaitGroup
		wg.Go(func() { l.LearnSetGet(b, wire.SetGetKnown) })
		wg.Go(func() { l.LearnDelete(b, wire.DeleteByDELIFEQ) })
		wg.Wait()
		if k := wire.Known(b); k.SetGet != wire.SetGetKnown || k.Delete != wire.DeleteByDELIFEQ {
			t.Fatalf("it knows %v, %v", k.SetGet, k.Delete)
		}
	}
}
