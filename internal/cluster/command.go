package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// A kind is what a command means to the way that it goes.
type kind int

const (
	plain     kind = iota
	harmless       // has no key, and may be repeated at another node
	keyless        // has no key
	watch          // begins what a node keeps for the connection
	unwatch        // ends that; harmless
	begin          // of a transaction, which a node keeps, too
	execute        // ends both
	discard        // ends both
	subscribe      // turns the connection to one that listens
)

// inTransaction reports whether a command belongs to what a node keeps.
func inTransaction(k kind) bool { return k == begin || k == execute || k == discard }

var kinds = map[string]kind{
	"PING": harmless, "ECHO": harmless, "TIME": harmless, "WAIT": harmless,
	"WATCH": watch, "UNWATCH": unwatch, "MULTI": begin, "EXEC": execute, "DISCARD": discard,
	"SUBSCRIBE": subscribe, "PSUBSCRIBE": subscribe, "SSUBSCRIBE": subscribe, "MONITOR": subscribe, "PSYNC": subscribe, "SYNC": subscribe,
	"INFO": keyless, "CLUSTER": keyless, "CONFIG": keyless, "SCRIPT": keyless, "CLIENT": keyless, "COMMAND": keyless, "ROLE": keyless,
	"AUTH": keyless, "HELLO": keyless, "ACL": keyless, "DBSIZE": keyless, "FLUSHALL": keyless, "FLUSHDB": keyless, "KEYS": keyless,
	"SCAN": keyless, "RANDOMKEY": keyless, "PUBLISH": keyless, "PUBSUB": keyless, "FUNCTION": keyless, "LATENCY": keyless,
	"SLOWLOG": keyless, "READONLY": keyless, "READWRITE": keyless, "ASKING": keyless, "LASTSAVE": keyless, "SAVE": keyless,
	"BGSAVE": keyless, "WAITAOF": keyless, "FAILOVER": keyless, "SHUTDOWN": keyless, "MODULE": keyless, "SELECT": keyless,
	"RESET": keyless, "QUIT": keyless, "SWAPDB": keyless, "REPLICAOF": keyless,
}

// firstKey says where the key is, where it is not the first argument. Negative: behind a number of keys.
var firstKey = map[string]int{
	"EVAL": -1, "EVALSHA": -1, "EVAL_RO": -1, "EVALSHA_RO": -1, "FCALL": -1, "FCALL_RO": -1, "BLMPOP": -1, "BZMPOP": -1,
	"OBJECT": 1, "XINFO": 1, "XGROUP": 1, "BITOP": 1, "DEBUG": 1, "MEMORY": 1, "MIGRATE": 2,
	"LMPOP": 1, "ZMPOP": 1, "SINTERCARD": 1, "ZUNION": 1, "ZINTER": 1, "ZDIFF": 1, "ZINTERCARD": 1,
}

func kindOf(cmd string) kind {
	if k, ok := kinds[cmd]; ok {
		return k
	}
	return kinds[strings.ToUpper(cmd)]
}

// keyOf returns the first key of a command, which every server that does not know the command better takes for one, too.
func keyOf(cmd string, args []any) (key string, ok bool) {
	upper := strings.ToUpper(cmd)
	switch kinds[upper] {
	case plain, watch:
	case subscribe:
		if upper != "SSUBSCRIBE" {
			return "", false
		}
	default:
		return "", false
	}
	i := firstKey[upper]
	switch upper {
	case "XREAD", "XREADGROUP":
		for i < len(args) && !strings.EqualFold(argument(args[i]), "STREAMS") {
			i++
		}
		i++
	}
	if i < 0 { // script, number of keys, keys
		if len(args) < 3 || argument(args[1]) == "0" {
			return "", false
		}
		i = 2
	}
	if i >= len(args) {
		return "", false
	}
	return argument(args[i]), true
}

// scriptKeys returns all keys of a script or function.
func scriptKeys(cmd string, args []any) []any {
	switch strings.ToUpper(cmd) {
	case "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO":
		if n, err := strconv.Atoi(argument(args[1])); err == nil && n > 1 {
			return args[2:min(2+n, len(args))]
		}
	}
	return nil
}

// argument is an argument as redigo writes it.
func argument(arg any) string {
	switch arg := arg.(type) {
	case string:
		return arg
	case []byte:
		return string(arg)
	case int:
		return strconv.Itoa(arg)
	case int64:
		return strconv.FormatInt(arg, 10)
	case bool:
		if arg {
			return "1"
		}
		return "0"
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(arg, 'g', -1, 64)
	case interface{ RedisArg() any }:
		return argument(arg.RedisArg())
	}
	return fmt.Sprint(arg)
}
