#!/usr/bin/env bash
# Installs what is missing, builds varve, and runs it: `varve run` with the arguments given.
# Without arguments it asks the bundled model for a code that lies far outside its window.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/tools/build.sh" varve >&2

if [ $# -gt 0 ]; then
  exec "$root/build/release/bin/varve" run "$@"
fi
demo=$root/tools/recall-prompt.txt
echo "The prompt is $demo; its first and last line:" >&2
sed -n '1p;$p' "$demo" >&2
echo >&2
exec "$root/build/release/bin/varve" run --file "$demo" --temp 0 -n 2
