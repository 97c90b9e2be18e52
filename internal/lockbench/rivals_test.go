package lockbench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
)

// toys are the rivals of the tests: TestMain adds them, so that the processes of a Contention know them too.
func toys() []bench.RivalKind {
	open := func(c bench.RivalConfig) (bench.Rival, error) { return toy{c.Server.Pool, c.TTL}, nil }
	return []bench.RivalKind{{Name: "toy", Open: open, Settings: "polls every ms"},
		{Name: "toy-client", Open: open, OneTry: true, Settings: "tries once", Server: "toyd"}}
}

// A toy is a lock by the verbs, that polls.
type toy struct {
	pool *redis.Pool
	ttl  time.Duration
}

func (t toy) TryAcquire(key string) (func() error, error) {
	c, ctx, token := t.pool.Get(), context.Background(), lock.NewToken()
	defer c.Close()
	release := func() error {
		c := t.pool.Get()
		defer c.Close()
		return lock.Release(ctx, c, key, token)
	}
	return release, lock.SetNX(ctx, c, key, token, t.ttl)
}

func (t toy) Acquire(ctx context.Context, key string) (func() error, error) {
	for {
		release, err := t.TryAcquire(key)
		if !errors.Is(err, lock.ErrHeld) {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func (t toy) Close() {}

func TestRivalsAreToldWithTheirSettings(t *testing.T) {
	o := lockbench(context.Background(), nil, "rivals")
	want := "toy\n    polls every ms\ntoy-client\n    tries once\n"
	if o.code != exitDone || o.stdout != want || o.stderr != "" {
		t.Errorf("exit code %d, got %q, %q, want %q", o.code, o.stdout, o.stderr, want)
	}
}

func TestAllIsOursAndEveryRivalThatCan(t *testing.T) {
	o, err := parse([]string{"-ways", "fair-mux2,all", "-approaches", "toy,all"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(o.ways, ","); got != "fair-mux2,floor,polling,fair,cohort,toy" {
		t.Errorf("ways %s", got)
	}
	if got := strings.Join(o.approaches, ","); got != "toy,floor,setnx,setnx-verified,setnx-get,script,locker,locker-setnx,"+
		"locker-script,fair,locker-mux1,toy-client" {
		t.Errorf("approaches %s", got)
	}
}

// Before anything is sent: nobody listens at the URL.
func TestUnknownNamesSayWhichThereAre(t *testing.T) {
	for flag, texts := range map[string][]string{
		"-ways=redsync":       {"floor, polling, fair, cohort, toy;", "fair-mux2"},
		"-ways=toy-client":    {"cannot wait", "cohort, toy"},
		"-approaches=redsync": {"fair, toy, toy-client;", "floor-pool16"},
	} {
		lockbench(context.Background(), nil, "-url", "redis://127.0.0.1:1", flag).wantLine(t, exitUsage, texts...)
	}
}
