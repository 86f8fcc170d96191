#!/usr/bin/env bash
# Checks that the C++ sources are as clang-format 19 leaves them.
#
#   tools/check_format.sh          fails and shows the places
#   tools/check_format.sh --fix    rewrites the files
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t files < <(find src tests bench fuzz -name '*.h' -o -name '*.cpp' | sort)
if [ "${1-}" = --fix ]; then
  clang-format-19 -i "${files[@]}"
else
  clang-format-19 --dry-run --Werror "${files[@]}"
  echo "check_format: ${#files[@]} files"
fi
