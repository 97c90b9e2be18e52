#!/usr/bin/env bash
# Measures what results/ holds, on a redis-server that it starts and stops itself, on a loopback port. It takes about
# forty minutes; the machine should be idle.
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
	redis-server --bind 127.0.0.1 --port $port --unixsocket "$tmp/socket" --dir "$tmp" --save '' --appendonly no \
		>"$tmp/log" 2>&1 &
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
tcp=redis://127.0.0.1:$port unix=unix://$tmp/socket all=1,2,16,128,1024
steps=${STEPS:-approaches verbs contention ratios keepalive limit mux load peers recovery}
count=11 time=300ms contests=10 contention=300ms waiters=2,8,64,512 ratios=60 many=20 load=3 round=30ms commands=50000 locks=10000 ttl=5s long=1
[ -z "${SHORT:-}" ] || { count=2 time=20ms contests=2 contention=20ms waiters=2,8 ratios=8 many=2 load=1 round=10ms commands=5000 locks=500 ttl=1s long=; }
wanted() { case " $steps " in *" $1 "*) echo "== $1, $(date +%T)" ;; *) return 1 ;; esac }
bench() { # name of the files, url, workload, flags
	local name=$1 url=$2 workload=$3
	shift 3
	"$tmp/lockbench" -url "$url" -workload "$workload" -out "$out/raw/$name.txt" "$@" >"$out/$name.txt"
}
peers() { # name of the file, flags of go test
	local name=$1
	shift
	(cd bench/peers && REDIGOLOCK_REAL=1 go test -run '^$' -benchtime 1x -timeout 2h "$@" .) >"$tmp/peers.txt" ||
		{ cat "$tmp/peers.txt"; exit 1; }
	cat "$tmp/peers.txt" >>"$out/raw/$name.txt"
}
wanted approaches && bench approaches $tcp approaches -goroutines $all -count $count -time $time
wanted verbs && bench verbs $tcp verbs -count $count -time $time
if wanted contention; then
	bench contention $tcp contention -count $contests -time $contention -waiters $waiters -processes 1,4 -hold 0s,1ms \
		-ways floor,polling,fair,cohort
	bench contention-mux $tcp contention -count $contests -time $contention -waiters 64 -processes 4 \
		-ways fair,fair-mux1,cohort,cohort-mux1
fi
wanted ratios && bench ratios $tcp ratios -count $ratios
if wanted keepalive; then
	rm -f "$out/raw/keepalive.txt"
	peers keepalive -bench KeepAlive -count $count -locks $locks -ttl $ttl -time $ttl
fi
if wanted limit; then
	scripts/limit.sh "$port" $count $commands >"$out/raw/limit.txt"
	scripts/limit.sh "$tmp/socket" $count $commands >"$out/raw/limit-unix.txt"
fi
if wanted mux; then
	bench mux $tcp mux -count $ratios
	bench mux-unix "$unix" mux -count $ratios
fi
wanted load && bench load $tcp load -count $load -loads 20,50,80,95
if wanted peers; then
	for transport in "" -unix; do
		socket=${transport:+-socket}
		rm -f "$out/raw/peers$transport.txt"
		peers "peers$transport" -bench AcquireRelease -count $count -round $time $socket
		peers "peers$transport" -bench Ratio -count $ratios -round $round -goroutines 1,2,16,128 $socket
		peers "peers$transport" -bench Ratio -count $many -round $round -goroutines 1024 $socket
	done
fi
if wanted recovery; then
	rm -f "$out/raw/recovery.txt"
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=$long go test -count=1 -run Recovery -v -parallel 8 -timeout 2h ./bench/ \
		-recovery-out "$(cd "$out/raw" && pwd)/recovery.txt" >"$tmp/recovery.txt" || { cat "$tmp/recovery.txt"; exit 1; }
	sed -n 's/^ *recovery_test.go:[0-9]*: //p' "$tmp/recovery.txt" >"$out/recovery.txt"
fi

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
ratio() { # report, raw file: medians of the ratios
	stat "$1" -filter '.unit:(ratio OR cpu-ratio OR server-cpu-ratio)' -row /goroutines,/of -col /to "$2"
}
raw=$out/raw
if [ -e "$raw/approaches.txt" ]; then
	stat approaches -filter '.unit:ns/op' -row /release,/goroutines -col '/approach@(setnx setnx-verified script)' "$raw/approaches.txt"
	stat locker -filter '.unit:(ns/op OR allocs/op OR cpu-ns/op OR server-cpu-ns/op) /release:lua' -row /goroutines \
		-col '/approach@(floor locker locker-setnx locker-mux1 locker-mux2 locker-mux4)' "$raw/approaches.txt"
fi
[ ! -e "$raw/verbs.txt" ] || stat verbs -filter '.unit:ns/op' -row /verb -col server "$raw/verbs.txt"
[ ! -e "$raw/contention.txt" ] || stat contention -row /hold,/waiters,/processes \
	-filter '.unit:(acq/s OR p50-ns OR jain OR wait-p99-rounds OR evalsha/acq OR server-cpu-ns/op)' \
	-col '/way@(floor polling fair cohort)' "$raw/contention.txt"
[ ! -e "$raw/contention-mux.txt" ] || stat contention-mux -row /processes -filter '.unit:(acq/s OR p50-ns OR cpu-ns/op)' \
	-col '/way@(fair fair-mux1 cohort cohort-mux1)' "$raw/contention-mux.txt"
[ ! -e "$raw/limit.txt" ] || stat limit -row .name -col server "$raw/limit.txt" "$raw/limit-unix.txt"
[ ! -e "$raw/load.txt" ] || stat load -filter '.name:Load .unit:(p50-ns OR p99-ns OR p99.9-ns OR goodput/s)' \
	-row /rate -col /approach "$raw/load.txt"
[ ! -e "$raw/keepalive.txt" ] || stat keepalive -row /locks,/ttl -col /way "$raw/keepalive.txt"
for transport in "" -unix; do
	[ ! -e "$raw/mux$transport.txt" ] || ratio "mux$transport" "$raw/mux$transport.txt"
	[ ! -e "$raw/peers$transport.txt" ] || ratio "peers$transport" "$raw/peers$transport.txt"
done
for f in "$out"/benchstat-*.txt; do
	[ ! -e "$f" ] || [ -s "$f" ] || { echo "$f is empty"; exit 1; } # there is none if no step made one
done
echo "written to $out"
