package doctor

import (
	"slices"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/names"
)

// rights are the commands of each way to lock, as docs/rights.md lists them. KEY, QUEUE, BEATS, FENCE and CHANNEL
// stand for the lock's key, and what goes with it.
var rights = map[string][]string{
	"rights": {
		"SET KEY t NX PX 1000", "GET KEY", "PTTL KEY", "PEXPIRE KEY 1000", "DEL KEY", "EVAL return 1 KEY", "EVALSHA sha 1 KEY", "PING",
	},
	"rights-fair": {
		"LPOP QUEUE", "RPUSH QUEUE e", "LREM QUEUE 0 e", "LPOS QUEUE e", "LLEN QUEUE", "LRANGE QUEUE 0 -1", "PEXPIRE QUEUE 1000",
		"HMGET BEATS e", "HGETALL BEATS", "HSET BEATS e 1", "PEXPIRE BEATS 1000", "DEL BEATS",
		"PUBLISH CHANNEL t", "PUBSUB NUMSUB", "SUBSCRIBE CHANNEL", "UNSUBSCRIBE CHANNEL",
	},
	"rights-fence":    {"TIME", "GET FENCE", "SET FENCE 1 PX 1000"},
	"rights-replicas": {"WAIT 1 100"},
}

// sharded are the commands for messages in a cluster.
var sharded = strings.NewReplacer("UNSUBSCRIBE", "SUNSUBSCRIBE", "SUBSCRIBE", "SSUBSCRIBE", "PUBLISH", "SPUBLISH", "NUMSUB", "SHARDNUMSUB")

const anyKey = "redigolock-doctor"

// askRights has the server say what its user may not do. Without a key of the user's, rights to keys cannot be looked at.
func (q asking) askRights(keys []string) {
	user, err := redis.String(q.do("rights", "ACL", "WHOAMI"))
	if err != nil {
		return
	}
	named := len(keys) > 0
	if !named {
		keys = []string{anyKey}
	}
	for _, key := range keys {
		for mode, commands := range rights {
			for _, command := range commands {
				q.dryRun(user, mode, command, key, named)
			}
		}
	}
}

func (q asking) dryRun(user, mode, command, key string, named bool) {
	sibling := func(name string) string {
		other, _ := names.Sibling(key, name)
		return other
	}
	args := []any{"DRYRUN", user}
	for word := range strings.FieldsSeq(command) {
		switch word {
		case "KEY":
			word = key
		case "QUEUE":
			word = sibling(names.Queue)
		case "BEATS":
			word = sibling(names.Beats)
		case "FENCE":
			word = sibling(names.Fence)
		case "CHANNEL":
			word = "redigolock:doctor"
		}
		if q.s.clustered && mode == "rights-fair" {
			word = sharded.Replace(word)
		}
		args = append(args, word)
	}
	said, err := redis.String(q.do("rights", "ACL", args...))
	if err != nil || said == "OK" {
		return
	}
	if !named && strings.Contains(said, " key") {
		q.s.refused["rights"] = "the user's rights are to some keys only: name the key of a lock"
		return
	}
	if name := strings.Fields(command)[0]; !slices.Contains(q.s.denied[mode], name) {
		q.s.denied[mode] = append(q.s.denied[mode], name)
	}
}
