#!/bin/sh
# Installs the servers of some tests, PostgreSQL, MariaDB and Prometheus, and a browser, Chromium, from Debian's packages, on a machine of CI only.
# Elsewhere it does nothing, and tests of missing servers are skipped, by name.
set -u

have() { command -v "$1" >/dev/null 2>&1; }

[ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && have apt-get || exit 0
wanted=
have prometheus && have promtool || wanted="$wanted prometheus"
have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
have mariadbd || wanted="$wanted mariadb-server-core"
have chromium || wanted="$wanted chromium"
[ -n "$wanted" ] || exit 0

export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # 1: nothing is started
# shellcheck disable=SC2086 # several words
{ apt-get -qq update && apt-get -qq --no-install-recommends install $wanted; } >/dev/null ||
	echo "could not install$wanted: their tests are skipped" >&2
