#!/usr/bin/env bash
# Measures what redis-server itself can do with the commands of an acquire and a release, when nobody waits for each
# reply: by redis-benchmark, which comes with Redis, with 16 commands in each write of each of 50 connections.
#
#	scripts/limit.sh PORT|SOCKET [ROUNDS [COMMANDS]]     default: 10 rounds of 50000
#
# Prints a line of the Go benchmark format for each round: an op is one SET … NX PX and one EVALSHA. It removes ALL keys
# of the server. redis-benchmark draws its keys at random, from twice as many as there are commands, so that 4 of 5 of
# the SETs find their key free, and 4 of 5 of the EVALSHAs find it held.
set -euo pipefail
at=${1:?port or socket} rounds=${2:-10} n=${3:-50000}
case $at in
/*) where=(-s "$at") server=redis-unix ;;
*) where=(-h 127.0.0.1 -p "$at") server=redis ;;
esac
cli() { redis-cli "${where[@]}" "$@"; }
token=3f2b8a54-6f0e-4f0a-9d3b-2c1d5e6f7a8b
script='
if redis.call("get",KEYS[1]) == ARGV[1] then
  return redis.call("del",KEYS[1])
else
  return 0
end'
# What redis-benchmark makes of key:__rand_int__ has twelve digits.
fill='for i = 0, ARGV[1]-1 do redis.call("set", string.format("key:%012d", i), ARGV[2], "px", 600000) end'
sha=$(cli SCRIPT LOAD "$script")
second() { # commands: how many of them in a second
	redis-benchmark "${where[@]}" -P 16 -c 50 -n "$n" -r $((2 * n)) --csv "$@" | awk -F'"' 'END { print $4 }'
}
cpu() { # what the server has used until now, in seconds
	cli INFO cpu | tr -d '\r' | awk -F: '/^used_cpu_(sys|user):/ { sum += $2 } END { print sum }'
}
holds() { # least, most: so many keys, or the commands did not do what they should
	local keys
	keys=$(cli DBSIZE)
	[ "$keys" -ge "$1" ] && [ "$keys" -le "$2" ] || { echo "$keys keys, expected $1 to $2" >&2; exit 1; }
}

echo "server: $server"
echo "redis-version: redis $(redis-server --version | sed 's/.*v=\([^ ]*\).*/\1/')"
echo "host: $(hostname)"
for _ in $(seq "$rounds"); do
	cli FLUSHALL >/dev/null
	before=$(cpu)
	set=$(second SET key:__rand_int__ $token NX PX 600000)
	middle=$(cpu)
	holds $((n / 2)) "$n"
	cli EVAL "$fill" 0 $((2 * n)) $token >/dev/null
	filled=$(cpu)
	evalsha=$(second EVALSHA "$sha" 1 key:__rand_int__ $token)
	after=$(cpu)
	holds "$n" $((3 * n / 2))
	awk -v n="$n" -v s="$set" -v e="$evalsha" -v cpu="$(echo "$before $middle $filled $after")" -v server="$server" 'BEGIN {
		split(cpu, c, " ")
		printf "BenchmarkLimit/server=%s/client=redis-benchmark/pipeline=16 %d ", server, n
		printf "%.1f ns/op %.0f set/s %.0f evalsha/s ", 1e9/s + 1e9/e, s, e
		printf "%.1f server-cpu-ns/op\n", 1e9 * (c[2] - c[1] + c[4] - c[3]) / n
	}'
done
cli FLUSHALL >/dev/null
