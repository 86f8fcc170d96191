#!/usr/bin/env bash
# Puts the official Python clients of the APIs that `varve serve` speaks into a virtual environment,
# from PyPI: tests/cli_serve_clients.py runs them. Does nothing where they are there.
#
#   tools/get-api-clients.sh [DIR]     default: build/api-clients
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${1-build/api-clients}
packages=(openai==3.57.0 anthropic==2.14.0)

if [ "$(cat "$dir/installed" 2>/dev/null || true)" != "${packages[*]}" ]; then
  python3 -m venv "$dir" || {
    echo "tools/get-api-clients.sh: python3 -m venv failed; Debian's package is python3-venv" >&2
    exit 1
  }
  "$dir/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
  echo "${packages[*]}" >"$dir/installed"
fi
echo "$dir: ${packages[*]}"
