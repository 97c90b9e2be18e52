package redigolock

import (
	"context"
	"embed"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/scripts"
	"github.com/redigolock/redigolock/internal/wire"
)

// The Lua of the package is in lua, a file for each script, which names the parts that it includes. There is none elsewhere.
// Rules that every script keeps:
//   - Redis does not roll a script back, so types, arguments and rights that can be checked are checked before the
//     first write.
//   - Calls that may be refused go through redis.pcall and their error is returned as it is, so that its first word
//     stays the first: Redis 6.2 puts a text of its own in front of an error that a script raises.
//   - Nothing is put into the text: keys and arguments travel as KEYS and ARGV.
//   - Own errors begin with "CONFLICT ".
//
// The scripts of Locker.Fair. Besides:
//   - KEYS is lock, queue, and for a POKE that beats the beats; ARGV[1] is "S" where messages are sharded (Redis Cluster), "" elsewhere.
//   - After each of them the lock is held, or the queue is empty. So each that may find the lock free pumps, before it may
//     fail to queue an entry of its own. (Not so if the server denies LPOP, SET or PUBSUB after DEL: who has rights to wait
//     and none to hand on. The next POKE then tells of it.)
//   - None lowers a PTTL, creates the lock for an extend, or removes another's token.
//   - All but EXTEND reply {was, said, holder, PTTL, deaf}: was is 1 if the caller's lock or entry was removed; said
//     is one of the numbers of internal/fairqueue/command.go; holder and PTTL are the lock's, at the end; deaf is the error of a PUBLISH that
//     was refused: the lock was handed over, and nobody was told.
//   - An entry of the queue is "<ttl ms> <len(channel)> <channel> <token>", since channels and tokens may hold any byte.
//
//go:embed lua
var luaFiles embed.FS

var (
	scriptSetNX       = newScript(1, "setNX")
	scriptVerify      = newScript(1, "verify")
	scriptExtend      = newScript(1, "extend")
	scriptRelease     = newScript(1, "release")
	scriptLeave       = newScript(1, "leave")
	scriptFence       = newScript(2, "fence")
	scriptGuard       = newScript(1, "guard")
	scriptGuardDo     = newScript(2, "guardDo")
	scriptInspect     = newScript(1, "inspect")
	scriptInspectFair = newScript(2, "inspectFair")
	scriptTry         = newFairScript("try")
	scriptEnter       = newFairScript("enter")
	scriptRel         = newFairScript("rel")
	scriptPoke        = newFairScript("poke")
	scriptQuit        = newFairScript("quit")
	scriptFairExtend  = newFairScript("fairExtend")
)

func newScript(keys int, name string) *wire.Script {
	src := luaText(name)
	scripts.Texts[name] = src
	return &wire.Script{Text: src, Digest: scripts.Digests[name], Keys: keys}
}

// newFairScript is for those that hand the lock on to who is subscribed where they run.
func newFairScript(name string) *wire.Script {
	s := newScript(2, name)
	s.Stays = true
	return s
}

// luaText is the text of a file without its comments, and with the parts that it includes.
func luaText(name string) string {
	src, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // the file was forgotten: every start of the program says so
	}
	var text strings.Builder
	for line := range strings.Lines(string(src)) {
		if part, ok := strings.CutPrefix(line, "-- include "); ok {
			text.WriteString(luaText("parts/"+strings.TrimSpace(part)) + "\n\n")
		} else if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			text.WriteString(line)
		}
	}
	return strings.TrimSpace(text.String())
}

// SetNXScript acquires a lock by a script of SETNX and PEXPIRE, the second approach of the articles: key = token
// for ttl, if the key is free. It is one round trip, by EVALSHA. Unlike the articles' script it refuses a bad ttl
// before it writes, and deletes the key again if PEXPIRE is refused, so that no lock is left without TTL; and it tells
// who holds the lock.
//
// It returns nil if the key carries the token now, newly or from an earlier call, so it is re-entrant for a fixed token (see
// [SetNXVerified]); a *[HeldError] with the holder and
// what is left of its TTL; [ErrConflict] if the key holds another type or a string without TTL; [ErrUnknown] if no
// reply came; [ErrInvalid]; or what the server refused it with. A user of the server needs the right to SETNX,
// PEXPIRE, GET, PTTL and DEL, also inside scripts.
func SetNXScript(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	const verb = "setnx script"
	if err := checkTTLCall(ctx, c, verb, key, token, ttl); err != nil {
		return err
	}
	args := scriptSetNX.Args(c, 3)
	args[2], args[3], args[4] = wire.Boxed(c, key), wire.Boxed(c, token), wire.Millis(c, ttl)
	reply, err := wire.Eval(ctx, c, verb, key, scriptSetNX, args)
	if err != nil {
		return err
	}
	if reply == any(int64(1)) {
		return nil
	}
	if holder, left, ok := wire.ReadTokenAndTTL(reply); ok {
		return &HeldError{Key: key, Holder: names.Holder(holder), TTL: max(left, 0)}
	}
	return fault.MaybeSet(fault.Unexpected(verb, key, reply))
}
