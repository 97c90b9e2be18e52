package lockbench

import (
	"context"
	"errors"
	"fmt"
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
		return "stopped; the figures so far are above" + leftover(err), exitStopped
	case errors.As(err, &refused):
		return denied(err, refused), exitDenied
	case errors.Is(err, bench.ErrConfig):
		return err.Error(), exitUsage
	case errors.Is(err, lock.ErrInvalid):
		return "-url or REDIS_URL: " + lastPart(err), exitUsage
	case unreachable(err):
		return "the server cannot be reached: " + lastPart(err) + "; is the URL right, and is the server up?", exitUnreachable
	}
	return err.Error(), exitFailed
}

// leftover tells of keys that could not be removed.
func leftover(err error) string {
	if err != nil && strings.Contains(err.Error(), "could not be removed") {
		return "; keys that begin with lockbench: could not be removed and go with their ttl"
	}
	return ""
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

// denied names the verb, which is in err, and the command, which is in what the server said, and tells what to do.
func denied(err error, refused redis.Error) string {
	return fmt.Sprintf("the server denies a command: %s; %s", lastPart(err), remedy(refused))
}

// remedy is what to do about an error reply, by its first word.
func remedy(refused redis.Error) string {
	word, _, _ := strings.Cut(string(refused), " ")
	text := string(refused)
	switch {
	case word == "NOAUTH":
		return "give the password in the URL or in REDISCLI_AUTH"
	case word == "WRONGPASS", strings.Contains(text, "invalid password"), strings.Contains(text, "without any password"):
		return "check user and password in the URL, or REDISCLI_AUTH"
	case word == "NOPERM", strings.Contains(text, "user executing the script"):
		return "give the user the right to it and to the keys *lockbench:*, as in ACL SETUSER name +evalsha ~*lockbench:*"
	case word == "READONLY":
		return "this is a replica: give the URL of its master"
	case word == "LOADING", word == "BUSY", word == "MASTERDOWN", word == "TRYAGAIN":
		return "try again when it is ready"
	case word == "MISCONF", word == "NOREPLICAS", word == "OOM":
		return "the server takes no writes now: see what it says, or measure another one"
	case word == "DENIED":
		return "the server is in protected mode: connect from its own machine, or give it a password"
	case word == "MOVED", word == "ASK", word == "CROSSSLOT", word == "CLUSTERDOWN":
		return "this is a node of a cluster, which lockbench does not measure: give the URL of a single server"
	case strings.Contains(text, "max number of clients"):
		return "raise maxclients, or use fewer -goroutines and -waiters"
	case strings.Contains(strings.ToLower(text), "unknown command"):
		return "the server does not have it, or has it renamed: Redis from 6.2 or Valkey from 7.2 is needed"
	}
	return "measure another server, or see its log"
}
