#!/usr/bin/env bash
# Installs what is missing, builds everything and passes the tests: unit tests, goldens and laws
# (CTest), the command line (Python), the directions of includes. Ends with a count.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/build.sh

logs=build/test-logs
mkdir -p "$logs"
failed=0
cases=()
tools/check_includes.py || failed=1
ctest --preset release --parallel "$(nproc)" || failed=1
cp build/release/Testing/Temporary/LastTest.log "$logs/ctest.log"

export VARVE_BIN=$PWD/build/release/bin/varve VARVE_SOURCE_DIR=$PWD
# shellcheck disable=SC2016  # the script is for bash -c
printf '%s\n' tests/cli_*.py | xargs -P "$(nproc)" -I{} bash -c '
  log=$0/$(basename "$1" .py).log
  python3 -B "$1" >"$log" 2>&1 || { cat "$log"; exit 1; }' "$logs" {} || failed=1
for suite in tests/cli_*.py; do cases+=("$logs/$(basename "$suite" .py).log"); done
tools/count_tests.py "$logs/ctest.log" "${cases[@]}" || failed=1
exit $failed
