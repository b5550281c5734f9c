# Brings the tools that the stages use. Sourced by .ci/run.
# shellcheck shell=bash

deny_version=0.20.2
typos_version=1.52.0

# Named after what is in it: a changed pin makes a new environment.
venv=$TICKLAKE_CACHE/venv-$(cat tests/clients/requirements.txt <(echo "$typos_version") | sha256sum | cut -c1-12)
venv14=$TICKLAKE_CACHE/venv14-$(sha256sum <tests/clients/sqlalchemy14/requirements.txt | cut -c1-12)

# Flight SQL's JDBC driver as users have it: 18.3.0 is the newest that is published.
jdbc_versions=(18.2.0 18.3.0)
sqlline_version=1.12.0
jars=$TICKLAKE_CACHE/jdbc-$(IFS=-; echo "${jdbc_versions[*]}")-$sqlline_version

stage_tools() {
  system_packages
  compiler
  python_environment "$venv" -r tests/clients/requirements.txt "typos==$typos_version"
  python_environment "$venv14" -r tests/clients/sqlalchemy14/requirements.txt
  jdbc_drivers
  cargo_deny
}

system_packages() {
  local missing=() pair
  for pair in mold:mold cc:gcc make:make perl:perl curl:curl git:git java:openjdk-17-jdk-headless javac:openjdk-17-jdk-headless mvn:maven \
    shellcheck:shellcheck node:nodejs npm:npm python3:python3 chromium:chromium chromedriver:chromium-driver; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  python3 -c 'import ensurepip, pip' 2>/dev/null || missing+=(python3-venv python3-pip)
  ((${#missing[@]} == 0)) && return
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$TICKLAKE_CACHE/apt.log" 2>&1 || {
    tail -n 20 "$TICKLAKE_CACHE/apt.log" >&2
    return 1
  }
}

# rustup may know the pinned compiler under the name `stable` only, and must not need the network to find that out.
compiler() {
  local pinned
  pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
  if ! rustc --version >/dev/null 2>&1; then
    if [[ $(rustc +stable --version 2>/dev/null) == "rustc $pinned "* ]]; then
      export RUSTUP_TOOLCHAIN=stable
    else
      rustup toolchain install "$pinned" --profile minimal --component rustfmt,clippy
    fi
  fi
  rustc --version
  cargo clippy --version
  cargo fmt --version
}

python_environment() { # DIR PIP ARGUMENTS
  local dir=$1
  shift
  [[ -f $dir/complete ]] && return
  rm -rf "$dir"
  python3 -m venv "$dir"
  "$dir/bin/pip" install -q --disable-pip-version-check "$@"
  touch "$dir/complete"
}

jdbc_drivers() {
  [[ -f $jars/complete ]] && return
  local version artifacts=("sqlline:sqlline:$sqlline_version:jar:jar-with-dependencies")
  for version in "${jdbc_versions[@]}"; do
    artifacts+=("org.apache.arrow:flight-sql-jdbc-driver:$version")
  done
  for artifact in "${artifacts[@]}"; do
    mvn -q -B dependency:copy -Dartifact="$artifact" -DoutputDirectory="$jars" >"$TICKLAKE_CACHE/maven.log" 2>&1 || {
      tail -n 10 "$TICKLAKE_CACHE/maven.log" >&2
      return 1
    }
  done
  touch "$jars/complete"
}

cargo_deny() {
  [[ $(cargo-deny --version 2>/dev/null) == "cargo-deny $deny_version" ]] && return
  # Without optimisation: two minutes to build, seconds to run.
  CARGO_TARGET_DIR=$TICKLAKE_CACHE/tools/build CARGO_PROFILE_DEV_DEBUG=false \
    cargo install -q --debug --locked --force --root "$TICKLAKE_CACHE/tools" "cargo-deny@$deny_version"
  rm -rf "$TICKLAKE_CACHE/tools/build"
}
