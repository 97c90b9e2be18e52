#!/usr/bin/env bash
# Measures what results/ holds: our ways and the rivals, on a redis-server, an etcd and a ZooKeeper that are started for it
# on loopback ports and stopped again. Raw figures, benchstat's tables and charts go into one folder. The machine should
# be idle; how long it takes is said first.
#
#	scripts/results.sh [FOLDER]     relative to the repository; default: results/, today's date and the commit
#
# STEPS="contention hot" does only these steps, RIVALS=redsync,etcd measures only these rivals (but for keepalive). With
# the FOLDER of a campaign that was interrupted it goes on after the last whole round. SHORT=1 does all of it once, in a
# few minutes, to see that it works: such figures are worth nothing. The steps valkey and redis8 measure ours, and some
# rivals, on newer servers, which are fetched from Debian's newer releases and not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/$(date +%F)-$(git rev-parse --short HEAD)}
raw=$out/raw

# Minutes that a step takes on 2 cores.
declare -A minutes=(
	[approaches]=3 [verbs]=1 [ratios]=1 [rivals]=4 [contention]=7 [contention-rivals]=6 [turns]=2 [held]=5 [load]=6 [hot]=7
	[zipf]=7 [load-share]=2 [hot-share]=3 [zipf-share]=3 [sessions]=3 [keepalive]=6 [recovery]=3 [recovery-sessions]=2 [faults]=8 [mux]=4 [limit]=1
	[valkey]=3 [redis8]=3
)
order="approaches verbs ratios rivals contention contention-rivals turns held load hot zipf load-share hot-share zipf-share sessions keepalive recovery recovery-sessions faults mux limit valkey redis8"
steps=${STEPS:-$order}
total=0
for step in $steps; do
	[ -n "${minutes[$step]:-}" ] || { echo "there is no step $step, but $order" >&2; exit 2; }
	total=$((total + minutes[$step]))
done

count=10 ratios=40 rounds=20 locks=1000,10000 ttl=4s commands=50000 faults=1
time=200ms contest=250ms long=700ms turns=2s held=1200ms load=400ms shared=1s
all=1,2,16,128,1024 waiters=2,8,64,512 some=8,64
if [ -n "${SHORT:-}" ]; then
	count=1 ratios=6 rounds=1 locks=500 ttl=1s commands=5000 faults=
	time=20ms contest=50ms long=50ms turns=200ms held=50ms load=100ms shared=100ms
	all=1,16 waiters=2,8 some=8
	echo "$steps: a few minutes, into $out"
else
	echo "$steps: about $total minutes, into $out"
fi
of() { # list: those of it that RIVALS wants, or all, each with a comma before it
	local name
	for name in ${1//,/ }; do
		case ",${RIVALS:-$1}," in *",$name,"*) printf ',%s' "$name" ;; esac
	done
}
clients=$(of rueidis,rueidis-conn1,rueidis-copy,go-redis,go-redis-auto) # which have no lock of their own
locks_on_redis=$(of redsync,redsync-pool16,redsync-goredis,redislock,redislock-exp,goredis-setnx,rueidislock,valkeylock)
locks_on_redis+=$(of article-setnx,article-script,article-verified)
patient=$(of redsync-default,redislock-linear100) # which differ from redsync and redislock only where they wait
open=$(of redsync,redislock,goredis-setnx,rueidislock,article-setnx,article-verified)$patient # which the open loop has time for
sessions=$(of etcd,zookeeper)
rivals=$locks_on_redis$sessions
# Arrivals in a second: few, about what Fair serves here, and more. The steps load-share, hot-share and zipf-share then have
# four fifths of the most that ours has served.
hot=5000,12000,20000 zipf=9000,22000,40000

scripts/install.sh peers
tmp=$(mktemp -d)
servers=${REDIGOLOCK_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/redigolock/servers}
for name in valkey redis8; do
	case " $steps " in *" $name "*) ;; *) continue ;; esac
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

mkdir -p "$raw/newer" "$out/newer"
commit=$(git rev-parse HEAD)$([ -z "$(git status --porcelain --untracked-files=no)" ] || echo -dirty)
(cd bench/peers && go build -buildvcs=false -o "$tmp/lockbench" ./cmd/lockbench && go test -c -o "$tmp/peers.test" .)
go test -c -o "$tmp/bench.test" ./bench
go build -o "$tmp/benchstat" golang.org/x/perf/cmd/benchstat
{
	echo "date: $(date -u +%FT%TZ)"
	echo "steps: $steps"
	echo "kernel: $(uname -sr)"
	echo "cpus: $(nproc)"
	echo "load average when it began: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || true)"
	redis-server --version
	[ -z "$sessions" ] || etcd --version | sed -n 1p
	echo "ZooKeeper $(dpkg-query -W -f '${Version}' zookeeper 2>/dev/null || true)"
	go version
	echo "commit: $commit"
	echo "disk: $(df --output=fstype "$tmp" 2>/dev/null | tail -n 1)"
} >>"$out/environment.txt"
"$tmp/lockbench" rivals >"$out/rivals-settings.txt"

