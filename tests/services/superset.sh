#!/usr/bin/env bash
# Apache Superset 6.1 from its Python package, on loopback, with SQLite for its metadata. User admin, password admin.
#
#   superset.sh start DIR [PORT]   prints the address when it answers; without PORT picks a free one.
#                                  DIR keeps the metadata: a second start goes on with it, on the same port
#   superset.sh stop DIR | kill DIR
#   superset.sh fetch              only fill the cache: 2 to 6 minutes once, then starts take 10 to 20 s
#
# SUPERSET_PATH is put before the environment's own packages: a folder with a package under test.
# Needs python3 (3.10 or 3.11, which Superset 6.1 asks for) with venv.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh source-path=SCRIPTDIR
source "$here/lib.sh"
ports=1 start_seconds=120 stop_seconds=5 scheme=http://

# Named after what is in it: a changed pin makes a new environment.
home=$cache/superset-$(cat "$here/superset/requirements.txt" "$here/superset/superset_config.py" | sha256sum | cut -c1-12)
export SUPERSET_CONFIG_PATH=$here/superset/superset_config.py FLASK_APP=superset

fetch() {
  [[ -f $home/complete ]] && return
  need python3 python3
  need curl curl
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

prepare() {
  cp "$home/metadata.db" "$dir/metadata.db"
}

launch() { # PORT
  SUPERSET_DIR=$dir PYTHONPATH=${SUPERSET_PATH:-} setsid "$home/bin/superset" run --with-threads --host 127.0.0.1 --port "$1" \
    >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

answers() { # PORT
  curl -sf -m 5 "http://127.0.0.1:$1/health" >/dev/null
}

main "$@"
