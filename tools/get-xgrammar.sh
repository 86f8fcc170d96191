#!/usr/bin/env bash
# Builds the library that turns grammars into masks of tokens (xgrammar, Apache 2.0) from the source
# package on PyPI, which is checked, and installs it: a static library and its headers, which all
# presets share. Says nothing and does nothing where it is there. Takes a minute or two on 2 cores.
#
#   tools/get-xgrammar.sh [DIR]     default: build/deps/xgrammar
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${1-build/deps/xgrammar}
version=0.2.8
sha256=8305646fd2b319d6c3003f51a1665e54cbbe9cba1fb636bc41d0b46434ccbb80
# What says that it was built as it is below; to be changed with it.
built="xgrammar $version, build 1"

die() {
  echo "tools/get-xgrammar.sh: $1" >&2
  exit 1
}

[ "$(cat "$dir/built" 2>/dev/null || true)" != "$built" ] || exit 0

echo "tools/get-xgrammar.sh: building xgrammar $version in $dir"
mkdir -p "$(dirname "$dir")"
dir=$(realpath "$dir")
work=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The package index that pip is set up for, by pip's own word; `pip download` itself would want to
# run the package's Python build to read its name.
python3 - "xgrammar" "xgrammar-$version.tar.gz" "$sha256" "$work/source.tar.gz" <<'PYTHON' ||
import hashlib, os, ssl, sys, urllib.parse, urllib.request
from html.parser import HTMLParser

from pip._internal.models.index import PyPI

package, name, sha256, path = sys.argv[1:]
page = os.environ.get("PIP_INDEX_URL", PyPI.simple_url).rstrip("/") + f"/{package}/"
context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))


def read(url):
    request = urllib.request.Request(url, headers={"Accept": "text/html, */*;q=0.1"})
    with urllib.request.urlopen(request, timeout=120, context=context) as reply:
        return reply.read()


class Links(HTMLParser):
    found = None

    def handle_starttag(self, tag, attributes):
        target = dict(attributes).get("href") if tag == "a" else None
        if target and urllib.parse.urlparse(target).path.endswith("/" + name):
            self.found = urllib.parse.urljoin(page, target)


links = Links()
links.feed(read(page).decode())
if links.found is None:
    sys.exit(f"{name} is not in the package index")
data = read(links.found)
if hashlib.sha256(data).hexdigest() != sha256:
    sys.exit(f"{name} does not have the expected SHA-256 ({sha256})")
with open(path, "wb") as file:
    file.write(data)
PYTHON
  die "the source package could not be had; the lines above say why"

mkdir "$work/source" "$work/build"
tar -xzf "$work/source.tar.gz" -C "$work/source" --strip-components 1
# The package's own config.cmake turns its Python bindings on; one in the build folder goes first.
: >"$work/build/config.cmake"
launcher=()
if command -v ccache >/dev/null; then
  launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  # Its sources lie somewhere else each time.
  export CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1
fi
log=$work/log
# -fno-lto: objects with GCC's intermediate code are of no use to clang's linker. The last flags win.
if ! {
  cmake -S "$work/source" -B "$work/build" -G Ninja -DXGRAMMAR_BUILD_PYTHON_BINDINGS=OFF \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
    -DCMAKE_CXX_FLAGS="-fno-lto -w -Wno-error" "${launcher[@]}" \
    -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_PREFIX="$work/installed" &&
    cmake --build "$work/build" --parallel 2 &&
    cmake --install "$work/build"
} >"$log" 2>&1; then
  tail -n 60 "$log" >&2
  die "the build failed; the lines above say why"
fi
cp "$work/source/LICENSE" "$work/source/NOTICE" "$work/installed/"
echo "$built" >"$work/installed/built"
rm -rf "$dir"
mv "$work/installed" "$dir"
