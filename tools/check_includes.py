#!/usr/bin/env python3
"""Holds the sources to the layers: a folder of src/ includes from itself and from the folders that
its CMake library links (DEPS, directly or through others), and the arrows only point down.

    tools/check_includes.py              checks src/, tests/, bench/ and fuzz/
    tools/check_includes.py --self-test  checks the checker

Also: every header has #pragma once (or Highway's include guard in -inl.h), no header has `using
namespace` at file scope, nothing includes <experimental/...>. Files of over 700 lines are listed;
that is a hint, not an error."""

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONG_LINES = 700
# External users that may include from any folder that the program is made of.
OUTSIDE = ("tests", "bench", "fuzz")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
USING = re.compile(r"^using namespace\b", re.MULTILINE)
KEYWORDS = {"SOURCES", "DEPS", "LINK"}


def strip_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def cmake_calls(text, function):
    """Argument lists of the calls of `function` in a CMake file."""
    text = re.sub(r"#[^\n]*", "", text)
    return [match.split() for match in re.findall(function + r"\(([^)]*)\)", text)]


def deps_of_call(arguments):
    deps, inside = [], False
    for word in arguments[1:]:
        if word in KEYWORDS:
            inside = word == "DEPS"
        elif inside:
            deps.append(word)
    return deps


def read_folders(src, top):
    """Direct dependencies by folder, and the folders in the order in which `top` adds them."""
    order = [call[0].removeprefix("src/") for call in cmake_calls(top, "add_subdirectory")
             if call[0].startswith("src/")]
    direct = {}
    for folder in order:
        text = (src / folder / "CMakeLists.txt").read_text()
        deps = []
        for call in cmake_calls(text, "varve_library"):
            deps += deps_of_call(call)
        if cmake_calls(text, "add_executable"):
            for call in cmake_calls(text, "target_link_libraries"):
                deps += [word.removeprefix("varve_") for word in call[1:]
                         if word.startswith("varve_") and word != "varve_options"]
        direct[folder] = deps
    return direct, order


def reachable(direct, folder):
    seen, todo = set(), [folder]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo += direct.get(one, [])
    return seen


def check_file(path, allowed, folders, where):
    """Problems of one source file. `allowed`: folders of src/ that it may include from."""
    text = path.read_text(encoding="utf-8")
    code = strip_comments(text)
    problems = []
    for bracket, name in INCLUDE.findall(code):
        if bracket == "<":
            if name.startswith("experimental"):
                problems.append(f"{where}: includes <{name}>")
            continue
        folder = name.split("/")[0]
        if folder in folders and folder not in allowed:
            problems.append(f"{where}: includes {name}, which is no dependency "
                            f"(allowed: {', '.join(sorted(allowed))})")
    if path.suffix == ".h":
        toggled = path.name.endswith("-inl.h") and "HWY_TARGET_TOGGLE" in text
        if "#pragma once" not in text and not toggled:
            problems.append(f"{where}: no #pragma once")
        if USING.search(code):
            problems.append(f"{where}: `using namespace` in a header")
    return problems


def check(root):
    """(errors, warnings) of the tree at `root`."""
    direct, order = read_folders(root / "src", (root / "CMakeLists.txt").read_text())
    problems, long_files = [], []
    for folder in (path.name for path in (root / "src").iterdir() if path.is_dir()):
        if folder not in direct:
            problems.append(f"src/{folder}: no add_subdirectory in CMakeLists.txt")
    for i, folder in enumerate(order):
        for dep in direct[folder]:
            if dep not in order[:i]:
                problems.append(f"src/{folder}: DEPS {dep} does not stand below it")
    for top in ("src",) + OUTSIDE:
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in (".h", ".cpp") or not path.is_file():
                continue
            where = str(path.relative_to(root))
            # A fuzz target may be built with one of the program's own sources, a parser.
            allowed = set(order) - ({"cli"} if top != "fuzz" else set())
            if top == "src":
                allowed = reachable(direct, path.relative_to(root / "src").parts[0])
            problems += check_file(path, allowed, set(order), where)
            n_lines = path.read_text(encoding="utf-8").count("\n")
            if n_lines > LONG_LINES:
                long_files.append(f"{where}: {n_lines} lines; over {LONG_LINES} wants to be two")
    return problems, long_files


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def write(path, text):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

        write("CMakeLists.txt", "add_subdirectory(src/low)\nadd_subdirectory(src/mid)\n"
              "add_subdirectory(src/side)\nadd_subdirectory(src/high)\nadd_subdirectory(tests)\n")
        write("src/low/CMakeLists.txt", "varve_library(low SOURCES a.cpp LINK fmt::fmt)")
        write("src/mid/CMakeLists.txt", "varve_library(mid SOURCES a.cpp DEPS low LINK x)")
        write("src/side/CMakeLists.txt", "varve_library(side SOURCES a.cpp)")
        write("src/high/CMakeLists.txt",
              "add_executable(h a.cpp)\ntarget_link_libraries(h PRIVATE varve_options varve_mid x)")
        write("src/low/a.h", "#pragma once\n#include <vector>\n")
        write("src/mid/a.cpp", '#include "low/a.h"\n#include "mid/a.h"\n')
        write("src/high/a.cpp", '#include "low/a.h"\nusing namespace varve;\n')
        write("tests/a.cpp", '#include "high/a.h"\n// #include <experimental/simd>\n')
        assert check(root) == ([], []), check(root)
        for path, text, expected in (
                ("src/low/b.cpp", '#include "mid/a.h"\n', "no dependency"),
                ("src/mid/b.cpp", '#  include "side/a.h"\n', "no dependency"),
                ("src/low/b.h", "int x;\n", "no #pragma once"),
                ("src/low/b.h", "#pragma once\nusing namespace std;\n", "using namespace"),
                ("tests/b.cpp", "#include <experimental/simd>\n", "experimental"),
                ("src/new/b.cpp", "", "no add_subdirectory"),
                ("src/low/CMakeLists.txt", "varve_library(low SOURCES a.cpp DEPS mid)",
                 "does not stand below")):
            before = (root / path).read_text() if (root / path).exists() else None
            write(path, text)
            errors, _ = check(root)
            assert len(errors) >= 1 and expected in errors[0], (path, errors)
            if before is None:
                (root / path).unlink()
                if not any((root / path).parent.iterdir()):
                    (root / path).parent.rmdir()
            else:
                write(path, before)
        write("src/low/long.cpp", "\n" * (LONG_LINES + 1))
        errors, warnings = check(root)
        assert not errors and len(warnings) == 1, (errors, warnings)
    print("check_includes: self-test passed")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if len(sys.argv) > 1:
        print(__doc__, file=sys.stderr)
        return 2
    problems, long_files = check(ROOT)
    for line in long_files:
        print(f"warning: {line}")
    for line in problems:
        print(line)
    if not problems:
        print("check_includes: every include points down")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
