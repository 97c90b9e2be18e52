#!/usr/bin/env bash
# Measures a campaign of results/: our ways and the rivals, on a redis-server, an etcd and a ZooKeeper that are started for it
# on loopback ports and stopped again. Raw figures, benchstat's tables and charts go into one folder. The machine should
# be idle; how long it takes is said first.
#
#	scripts/results.sh [FOLDER]     relative to the repository; default: results/, today's date and the commit
#
# Each step writes one file of raw/. Given the FOLDER of a campaign that was interrupted, it runs the steps whose files are
# not there. STEPS="contention hot" runs only these steps. SHORT=1 runs every step once and briefly, to see that it works:
# such figures are worth nothing. The steps valkey and redis8 measure newer servers, which are fetched from Debian's newer
# releases and not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/$(date +%F)-$(git rev-parse --short HEAD)}
raw=$out/raw

# Each step with the seconds that it takes on 2 cores.
declare -A seconds=(
	[approaches]=55 [verbs]=20 [ratios]=130 [rivals]=60 [contention]=120 [contention-rivals]=460 [delay]=150
	[load]=95 [hot]=150 [keepalive]=230 [recovery]=110 [recovery-sessions]=110 [faults]=90 [limit]=30 [valkey]=60 [redis8]=60
)
order="approaches verbs ratios rivals contention contention-rivals delay load hot keepalive recovery recovery-sessions faults limit valkey redis8"
steps=${STEPS:-$order}
wanted() { case " $steps " in *" $1 "*) ;; *) return 1 ;; esac; }
total=60 # to build, and to start the servers
for step in $steps; do
	[ -n "${seconds[$step]:-}" ] || { echo "there is no step $step, but $order" >&2; exit 2; }
	[ -e "$raw/$step.txt" ] || [ -e "$raw/newer/$step-contention.txt" ] || total=$((total + seconds[$step]))
done

count=10 pairs=30 locks=10000 ttl=5s commands=50000 faults=1
time=100ms contest=500ms far=500ms load=400ms delay=0.5ms,5ms
if [ -n "${SHORT:-}" ]; then
	count=1 pairs=6 locks=500 ttl=1s commands=5000 faults=
	time=20ms contest=50ms far=200ms load=100ms
	echo "$steps: a few minutes, into $out"
else
	echo "$steps: about $(((total + 59) / 60)) minutes, into $out"
fi
rivals=redsync,redislock,goredis-setnx,rueidislock
sessions=etcd,zookeeper # which are not on Redis

scripts/install.sh peers
tmp=$(mktemp -d)
servers=${REDIGOLOCK_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/redigolock/servers}
for name in valkey redis8; do
	wanted $name || continue
	internal/redistest/fetch-newer.sh "$servers" >/dev/null
	[ -e "$servers/$name" ] || { echo "no $name to be had here: leave that step out by STEPS" >&2; exit 1; }
done
server=
stop() { kill "$server" 2>/dev/null && wait "$server" || true; }
trap 'stop; rm -rf "$tmp"' EXIT
answers() { redis-cli -p $port info server 2>/dev/null | grep "^process_id:$server"$'\r' >/dev/null; }
serve() { # the command of a server, which replaces the one before
	stop
	for _ in 1 2 3 4 5; do
		port=$((11000 + RANDOM % 10000))
		"$@" --bind 127.0.0.1 --port $port --dir "$tmp" --save '' --appendonly no >"$tmp/log" 2>&1 &
		server=$!
		for _ in $(seq 50); do
			answers && return
			kill -0 $server 2>/dev/null || break
			sleep 0.1
		done
		stop
	done
	cat "$tmp/log" >&2
	exit 1
}
serve redis-server

mkdir -p "$raw"
commit=$(git rev-parse HEAD)$([ -z "$(git status --porcelain --untracked-files=no)" ] || echo -dirty)
(cd bench/peers && go build -buildvcs=false -o "$tmp/lockbench" ./cmd/lockbench)
go test -c -o "$tmp/bench.test" ./bench
go build -o "$tmp/benchstat" golang.org/x/perf/cmd/benchstat
{
	echo "date: $(date -u +%FT%TZ)"
	echo "steps: $steps"
	echo "kernel: $(uname -sr)"
	echo "cpus: $(nproc)"
	echo "load average when it began: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || true)"
	redis-server --version
	etcd --version | sed -n 1p
	echo "ZooKeeper $(dpkg-query -W -f '${Version}' zookeeper 2>/dev/null || true)"
	go version
	echo "commit: $commit"
	echo "disk: $(df --output=fstype "$tmp" 2>/dev/null | tail -n 1)"
} >>"$out/environment.txt"
"$tmp/lockbench" rivals >"$out/rivals-settings.txt"

