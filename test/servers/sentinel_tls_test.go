package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// An authority makes certificates.
type authority struct {
	*testing.T
	dir   string
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	roots *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{T: t, dir: t.TempDir(), roots: x509.NewCertPool()}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, a.cert = a.sign("ca", template)
	a.roots.AddCert(a.cert)
	return a
}

// sign makes a certificate, and writes it and its key into files of this name.
func (a *authority) sign(name string, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	template.Subject.CommonName = name // OpenSSL takes one without, by one without, for signed by itself
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		a.file(name + ".crt"): {Type: "CERTIFICATE", Bytes: der},
		a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			a.Fatal(err)
		}
	}
	return key, cert
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// args are those of a server with a certificate for these names.
func (a *authority) args(name string, names []string, ips ...net.IP) []string {
	a.sign(name, &x509.Certificate{DNSNames: names, IPAddresses: ips})
	return []string{"--tls-cert-file", a.file(name + ".crt"), "--tls-key-file", a.file(name + ".key"), "--tls-ca-cert-file", a.file("ca.crt"),
		"--tls-auth-clients", "no", "--tls-replication", "yes"}
}

// trusts knows the authority, and expects a name; "": that of the address.
func (a *authority) trusts(name string) redis.DialOption {
	return redis.DialTLSConfig(&tls.Config{RootCAs: a.roots, ServerName: name})
}

// TestSentinelsWithTLS: servers and Sentinels speak TLS only, have passwords, and certificates for different names. The Sentinels name the
// servers by their IP addresses.
func TestSentinelsWithTLS(t *testing.T) {
	ca := newAuthority(t)
	w := redistest.StartWatched(t, redistest.WatchedConfig{Password: "pw-master", SentinelPassword: "pw-sentinel",
		Args:         ca.args("server", []string{"servers.example"}, net.IPv4(127, 0, 0, 1)),
		SentinelArgs: ca.args("sentinel", []string{"localhost", "sentinels.example"}),
	})
	addrs := strings.Join(w.Addrs(), ",")
	byName := strings.ReplaceAll(addrs, "127.0.0.1", "localhost")
	url := func(password, addrs, sentinelPassword string) string {
		return "redis-sentinels://:" + password + "@" + addrs + "/2?master=" + redistest.MasterName + "&sentinel_password=" + sentinelPassword
	}
	for name, x := range map[string]struct {
		url  string
		opts []redis.DialOption
		want string // in the error
	}{
		"a wrong password":                {url("wrong", byName, "pw-sentinel"), []redis.DialOption{ca.trusts("")}, "WRONGPASS"},
		"a wrong password of Sentinels":   {url("pw-master", byName, "wrong"), []redis.DialOption{ca.trusts("")}, "WRONGPASS"},
		"an unknown authority":            {url("pw-master", byName, "pw-sentinel"), nil, "unknown authority"},
		"a name that no Sentinel has":     {url("pw-master", addrs, "pw-sentinel"), []redis.DialOption{ca.trusts("")}, "127.0.0.1"},
		"a name that no server has":       {url("pw-master", byName, "pw-sentinel"), []redis.DialOption{ca.trusts("localhost")}, "localhost"},
		"servers with TLS, asked without": {strings.Replace(url("pw-master", byName, "pw-sentinel"), "sentinels:", "sentinel:", 1), nil, ""},
	} {
		pool, err := redigolock.Open(x.url, x.opts...)
		if err != nil {
			t.Fatal(err)
		}
		l := &redigolock.Locker{Pool: pool, OpTimeout: 10 * time.Second}
		_, err = l.TryAcquire(bg, "key", minute)
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "pw-") {
			t.Errorf("%s: %v", name, err)
		}
		l.Close()
		pool.Close()
	}

	each := &redigolock.Sentinel{Addrs: w.Addrs(), Master: redistest.MasterName,
		Dial: dialTLS(ca.trusts("servers.example"), "pw-master"), DialSentinel: dialTLS(ca.trusts("sentinels.example"), "pw-sentinel")}
	defer each.Close()
	open, err := redigolock.Open(url("pw-master", byName, "pw-sentinel"), ca.trusts(""))
	if err != nil {
		t.Fatal(err)
	}
	made, err := redigolock.NewPool(url("pw-master", byName, "pw-sentinel"), ca.trusts(""))
	if err != nil {
		t.Fatal(err)
	}
	pools := map[string]redigolock.OpenPool{"Open": open, "NewPool": made,
		"Sentinel": &redis.Pool{DialContext: each.DialContext, TestOnBorrow: each.TestOnBorrow, MaxIdle: 4}}
	kept := map[string]context.Context{}
	locks := map[string]*redigolock.Lock{}
	for name, pool := range pools {
		defer pool.Close()
		l := &redigolock.Locker{Pool: pool}
		defer l.Close()
		k, err := l.Acquire(patient(t), name, minute)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		locks[name], kept[name] = k, k.KeepAlive(bg)
	}
	old := w.Settled(t)
	old.Kill()
	for name, pool := range pools {
		l := &redigolock.Locker{Pool: pool}
		defer l.Close()
		if err := l.Do(patient(t), "after "+name, minute, func(context.Context, *redigolock.Lock) error { return nil }); err != nil {
			t.Errorf("%s, after the master was lost: %v", name, err)
		}
		if err := context.Cause(kept[name]); err != nil && !errors.Is(err, redigolock.ErrLost) {
			t.Errorf("%s: the lock that was kept: %v", name, err)
		}
		if err := locks[name].Release(bg); err != nil && kept[name].Err() == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func dialTLS(trusts redis.DialOption, password string) func(context.Context, string) (redis.Conn, error) {
	return func(ctx context.Context, addr string) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, redis.DialUseTLS(true), trusts, redis.DialPassword(password),
			redis.DialConnectTimeout(5*time.Second), redis.DialReadTimeout(5*time.Second), redis.DialWriteTimeout(5*time.Second))
	}
}
