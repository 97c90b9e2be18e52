package redigolock

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
)

// The errors of this package, to be asked for with [errors.Is]. The server's or the network's own error stays
// wrapped inside; the manual at the top of this package says what to do about each.
var (
	// ErrHeld: somebody else's token is in the key. The error is a *[HeldError].
	ErrHeld = errors.New("redigolock: held by another token")
	// ErrNotHeld: the key does not carry this token; the lock expired, was deleted, or was taken by another.
	ErrNotHeld = errors.New("redigolock: not held by this token")
	// ErrLost is the cause of a [Lock.KeepAlive] context that ended because holding could no longer be proven,
	// or because Locker.MaxHold was reached.
	ErrLost = errors.New("redigolock: lock lost")
	// ErrUnknown: a command left and no reply came, so it may or may not have been carried out.
	ErrUnknown = errors.New("redigolock: no reply came, outcome unknown")
	// ErrInvalid: an argument is bad; nothing was sent.
	ErrInvalid = errors.New("redigolock: invalid argument")
	// ErrConflict: the key holds something that is no lock, that is another type or a string without a TTL.
	ErrConflict = errors.New("redigolock: key holds something that is no lock")
	// ErrUnsupported: the server, or the state of the connection, cannot do this.
	ErrUnsupported = errors.New("redigolock: not supported")
	// ErrFenced: [Guard] has seen a higher fencing number.
	ErrFenced = errors.New("redigolock: fenced off by a higher number")
	// ErrExpired: an acquire was won, but so late that no validity was left; it has been undone, or with Fair is being
	// undone in the background.
	ErrExpired = errors.New("redigolock: acquired too late, already expired")
	// ErrUnavailable: nothing was carried out, because no connection could be had (refused, not dialled or not lent
	// within OpTimeout, pool exhausted, Mux full), or because the server turned it away at the door (max clients). Calls that
	// wait try again. An error that is [ErrUnknown] too is about an earlier try. What a server, TLS or a name refuses for
	// good (WRONGPASS, NOAUTH, DENIED, a certificate, no such host) is not ErrUnavailable, and ends a wait at once.
	ErrUnavailable = errors.New("redigolock: unavailable, nothing was carried out")
	// ErrClosed: the Locker was closed, or the Mux that it works over.
	ErrClosed = errors.New("redigolock: closed")
)

// A HeldError says who holds a key. [errors.Is] finds [ErrHeld] in it. A Holder that ends in |left has released the lock, and
// its Locker.MinHold keeps others out.
type HeldError struct {
	Key    string
	Holder string        // the holder's Owner and a short hash of its token; never the whole token; "" if not known
	TTL    time.Duration // what was left of the holder's TTL when the server answered; 0 if not known
}

// Error names the key and what is known of its holder.
func (e *HeldError) Error() string {
	s := ErrHeld.Error() + ": key " + quote(e.Key)
	if e.Holder != "" {
		s += ", holder " + e.Holder
	}
	if e.TTL > 0 {
		s += ", for another " + rounded(e.TTL).String()
	}
	return s
}

// rounded is d as people read it.
func rounded(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Microsecond)
}

// Is makes errors.Is(err, ErrHeld) true.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// holderOf is what may be shown of a token: its owner, if it is one of our tokens, and eight hex digits of its hash. What
// MinHold left is shown as the token it was, with the suffix: a waiter sees that the holder has changed.
func holderOf(token string) string {
	token, isLeft := cutLeft(token)
	sum := sha256.Sum256([]byte(token))
	holder := ownerOf(token) + "#" + hex.EncodeToString(sum[:4])
	if isLeft {
		holder += leftSuffix
	}
	return holder
}

// ownerOf is the Owner in a token made by a Locker, "" for any other token, which may be a secret as a whole.
func ownerOf(token string) string {
	token, _ = cutLeft(token)
	owner, id, ok := strings.Cut(token, "|")
	if !ok || uuid.Validate(id) != nil || len(id) != 36 || checkOwner(owner) != nil {
		return ""
	}
	return owner
}

// A lineError is an error of others whose text has several lines, as a part of a message.
type lineError struct{ error }

func (e lineError) Error() string { return oneLine(e.error.Error()) }
func (e lineError) Unwrap() error { return e.error }

// inLine is err as a part of a message.
func inLine(err error) error {
	if err == nil || !strings.ContainsAny(err.Error(), "\r\n") {
		return err
	}
	return lineError{err}
}

func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

