package verbs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
)

var sentinels = map[string]error{
	"ErrHeld": redigolock.ErrHeld, "ErrNotHeld": redigolock.ErrNotHeld, "ErrLost": redigolock.ErrLost,
	"ErrUnknown": redigolock.ErrUnknown, "ErrInvalid": redigolock.ErrInvalid, "ErrConflict": redigolock.ErrConflict,
	"ErrUnsupported": redigolock.ErrUnsupported, "ErrFenced": redigolock.ErrFenced, "ErrExpired": redigolock.ErrExpired,
	"ErrUnavailable": redigolock.ErrUnavailable, "ErrClosed": redigolock.ErrClosed,
	"ErrNoQuorum": redigolock.ErrNoQuorum, "ErrNotReplicated": redigolock.ErrNotReplicated,
}

func TestSentinelsAreDistinctAndNamedAfterThePackage(t *testing.T) {
	for name, err := range sentinels {
		if !strings.HasPrefix(err.Error(), "redigolock: ") {
			t.Errorf("%s says %q", name, err)
		}
		for other, otherErr := range sentinels {
			if (name == other) != errors.Is(err, otherErr) {
				t.Errorf("errors.Is(%s, %s) is %v", name, other, name != other)
			}
		}
	}
}

func TestHeldErrorSaysWhatIsKnown(t *testing.T) {
	for _, tc := range []struct {
		err  redigolock.HeldError
		want string
	}{
		{redigolock.HeldError{Key: "k"}, `redigolock: held by another token: key "k"`},
		{redigolock.HeldError{Key: "k", Holder: "api#0a1b2c3d|left", TTL: time.Minute},
			`redigolock: held by another token: key "k", which api#0a1b2c3d has released; its MinHold keeps others out, for another 1m0s`},
		{redigolock.HeldError{Key: "k\n", Holder: "api#0a1b2c3d"},
			`redigolock: held by another token: key "k\n", holder api#0a1b2c3d`},
		{redigolock.HeldError{Key: "k", Holder: "#0a1b2c3d", TTL: 1500 * time.Millisecond},
			`redigolock: held by another token: key "k", holder #0a1b2c3d, for another 1.5s`},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
		err := fmt.Errorf("wrapped: %w", &tc.err)
		wants(t, err, redigolock.ErrHeld)
		wantsNot(t, err, redigolock.ErrNotHeld, redigolock.ErrConflict)
	}
}

func TestMessagesShowKeysInBoundsAndWithoutControlCharacters(t *testing.T) {
	for _, key := range []string{"k\r\n\x1b[31m", strings.Repeat("é", 20000), strings.Repeat("\x00", maxKeyBytes)} {
		for _, reply := range []any{nil, redis.Error("ERR x"), errBadType, int64(0), "QUEUED"} {
			for _, v := range allVerbs {
				if strings.Contains(key, "}") {
					continue
				}
				err := v.call(bg, &scriptedConn{Replies: []any{reply, reply, reply, "OK"}}, key, "tok", minute)
				if err == nil {
					continue
				}
				if text := err.Error(); len(text) > 1000 || strings.ContainsAny(text, "\r\n\x1b\x00") {
					t.Errorf("%s: a message of %d bytes: %.200q", v.name, len(text), text)
				}
			}
		}
	}
}

func TestHolderIsOwnerAndShortHash(t *testing.T) {
	id := "a2c7e5a0-6b9d-4f0e-9d53-2f5d8c1b7e44"
	for token, owner := range map[string]string{
		id: "", "api-7|" + id: "api-7", "api 7|" + id: "", "secret|x": "", "a|b|" + id: "", "": "",
	} {
		got := names.Holder(token)
		hash, ok := strings.CutPrefix(got, owner+"#")
		if !ok || len(hash) != 8 || strings.Trim(hash, "0123456789abcdef") != "" {
			t.Errorf("the holder of %q is %q", token, got)
		}
	}
	if names.Holder("api|"+id) == names.Holder("api|"+redigolock.NewToken()) {
		t.Error("two tokens of one owner look the same")
	}
}

