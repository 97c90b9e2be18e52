package lockbench

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/redigolock/redigolock/bench"
)

const (
	urlFromEnv  = "env"       // the -url that means REDIS_URL
	urlEmbedded = "miniredis" // the -url that means one in this process
	urlCluster  = "cluster"   // the -url that means a Redis Cluster that is started
)

func open(ctx context.Context, o *options) (*bench.Server, error) {
	switch o.url {
	case urlEmbedded:
		return bench.OpenEmbedded(ctx)
	case urlCluster:
		return bench.OpenLocalCluster(ctx)
	case "":
		s, err := bench.OpenLocal(ctx)
		if errors.Is(err, bench.ErrNoLocal) {
			return bench.OpenEmbedded(ctx)
		}
		return s, err
	}
	if o.password != "" && !hasPassword(o.url) {
		return bench.Open(ctx, withPassword(o.url, o.password))
	}
	return bench.Open(ctx, o.url)
}

// withPassword puts the password into the URL, as the only thing that all processes of a Contention are told.
func withPassword(rawURL, password string) string {
	before, user, after := cutUser(rawURL)
	return before + url.UserPassword(user.Username(), password).String() + "@" + after
}

// hasPassword reports whether the URL has a password, which goes before REDISCLI_AUTH. A user alone is the password, as
// for redis-cli.
func hasPassword(rawURL string) bool {
	_, user, _ := cutUser(rawURL)
	password, ok := user.Password()
	return password != "" || !ok && user.Username() != ""
}

// cutUser takes a URL apart at its user, nil if there is none. One that names Sentinels, or nodes of a Cluster, has several hosts, which package url
// does not read.
func cutUser(rawURL string) (before string, user *url.Userinfo, after string) {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	authority, _, _ := strings.Cut(rest, "/")
	authority, _, _ = strings.Cut(authority, "?")
	i := strings.LastIndex(authority, "@")
	if u, err := url.Parse("redis://" + rest[:i+1] + "host"); err == nil {
		user = u.User
	}
	return scheme + "://", user, rest[i+1:]
}
