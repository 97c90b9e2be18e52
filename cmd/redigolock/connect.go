package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

const connectionManual = `The server is at -url, or at REDIS_URL, or at redis://localhost:6379. Other forms:
  rediss://host            TLS
  unix:///path             a socket
  redis-sentinel://host,host/?master=NAME   what Sentinels watch
  redis-cluster://host,host                 a Redis Cluster
Several -url are a quorum: independent servers, of which a majority decides.
The password is in the URL, in REDISCLI_AUTH, in -password-file, or asked for with -askpass.
-embedded starts a server in memory for this one call, to try a verb without Redis.
`

const defaultURL = "redis://localhost:6379"

// A connection is what the command line says of the servers.
type connection struct {
	urls               stringList
	user, passwordFile string
	askPassword        bool
	tls, insecure      bool
	caFile, sni        string
	certFile, keyFile  string
	embedded           bool
}

// stringList is a flag that may be given several times.
type stringList []string

func (l *stringList) String() string     { return "" } // a default may hold a password
func (l *stringList) Set(s string) error { *l = append(*l, s); return nil }

// connectionFlags adds the flags that all verbs have which talk to a server.
func connectionFlags(fs *flag.FlagSet) *connection {
	c := &connection{}
	fs.Var(&c.urls, "url", "`URL` of the server; several are a quorum (default: REDIS_URL, or "+defaultURL+")")
	fs.StringVar(&c.user, "user", "", "log in as this `user`")
	fs.StringVar(&c.passwordFile, "password-file", "", "read the password from the first line of this `file`")
	fs.BoolVar(&c.askPassword, "askpass", false, "ask for the password on the terminal")
	fs.BoolVar(&c.tls, "tls", false, "use TLS, as with rediss://")
	fs.StringVar(&c.caFile, "cacert", "", "trust the certificates in this `file`, and no others")
	fs.StringVar(&c.certFile, "cert", "", "show the server the certificate in this `file`")
	fs.StringVar(&c.keyFile, "key", "", "`file` with the private key of -cert")
	fs.StringVar(&c.sni, "sni", "", "expect a certificate for this `name`")
	fs.BoolVar(&c.insecure, "insecure", false, "accept any certificate")
	fs.BoolVar(&c.embedded, "embedded", false, "use a server in memory, for this one call")
	return c
}

// servers are what the verbs talk to: one pool, or those of a quorum.
type servers struct {
	pools    []redigolock.OpenPool
	urls     []string             // of each
	logins   [][]redis.DialOption // of each: who logs in
	tls      []redis.DialOption   // of all
	embedded *miniredis.Miniredis
}

// open makes the pools. Nothing is sent yet.
func (c *connection) open(e *env) (*servers, error) {
	if c.embedded {
		return openEmbedded()
	}
	urls := c.urls
	if len(urls) == 0 {
		urls = stringList{e.getenv("REDIS_URL")}
	}
	if urls[0] == "" && len(urls) == 1 {
		urls[0] = defaultURL
	}
	opts, err := c.tlsOptions(urls)
	if err != nil {
		return nil, err
	}
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	s := &servers{tls: opts}
	for _, rawURL := range urls {
		login := c.login(rawURL, password, e.getenv("REDISCLI_AUTH"))
		pool, err := redigolock.Open(rawURL, slices.Concat(opts, login)...)
		if err != nil {
			s.close()
			return nil, usagef("%s", strings.TrimPrefix(message(err), "invalid argument: new pool: "))
		}
		s.pools, s.urls, s.logins = append(s.pools, pool), append(s.urls, rawURL), append(s.logins, login)
	}
	return s, nil
}

func openEmbedded() (*servers, error) {
	m, err := miniredis.Run()
	if err != nil {
		return nil, err
	}
	m.ClockTTL(true)
	rawURL := "redis://" + m.Addr()
	pool, err := redigolock.Open(rawURL)
	if err != nil {
		m.Close()
		return nil, err
	}
	return &servers{pools: []redigolock.OpenPool{pool}, urls: []string{rawURL}, logins: make([][]redis.DialOption, 1), embedded: m}, nil
}

func (s *servers) close() {
	for _, p := range s.pools {
		_ = p.Close()
	}
	if s.embedded != nil {
		s.embedded.Close()
	}
}