// raisedTexts are the exact words of Redis 6.2.16 and 7.0.15 for one and the same error: as the reply to a command, and
// from a script by redis.pcall and by redis.call. Seen on the servers.
var raisedTexts = []struct {
	word  string
	texts []string
}{
	{"WRONGTYPE", []string{
		"WRONGTYPE Operation against a key holding the wrong kind of value",
		"ERR Error running script (call to f_521889fa5da5d8aefabb0588e08cacd15e4335f1): @user_script:1: " +
			"WRONGTYPE Operation against a key holding the wrong kind of value",
		"WRONGTYPE Operation against a key holding the wrong kind of value " +
			"script: 521889fa5da5d8aefabb0588e08cacd15e4335f1, on @user_script:1.",
	}},
	{"READONLY", []string{
		"READONLY You can't write against a read only replica.",
		"@user_script: 1: -READONLY You can't write against a read only replica.",
		"ERR Error running script (call to f_897afd4d23ee70efe0ede1685c1c94834429da77): @user_script:1: " +
			"@user_script: 1: -READONLY You can't write against a read only replica.",
		"READONLY You can't write against a read only replica. script: 897afd4d23ee70efe0ede1685c1c94834429da77, " +
			"on @user_script:1.",
	}},
	{"NOREPLICAS", []string{
		"NOREPLICAS Not enough good replicas to write.",
		"@user_script: 12: -NOREPLICAS Not enough good replicas to write.",
		"ERR Error running script (call to f_897afd4d23ee70efe0ede1685c1c94834429da77): @user_script:12: " +
			"@user_script: 12: -NOREPLICAS Not enough good replicas to write.",
	}},
	{"OOM", []string{
		"OOM command not allowed when used memory > 'maxmemory'.",
		"@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
		"ERR Error running script (call to f_897afd4d23ee70efe0ede1685c1c94834429da77): @user_script:1: " +
			"@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
	}},
	{"MISCONF", []string{
		"MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.",
		"@user_script: 1: -MISCONF Redis is configured to save RDB snapshots, " +
			"but it is currently not able to persist on disk.",
	}},
}

func TestErrorsOfScriptsAreTheSameOnRedis62(t *testing.T) {
	for _, tc := range raisedTexts {
		for _, text := range tc.texts {
			err := fault.Refused("verb", "k", redis.Error(text))
			var re redis.Error
			if tc.word == "WRONGTYPE" {
				wants(t, err, redigolock.ErrConflict)
			} else {
				wantReply(t, err, tc.word)
			}
			if !errors.As(err, &re) || !strings.HasPrefix(string(re), tc.word+" ") {
				t.Errorf("%q is wrapped as %q", text, re)
			}
			if got, want := fault.Transient(err), tc.word != "WRONGTYPE" && tc.word != "OOM"; got != want {
				t.Errorf("%q: tried again %v, want %v", text, got, want)
			}
		}
	}
	for _, denied := range []string{ // never tried again
		"ERR The user executing the script can't run this command or subcommand",
		"@user_script: 1: The user executing the script can't run this command or subcommand",
		"ERR Error running script (call to f_8cc3f9858b4fca3507c971d778f571093d40fb47): @user_script:1: " +
			"@user_script: 1: The user executing the script can't run this command or subcommand",
	} {
		err := fault.Refused("verb", "k", redis.Error(denied))
		if !strings.Contains(err.Error(), `verb "k"`) || !strings.Contains(err.Error(), "can't run this command") ||
			fault.Transient(err) {
			t.Errorf("%q gives %v", denied, err)
		}
	}
}

