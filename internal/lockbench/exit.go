package lockbench

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
)

const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitDenied      = 4
	exitStopped     = 130
)

// explain turns an error into one line and an exit code.
func explain(ctx context.Context, err error) (line string, code int) {
	var refused redis.Error
	switch {
	case ctx.Err() != nil:
		line = "stopped; the figures so far are above"
		if strings.Contains(err.Error(), "could not be removed") {
			line += "; keys that begin with lockbench: could not be removed and go with their ttl"
		}
		return line, exitStopped
	case errors.As(err, &refused):
		return "the server denies a command: " + lastPart(err) + "; " + remedy(string(refused)), exitDenied
	case errors.Is(err, bench.ErrNoLocal):
		return "-url cluster: there is no redis-server on PATH to start", exitFailed
	case errors.Is(err, bench.ErrConfig):
		return err.Error(), exitUsage
	case errors.Is(err, lock.ErrInvalid):
		return "-url or REDIS_URL: " + lastPart(err), exitUsage
	case unreachable(err):
		return "the server cannot be reached: " + lastPart(err) + "; is the URL right, and is the server up?", exitUnreachable
	}
	return err.Error(), exitFailed
}

// lastPart is what is behind the names of packages and verbs.
func lastPart(err error) string {
	s := err.Error()
	for _, prefix := range []string{
		bench.ErrUnreachable.Error() + ": ", lock.ErrInvalid.Error() + ": ", "new pool: ", "bench: ", "redigolock: ",
	} {
		s = strings.TrimPrefix(s, prefix)
	}
	return strings.TrimSuffix(oneLine(s), ".")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// unreachable also finds a connection that broke, or a server that stopped answering, later on.
func unreachable(err error) bool {
	var broken *net.OpError
	return errors.Is(err, bench.ErrUnreachable) || errors.Is(err, lock.ErrUnknown) || errors.As(err, &broken) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// remedies are what to do about an error reply that has one of the texts in it; the first that fits counts.
var remedies = []struct {
	texts []string
	do    string
}{
	{[]string{"NOAUTH "}, "give the password in the URL or in REDISCLI_AUTH"},
	{[]string{"WRONGPASS ", "invalid password", "without any password"}, "check user and password in the URL, or REDISCLI_AUTH"},
	{[]string{"NOPERM ", "user executing the script"},
		"give the user the right to it and to the keys *lockbench:*, as in ACL SETUSER name +evalsha ~*lockbench:*"},
	{[]string{"READONLY "}, "this is a replica: give the URL of its master"},
	{[]string{"LOADING ", "BUSY ", "MASTERDOWN ", "TRYAGAIN "}, "try again when it is ready"},
	{[]string{"MISCONF ", "NOREPLICAS ", "OOM "}, "the server takes no writes now: see what it says, or measure another one"},
	{[]string{"DENIED "}, "the server is in protected mode: connect from its own machine, or give it a password"},
	{[]string{"MOVED ", "ASK ", "CROSSSLOT ", "CLUSTERDOWN "},
		"this is a node of a Redis Cluster: give a redis-cluster:// URL"},
	{[]string{"cluster support disabled"}, "this is no node of a Redis Cluster: give a redis:// URL"},
	{[]string{"max number of clients"}, "raise maxclients, or use fewer -goroutines and -waiters"},
	{[]string{"unknown command"}, "the server does not have it, or has it renamed: Redis from 6.2 or Valkey from 7.2 is needed"},
}

func remedy(refused string) string {
	for _, r := range remedies {
		for _, text := range r.texts {
			if strings.Contains(refused, text) {
				return r.do
			}
		}
	}
	return "measure another server, or see its log"
}
