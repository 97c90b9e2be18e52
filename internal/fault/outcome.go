package fault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Transient reports whether a waiting acquire, a renewal or a release should try again after err: the server
// said that it cannot answer now, or the way to it is broken. What the server refuses for good, and what is wrong
// with the call, ends at once.
func Transient(err error) bool {
	var netErr net.Error
	re, isReply := Reply(err)
	switch {
	case errors.Is(err, Unknown), errors.Is(err, Held), errors.Is(err, Unavailable), errors.Is(err, NotReplicated):
		return true
	case errors.Is(err, Invalid), errors.Is(err, Conflict), errors.Is(err, Expired), RefusedForGood(err):
		return false
	case isReply:
		return TransientReply(re)
	}
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, BusyPool) || errors.Is(err, redis.ErrPoolExhausted)
}

// NoConnection is the error of an exchange that got no connection, or none that the server let in: nothing was carried
// out. It is Unavailable, unless it would be in vain to try again.
func NoConnection(ctx context.Context, verb, key string, err error) error {
	if ctxErr := Ended(ctx); ctxErr != nil {
		return Failed(verb, key, ctxErr)
	}
	err = argsHidden(err) // a server without AUTH shows the password
	re, isReply := Reply(err)
	var badURL *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = BusyPool
	case errors.As(err, &badURL):
		return Failed(verb, key, errBadURL) // of redis.DialURL, which shows the password
	}
	if RefusedForGood(err) || isReply && !TransientReply(re) {
		return Failed(verb, key, err)
	}
	return fmt.Errorf("%w: %s %s: %w", Unavailable, verb, Quote(key), InLine(err))
}

var errBadURL = errors.New("the URL that the pool dials cannot be parsed")

// RefusedForGood reports whether a connection is not to be had, however often it is asked for: the call is wrong, or the
// name, the certificate, or what is spoken.
func RefusedForGood(err error) bool {
	var (
		dns    *net.DNSError
		cert   *tls.CertificateVerificationError
		header tls.RecordHeaderError
		addr   *net.AddrError
		op     *net.OpError
	)
	switch {
	case errors.Is(err, Invalid), errors.Is(err, Unsupported), errors.Is(err, Closed):
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

// CertificateRefused reports whether a server has refused the client's certificate, or that it has none. With TLS 1.3 that
// comes when the first reply is awaited, and nothing was carried out.
func CertificateRefused(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	text := op.Err.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "access denied")
}

// NothingDone reports whether an exchange that ended without a reply has left no doubt: nothing was sent, or the server has
// refused the client.
func NothingDone(err error) bool { return errors.Is(err, NotSent) || CertificateRefused(err) }

// UnknownOutcome is the Unknown of a command.
func UnknownOutcome(ctx context.Context, verb, key string, err error) error {
	err = argsHidden(err)
	switch ctxErr := Ended(ctx); {
	case ctxErr == nil:
	case errors.Is(ctxErr, err):
		err = ctxErr
	case errors.Is(err, ctxErr), ctx.Err() != nil && errors.Is(err, ctx.Err()) && errors.Is(err, context.Cause(ctx)): // it says so itself
	default:
		err = fmt.Errorf("%w (%w)", ctxErr, InLine(err))
	}
	return fmt.Errorf("%w: %s %s: %w", Unknown, verb, Quote(key), InLine(err))
}

// Ended is contextError if ctx has ended or its deadline has passed, else nil. redigo's "i/o timeout" comes a moment
// before ctx ends by itself, so a passed deadline is given the moment that ctx needs to know its cause.
func Ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ctx.Err() == nil && ok && !time.Now().Before(deadline) {
		grace := time.NewTimer(100 * time.Millisecond)
		defer grace.Stop()
		select {
		case <-ctx.Done():
		case <-grace.C:
			return context.DeadlineExceeded
		}
	}
	if ctx.Err() == nil {
		return nil
	}
	return OfContext(ctx)
}

// OfContext is the error of a context that has ended: errors.Is finds both ctx.Err() and context.Cause(ctx).
func OfContext(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, InLine(cause))
}

// IsLoss reports whether err says that a server does not have a lock for its holder any more. That its TTL was taken away
// is none: the key carries the token still.
func IsLoss(err error) bool {
	return errors.Is(err, NotHeld) || errors.Is(err, Conflict) && !errors.Is(err, NoTTL)
}

// IsGone reports whether a try to remove a token says that it is not in the key.
func IsGone(err error) bool {
	return err == nil || errors.Is(err, NotHeld) || errors.Is(err, Conflict)
}

// Unanswered is the error of a verb whose exchange ended with err, and may have been carried out if something was sent.
func Unanswered(ctx context.Context, verb, key string, sent bool, err error) error {
	if sent {
		return UnknownOutcome(ctx, verb, key, err)
	}
	return NoConnection(ctx, verb, key, err)
}

// An Unheard says for all that was sent together why it has no answer. Each command says it with its own key: see OfUnheard.
type Unheard struct {
	Err  error
	Sent bool // what has no answer may have been carried out
}

func (e Unheard) Error() string { return e.Err.Error() }
func (e Unheard) Unwrap() error { return e.Err }

// OfUnheard is err, of what was sent together with others, for the command with this key.
func OfUnheard(ctx context.Context, verb, key string, err error) error {
	if u, ok := err.(Unheard); ok {
		return Unanswered(context.WithoutCancel(ctx), verb, key, u.Sent, u.Err)
	}
	return err
}
