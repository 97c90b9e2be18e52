package locktest

import (
	"crypto/sha1"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/redigolock/redigolock/internal/scripts"
	"github.com/redigolock/redigolock/internal/sim"
)

// The words for what is asked of the server.
const (
	acquire = "acquire"
	extend  = "extend"
	release = "release"
	verify  = "verify"
	fence   = "fence"
	guard   = "guard"
	inspect = "inspect"
	poke    = "poke"
	quit    = "quit"
)

var verbs = []string{acquire, extend, release, verify, fence, guard, inspect, poke, quit}

// scriptVerbs are the verbs of the library's scripts by their names.
var scriptVerbs = map[string]string{
	"enter":       acquire,
	"extend":      extend,
	"fairExtend":  extend,
	"fence":       fence,
	"guard":       guard,
	"guardDo":     guard,
	"inspect":     inspect,
	"inspectFair": inspect,
	"leave":       release,
	"poke":        poke,
	"quit":        quit,
	"rel":         release,
	"release":     release,
	"setNX":       acquire,
	"try":         acquire,
	"verify":      verify,
}

// scriptNames are the names of the scripts by their digests.
var scriptNames = func() map[string]string {
	names := map[string]string{}
	for name, digest := range scripts.Digests {
		names[digest] = name
	}
	return names
}()

// A wish is what a command asks for.
type wish struct {
	verb    string   // "": nothing of the library's
	does    bool     // this command of its pipeline does it: a GET after SET NX does not
	digest  string   // of the script; "": none
	refused bool     // the server does not know the script
	keys    []string // of the locks
}

// A visit is what is known of a connection, from the commands before.
type visit struct {
	taking   string // the key of the SET NX before: a GET of it is the double check
	watching string // the key of the lock that a ReleaseTx began to release
}

// read reads a command. known reports whether a key is one of a lock.
func (v *visit) read(r sim.Request, known func(key string) bool) (w wish) {
	before := *v
	*v = visit{}
	key := ""
	if len(r.Args) > 0 {
		key = r.Args[0]
	}
	switch r.Name {
	case "EVALSHA":
		return scriptWish(key, r.Args)
	case "EVAL":
		sum := sha1.Sum([]byte(key))
		return scriptWish(hex.EncodeToString(sum[:]), r.Args)
	case "SET":
		if len(r.Args) < 3 || !slices.ContainsFunc(r.Args[2:], func(a string) bool { return strings.EqualFold(a, "NX") }) {
			return wish{}
		}
		v.taking = key
		return wish{verb: acquire, does: true, keys: []string{key}}
	case "SETNX":
		return wish{verb: acquire, does: true, keys: []string{key}}
	case "DELEX", "DELIFEQ":
		return wish{verb: release, does: true, keys: []string{key}}
	case "GET":
		if before.taking == key && key != "" {
			return wish{verb: acquire, keys: []string{key}}
		}
	case "WATCH":
		if len(r.Args) == 1 && known(key) {
			v.watching = key
			return wish{verb: release, keys: []string{key}}
		}
	}
	return v.watched(r.Name, before.watching)
}

// watched reads what follows the WATCH of a ReleaseTx.
func (v *visit) watched(name, key string) wish {
	if key == "" || !slices.Contains([]string{"GET", "MULTI", "DEL", "EXEC"}, name) {
		return wish{}
	}
	does := name == "EXEC"
	if !does {
		v.watching = key
	}
	return wish{verb: release, does: does, keys: []string{key}}
}

// scriptWish reads an EVALSHA or EVAL.
func scriptWish(digest string, args []string) wish {
	digest = strings.ToLower(digest)
	name := scriptNames[digest]
	w := wish{verb: scriptVerbs[name], digest: digest, does: true}
	if len(args) < 3 || w.verb == "" || w.verb == guard || w.verb == inspect {
		return w // a guard is no lock, and to look at a key makes it none
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 || n > len(args)-2 {
		return w
	}
	if name != "extend" {
		n = 1 // the others are siblings
	}
	w.keys = args[2 : 2+n]
	return w
}
