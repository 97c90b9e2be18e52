package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/redistest"
)

// whoami asks a pool's connection what it is: the user and the database.
func whoami(rawURL string, opts ...redis.DialOption) (user, db string, err error) {
	pool, err := redigolock.NewPool(rawURL, opts...)
	if err != nil {
		return "", "", err
	}
	defer pool.Close()
	c := pool.Get()
	defer c.Close()
	info, err := redis.String(c.Do("CLIENT", "INFO"))
	for field := range strings.FieldsSeq(info) {
		if v, ok := strings.CutPrefix(field, "user="); ok {
			user = v
		}
		if v, ok := strings.CutPrefix(field, "db="); ok {
			db = v
		}
	}
	return user, db, err
}

func TestNewPoolUsesUserPasswordAndDatabaseOfTheURL(t *testing.T) {
	const strange = "p@ss/w:rd #%?&é"
	server := redistest.Start(t, "--requirepass", "default-pw")
	if _, err := server.Do("ACL", "SETUSER", "ann", "on", ">"+strange, "+@all", "~*"); err != nil {
		t.Fatal(err)
	}
	escaped := strings.ReplaceAll(url.QueryEscape(strange), "+", "%20")
	for _, tc := range []struct{ url, user, db string }{
		{"redis://:default-pw@" + server.Addr(), "default", "0"},
		{"redis://default-pw@" + server.Addr(), "default", "0"}, // a lone user is the password, as redis-cli has it
		{"redis://default:default-pw@" + server.Addr() + "/7", "default", "7"},
		{"redis://ann:" + escaped + "@" + server.Addr() + "/15", "ann", "15"},
		{"valkey://ann:" + escaped + "@" + server.Addr(), "ann", "0"},
		{"unix://:default-pw@" + server.Socket(), "default", "0"},
		{"unix://ann:" + escaped + "@" + server.Socket() + "?db=3", "ann", "3"},
	} {
		user, db, err := whoami(tc.url)
		if err != nil || user != tc.user || db != tc.db {
			t.Errorf("%s is user %q in database %q, %v", tc.url, user, db, err)
		}
	}
}

func TestNewPoolLocksThroughAUnixSocket(t *testing.T) {
	server := redistest.Start(t)
	pool, err := redigolock.NewPool("unix://" + server.Socket() + "?db=2")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c := pool.Get()
	defer c.Close()
	if err := redigolock.SetNX(bg, c, "k", "tok", minute); err != nil {
		t.Fatal(err)
	}
	other := dialFor(t, server.Addr(), redis.DialDatabase(2))
	if got, err := redis.String(other.Do("GET", "k")); got != "tok" {
		t.Errorf("in database 2: %q, %v", got, err)
	}
}

