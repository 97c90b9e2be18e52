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

var updateDigests = flag.Bool("update-digests", false, "write the digests of the scripts instead of comparing them")

const digestsFile = "internal/scripts/scripts.go"

func TestDigests(t *testing.T) {
	old, err := os.ReadFile(digestsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := bytes.Cut(old, []byte("var Digests"))
	if !ok {
		t.Fatalf("%s has no var Digests", digestsFile)
	}
	b := bytes.NewBuffer(slices.Clone(head))
	fmt.Fprint(b, "var Digests = map[string]string{\n")
	for _, name := range slices.Sorted(maps.Keys(redigolock.ScriptTexts)) {
		fmt.Fprintf(b, "%q: \"%x\",\n", name, sha1.Sum([]byte(redigolock.ScriptTexts[name])))
	}
	fmt.Fprint(b, "}\n")
	want, err := format.Source(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if *updateDigests {
		if err := os.WriteFile(digestsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(old, want) {
		t.Errorf("%s does not go with the scripts: go test -run TestDigests . -update-digests", digestsFile)
	}
}
