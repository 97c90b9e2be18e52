#!/bin/sh
# Shows what a module gets that imports the root package only: its go line must stay, its go.sum must stay short.
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
