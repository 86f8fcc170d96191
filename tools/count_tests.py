#!/usr/bin/env python3
"""Counts the test cases in logs of GoogleTest, CTest and unittest: "N passed, M failed, K skipped".

    tools/count_tests.py LOG...

Fails when a case failed, when a log has none, or when a program ended before its summary."""

import re
import sys

CASE = re.compile(r"^\[ +(RUN|OK|FAILED|SKIPPED) +\] [\w/]+\.[\w/]+(?: \(\d+ ms\))?$", re.MULTILINE)
BAD = re.compile(r"^(?:FAIL|ERROR): (\w+ \([\w.]+\))", re.MULTILINE)  # once for each failed subtest
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(OK|FAILED)(?: \((.*)\))?", re.MULTILINE)


def count(text):
    """(passed, failed, skipped) of one log. A case that started and did not end has failed."""
    found = {"RUN": 0, "OK": 0, "FAILED": 0, "SKIPPED": 0}
    for match in CASE.finditer(text):
        # The summary names failed and skipped cases a second time, without their time.
        if match[1] == "RUN" or match[0].endswith(")"):
            found[match[1]] += 1
    passed, skipped = found["OK"], found["SKIPPED"]
    failed = found["RUN"] - passed - skipped
    for match in UNITTEST.finditer(text):
        kinds = dict(part.split("=") for part in (match[3] or "").split(", ") if "=" in part)
        bad = len(set(BAD.findall(text))) if match[2] == "FAILED" else 0
        left_out = int(kinds.get("skipped", 0))
        passed += int(match[1]) - bad - left_out
        failed += bad
        skipped += left_out
    return passed, failed, skipped


def main():
    total = [0, 0, 0]
    empty = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8", errors="replace") as file:
            counts = count(file.read())
        if sum(counts) == 0:
            empty.append(path)
        total = [a + b for a, b in zip(total, counts)]
    for path in empty:
        print(f"{path}: no tests ran")
    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or empty or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
