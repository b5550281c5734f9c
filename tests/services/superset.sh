#!/usr/bin/env bash
# Apache Superset 6.1 from its Python package, on loopback, with SQLite for its metadata. User admin, password admin.
#
#   superset.sh start DIR [PORT]   prints the address when it answers; without PORT picks a free one.
#                                  DIR keeps the metadata: a second start goes on with it, on the same port
#   superset.sh stop DIR
#   superset.sh fetch              only fill the cache: 2 to 6 minutes once, then starts take 10 to 20 s
#
# SUPERSET_PATH is put before the environment's own packages: a folder with a package under test.
# Needs python3 (3.10 or 3.11, which Superset 6.1 asks for) with venv.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh source-path=SCRIPTDIR
source "$here/lib.sh"

# Named after what is in it: a changed pin makes a new environment.
home=$cache/superset-$(cat "$here/superset/requirements.txt" "$here/superset/superset_config.py" | sha256sum | cut -c1-12)
export SUPERSET_CONFIG_PATH=$here/superset/superset_config.py FLASK_APP=superset

fetch() {
  [[ -f $home/complete ]] && return
  need python3 python3
  rm -rf "$home"
  python3 -m venv "$home"
  "$home/bin/pip" install -q --disable-pip-version-check -r "$here/superset/requirements.txt" >&2
  # The metadata database is migrated once, and copied by every first start.
  {
    SUPERSET_DIR=$home "$home/bin/superset" db upgrade
    SUPERSET_DIR=$home "$home/bin/superset" fab create-admin --username admin --firstname Test --lastname Admin --email admin@localhost --password admin
    SUPERSET_DIR=$home "$home/bin/superset" init
  } >"$home/init.log" 2>&1 || {
    tail -n 20 "$home/init.log" >&2
    fail "superset could not be set up"
  }
  touch "$home/complete"
}

launch() { # PORT
  SUPERSET_DIR=$dir PYTHONPATH=${SUPERSET_PATH:-} setsid "$home/bin/superset" run --with-threads --host 127.0.0.1 --port "$1" \
    >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

answers() { # URL
  curl -sf -m 5 "$1/health" >/dev/null
}

usage="usage: superset.sh start DIR [PORT] | stop DIR | fetch"
command=${1:-}
[[ $command == fetch ]] && { fetch; exit; }
[[ $# -ge 2 ]] || fail "$usage"
mkdir -p "$2"
dir=$(cd "$2" && pwd)

case $command in
  start)
    fetch
    need curl curl
    [[ -f $dir/metadata.db ]] || cp "$home/metadata.db" "$dir/metadata.db"
    [[ -f $dir/port ]] || echo "${3:-$(free_ports 1)}" >"$dir/port"
    port=$(<"$dir/port")
    running "$dir" || launch "$port"
    await "$dir" 120 answers "http://127.0.0.1:$port"
    echo "http://127.0.0.1:$port"
    ;;
  stop) end "$dir" 5 ;;
  *) fail "$usage" ;;
esac