// quote shows a key in a message, whatever bytes it has and however long it is.
func quote(key string) string {
	if len(key) > 80 {
		return strconv.Quote(key[:80]) + "… (" + strconv.Itoa(len(key)) + " bytes)"
	}
	return strconv.Quote(key)
}

// invalid is the ErrInvalid of a verb.
func invalid(verb, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrInvalid, verb, fmt.Sprintf(format, args...))
}

// failed puts what is being done in front of an error whose outcome is definite.
func failed(verb, key string, err error) error {
	return fmt.Errorf("redigolock: %s %s: %w", verb, quote(key), inLine(err))
}

// is puts a sentinel in front of what is being done, and the reason behind.
func is(sentinel error, verb, key, reason string) error {
	return fmt.Errorf("%w: %s %s: %s", sentinel, verb, quote(key), reason)
}

// notHeld is the ErrNotHeld of a verb that the server answered.
func notHeld(verb, key string) error {
	return is(ErrNotHeld, verb, key, "it expired, was deleted, or was taken by another")
}

// serverError turns an error reply into the error of a verb. The first word decides: scripts append a suffix.
func serverError(verb, key string, err redis.Error) error {
	err = withoutArgs(bare(err))
	switch word := firstWord(err); {
	case word == "WRONGTYPE", strings.HasPrefix(string(err), "ERR Key should be of string type"): // so says DELEX
		return fmt.Errorf("%w: %s %s: %w", ErrConflict, verb, quote(key), err)
	case word == "CONFLICT":
		return fmt.Errorf("%w: %s %s: %w", ErrConflict, verb, quote(key), conflict(strings.TrimPrefix(string(err), "CONFLICT ")))
	case word == "MOVED", word == "ASK":
		return fmt.Errorf("redigolock: %s %s: %w (in a Redis Cluster each connection must have a Bind(keys...), which wrappers, "+
			"as for tracing, often hide)", verb, quote(key), err)
	}
	return failed(verb, key, err)
}

// errNoTTL is the conflict of a lock that is one's own still: somebody took its TTL away (PERSIST).
var errNoTTL = errors.New(noTTL)

const noTTL = "the lock has lost its TTL" // as the scripts say

func conflict(reason string) error {
	if reason == noTTL {
		return errNoTTL
	}
	return errors.New(reason)
}

// raised finds the error that Redis 6.2 hides behind texts of its own in a script: one for an error that redis.call
// raises, and one more, which redis.pcall returns too, for what is refused before it runs (OOM, READONLY, NOREPLICAS…).
var raised = regexp.MustCompile(`^(?:ERR Error running script \(call to [^)]*\): )?(?:@user_script: ?\d+: )+-?(.*)$`)

// bare is err without such texts.
func bare(err redis.Error) redis.Error {
	if m := raised.FindStringSubmatch(string(err)); m != nil {
		return redis.Error(m[1])
	}
	return err
}

func firstWord(err redis.Error) string {
	word, _, _ := strings.Cut(string(err), " ")
	return word
}

// withoutArgs cuts off the arguments that a server shows of a command it does not know: a token, or a password.
func withoutArgs(err redis.Error) redis.Error {
	text, _, _ := strings.Cut(string(err), ", with args beginning with")
	return redis.Error(text)
}

// unknownCommand reports whether the server said that it does not have the command.
func unknownCommand(err error) bool {
	re, ok := errorReply(err)
	return ok && strings.HasPrefix(strings.ToLower(string(re)), "err unknown command")
}

// join is errors.Join in one line, and without what is in it already. It leaves a lone error as it is.
func join(errs ...error) (all error) {
	for _, err := range errs {
		switch {
		case all == nil:
			all = err
		case err != nil && !errors.Is(all, err):
			all = followed(all, "", err)
		}
	}
	return all
}

// A longError is several errors in one line, which names each cause once. errors.Is finds all that is in it.
type longError struct {
	text string
	errs []error
}

func (e *longError) Error() string   { return e.text }
func (e *longError) Unwrap() []error { return e.errs }

// followed is err with what came later, and where. What both texts begin with is said once.
func followed(err error, where string, later error) error {
	text, more := oneLine(err.Error()), oneLine(later.Error())
	if text == more {
		return &longError{text, []error{err, later}}
	}
	common := 0
	for i := 0; i < min(len(text), len(more)) && text[i] == more[i]; i++ {
		if strings.HasSuffix(more[:i+1], ": ") {
			common = i + 1
		}
	}
	more = withoutCause(more[common:], text)
	return &longError{text + "; " + where + more, []error{err, later}}
}