new=$tmp/new.txt # what a step writes
failed=          # files of steps that failed: the others go on
run() { # file of raw/; command, which is not run if the file is there
	local file=$raw/$1.txt
	shift
	[ ! -e "$file" ] || return 0
	echo "== $file, $(date +%T)"
	rm -f "$new"
	set +e
	(set -e && "$@")
	local code=$?
	set -e
	if [ $code = 0 ]; then mv "$new" "$file"; else failed="$failed $file"; fi
}
step() { # name, which is also that of the file; command
	if wanted "$1"; then run "$@"; fi
}
measure() { "$tmp/lockbench" -url "redis://127.0.0.1:$port" -out "$new" -count $count -time $time "$@" >/dev/null; }
delayed() { # two workloads, in one file
	measure -workload approaches -delay $delay -approaches floor,locker,locker-mux1,$rivals -goroutines 1,128
	mv "$new" "$tmp/approaches.txt"
	measure -workload contention -delay $delay -ways polling,fair,cohort,$rivals -waiters 16 -processes 4 -time $far
	cat "$tmp/approaches.txt" "$new" >"$tmp/both.txt"
	mv "$tmp/both.txt" "$new"
}
faults() {
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=$faults "$tmp/bench.test" -test.run 'Fault|StaleWrite' -test.v -test.parallel 8 \
		-test.timeout 1h -faults-out "$new" >"$tmp/faults.txt" || { cat "$tmp/faults.txt"; exit 1; }
	sed -n 's/^ *\(faults\|stale\)_test.go:[0-9]*: //p' "$tmp/faults.txt" >"$out/faults.txt"
}
limit() { (echo "commit: $commit" && scripts/limit.sh "$port" $count $commands) >"$new"; }

step approaches measure -workload approaches -goroutines 1,16,128
step verbs measure -workload verbs
step ratios measure -workload ratios -count $pairs -time 30ms
step rivals measure -workload approaches -goroutines 1,16,128 \
	-approaches floor,floor-pool16,locker,locker-mux1,locker-setnx-mux1,$rivals,$sessions,rueidis
step contention measure -workload contention -waiters 2,8,64,512 -processes 4 -ways floor,polling,fair,cohort -time $contest
step contention-rivals measure -workload contention -waiters 64 -processes 4 -hold 0,1ms,10ms \
	-ways floor,polling,fair,cohort,$rivals,redsync-default,$sessions -time $contest
step delay delayed
step load measure -workload load -approaches floor,locker,locker-mux1,$rivals,rueidis -rates 40000,160000 -time $load
step hot measure -workload load -keys hot -rates 5000,12000,20000 -ways polling,fair,cohort,$rivals -time $contest
step keepalive measure -workload keepalive -locks $locks -ttl $ttl -time $ttl
step recovery measure -workload recovery -ways polling,fair,cohort,$rivals,redsync-default -ttl 1s
# The sessions of etcd and ZooKeeper are of whole seconds, and end by themselves on a busy machine if they are short.
step recovery-sessions measure -workload recovery -ways fair,$sessions -ttl 3s
step faults faults
step limit limit
for name in valkey redis8; do # their cells have the names of those above, so that they have a folder of their own
	wanted $name || continue
	mapfile -t command <"$servers/$name"
	serve "${command[@]}"
	mkdir -p "$raw/newer"
	run newer/$name-verbs measure -workload verbs
	run newer/$name-approaches measure -workload approaches -approaches floor,locker,locker-mux1 -goroutines 1,128
	run newer/$name-contention measure -workload contention -waiters 64 -processes 4 -ways polling,fair,cohort -time $contest
done
echo "end: $(date -u +%FT%TZ)" >>"$out/environment.txt"
echo "load average when it ended: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || true)" >>"$out/environment.txt"

units='ns/op OR cpu-ns/op OR server-cpu-ns/op OR allocs/op OR acq/s OR p50-ns OR p99-ns OR p99.9-ns OR jain OR wait-p99-ns OR
	evalsha/acq OR cmds/acq OR reads/acq OR goodput/s OR unserved OR ratio OR cpu-ratio OR server-cpu-ratio'
for file in "$raw"/*.txt "$raw"/newer/*.txt; do
	[ -e "$file" ] || continue
	"$tmp/benchstat" -ignore commit,load-average,settings -filter ".unit:($units)" "$file" >"$out/benchstat-$(basename "$file")"
done
(cd bench/plot && go run . "$(cd ../.. && cd "$raw" && pwd)" "$(cd ../.. && cd "$out" && pwd)/charts")
[ -z "$failed" ] || { echo "failed, run scripts/results.sh $out once more:$failed" >&2; exit 1; }
echo "written to $out; make report writes its pages"
