package verbs

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// shown is all that the usual ways of printing and logging make of v, and of the errors that it wraps.
func shown(v any) string {
	var b bytes.Buffer
	for _, format := range []string{"%v ", "%+v ", "%#v ", "%s ", "%q ", "%x ", "%X ", "%d ", "%t ", "%10.3v "} {
		fmt.Fprintf(&b, format, v)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	_ = json.NewEncoder(&b).Encode(v)
	switch err := v.(type) {
	case interface{ Unwrap() error }:
		if inner := err.Unwrap(); inner != nil {
			b.WriteString(shown(inner))
		}
	case interface{ Unwrap() []error }:
		for _, inner := range err.Unwrap() {
			b.WriteString(shown(inner))
		}
	}
	return b.String()
}

// A vault knows the secrets, and complains where it sees one.
type vault struct {
	t *testing.T

	mu      sync.Mutex // protects what follows
	secrets []string
	seen    int // things that were looked at
}

func (v *vault) keep(secret string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, id, ok := strings.Cut(secret, "|"); ok {
		secret = id // the Owner is none
	}
	v.secrets = append(v.secrets, secret)
	return secret
}

func (v *vault) look(what string, x any) {
	if err, isError := x.(error); isError && strings.ContainsAny(err.Error(), "\r\n") {
		v.t.Errorf("%s has more than one line: %q", what, err)
	}
	if err, isError := x.(error); isError {
		v.causes(what, err)
	}
	text := shown(x)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen++
	for _, s := range v.secrets {
		for _, form := range []string{s, hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s)))} {
			if strings.Contains(text, form) {
				v.t.Errorf("%s shows %q: %.300s", what, s, text)
				return
			}
		}
	}
}

// lookInside is look for what has a state that changes by itself: fmt reads it without any lock, as the race detector knows.
func (v *vault) lookInside(what string, x any) {
	if !testbed.RaceEnabled {
		v.look(what, x)
	}
}

var longDuration = regexp.MustCompile(`[0-9]\.[0-9]{4,}(ms|s|m|h)\b`)

// causes wants the text of err to name each cause once, and durations as people read them.
func (v *vault) causes(what string, err error) {
	text := err.Error()
	if longDuration.MatchString(text) {
		v.t.Errorf("%s has a duration that nobody can read: %s", what, text)
	}
	for _, leaf := range leaves(err) {
		if leaf == io.EOF { // each of two tries may have met it
			continue
		}
		if n := strings.Count(text, leaf.Error()); n > 1 {
			v.t.Errorf("%s says %d times %q: %s", what, n, leaf, text)
		}
	}
}

// leaves are the errors inside err that wrap none.
func leaves(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return leaves(inner)
		}
	case interface{ Unwrap() []error }:
		var all []error
		for _, inner := range e.Unwrap() {
			all = append(all, leaves(inner)...)
		}
		return all
	}
	return []error{err}
}

// observer looks at all that each event is given.
func (v *vault) observer() *redigolock.Observer {
	o := &redigolock.Observer{}
	fields := reflect.ValueOf(o).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		fields.Field(i).Set(reflect.MakeFunc(fields.Field(i).Type(), func(args []reflect.Value) []reflect.Value {
			for _, arg := range args {
				if _, isContext := arg.Interface().(context.Context); !isContext && arg.IsValid() {
					if k, isLock := arg.Interface().(*redigolock.Lock); isLock {
						v.keep(k.Token())
					}
					v.look("the event "+name, arg.Interface())
				}
			}
			if name == "Waiting" {
				return args[:1]
			}
			return nil
		}))
	}
	return o
}

func TestNothingShowsATokenOrAPassword(t *testing.T) {
	v := &vault{t: t}
	v.verbs()
	v.lockers()
	v.passwords()
	if v.seen < 300 {
		t.Errorf("looked at %d things only", v.seen)
	}
}

// verbs has each verb fail in every way, with the token, or the holder's, in what the server says where it may say so.
func (v *vault) verbs() {
	token, other := v.keep(redigolock.NewToken()), v.keep(redigolock.NewToken())
	for _, reply := range []any{
		nil, "OK", "QUEUED", int64(0), int64(1), int64(-1), []byte(other), []byte(token), []any{[]byte(other), int64(1000)},
		[]any{[]byte(other), int64(-1)}, []any{int64(1)}, []any{[]byte(token), int64(5), int64(1)},
		redis.Error("ERR unknown command 'X', with args beginning with: '" + token + "' "),
		redis.Error("WRONGTYPE Operation"), redis.Error("NOAUTH Authentication required."), redis.Error(maxClients),
		redis.Error(denied), redis.Error("MOVED 1 h:1"), redis.Error("CONFLICT a string without TTL"),
		testbed.OtherError("ERR unknown command 'X', with args beginning with: '" + token + "' "), io.EOF, errTwoLines,
	} {
		for _, verb := range allVerbs {
			err := verb.call(bg, &scriptedConn{Replies: []any{reply, reply, reply, "OK"}}, "k", token, minute)
			if err != nil {
				v.look(verb.name, err)
			}
		}
	}
	for _, verb := range allVerbs { // in the wrong place
		for _, bad := range []string{"", token + strings.Repeat(token, 3000)} {
			if err := verb.call(bg, &scriptedConn{}, "k", bad, 0); err != nil {
				v.look(verb.name, err)
			}
		}
	}
}

var errTwoLines = errors.New("dial:\r\n  refused\n") //lint:ignore ST1005 some dials say such things

