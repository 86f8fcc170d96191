#!/usr/bin/env bash
# Installs the Debian 12 packages that varve is built with, if any is missing, and builds the one
# library that Debian does not have (tools/get-xgrammar.sh). Says what it does; says nothing when
# there is nothing to do.
#
#   tools/setup.sh          what building, running and testing take
#   tools/setup.sh --dev    also clang 19 and its tools (format, tidy, sanitizers, libFuzzer), Chromium
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache pkg-config
  libfmt-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libexpected-dev libhwy-dev
  libssl-dev libxxhash-dev librocksdb-dev libcpp-httplib-dev
  libgtest-dev libbenchmark-dev
  python3 python3-jinja2 python3-pip ca-certificates
)
dev_packages=(
  clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev llvm-19
  python3-venv shellcheck chromium
)

die() {
  echo "tools/setup.sh: $1" >&2
  exit 1
}

case "${1-}" in
  "") ;;
  --dev) packages+=("${dev_packages[@]}") ;;
  *) die "unknown argument '$1'; the only one is --dev" ;;
esac

command -v dpkg-query >/dev/null || die "this needs a Debian system (dpkg); it was made for Debian 12"

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      die "missing packages (${missing[*]}) need root to install, and there is no sudo"
    as_root=(sudo)
  fi

  echo "tools/setup.sh: installing ${missing[*]}"
  "${as_root[@]}" apt-get -qq update || die "apt-get update failed; the lines above say why"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get install failed; the lines above say why"
  echo "tools/setup.sh: done"
fi

"$(dirname "$0")/get-xgrammar.sh"
