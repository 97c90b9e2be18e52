#!/bin/sh
# Shows what a module gets that imports the root package only: its go line must stay, its go.sum must stay short. Then what one
# gets whose tests import package locktest: miniredis and what that needs, and nothing else.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<M
module importer

go 1.25.0

require github.com/redigolock/redigolock v0.0.0

replace github.com/redigolock/redigolock => $root
M
cat >main.go <<'M'
package main

import lock "github.com/redigolock/redigolock"

func main() { println(lock.NewToken() != "") }
M
go mod tidy >tidy.log 2>&1 || { cat tidy.log; exit 1; }
line=$(grep '^go ' go.mod)
sums=$(wc -l <go.sum)
packages=$(go list -deps -f '{{if not .Standard}}{{.ImportPath}}{{end}}' . | grep -v /redigolock/internal/ | sort | tr '\n' ' ')
echo "importer: $line, $sums lines in go.sum, packages: $packages"
[ "$line" = "go 1.25.0" ] || { echo "the importer's go line was raised to: $line"; exit 1; }
[ "$sums" -le "${SUMS:-24}" ] || { echo "go.sum has more than ${SUMS:-24} lines:"; cat go.sum; exit 1; }
want="github.com/gomodule/redigo/redis github.com/google/uuid github.com/redigolock/redigolock importer"
[ "$packages" = "$want " ] || { echo "expected packages: $want"; exit 1; }

# Some well-known codebases require redigo v2.0.0+incompatible, an older code under a higher number. What README says to write
# beside it must do.
cat >>go.mod <<M
require github.com/gomodule/redigo v2.0.0+incompatible

exclude github.com/gomodule/redigo v2.0.0+incompatible
M
sed -i '/require github.com\/gomodule\/redigo v1/d' go.mod
go mod tidy >tidy.log 2>&1 || { cat tidy.log; exit 1; }
go build -o importer . || { echo "it does not compile beside redigo v2.0.0+incompatible with an exclude"; exit 1; }

# Its tests may use package locktest.
cat >main_test.go <<'M'
package main

import (
	"testing"

	"github.com/redigolock/redigolock/locktest"
)

func TestMain(t *testing.T) {
	k, err := locktest.Start(t).Locker().TryAcquire(t.Context(), "key", 1e9)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}
M
sed -i '/^exclude/d; /redigo /d' go.mod
go mod tidy >tidy.log 2>&1 || { cat tidy.log; exit 1; }
go test . >test.log 2>&1 || { cat test.log; exit 1; }
modules=$(go list -test -deps -f '{{with .Module}}{{.Path}}{{end}}' . | sort -u | grep -v '^importer' | tr '\n' ' ')
echo "importer of locktest: $(grep '^go ' go.mod), $(wc -l <go.sum) lines in go.sum, modules: $modules"
want="github.com/alicebob/miniredis/v2 github.com/gomodule/redigo github.com/google/uuid github.com/redigolock/redigolock github.com/yuin/gopher-lua"
[ "$modules" = "$want " ] || { echo "expected modules: $want"; exit 1; }
[ "$(go list -deps . | grep -c -e miniredis -e /locktest)" = 0 ] || { echo "the program itself imports miniredis"; exit 1; }