// lockers has Lockers of each kind acquire, contend, renew, lose, release and clean up through a bad network.
func (v *vault) lockers() {
	s := redistest.StartMini(v.t)
	proxy := redistest.NewProxy(v.t, s.Addr())
	mux := &redigolock.Mux{Pool: proxy.Pool()}
	defer mux.Close()
	for name, l := range map[string]*redigolock.Locker{
		"default": {Pool: proxy.Pool(), Owner: "api-7"},
		"fair":    {Pool: proxy.Pool(), Fair: true},
		"Mux":     {Pool: mux},
		"native":  {Pool: proxy.Pool(), AcquireWith: redigolock.SetNXScript, ReleaseWith: redigolock.ReleaseTx},
	} {
		l.OpTimeout, l.Observer = 100*time.Millisecond, v.observer()
		v.locker(s, proxy, l, name)
		v.look("a Locker's Stats", l.Stats())
		v.lookInside("a Mux's connection", mux.Get())
		if err := l.Close(); err != nil {
			v.look(name, err)
		}
		v.lookInside(name, l)
		s.FlushAll()
	}
	mux.Close()
	v.lookInside("a Mux", mux)
}

func (v *vault) locker(s *redistest.Mini, proxy *redistest.Proxy, l *redigolock.Locker, name string) {
	ask := func(what string, err error) {
		if err != nil {
			v.look(name+", "+what, err)
		}
	}
	k, err := l.Acquire(bg, "k", 150*time.Millisecond)
	if err != nil {
		v.t.Fatal(err)
	}
	v.keep(k.Token())
	v.look(name+", the handle", k)
	v.look(name+", a struct with the handle", struct{ K *redigolock.Lock }{k})
	v.look(name+", a list of handles", []any{k})
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	_, err = l.Acquire(ctx, "k", time.Second)
	ask("contended", err)
	_, err = l.TryAcquire(bg, "k", time.Second)
	ask("held", err)
	_, err = l.Attach(bg, "k", v.keep(redigolock.NewToken()), time.Second)
	ask("attach", err)
	kept := k.KeepAlive(bg)
	for _, fault := range []redistest.Action{
		redistest.Reply("-ERR unknown command 'EVALSHA', with args beginning with: '" + k.Token() + "' \r\n"),
		redistest.Drop(), redistest.Cut(), redistest.Reply("-READONLY no\r\n"), redistest.Reply("?" + k.Token() + "\r\n"),
	} {
		proxy.Rule(func(redistest.Request) redistest.Action { return fault })
		ask("verify", k.Verify(bg))
		ask("extend", k.Extend(bg, time.Second))
		_, err = k.Fence(bg)
		ask("fence", err)
		ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
		_, err = l.Acquire(ctx, "other", time.Second)
		cancel()
		ask("acquire", err)
	}
	proxy.Rule(nil)
	s.Del("k")
	<-kept.Done()
	ask("lost", context.Cause(kept))
	ask("release", k.Release(bg))
	ask("do", l.Do(bg, "k", time.Second, func(ctx context.Context, k *redigolock.Lock) error {
		s.Del("k")
		v.look(name+", the context", k)
		return context.Cause(ctx)
	}))
}

// passwords has dials fail, of pools of this package and of others.
func (v *vault) passwords() {
	password := v.keep("hunter2-hunter2")
	s := redistest.StartMini(v.t)
	shows := newDoorman(v.t, "ERR unknown command `AUTH`, with args beginning with: `"+password+"`, ")
	bad := newDoorman(v.t, "WRONGPASS invalid username-password pair")
	newPool := func(url string) *redis.Pool {
		pool, err := redigolock.NewPool(url)
		if err != nil {
			v.t.Fatal(err)
		}
		return pool
	}
	dialURL := func(url string) *redis.Pool {
		return &redis.Pool{Dial: func() (redis.Conn, error) { return redis.DialURL(url) }}
	}
	for name, pool := range map[string]*redis.Pool{
		"NewPool":                   newPool("redis://:" + password + "@" + s.Addr()),
		"a server that shows it":    newPool("redis://app:" + password + "@" + shows.addr),
		"a server that refuses it":  newPool("redis://app:" + password + "@" + bad.addr),
		"redigo's, shown":           dialURL("redis://:" + password + "@" + shows.addr),
		"redigo's, refused":         dialURL("redis://:" + password + "@" + bad.addr),
		"redigo's, unparsable":      dialURL("redis://:" + password + " x@h"),
		"redigo's, unparsable port": dialURL("redis://h:" + password),
		"redigo's, bad scheme":      dialURL("http://:" + password + "@h"),
	} {
		mux := &redigolock.Mux{Pool: pool}
		for _, l := range []*redigolock.Locker{{Pool: pool}, {Pool: mux}, {Pool: pool, Fair: true}, {Pool: getPool{Pool: pool}}} {
			l.Observer, l.OpTimeout = v.observer(), 100*time.Millisecond
			_, err := l.TryAcquire(bg, "k", time.Second)
			if err != nil {
				v.look(name, err)
			}
			ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
			if k, err := l.Acquire(ctx, "k2", 20*time.Millisecond); err != nil {
				v.look(name, err)
			} else {
				_ = k.Release(bg)
			}
			cancel()
			l.Close()
			v.lookInside(name, l)
		}
		mux.Close()
		pool.Close()
		v.lookInside(name, pool)
	}
}
