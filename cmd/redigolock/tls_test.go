package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

// certificate makes a certificate for redis.example that signs itself, and returns the files of it and of its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis.example"}, DNSNames: []string{"redis.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: bytes}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLSFlags(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	other, _ := certificate(t)
	port, err := redistest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	redistest.Start(t, "--tls-port", fmt.Sprint(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	plain, secure := fmt.Sprintf("redis://127.0.0.1:%d", port), fmt.Sprintf("rediss://127.0.0.1:%d", port)
	mine := " -cert " + cert + " -key " + key
	for i, c := range []struct {
		url, args string
		code      int
	}{
		{secure, "-cacert " + cert + " -sni redis.example" + mine, exitOK},
		{plain, "-tls -cacert " + cert + " -sni redis.example" + mine, exitOK},
		{secure, "-insecure" + mine, exitOK},
		{secure, "-cacert " + cert + " -sni redis.example", exitUnavailable}, // the server wants a certificate
		{secure, "-cacert " + cert + mine, exitUnavailable},                  // it is for another name
		{secure, "-cacert " + other + " -sni redis.example" + mine, exitUnavailable},
		{secure, mine, exitUnavailable}, // nobody has heard of who signed it
		{plain, "", exitUnavailable},
	} {
		file := filepath.Join(t.TempDir(), "token")
		o := call(t, []string{"REDIS_URL=" + c.url}, append([]string{"try", fmt.Sprint("k", i), "-token-file", file}, strings.Fields(c.args)...)...)
		if o.code != c.code {
			t.Errorf("%s %s: exit code %d, want %d: %s", c.url, c.args, o.code, c.code, o.stderr)
		}
	}
}
