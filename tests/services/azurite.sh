#!/usr/bin/env bash
# One Azure Blob Storage server (Azurite, from its npm package) on loopback, with a container `ticklake`.
#
#   azurite.sh start DIR [PORT]   prints the address, as AZURITE_BLOB_STORAGE_URL takes it, when the container is there; without PORT picks a free
#                                 one. DIR keeps the blobs: a second start serves them again, on the same port
#   azurite.sh stop DIR | kill DIR
#   azurite.sh fetch              only fill the cache
#
# Needs node with npm, and python3. The account and its key are those that every Azurite has.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh source-path=SCRIPTDIR
source "$here/lib.sh"
# shellcheck disable=SC2034  # for main
ports=1 start_seconds=60 stop_seconds=5 scheme=http://

version=3.37.0
# What Azurite depends on is pinned by a day: nothing published later is taken.
before=2026-11-20
azurite=$cache/azurite-$version

fetch() {
  [[ -f $azurite/complete ]] && return
  need npm nodejs
  need node nodejs
  rm -rf "$azurite"
  mkdir -p "$azurite"
  # Without scripts: what it needs is JavaScript alone.
  npm install --prefix "$azurite" --before="$before" --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error \
    "azurite@$version" >"$azurite/log" 2>&1 || {
    tail -n 10 "$azurite/log" >&2
    fail "npm could not fetch azurite $version"
  }
  touch "$azurite/complete"
}

prepare() {
  mkdir -p "$dir/data"
}

launch() { # PORT
  setsid node "$azurite/node_modules/azurite/dist/src/blob/main.js" --blobHost 127.0.0.1 --blobPort "$1" --location "$dir/data" \
    --silent --disableTelemetry --disableProductStyleUrl --skipApiVersionCheck >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

# Ready means that the container is there.
answers() { # PORT
  python3 - "http://127.0.0.1:$1" <<'PYTHON' 2>/dev/null
import base64, email.utils, hashlib, hmac, sys, urllib.error, urllib.request

account = "devstoreaccount1"
key = base64.b64decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
lines += [f"/{account}/{account}/ticklake", "restype:container"]
signature = base64.b64encode(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
headers["Authorization"] = f"SharedKey {account}:{signature}"
url = f"{sys.argv[1]}/{account}/ticklake?restype=container"
try:
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=10)
except urllib.error.HTTPError as error:
    sys.exit(error.code != 409)
PYTHON
}

main "$@"
