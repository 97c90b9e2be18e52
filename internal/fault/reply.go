package fault

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// Reply finds the server's reply in an error. Connections that trace wrap it, those that adapt another client have a
// type of their own for it, with the server's text.
func Reply(err error) (redis.Error, bool) {
	if err == nil {
		return "", false
	}
	if re, ok := err.(redis.Error); ok {
		return re, true
	}
	var re redis.Error
	if errors.As(err, &re) {
		return re, true
	}
	re = redis.Error(OneLine(err.Error()))
	return re, replyWords[Word(re)]
}

// replyWords are the first words of error replies. Those of others count only from connections that have redigo's type.
var replyWords = map[string]bool{
	"ASK": true, "BUSY": true, "CLUSTERDOWN": true, "CONFLICT": true, "CROSSSLOT": true, "DENIED": true, "ERR": true,
	"EXECABORT": true, "LOADING": true, "MASTERDOWN": true, "MISCONF": true, "MOVED": true, "NOAUTH": true, "NOPERM": true,
	"NOREPLICAS": true, "NOSCRIPT": true, "OOM": true, "READONLY": true, "TRYAGAIN": true, "WRONGPASS": true,
	"WRONGTYPE": true,
}

// Refused turns an error reply into the error of a verb. The first word decides: scripts append a suffix.
func Refused(verb, key string, err redis.Error) error {
	err = WithoutArgs(Bare(err))
	switch word := Word(err); {
	case word == "WRONGTYPE", strings.HasPrefix(string(err), "ERR Key should be of string type"): // so says DELEX
		return fmt.Errorf("%w: %s %s: %w", Conflict, verb, Quote(key), err)
	case word == "CONFLICT":
		return fmt.Errorf("%w: %s %s: %w", Conflict, verb, Quote(key), conflict(strings.TrimPrefix(string(err), "CONFLICT ")))
	case word == "MOVED", word == "ASK":
		return fmt.Errorf("redigolock: %s %s: %w (in a Redis Cluster each connection must have a Bind(keys...), which wrappers, "+
			"as for tracing, often hide)", verb, Quote(key), err)
	}
	return Failed(verb, key, err)
}

func conflict(reason string) error {
	if reason == noTTL {
		return NoTTL
	}
	return errors.New(reason)
}

// raised finds the error that Redis 6.2 hides behind texts of its own in a script: one for an error that redis.call
// raises, and one more, which redis.pcall returns too, for what is refused before it runs (OOM, READONLY, NOREPLICAS…).
var raised = regexp.MustCompile(`^(?:ERR Error running script \(call to [^)]*\): )?(?:@user_script: ?\d+: )+-?(.*)$`)

// Bare is err without the texts that Redis 6.2 puts in front of an error of a script.
func Bare(err redis.Error) redis.Error {
	if m := raised.FindStringSubmatch(string(err)); m != nil {
		return redis.Error(m[1])
	}
	return err
}

// Word is the first word of an error reply, which decides: scripts append a suffix.
func Word(err redis.Error) string {
	word, _, _ := strings.Cut(string(err), " ")
	return word
}

const argsShown = ", with args beginning with"

// WithoutArgs cuts off the arguments that a server shows of a command it does not know: a token, or a password.
func WithoutArgs(err redis.Error) redis.Error {
	text, _, _ := strings.Cut(string(err), argsShown)
	return redis.Error(text)
}

// argsHidden is err, or the reply in it without the arguments that it shows.
func argsHidden(err error) error {
	if re, isReply := Reply(err); isReply && strings.Contains(err.Error(), argsShown) {
		return WithoutArgs(re)
	}
	return err
}

// UnknownCommand reports whether the server said that it does not have the command.
func UnknownCommand(err error) bool {
	re, ok := Reply(err)
	return ok && strings.HasPrefix(strings.ToLower(string(re)), "err unknown command")
}

// SyntaxError reports whether the server said that it does not have a command in this form.
func SyntaxError(re redis.Error) bool {
	return strings.HasPrefix(strings.ToLower(string(re)), "err syntax error")
}

// RefusedWrite reports whether the server refuses to write for now, and may still read.
func RefusedWrite(err error) bool {
	re, ok := Reply(err)
	if !ok {
		return false
	}
	switch Word(re) {
	case "OOM", "READONLY", "MISCONF", "NOREPLICAS":
		return true
	}
	return false
}

// ReadOnly reports whether the connection leads to a replica, or to a master that was demoted.
func ReadOnly(err error) bool {
	re, ok := Reply(err)
	return ok && Word(re) == "READONLY"
}

// TransientReply reports whether the server says that it cannot answer now.
func TransientReply(err redis.Error) bool {
	switch Word(err) {
	case "LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS", "MOVED", "ASK":
		return true
	}
	return tooManyClients(err)
}

// AtDoor reports whether the server says err to a connection that it then closes, without having read any command.
func AtDoor(err redis.Error) bool { return tooManyClients(err) || Word(err) == "DENIED" }

func tooManyClients(err redis.Error) bool {
	return strings.HasPrefix(string(err), "ERR max number of clients")
}