// withoutCause is text without the cause in brackets at its end where said has it already.
func withoutCause(text, said string) string {
	for i := range text {
		if cause, ok := strings.CutPrefix(text[i:], " ("); ok && strings.HasSuffix(cause, ")") && strings.Contains(said, strings.TrimSuffix(cause, ")")) {
			return text[:i]
		}
	}
	return text
}

// contextError is the error of a context that has ended: errors.Is finds both ctx.Err() and context.Cause(ctx).
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, inLine(cause))
}

// readOnly reports whether the connection leads to a replica, or to a master that was demoted.
func readOnly(err error) bool {
	re, ok := errorReply(err)
	return ok && firstWord(re) == "READONLY"
}

// What an error means is decided below, for the whole package: whether it is the server's reply, what a reply says by its
// first word, and what no connection means by its type.

// errorReply finds the server's reply in an error. Connections that trace wrap it, those that adapt another client have a
// type of their own for it, with the server's text.
func errorReply(err error) (redis.Error, bool) {
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
	re = redis.Error(oneLine(err.Error()))
	return re, replyWords[firstWord(re)]
}

// replyWords are the first words of error replies. Those of others count only from connections that have redigo's type.
var replyWords = map[string]bool{
	"ASK": true, "BUSY": true, "CLUSTERDOWN": true, "CONFLICT": true, "CROSSSLOT": true, "DENIED": true, "ERR": true,
	"EXECABORT": true, "LOADING": true, "MASTERDOWN": true, "MISCONF": true, "MOVED": true, "NOAUTH": true, "NOPERM": true,
	"NOREPLICAS": true, "NOSCRIPT": true, "OOM": true, "READONLY": true, "TRYAGAIN": true, "WRONGPASS": true,
	"WRONGTYPE": true,
}

// transient reports whether a waiting acquire, a renewal or a release should try again after err: the server
// said that it cannot answer now, or the way to it is broken. What the server refuses for good, and what is wrong
// with the call, ends at once.
func transient(err error) bool {
	var netErr net.Error
	re, isReply := errorReply(err)
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrHeld), errors.Is(err, ErrUnavailable):
		return true
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrConflict), errors.Is(err, ErrExpired), refusedForGood(err):
		return false
	case isReply:
		return transientReply(re)
	}
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, errBusyPool) || errors.Is(err, redis.ErrPoolExhausted)
}

func transientReply(err redis.Error) bool {
	switch firstWord(err) {
	case "LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS", "MOVED", "ASK":
		return true
	}
	return tooManyClients(err)
}

// atDoor reports whether the server says err to a connection that it then closes, without having read any command.
func atDoor(err redis.Error) bool { return tooManyClients(err) || firstWord(err) == "DENIED" }

func tooManyClients(err redis.Error) bool {
	return strings.HasPrefix(string(err), "ERR max number of clients")
}

// noConnection is the error of an exchange that got no connection, or none that the server let in: nothing was carried
// out. It is ErrUnavailable, unless it would be in vain to try again.
func noConnection(ctx context.Context, verb, key string, err error) error {
	if ctxErr := ended(ctx); ctxErr != nil {
		return failed(verb, key, ctxErr)
	}
	re, isReply := errorReply(err)
	var badURL *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = errBusyPool
	case isReply:
		err = withoutArgs(re) // a server without AUTH shows the password
	case errors.As(err, &badURL):
		return failed(verb, key, errBadURL) // of redis.DialURL, which shows the password
	}
	if refusedForGood(err) || isReply && !transientReply(re) {
		return failed(verb, key, err)
	}
	return fmt.Errorf("%w: %s %s: %w", ErrUnavailable, verb, quote(key), inLine(err))
}

var errBadURL = errors.New("the URL that the pool dials cannot be parsed")

// refusedForGood reports whether a connection is not to be had, however often it is asked for: the call is wrong, or the
// name, the certificate, or what is spoken.
func refusedForGood(err error) bool {
	var (
		dns    *net.DNSError
		cert   *tls.CertificateVerificationError
		header tls.RecordHeaderError
		addr   *net.AddrError
		op     *net.OpError
	)
	switch {
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrUnsupported), errors.Is(err, ErrClosed):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	case errors.As(err, &cert), errors.As(err, &header), errors.As(err, &addr):
		return true
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert, as of a server that wants another certificate
		return true
	}
	return err != nil && err.Error() == "redigo: get on closed pool" // redigo has no name for it
}

// certificateRefused reports whether a server has refused the client's certificate, or that it has none. With TLS 1.3 that
// comes when the first reply is awaited, and nothing was carried out.
func certificateRefused(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	text := op.Err.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "access denied")
}
