#!/bin/sh
# Installs the servers of some tests (PostgreSQL, PgBouncer, MariaDB, MySQL, Prometheus, nginx), Compose and a browser
# (Chromium) and tmux from Debian's packages, and MySQL's driver into the virtual environment of the first argument, on a machine
# of CI only.
# Elsewhere it does nothing, and tests of missing servers are skipped, by name.
set -u

have() { command -v "$1" >/dev/null 2>&1; }

[ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && have apt-get || exit 0
wanted=
have prometheus && have promtool || wanted="$wanted prometheus"
have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
have pgbouncer || wanted="$wanted pgbouncer"
have mariadbd || wanted="$wanted mariadb-server-core"
have mariadb_config || wanted="$wanted libmariadb-dev" # mysqlclient is built from source
have chromium || wanted="$wanted chromium"
have nginx || wanted="$wanted nginx-light"
have docker-compose || wanted="$wanted docker-compose"
have tmux || wanted="$wanted tmux"

export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # 1: nothing is started
if [ -n "$wanted" ]; then
	# shellcheck disable=SC2086 # several words
	{ apt-get -qq update && apt-get -qq --no-install-recommends install $wanted; } >/dev/null ||
		echo "could not install$wanted: their tests are skipped" >&2
fi

# Debian's releases have MariaDB only. MySQL is in its unstable suite: it is unpacked together with its libraries, and
# nothing of it is installed. 60 MB.
unpack_mysql() {
	folder=/opt/mysql-for-tests # tests/support/mysql.py looks there
	! [ -e $folder ] || return 0
	! have mysqld || mysqld --version | grep -q MariaDB || return 0 # a link of MariaDB's has this name, too
	apt=$(mktemp -d)
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
	mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/empty" "$apt/root"
	: >"$apt/status" # as if nothing were installed: all libraries are downloaded
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$apt/sources"
	cat >"$apt/conf" <<-END
		Dir::Etc::SourceList "$apt/sources";
		Dir::Etc::SourceParts "$apt/empty";
		Dir::Etc::Preferences "$apt/empty/none";
		Dir::Etc::PreferencesParts "$apt/empty";
		Dir::State "$apt";
		Dir::State::Status "$apt/status";
		Dir::Cache "$apt";
		Acquire::Check-Valid-Until "false"; # of a mirror that lags behind
		APT::Sandbox::User "root";
	END
	APT_CONFIG="$apt/conf" apt-get -qq update &&
		APT_CONFIG="$apt/conf" apt-get -qq --yes --download-only --no-install-recommends install mysql-server-core &&
		for package in "$apt"/archives/*.deb; do dpkg -x "$package" "$apt/root" || return 1; done &&
		mv "$apt/root" $folder && chmod 755 $folder && rm -rf "$apt"
}
unpack_mysql >/dev/null || echo "could not unpack MySQL: its tests are skipped" >&2

python=${1:-}
[ -z "$python" ] || "$python" -c "import MySQLdb" 2>/dev/null ||
	"$python" -m pip install --quiet 'mysqlclient>=2.2' ||
	echo "could not build mysqlclient: its tests are skipped" >&2
