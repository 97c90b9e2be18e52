#!/bin/sh
# Installs what the tests need and this machine lacks: redis-server, and a C compiler for the race detector.
# On Debian and its kin by apt, on macOS by brew; elsewhere it says what to install.
#
#	scripts/install.sh [peers] [chromium] [postgres] [luacheck]
#
# With peers also etcd and ZooKeeper, for bench/peers, about 200 MB with the Java that ZooKeeper needs; by apt only.
# With chromium also a browser for the test of the report's page. With postgres also PostgreSQL, for examples/fenced; by apt only.
# With luacheck also that, for make lint.
set -eu

want=
command -v redis-server >/dev/null 2>&1 || want="$want redis-server"
command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 || want="$want gcc"
is_asked() { case " $asked " in *" $1 "*) return 0 ;; esac; return 1; }
asked="$*"
if is_asked peers && command -v apt-get >/dev/null 2>&1; then
	command -v etcd >/dev/null 2>&1 || want="$want etcd-server"
	[ -e /usr/share/java/zookeeper.jar ] || want="$want zookeeper"
	command -v java >/dev/null 2>&1 || want="$want default-jre-headless"
fi
if is_asked chromium; then
	command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
		command -v google-chrome >/dev/null 2>&1 || [ -d '/Applications/Google Chrome.app' ] || want="$want chromium"
fi
if is_asked postgres && command -v apt-get >/dev/null 2>&1; then
	command -v postgres >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || want="$want postgresql"
fi
if is_asked luacheck; then
	command -v luacheck >/dev/null 2>&1 || want="$want lua-check"
fi
[ -n "$want" ] || exit 0

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v apt-get >/dev/null 2>&1; then
	case "$want" in *gcc*) want="$want libc6-dev" ;; esac
	echo "installing$want (apt)"
	export DEBIAN_FRONTEND=noninteractive
	as_root apt-get update -qq
	case "$want" in *chromium*)
		# Some kin of Debian have it outside apt only.
		apt-cache show chromium >/dev/null 2>&1 || { echo "please install Chromium or Chrome: apt has none" >&2; exit 1; } ;;
	esac
	# The packages' own service is not wanted: the tests start their servers themselves.
	# shellcheck disable=SC2086
	as_root env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $want >/dev/null
elif command -v brew >/dev/null 2>&1; then
	case "$want" in *redis-server*) echo "installing redis (brew)"; brew install redis ;; esac
	case "$want" in *lua-check*) echo "installing luacheck (brew)"; brew install luacheck ;; esac
	case "$want" in *chromium*) echo "installing Chrome (brew)"; brew install --cask google-chrome ;; esac
	case "$want" in *gcc*) echo "please install the compiler: xcode-select --install" >&2; exit 1 ;; esac
else
	echo "please install:$want" >&2
	exit 1
fi
