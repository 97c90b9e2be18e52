#!/usr/bin/env bash
# Measures what a crowd that waits for one key costs (BenchmarkCrowd in bench/), round by round, into a folder of results/.
# The machine should be idle; a round takes about a minute and a half.
#
#	scripts/crowd.sh [FOLDER [ROUNDS]]     default: results/, today's date and -crowd; 10
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/$(date +%F)-crowd} rounds=${2:-10}
raw=$out/raw/crowd.txt
mkdir -p "$out/raw"
bench=$(mktemp)
trap 'rm -f "$bench"' EXIT
go test -c -o "$bench" ./bench
{
	echo "date: $(date -u +%FT%TZ)"
	echo "kernel: $(uname -sr)"
	echo "cpus: $(nproc)"
	echo "load average when it began: $(cut -d' ' -f1-3 /proc/loadavg)"
	redis-server --version
	go version
	echo "commit: $(git rev-parse HEAD)"
} >>"$out/environment.txt"
if [ ! -s "$raw" ]; then
	{
		echo "redis-version: redis $(redis-server --version | sed 's/.*v=\([0-9.]*\).*/\1/')"
		echo "go: $(go env GOVERSION)"
		echo "commit: $(git rev-parse HEAD)"
		echo "settings: -bench Crowd -benchtime 20000x"
		echo
	} >"$raw"
fi
for ((i = 0; i < rounds; i++)); do
	echo "round $((i + 1)), load average $(cut -d' ' -f1-3 /proc/loadavg)" >&2
	(cd bench && REDIGOLOCK_REAL=1 "$bench" -test.run '^$' -test.bench Crowd -test.benchtime 20000x) | grep -v '^PASS$' >>"$raw"
done
{
	echo "end: $(date -u +%FT%TZ)"
	echo "load average when it ended: $(cut -d' ' -f1-3 /proc/loadavg)"
} >>"$out/environment.txt"
