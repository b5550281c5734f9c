#!/usr/bin/env bash
# rustc for fuzzing without cargo-fuzz or a nightly toolchain: coverage counters in our own crates alone. With them in DataFusion and Arrow the fuzzer
# would follow their branches, and the build would take an hour.
set -euo pipefail
shopt -s extglob
rustc=$1
shift
case " $* " in
  *" --crate-name ticklake_flight_server "* | *" --crate-name "@(ticket|handle|session|parameters)" "*)
    set -- "$@" --cfg fuzzing -C passes=sancov-module -C codegen-units=1 -C debug-assertions \
      -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
      -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"