wanted() {
	case " $steps " in *" $1 "*) echo "== $1, $(date +%T), ${minutes[$1]} min" ;; *) return 1 ;; esac
}
measure() { # name of the files; flags of lockbench
	local name=$1 resume=
	shift
	[ ! -e "$raw/$name.txt" ] || resume=-resume
	"$tmp/lockbench" -url "redis://127.0.0.1:$port" -out "$raw/$name.txt" $resume "$@" >>"$out/$name.txt"
}
bench() { # step, which is also the name of the files; flags
	! wanted "$1" || measure "$@"
}
newer() { # step, which is also the name of the server; in a folder of its own, for its cells are called as those above
	wanted "$1" || return 0
	local command
	mapfile -t command <"$servers/$1"
	serve "${command[@]}"
	measure "newer/$1-verbs" -workload verbs -count $count -time $time
	measure "newer/$1-approaches" -workload approaches -approaches floor,locker,locker-mux1 -goroutines 1,128 -count $count -time $time
	measure "newer/$1-contention" -workload contention -waiters $some -processes 4 \
		-ways floor,polling,fair,cohort"$(of redsync,redislock,rueidislock)" -count $count -time $contest
}

bench approaches -workload approaches -goroutines $all -count $count -time $time
bench verbs -workload verbs -count $count -time $time
bench ratios -workload ratios -count $ratios
bench rivals -workload rivals -approaches floor,floor-pool16,locker,locker-mux1,locker-setnx-mux1"$rivals$clients" -goroutines 1,16,128 \
	-count $rounds -time 100ms
bench contention -workload contention -waiters $waiters -processes 1,4 -hold 0s,1ms -ways floor,polling,fair,cohort \
	-count $count -time $contest -hist "$raw/contention.hlog"
bench contention-rivals -workload contention -waiters $some -processes 4 -ways floor,polling,polling-mux1,fair,fair-mux1,cohort"$patient$rivals" \
	-count $count -time $long -hist "$raw/contention-rivals.hlog"
# Jain's index of fairness needs many turns of each, and a ratio of throughputs long rounds.
bench turns -workload contention -waiters 2,512 -processes 1,4 -ways fair -count $count -time $turns
bench held -workload contention -waiters 64 -processes 4 -hold 1ms -ways polling,fair,cohort"$patient$rivals" -count $count -time $held
bench load -workload load -approaches floor,floor-pool16,locker,locker-mux1"$rivals$clients" -loads 20,80,120 -count $count -time $load
bench hot -workload load -keys hot -rates $hot -ways polling,fair,fair-mux1,cohort"$open" -count $count -time $shared
bench zipf -workload load -keys zipf10000 -rates $zipf -ways polling,fair,fair-mux1,cohort"$open" -count $count -time $shared
share() { # load, hot or zipf; ours; flags of lockbench
	wanted "$1-share" || return 0
	[ -e "$raw/$1.txt" ] || { echo "the step $1-share comes after $1" >&2; exit 1; }
	local step=$1 rate
	rate=$(sed -n "s|.*/approach=$2/rate=\([0-9]*\)-.* \([0-9.e+]*\) goodput/s.*|\1 \2|p" "$raw/$1.txt" |
		awk '{ sum[$1] += $2; n[$1]++ } END { for (r in n) if (sum[r]/n[r] > most) most = sum[r]/n[r]; printf "%d", 0.8*most }')
	shift 2
	measure "$step-share" -workload load -rates "$rate" -count $count "$@"
}
share load locker-mux1 -approaches floor,floor-pool16,locker,locker-mux1"$rivals$clients" -time $load
share hot fair -keys hot -ways polling,fair,fair-mux1,cohort"$open" -time $shared
share zipf fair -keys zipf10000 -ways polling,fair,fair-mux1,cohort"$open" -time $shared
# etcd and ZooKeeper serve some hundreds in a second, one after the other: more is too much by far.
bench sessions -workload load -keys hot,zipf10000 -rates 200 -ways fair"$sessions" -count $count -time 1s
if wanted keepalive && [ ! -e "$raw/keepalive.txt" ]; then
	(cd bench/peers && REDIGOLOCK_REAL=1 "$tmp/peers.test" -test.run '^$' -test.bench KeepAlive -test.benchtime 1x \
		-test.count $count -test.timeout 1h -locks $locks -ttl $ttl -time $ttl) >"$tmp/keepalive.txt" ||
		{ cat "$tmp/keepalive.txt"; exit 1; }
	{
		echo "redis-version: $(redis-cli -p $port info server | tr -d '\r' | sed -n 's/^redis_version:/redis /p')"
		echo "commit: $commit"
		cat "$tmp/keepalive.txt"
	} >"$raw/keepalive.new"
	mv "$raw/keepalive.new" "$raw/keepalive.txt"
