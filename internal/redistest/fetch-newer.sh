#!/bin/sh
# fetch-newer.sh DIR: brings newer servers than the system's into DIR, for
# StartValkey and StartRedis8: Valkey from Debian sid, Redis 8 from Debian trixie.
#
# Nothing is installed. The packages and the libraries they need are downloaded
# through an apt configuration of their own, from the mirror that the system
# itself uses and checked with the system's Debian keys, and unpacked into DIR.
# DIR/valkey and DIR/redis8 then hold the command that runs each, a word a line:
# the package's own loader, its library path, the server. Servers that are there
# and run are left alone. Without apt, or on a system that is not Debian, the
# script says so, does nothing and succeeds.
set -eu

if [ $# -ne 1 ]; then
	echo "usage: $0 DIR" >&2
	exit 2
fi
for tool in apt-get apt-cache dpkg-deb; do
	if ! command -v "$tool" >/dev/null; then
		echo "$0: no $tool here: newer servers are not fetched"
		exit 0
	fi
done
if ! grep -qs '^ID=debian$' /etc/os-release; then
	echo "$0: not on Debian: newer servers are not fetched"
	exit 0
fi

mkdir -p "$1"
dir=$(cd "$1" && pwd)
work=$(mktemp -d "$dir/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# fail says why there is no server, after what apt said last.
fail() {
	if [ -f "$work/log" ]; then cat "$work/log" >&2; fi
	echo "$0: $1" >&2
	exit 1
}

# mirrors prints the base addresses of the system's sources of its own release.
mirrors() {
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	apt-get update --print-uris |
		sed -n "s|^'\\(.*\\)/dists/$codename/InRelease' .*|\\1|p"
}

# configure SUITE MIRROR writes $work/apt.conf and fetches the suite's lists. All
# that apt writes lands below $work; its hooks, which would touch the system's
# caches, are cleared.
configure() {
	rm -rf "$work/state" "$work/cache"
	mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
	: >"$work/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $2 $1 main" >"$work/sources"
	cat >"$work/apt.conf" <<-END
		#clear APT::Update;
		#clear DPkg;
		#clear Acquire::IndexTargets::deb::DEP-11;
		APT::Sandbox::User "$(id -un)";
		APT::Update::Error-Mode "any";
		Acquire::Languages "none";
		Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
		Dir::Etc::sourcelist "$work/sources";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$work/state";
		Dir::State::status "$work/status";
		Dir::Cache "$work/cache";
		Dir::Cache::pkgcache "pkgcache.bin";
		Dir::Cache::srcpkgcache "srcpkgcache.bin";
	END
	apt-get -c "$work/apt.conf" -q update >"$work/log" 2>&1
}

# needs PACKAGE prints the package and what its program needs to run: shared
# libraries, and the package of tools, where Debian keeps the server's binary.
needs() {
	todo=$1 seen=
	while [ -n "$todo" ]; do
		more=
		for p in $todo; do
			case " $seen " in *" $p "*) continue ;; esac
			seen="$seen $p"
			more="$more $(apt-cache -c "$work/apt.conf" depends "$p" |
				sed -n 's/^ *|\{0,1\}\(Pre\)\{0,1\}Depends: \(lib[^:]*\|.*-tools\)$/\2/p' | tr '\n' ' ')"
		done
		todo=$(echo $more)
	done
	echo "$seen"
}

# fetch NAME SUITE PACKAGE makes DIR/NAME, unless it is there and works.
fetch() {
	name=$1 suite=$2 package=$3
	if [ -f "$dir/$name" ] && version "$dir/$name"; then
		return
	fi
	configured=
	for mirror in $(mirrors); do
		configure "$suite" "$mirror" && configured=yes && break
	done
	[ -n "$configured" ] || fail "no mirror of the system's has $suite"
	mkdir "$work/debs" "$work/root"
	(cd "$work/debs" && apt-get -c "$work/apt.conf" -q download $(needs "$package")) >"$work/log" 2>&1 ||
		fail "$package is not to be had from $suite"
	for deb in "$work/debs"/*.deb; do
		dpkg-deb -x "$deb" "$work/root"
	done
	rm -rf "$dir/$name.root" "$work/debs" "$work/root/usr/share"
	mv "$work/root" "$dir/$name.root"
	command_of "$dir/$name.root" "$package" >"$work/$name"
	version "$work/$name" || fail "$name does not run"
	mv "$work/$name" "$dir/$name"
}

# command_of ROOT BINARY prints the words that run ROOT/usr/bin/BINARY with the
# loader of ROOT and the libraries beside it.
command_of() {
	loader=$(find "$1" -type f -name 'ld*.so.*' -path '*/lib/*-linux-*' | head -n 1)
	printf '%s\n' "$loader" --library-path "$(dirname "$loader")" "$1/usr/bin/$2"
}

# version FILE runs the command in FILE with --version.
version() {
	(
		file=$1
		set --
		while IFS= read -r word; do set -- "$@" "$word"; done <"$file"
		"$@" --version
	)
}

fetch valkey sid valkey-server
fetch redis8 trixie redis-server
