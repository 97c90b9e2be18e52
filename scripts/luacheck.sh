#!/bin/sh
# Checks the scripts in lua/ by luacheck, each as the server gets it: with the parts that it includes. Lines in what luacheck says
# are counted with the parts in their place.
set -eu

cd "$(dirname "$0")/.."
command -v luacheck >/dev/null || { echo "luacheck is missing: scripts/install.sh luacheck installs it" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# with prints a file with its parts.
with() {
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		"-- include "*) (with "lua/parts/${line#-- include }.lua") ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <"$1"
}

for script in lua/*.lua; do
	with "$script" >"$dir/$(basename "$script")"
done
cd "$dir"
# Not every script uses all of pump, nor of entry.
luacheck --quiet --no-color --std lua51 --read-globals redis KEYS ARGV --max-line-length 160 \
	--ignore 211/keep 211/free 211/ttl -- *.lua
