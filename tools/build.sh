#!/usr/bin/env bash
# Installs what is missing, then configures and builds the release preset in build/release.
#
#   tools/build.sh [TARGET...]    default: everything
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh

[ -f build/release/build.ninja ] || echo "tools/build.sh: a first build takes a few minutes"

# Quiet unless something goes wrong: build tools are noisy, and their output belongs to failures.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset release -DVARVE_WERROR=ON >"$log" 2>&1; then
  cat "$log" >&2
  echo "tools/build.sh: configuring failed; the lines above say why" >&2
  exit 1
fi
target=()
[ $# -eq 0 ] || target=(--target "$@")
if ! cmake --build --preset release "${target[@]}" >"$log" 2>&1; then
  cat "$log" >&2
  echo "tools/build.sh: the build failed; the lines above say why" >&2
  exit 1
fi