fi
# The sessions of etcd and ZooKeeper are of whole seconds, and end by themselves on a busy machine if they are short.
bench recovery -workload recovery -ways polling,fair,cohort"$patient$locks_on_redis" -ttl 1s -count $count
bench recovery-sessions -workload recovery -ways fair"$sessions" -ttl 3s -count $count
if wanted faults; then
	rm -f "$raw/faults.txt"
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=$faults "$tmp/bench.test" -test.run 'Fault|StaleWrite|HeldLocks' -test.v -test.parallel 8 \
		-test.timeout 1h -faults-out "$(cd "$raw" && pwd)/faults.txt" >"$tmp/faults.txt" || { cat "$tmp/faults.txt"; exit 1; }
	sed -n 's/^ *\(faults\|stale\|held\)_test.go:[0-9]*: //p' "$tmp/faults.txt" >"$out/faults.txt"
fi
bench mux -workload mux -count $ratios
if wanted limit; then
	(echo "commit: $commit" && scripts/limit.sh "$port" $count $commands) >"$raw/limit.new"
	mv "$raw/limit.new" "$raw/limit.txt"
fi
newer valkey
newer redis8
echo "end: $(date -u +%FT%TZ)" >>"$out/environment.txt"
echo "load average when it ended: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || true)" >>"$out/environment.txt"

stat() { # report, raw file, flags. benchstat says nothing of a file that is missing, so that this must.
	local report=$1 file=$raw/$2.txt
	shift 2
	[ -e "$file" ] || { case " $steps " in *" $report "*) echo "$file is missing" >&2; exit 1 ;; *) return 0 ;; esac }
	"$tmp/benchstat" -ignore commit,load-average,settings "$@" "$file" >"$out/benchstat-$report.txt"
	[ -s "$out/benchstat-$report.txt" ] || { echo "benchstat found nothing in $file" >&2; exit 1; }
}
per_op='.unit:(ns/op OR cpu-ns/op OR server-cpu-ns/op OR allocs/op OR cmds/op OR reads/op OR net-B/op)'
contended='.unit:(acq/s OR p50-ns OR p99-ns OR jain OR wait-p99-ns OR wait-p99-rounds OR evalsha/acq OR cmds/acq OR reads/acq OR server-cpu-ns/op)'
loaded='.name:Load .unit:(p50-ns OR p99-ns OR p99.9-ns OR goodput/s OR unserved)'
ratio='.unit:(ratio OR cpu-ratio OR server-cpu-ratio)'
stat approaches approaches -filter "$per_op" -row /release,/goroutines -col /approach
stat verbs verbs -filter '.unit:ns/op' -row /verb -col server
stat ratios ratios -filter "$ratio" -row /goroutines,/of -col /to
stat rivals rivals -filter "$per_op" -row /goroutines -col /approach
stat contention contention -filter "$contended" -row /hold,/waiters,/processes -col '/way@(floor polling fair cohort)'
stat contention-rivals contention-rivals -filter "$contended" -row /waiters -col /way
stat turns turns -filter "$contended" -row /waiters,/processes -col /way
stat held held -filter "$contended" -row /waiters -col /way
for step in load hot zipf load-share hot-share zipf-share sessions; do
	stat $step $step -filter "$loaded" -row /rate -col /approach
done
stat keepalive keepalive -row /locks,/ttl -col /way
stat recovery recovery -row /ttl -col /way
stat recovery-sessions recovery-sessions -row /ttl -col /way
stat mux mux -filter "$ratio" -row /goroutines,/of -col /to
stat limit limit -row .name -col server
for name in valkey redis8; do
	case " $steps " in *" $name "*)
		for file in verbs approaches contention; do
			[ -e "$raw/newer/$name-$file.txt" ] || { echo "$raw/newer/$name-$file.txt is missing" >&2; exit 1; }
		done ;;
	esac
	stat $name-verbs newer/$name-verbs -filter '.unit:ns/op' -row /verb -col server
	stat $name-approaches newer/$name-approaches -filter "$per_op" -row /release,/goroutines -col /approach
	stat $name-contention newer/$name-contention -filter "$contended" -row /waiters -col /way
done
! grep -q '^Benchmark\(AcquireRelease\|Contention\|Load\|KeepAlive\)/' "$raw"/*.txt || # else there is nothing to draw
	(cd bench/plot && go run . -out "$(cd ../.. && cd "$out" && pwd)/charts" "$(cd ../.. && cd "$raw" && pwd)")
echo "written to $out; go test ./results -update writes its report"
