#!/usr/bin/env bash
# Runs tests while the machine is busy and the test process stands still, again and again, for 200 ms at random: whatever fails then
# holds a real clock to more than it promises.
#
#	scripts/stalled.sh [-n TIMES] [PACKAGE...]
#
# Without packages these are the root and those of test/. Each runs 10 times, beside two busy loops. The exit code is 1 if a run failed;
# its output is shown.
set -euo pipefail
cd "$(dirname "$0")/.."

times=10
while getopts n: opt; do
	case $opt in
	n) times=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- . ./test/...

dir=$(mktemp -d)
busy=()
pid=
end() {
	kill "${busy[@]}" 2>/dev/null || true
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true # it may stand still
	rm -rf "$dir"
}
trap end EXIT
trap 'exit 1' INT TERM

for _ in 1 2; do
	while :; do :; done &
	busy+=($!)
done

# stalls stops the process for 200 ms, after pauses of up to a second, until it ends.
stalls() {
	while sleep "0.$((RANDOM % 900 + 100))" && kill -STOP "$1" 2>/dev/null; do
		sleep 0.2
		kill -CONT "$1" 2>/dev/null || return 0
	done
}

list=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' "$@" | sed '/^$/d')
[ -n "$list" ] || { echo "there is no test in $*" >&2; exit 1; }
failed=0
while read -r package folder; do
	CGO_ENABLED=1 go test -race -vet=off -c -o "$dir/test" "$package"
	for ((i = 1; i <= times; i++)); do
		(cd "$folder" && exec "$dir/test" -test.timeout 20m -test.v) >"$dir/out" 2>&1 &
		pid=$!
		stalls $pid &
		stalling=$!
		if wait $pid; then
			echo "ok    $package, $i of $times"
		else
			failed=1
			echo "FAIL  $package, $i of $times"
			grep -vE '^(=== |\s*--- (PASS|SKIP))' "$dir/out" | tail -n 100 || true
		fi
		pid=
		wait $stalling || true
	done
done <<<"$list"
exit $failed
