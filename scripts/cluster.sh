#!/usr/bin/env bash
# Measures what results/cluster holds, on real clusters that are started for it on loopback ports and stopped again, and writes the
# tables into its README.md. The machine should be idle. It takes about six minutes on 2 cores.
#
#	scripts/cluster.sh
#
# STEPS="kill cost" runs only these: moves, moves-at-once, kill, removed, cost, redisc. SHORT=1 runs each briefly, to see that it works,
# and leaves the README.md as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
page=$PWD/results/cluster/README.md
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export REDIGOLOCK_REAL=1 REDIGOLOCK_TABLES=$tmp REDIGOLOCK_SERVERS=${REDIGOLOCK_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/redigolock/servers}
[ -n "${SHORT:-}" ] || export REDIGOLOCK_LONG=1
[ -e "$REDIGOLOCK_SERVERS/valkey" ] || internal/redistest/fetch-newer.sh "$REDIGOLOCK_SERVERS" >/dev/null

declare -A tests=(
	[moves]='MovesSlots$' [moves-at-once]=MovesSlotsAtOnce [kill]=LosesMaster [removed]=RemovesNode [cost]=ClusterCost [redisc]=FailoverBesideRedisc
)
go test -c -o "$tmp/cluster.test" ./test/cluster
(cd bench/peers && go test -c -o "$tmp/peers.test" .)
for step in ${STEPS:-moves moves-at-once kill removed cost redisc}; do
	[ -n "${tests[$step]:-}" ] || { echo "there is no step $step, but ${!tests[*]}" >&2; exit 2; }
	dir=test/cluster binary=cluster.test
	[ "$step" != redisc ] || dir=bench/peers binary=peers.test
	echo "$step"
	(cd "$dir" && "$tmp/$binary" -test.v -test.run "${tests[$step]}" >"$tmp/$step.log" 2>&1) || { cat "$tmp/$step.log" >&2; exit 1; }
	cat "$tmp/$step.md"
	[ -z "${SHORT:-}" ] || continue
	# The table stands in the page between two comments with the name of the step, and below it when and on what it was measured.
	machine="$(uname -sr), $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs, $(go env GOVERSION), redis-server $(redis-server --version | sed 's/.*v=\([^ ]*\).*/\1/'), $(date +%F), commit $(git rev-parse --short HEAD), load $(cut -d' ' -f1 /proc/loadavg) at the end."
	awk -v step="$step" -v table="$tmp/$step.md" -v machine="$machine" '
		$0 == "<!-- " step " -->" {
			print; print ""
			while ((getline line < table) > 0) print line
			print ""; print machine; print ""
			inside = 1; next
		}
		$0 == "<!-- end -->" { inside = 0 }
		!inside { print }' "$page" >"$tmp/page" && cat "$tmp/page" >"$page"
done
