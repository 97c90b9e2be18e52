#!/usr/bin/env bash
# Measures what results/ holds, on a redis-server that it starts and stops itself, on a loopback port. It takes about
# a quarter of an hour; the machine should be idle.
#
#	scripts/results.sh [FOLDER]     default: results/ and today's date
#
# SHORT=1 does all of it once, in a minute, to see that it works: such figures are worth nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh
out=${1:-results/$(date +%F)}
tmp=$(mktemp -d)
server=
trap 'kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT

for _ in 1 2 3 4 5; do
	port=$((11000 + RANDOM % 10000))
	redis-server --bind 127.0.0.1 --port $port --dir "$tmp" --save '' --appendonly no >"$tmp/log" 2>&1 &
	server=$!
	for _ in $(seq 50); do
		redis-cli -p $port ping >/dev/null 2>&1 && break 2
		kill -0 $server 2>/dev/null || break
		sleep 0.1
	done
done
redis-cli -p $port ping >/dev/null || { cat "$tmp/log"; exit 1; }

mkdir -p "$out/raw"
go build -o "$tmp/lockbench" ./cmd/lockbench
count=11 time=300ms contention=1s ratios=200 locks=10000 ttl=10s
[ -z "${SHORT:-}" ] || { count=2 time=20ms contention=200ms ratios=8 locks=500 ttl=1s; }
bench() { # workload, flags
	local workload=$1
	shift
	echo "== $workload"
	"$tmp/lockbench" -url "redis://127.0.0.1:$port" -workload "$workload" -out "$out/raw/$workload.txt" "$@" >"$out/$workload.txt"
}
bench approaches -count $count -time $time
bench verbs -count $count -time $time
bench contention -count $count -time $contention
bench ratios -count $ratios
echo "== keepalive, also by the rivals in bench/peers"
(cd bench/peers && go test -run '^$' -bench KeepAlive -benchtime 1x -count $count -timeout 1h -locks $locks -ttl $ttl -time $ttl) \
	>"$out/raw/keepalive.txt"

{
	echo "date: $(date -u +%FT%TZ)"
	echo "kernel: $(uname -sr)"
	echo "cpus: $(nproc)"
	echo "load average when it ended: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || true)"
	redis-server --version
	go version
} >"$out/environment.txt"
stat() { # report, flags
	local report=$1
	shift
	go tool benchstat "$@" >"$out/benchstat-$report.txt"
}
stat approaches -filter '.unit:ns/op' -row /release,/goroutines -col '/approach@(setnx setnx-verified script)' "$out/raw/approaches.txt"
stat locker -filter '.unit:ns/op /release:lua' -row /goroutines -col '/approach@(floor locker locker-setnx)' "$out/raw/approaches.txt"
stat verbs -filter '.unit:ns/op' -row /verb -col server "$out/raw/verbs.txt"
stat contention -row /waiters -col server "$out/raw/contention.txt"
stat keepalive -row /locks,/ttl -col /way "$out/raw/keepalive.txt"
for f in "$out"/benchstat-*.txt; do
	[ -s "$f" ] || { echo "$f is empty"; exit 1; }
done
echo "written to $out"
