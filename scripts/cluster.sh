#!/usr/bin/env bash
# Measures what results/cluster holds, on real clusters that are started for it on loopback ports and stopped again, and writes the
# tables into its README.md. The machine should be idle. It takes about six minutes on 2 cores.
#
#	scripts/cluster.sh
#
# STEPS="kill cost" runs only these: moves, moves-at-once, kill, removed, cost, lockbench, redisc. A table is written with when and on
# what it was measured, and that of a step that did not run stays as it is. SHORT=1 runs each briefly, to see that it works, and writes
# nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
results=$PWD/results/cluster
page=$results/README.md
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export REDIGOLOCK_REAL=1 REDIGOLOCK_TABLES=$tmp REDIGOLOCK_SERVERS=${REDIGOLOCK_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/redigolock/servers}
[ -n "${SHORT:-}" ] || export REDIGOLOCK_LONG=1
[ -e "$REDIGOLOCK_SERVERS/valkey" ] || internal/redistest/fetch-newer.sh "$REDIGOLOCK_SERVERS" >/dev/null
mapfile -t valkey <"$REDIGOLOCK_SERVERS/valkey"
steps='moves moves-at-once kill removed cost lockbench redisc'
for step in ${STEPS:-}; do
	[[ " $steps " = *" $step "* ]] || { echo "there is no step $step, but $steps" >&2; exit 2; }
done
load=$(cut -d' ' -f1 /proc/loadavg) # before this script adds to it

declare -A tests=(
	[moves]='MovesSlots$' [moves-at-once]=MovesSlotsAtOnce [kill]=LosesMaster [removed]=RemovesNode [cost]=ClusterCost [redisc]=FailoverBesideRedisc
)
runTest() { # step, folder, binary
	(cd "$2" && "$tmp/$3" -test.v -test.run "${tests[$1]}")
}
lockbench() { # the raw figures and benchstat's table become files beside the page
	local count=6 raw=lockbench.txt
	[ -z "${SHORT:-}" ] || count=1
	(
		cd "$tmp"
		echo '```'
		./lockbench -url cluster -count $count -out $raw
		echo '```'
	) >"$tmp/lockbench.md"
	(cd "$tmp" && ./benchstat -ignore commit,load-average,settings \
		-filter '.unit:(ns/op OR p50-ns OR p99-ns OR server-cpu-ns/op OR acq/s OR jain OR wait-p99-ns)' $raw >benchstat.txt)
	[ -n "${SHORT:-}" ] || cp "$tmp/$raw" "$tmp/benchstat.txt" "$results"
}
writeTable() { # step: between two comments with its name in the page
	local server machine
	server=$(redis-server --version)
	[ "$1" != moves-at-once ] || server=$("${valkey[@]}" --version)
	server=$(sed -E 's/^(\w+) server v=([^ ]*).*/\1 \2/' <<<"$server")
	machine="$(uname -sr), $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs, $(go env GOVERSION), $server, $(date +%F), commit $commit, load $load before the first step."
	awk -v step="$1" -v table="$tmp/$1.md" -v machine="$machine" '
		$0 == "<!-- " step " -->" {
			print; print ""
			while ((getline line < table) > 0) print line
			print ""; print machine; print ""
			inside = 1; next
		}
		$0 == "<!-- end -->" { inside = 0 }
		!inside { print }' "$page" >"$tmp/page" && cat "$tmp/page" >"$page"
}

commit=$(git rev-parse --short HEAD)
go test -c -o "$tmp/cluster.test" ./test/cluster
go build -o "$tmp/lockbench" ./cmd/lockbench
go build -o "$tmp/benchstat" golang.org/x/perf/cmd/benchstat
(cd bench/peers && go test -c -o "$tmp/peers.test" .)
for step in ${STEPS:-$steps}; do
	echo "$step"
	case $step in
	lockbench) run=lockbench ;;
	redisc) run="runTest $step bench/peers peers.test" ;;
	*) run="runTest $step test/cluster cluster.test" ;;
	esac
	$run >"$tmp/$step.log" 2>&1 || { cat "$tmp/$step.log" >&2; exit 1; }
	cat "$tmp/$step.md"
	[ -n "${SHORT:-}" ] || writeTable "$step"
done
