package groupcommit

import (
	"fmt"
	"strings"

	"github.com/redigolock/redigolock/internal/fault"
)

// unsharable are the commands that change what the connection is for all others on it, or block it.
var unsharable = map[string]bool{
	"WATCH": true, "UNWATCH": true, "MULTI": true, "EXEC": true, "DISCARD": true,
	"SUBSCRIBE": true, "PSUBSCRIBE": true, "SSUBSCRIBE": true, "UNSUBSCRIBE": true, "PUNSUBSCRIBE": true, "SUNSUBSCRIBE": true,
	"MONITOR": true, "SYNC": true, "PSYNC": true, "REPLCONF": true,
	"BLPOP": true, "BRPOP": true, "BRPOPLPUSH": true, "BLMOVE": true, "BLMPOP": true, "BZPOPMIN": true, "BZPOPMAX": true,
	"BZMPOP": true, "WAIT": true, "WAITAOF": true,
	"SELECT": true, "AUTH": true, "HELLO": true, "RESET": true, "QUIT": true, "READONLY": true, "READWRITE": true, "ASKING": true,
}

// sharable refuses what a connection cannot do for one caller without doing it to the others.
func sharable(cmd string, args []any) error {
	switch cmd {
	case "GET", "SET", "EVALSHA", "EVAL": // all but all
		return nil
	}
	name := strings.ToUpper(cmd)
	switch {
	case unsharable[name],
		name == "CLIENT" && hasWord(args[:min(1, len(args))], "REPLY", "TRACKING", "CACHING", "NO-EVICT", "NO-TOUCH", "SETNAME"),
		name == "SCRIPT" && hasWord(args[:min(1, len(args))], "DEBUG"),
		(name == "XREAD" || name == "XREADGROUP") && blocks(args):
		return fmt.Errorf("%w: %w: %s needs a connection of its own: use the pool for it", fault.Unsupported, fault.NotSent, name)
	}
	return nil
}

// blocks looks for the option BLOCK, which stands before STREAMS; behind it, the word would be a key, and behind GROUP or
// COUNT a value.
func blocks(args []any) bool {
	for i := 0; i < len(args); i++ {
		switch arg := args[i : i+1]; {
		case hasWord(arg, "GROUP"):
			i += 2
		case hasWord(arg, "COUNT"):
			i++
		case hasWord(arg, "STREAMS"):
			return false
		case hasWord(arg, "BLOCK"):
			return true
		}
	}
	return false
}

// hasWord reports whether an argument is one of the words, in any case.
func hasWord(args []any, words ...string) bool {
	for _, arg := range args {
		var text string
		switch arg := arg.(type) {
		case string:
			text = arg
		case []byte:
			text = string(arg)
		}
		for _, word := range words {
			if strings.EqualFold(text, word) {
				return true
			}
		}
	}
	return false
}
