# Shared by the service scripts: their command line, messages, ports, and processes known by a pid file. Sourced, never run.
# shellcheck shell=bash

# shellcheck disable=SC2034  # for the scripts that source this
cache=${TICKLAKE_CACHE:-$HOME/.cache/ticklake}

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

need() { # TOOL PACKAGE
  command -v "$1" >/dev/null || fail "$1 is missing: install it ($2)"
}

# True where something accepts a connection on loopback.
listening() { # PORT
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Prints the first of a block of COUNT free ports. Below the kernel's own range (32768 up), so that no client socket takes one.
free_ports() { # COUNT
  local try port offset
  for ((try = 0; try < 200; try++)); do
    port=$((20000 + RANDOM % 12000))
    for ((offset = 0; offset < $1; offset++)); do
      listening $((port + offset)) && continue 2
    done
    echo "$port"
    return
  done
  fail "found no $1 free ports in a row"
}

running() { # DIR
  [[ -f $1/pid ]] && kill -0 "$(<"$1/pid")" 2>/dev/null
}

# Polls until CHECK... succeeds; shows the log where the process ends or SECONDS pass first.
await() { # DIR SECONDS CHECK...
  local dir=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@"; do
    if ! running "$dir"; then
      tail -n 20 "$dir/log" >&2
      fail "it ended while starting, the whole log is $dir/log"
    fi
    if ((SECONDS >= deadline)); then
      tail -n 20 "$dir/log" >&2
      fail "not ready in time, the whole log is $dir/log"
    fi
    sleep 0.2
  done
}

# Ends the process of DIR: SIGTERM, then SIGKILL after SECONDS; at once with 0.
end() { # DIR SECONDS
  if running "$1"; then
    local pid deadline=$((SECONDS + $2))
    pid=$(<"$1/pid")
    (($2 > 0)) && kill -TERM "$pid"
    while (($2 > 0 && SECONDS < deadline)) && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  fi
  rm -f "$1/pid"
}

# The command line of every service script. The script defines what differs:
#   ports, start_seconds, stop_seconds   ports in a row, and how long a start and a clean end may take
#   scheme                               before the printed address, empty where there is none
#   fetch                                fills the cache
#   prepare PORT                         makes $dir ready for the first start
#   launch PORT                          starts the process, its output in $dir/log, its id in $dir/pid
#   answers PORT                         true when it serves
# shellcheck disable=SC2154  # the script's variables
main() {
  local port usage
  usage="usage: $(basename "$0") start DIR [PORT] | stop DIR | kill DIR | fetch"
  [[ ${1:-} == fetch ]] && { fetch; return; }
  (($# >= 2)) || fail "$usage"
  mkdir -p "$2"
  dir=$(cd "$2" && pwd)
  case $1 in
    start)
      fetch
      if [[ ! -f $dir/port ]]; then
        port=${3:-$(free_ports "$ports")}
        prepare "$port"
        echo "$port" >"$dir/port"
      fi
      port=$(<"$dir/port")
      running "$dir" || launch "$port"
      await "$dir" "$start_seconds" answers "$port"
      echo "${scheme}127.0.0.1:$port"
      ;;
    stop) end "$dir" "$stop_seconds" ;;
    kill) end "$dir" 0 ;;
    *) fail "$usage" ;;
  esac
}
