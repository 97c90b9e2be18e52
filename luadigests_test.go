package redigolock_test

import (
	"bytes"
	"crypto/sha1"
	"flag"
	"fmt"
	"go/format"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/redigolock/redigolock"
)

var updateDigests = flag.Bool("update-digests", false, "write luadigests.go instead of comparing it")

func TestDigests(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprint(&b, "package redigolock\n\n// digests are the SHA-1 of the scripts, by which EVALSHA names them. After a change to a script,\n"+
		"// go test -run TestDigests . -update-digests writes them.\nvar digests = map[string]string{\n")
	for _, name := range slices.Sorted(maps.Keys(redigolock.ScriptTexts)) {
		fmt.Fprintf(&b, "%q: \"%x\",\n", name, sha1.Sum([]byte(redigolock.ScriptTexts[name])))
	}
	fmt.Fprint(&b, "}\n")
	want, err := format.Source(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if *updateDigests {
		if err := os.WriteFile("luadigests.go", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile("luadigests.go"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("luadigests.go does not go with the scripts (%v): go test -run TestDigests . -update-digests", err)
	}
}