func TestNewPoolOptionsWin(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "right")
	user, db, err := whoami("redis://:wrong@"+server.Addr()+"/3", redis.DialPassword("right"), redis.DialDatabase(5))
	if err != nil || user != "default" || db != "5" {
		t.Errorf("user %q, database %q, %v", user, db, err)
	}

	// Of a timeout, too: the URL's pool would wait for 3 s.
	proxy := redistest.NewProxy(t, server.Addr())
	proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Swallow() })
	begin := time.Now()
	_, _, err = whoami(proxy.URL(), redis.DialReadTimeout(10*time.Millisecond))
	if err == nil || time.Since(begin) > 2500*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestNewPoolConnectionFailuresShowNoPassword(t *testing.T) {
	const password = "hunter2-very-secret"
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	mute := redistest.NewProxy(t, redistest.StartMini(t).Addr())
	mute.Rule(func(redistest.Request) redistest.Action { return redistest.Cut() })
	for name, addr := range map[string]string{
		"refused":       closed.Addr().String(),
		"closed":        mute.Addr(),
		"no password":   redistest.Start(t).Addr(),
		"other":         redistest.Start(t, "--requirepass", "other").Addr(),
		"no AUTH there": redistest.Start(t, "--rename-command", "AUTH", "").Addr(), // Redis shows the arguments then
		"miniredis":     redistest.StartMini(t).Addr(),
	} {
		for _, user := range []string{"", "ann"} {
			pool, err := redigolock.NewPool(fmt.Sprintf("redis://%s:%s@%s/1", user, password, addr))
			if err != nil {
				t.Fatal(err)
			}
			l := &redigolock.Locker{Pool: pool}
			_, acquireErr := l.TryAcquire(bg, "k", minute)
			for what, err := range map[string]error{"Get": pool.Get().Err(), "TryAcquire": acquireErr} {
				if err == nil {
					t.Errorf("%s: %s succeeds", name, what)
				}
				for e := err; e != nil; e = errors.Unwrap(e) {
					if text := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(text, "hunter2") {
						t.Errorf("%s: %s shows the password: %s", name, what, text)
					}
				}
			}
			l.Close()
			pool.Close()
		}
	}
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// listen serves each connection with f until the test ends.
func listen(t *testing.T, wrap func(net.Listener) net.Listener, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // protects open
	var open []net.Conn
	var wg sync.WaitGroup
	wrapped := wrap(l)
	wg.Go(func() {
		for {
			c, err := wrapped.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() { ; defer c.Close(); f(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// tlsFront is a TLS listener before a server.
func tlsFront(t *testing.T, cert tls.Certificate, target string) string {
	t.Helper()
	wrap := func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	return listen(t, wrap, func(c net.Conn) {
		server, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer server.Close()
		go func() { _, _ = io.Copy(server, c); server.Close() }()
		_, _ = io.Copy(c, server)
	})
}

func TestNewPoolSpeaksTLSAndChecksTheCertificate(t *testing.T) {
	cert, roots := selfSigned(t)
	server := redistest.Start(t, "--requirepass", "pw")
	addr := tlsFront(t, cert, server.Addr())
	trusted := redis.DialTLSConfig(&tls.Config{RootCAs: roots})
	for _, scheme := range []string{"rediss", "valkeys"} {
		user, db, err := whoami(scheme+"://:pw@"+addr+"/4", trusted)
		if err != nil || user != "default" || db != "4" {
			t.Errorf("%s: user %q, database %q, %v", scheme, user, db, err)
		}
		_, _, err = whoami(scheme + "://:pw@" + addr)
		var certErr *tls.CertificateVerificationError
		if !errors.As(err, &certErr) {
			t.Errorf("%s with an unknown certificate: %v", scheme, err)
		}
		if fault.Transient(err) {
			t.Errorf("%s: an unknown certificate is tried again", scheme)
		}
	}
	if _, _, err := whoami("rediss://:pw@"+addr, redis.DialTLSSkipVerify(true)); err != nil {
		t.Errorf("without verification: %v", err)
	}
	if _, _, err := whoami("rediss://:pw@"+server.Addr(), redis.DialTLSHandshakeTimeout(200*time.Millisecond)); err == nil {
		t.Error("rediss:// is satisfied with a server without TLS")
	}
	if _, _, err := whoami("redis://:pw@" + addr); err == nil {
		t.Error("redis:// gets through to a server with TLS")
	}
}

// Redigo's own limits are 10 s for the handshake, which knows no context, and none for the reply to AUTH.
func TestNewPoolDoesNotHangOnAServerThatNeverAnswers(t *testing.T) {
	addr := listen(t, func(l net.Listener) net.Listener { return l }, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for _, rawURL := range []string{
		"rediss://" + addr, "redis://:pw@" + addr, "redis://" + addr + "/1", "redis://" + addr,
	} {
		t.Run(strings.Split(rawURL, addr)[0], func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			_, _, err := whoami(rawURL)
			if took := time.Since(begin); err == nil || took < time.Second || took > 8*time.Second {
				t.Errorf("%s: %v after %v, want 2 or 3 s", rawURL, err, took)
			}
			if !fault.Transient(err) {
				t.Errorf("%s: %v is not tried again", rawURL, err)
			}
		})
	}
}

func TestNewPoolDialHonoursItsContext(t *testing.T) {
	addr := listen(t, func(l net.Listener) net.Listener { return l }, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	pool, err := redigolock.NewPool("redis://:pw@" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err = pool.GetContext(ctx)
	if took := time.Since(begin); err == nil || took > 2500*time.Millisecond {
		t.Errorf("%v after %v", err, took)
	}
}