// one is the pool of a verb that a quorum does not have.
func (s *servers) one() (redigolock.OpenPool, error) {
	if len(s.pools) > 1 {
		return nil, usagef("this takes one -url, and not the several of a quorum")
	}
	return s.pools[0], nil
}

// with lends a connection of the pool.
func with(ctx context.Context, pool redigolock.OpenPool, do func(redis.Conn) error) error {
	c, err := lend(ctx, pool)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

func lend(ctx context.Context, pool redigolock.OpenPool) (redis.Conn, error) {
	if p, ok := pool.(interface {
		GetContext(context.Context) (redis.Conn, error)
	}); ok {
		return p.GetContext(ctx)
	}
	c := pool.Get()
	return c, c.Err()
}

// login is who logs in at one server. What the command line says wins over the URL, and that over REDISCLI_AUTH.
func (c *connection) login(rawURL, password, fromEnv string) (opts []redis.DialOption) {
	if password == "" && !hasLogin(rawURL) {
		password = fromEnv
	}
	if password != "" {
		opts = append(opts, redis.DialPassword(password))
	}
	if c.user != "" {
		opts = append(opts, redis.DialUsername(c.user))
	}
	return opts
}

// hasLogin reports whether the URL says who logs in.
func hasLogin(rawURL string) bool {
	_, authority, _ := strings.Cut(rawURL, "://")
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	return strings.Contains(authority, "@")
}

// password is what the command line says of it, "" if nothing.
func (c *connection) password() (string, error) {
	switch {
	case c.passwordFile != "" && c.askPassword:
		return "", usagef("-password-file and -askpass are one too many")
	case c.askPassword:
		return askPassword()
	case c.passwordFile == "":
		return "", nil
	}
	text, err := os.ReadFile(c.passwordFile)
	if err != nil {
		return "", usagef("-password-file: %v", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", usagef("-password-file: the first line is empty")
	}
	return line, nil
}

// askPassword asks on the terminal, whatever standard input is.
func askPassword() (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", usagef("-askpass: there is no terminal to ask on")
	}
	defer tty.Close()
	stty := func(arg string) error {
		cmd := exec.Command("stty", arg)
		cmd.Stdin = tty
		return cmd.Run()
	}
	if err := stty("-echo"); err != nil {
		return "", usagef("-askpass: the terminal cannot hide what is typed: %v", err)
	}
	defer func() { _ = stty("echo") }()
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stopped)
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		select {
		case s := <-stopped: // nothing has been sent yet, and nothing ends a read of a terminal
			_ = stty("echo")
			os.Exit(exitSignal + int(s.(syscall.Signal)))
		case <-answered:
		}
	}()
	_, _ = io.WriteString(tty, "Password: ")
	line, err := readLine(tty)
	_, _ = io.WriteString(tty, "\n")
	return line, err
}

// readLine reads one line, byte by byte, so that nothing of what follows it is lost to who reads next.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	b := make([]byte, 1)
	for {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' || err == io.EOF && line.Len() > 0 {
			return strings.TrimSuffix(line.String(), "\r"), nil
		}
		if err != nil {
			return "", err
		}
		line.Write(b[:n])
	}
}

// tlsOptions says how to speak TLS. A flag that would be of no use is an error: it was given so that nobody listens.
func (c *connection) tlsOptions(urls []string) ([]redis.DialOption, error) {
	var opts []redis.DialOption
	if c.tls {
		opts = append(opts, redis.DialUseTLS(true))
	}
	if c.caFile == "" && c.certFile == "" && c.keyFile == "" && c.sni == "" && !c.insecure {
		return opts, nil
	}
	for _, rawURL := range urls {
		if scheme, _, _ := strings.Cut(rawURL, "://"); !c.tls && (scheme == "redis" || !strings.HasSuffix(scheme, "s")) {
			return nil, usagef("-cacert, -cert, -key, -sni and -insecure need -tls, or a URL with TLS as rediss://")
		}
	}
	config := &tls.Config{ServerName: c.sni, InsecureSkipVerify: c.insecure}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, usagef("-cacert: %v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("-cacert: there is no certificate in %s", c.caFile)
		}
	}
	if c.certFile != "" || c.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
		if err != nil {
			return nil, usagef("-cert and -key: %v", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return append(opts, redis.DialTLSConfig(config)), nil
}
