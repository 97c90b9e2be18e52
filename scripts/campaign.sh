#!/bin/sh
# Campaign simulates 14,000 seeds of internal/sim, of 4 s each in their own time, and adds up what they came to.
#
#   scripts/campaign.sh DIR [PIECES]
#
# DIR gets the binary, its commit, and for each piece of 500 seeds a log, a sum, and done.N with the exit code. A piece that is
# done is not run again, so the command goes on where it was stopped. It takes some hours of processor time. The exit code is 1
# if a promise was broken.
set -eu
dir=$(mkdir -p "$1" && cd "$1" && pwd)
pieces=${2:-28}
cd "$(dirname "$0")/.."
if [ ! -f "$dir/sim.test" ]; then
	git rev-parse HEAD >"$dir/commit"
	go test -c -o "$dir/sim.test" ./internal/sim
fi
broken=0
for piece in $(seq 0 $((pieces - 1))); do
	first=$((piece * 500 + 1))
	if [ ! -f "$dir/done.$first" ]; then
		code=0
		(cd internal/sim && "$dir/sim.test" -test.run 'TestSeeds$' -test.timeout 0 -seeds 500 -first "$first" -sim 4s -shrink 20 \
			-sum "$dir/sum.$first") >"$dir/log.$first" 2>&1 || code=$?
		echo "$code" >"$dir/done.$first"
	fi
	[ "$(cat "$dir/done.$first")" = 0 ] || { broken=1; echo "broken: $dir/log.$first" >&2; }
done
echo "commit $(cat "$dir/commit")"
go run ./internal/sim/sum "$dir"/sum.*
exit $broken
