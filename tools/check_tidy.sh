#!/usr/bin/env bash
# Runs clang-tidy 19 (.clang-tidy) over sources of src/, those of the compile commands of a build.
#
#   tools/check_tidy.sh BUILD              all but tests and kernels/, whose Highway files take minutes
#   tools/check_tidy.sh BUILD FILE...
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:?usage: tools/check_tidy.sh BUILD [FILE...]}
shift
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(find src -name '*.cpp' ! -name '*_test.cpp' ! -path 'src/kernels/*' | sort)
  files+=(src/kernels/exec.cpp src/kernels/ref.cpp src/kernels/registry.cpp)
fi
printf '%s\n' "${files[@]}" |
  xargs -n 1 -P "$(nproc)" clang-tidy-19 -p "$build" --quiet \
    --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings generated' >&2 || true)
echo "check_tidy: ${#files[@]} files"