func TestOwnErrorsOfScriptsAreConflicts(t *testing.T) {
	err := fault.Refused("verb", "k", "CONFLICT a string without TTL")
	wants(t, err, redigolock.ErrConflict)
	if want := `redigolock: key holds something that is no lock: verb "k": a string without TTL`; err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Redis shows the arguments of a command that it does not have, or that was renamed: they may be a token.
func TestServersThatShowArgumentsShowNoToken(t *testing.T) {
	for _, text := range []string{
		"ERR unknown command 'EVALSHA', with args beginning with: 'abc' '1' 'k' 's3cret' ",
		"ERR unknown command `EVALSHA`, with args beginning with: `abc`, `1`, `k`, `s3cret`, ",
	} {
		for _, v := range allVerbs {
			replies := []any{redis.Error(text), redis.Error(text), redis.Error(text), "OK"}
			err := v.call(bg, &scriptedConn{Replies: replies}, "k", "s3cret", minute)
			if err == nil {
				t.Errorf("%s: no error", v.name)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(fmt.Sprintf("%v %#v", e, e), "s3cret") {
					t.Errorf("%s shows its token: %#v", v.name, e)
				}
			}
		}
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tc := range []struct {
		err   error
		again bool
	}{
		{redis.Error("LOADING Redis is loading the dataset in memory"), true},
		{redis.Error("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."), true},
		{redis.Error("READONLY You can't write against a read only replica."), true},
		{redis.Error("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), true},
		{redis.Error("CLUSTERDOWN The cluster is down"), true},
		{redis.Error("TRYAGAIN Multiple keys request during rehashing of slot"), true},
		{redis.Error("MISCONF Redis is configured to save RDB snapshots"), true},
		{redis.Error("NOREPLICAS Not enough good replicas to write."), true},
		{redis.Error("ERR max number of clients reached"), true},
		{refused, true},
		{fmt.Errorf("wrapped: %w", refused), true},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, true},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, true},
		{redigolock.ErrUnavailable, true},
		{fmt.Errorf("%w: %w", redigolock.ErrUnavailable, errors.New("anything")), true},
		{io.EOF, true},
		{io.ErrUnexpectedEOF, true},
		{os.ErrDeadlineExceeded, true},
		{redis.ErrPoolExhausted, true},
		{redigolock.ErrUnknown, true},
		{&redigolock.HeldError{Key: "k"}, true},

		{redis.Error("NOAUTH Authentication required."), false},
		{redis.Error("WRONGPASS invalid username-password pair or user is disabled."), false},
		{redis.Error("NOPERM this user has no permissions to run the 'set' command"), false},
		{redis.Error("ERR The user executing the script can't run this command or subcommand"), false},
		{redis.Error("WRONGTYPE Operation against a key holding the wrong kind of value"), false},
		{redis.Error("OOM command not allowed when used memory > 'maxmemory'."), false},
		{redis.Error("ERR unknown command 'EVALSHA'"), false},
		{redis.Error("BUSYKEY Target key name already exists."), false}, // the first word as a whole
		{redis.Error("LOADINGX"), false},
		{redis.Error(""), false},
		{redigolock.ErrInvalid, false},
		{redigolock.ErrConflict, false},
		{redigolock.ErrExpired, false},
		{redigolock.ErrUnsupported, false},
		{redigolock.ErrNotHeld, false},
		{&net.OpError{Op: "remote error", Err: &tls.CertificateVerificationError{Err: errors.New("x")}}, false},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, false},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, false},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false},
		{&net.OpError{Op: "dial", Err: &net.AddrError{Err: "missing port in address", Addr: "h"}}, false},
		{redis.Error("DENIED Redis is running in protected mode"), false},
		{context.Canceled, false},
		{errors.New("anything else"), false},
		{nil, false},
	} {
		if got := fault.Transient(tc.err); got != tc.again {
			t.Errorf("%v is tried again: %v, want %v", tc.err, got, tc.again)
		}
	}
}

func TestTwoTriesThatMetTheSameNameItOnce(t *testing.T) {
	reply := errors.New("redigo: unexpected response line (possible server error)")
	first := fmt.Errorf("no reply came: %w", reply)
	for _, c := range []struct {
		later error
		want  string
	}{
		{fmt.Errorf("no reply came: %w", reply), "no reply came: redigo: unexpected response line (possible server error)"},
		{fmt.Errorf("no reply came: %w (%w)", context.DeadlineExceeded, reply), "no reply came: redigo: unexpected response line (possible server error); then: context deadline exceeded"},
		{fmt.Errorf("no reply came: %w (%w)", context.DeadlineExceeded, io.EOF), "no reply came: redigo: unexpected response line (possible server error); then: context deadline exceeded (EOF)"},
	} {
		err := fault.Followed(first, "then: ", c.later)
		if err.Error() != c.want {
			t.Errorf("%q; want %q", err, c.want)
		}
		if !errors.Is(err, reply) {
			t.Errorf("%q does not hold the first cause", err)
		}
	}
}
