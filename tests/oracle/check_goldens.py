#!/usr/bin/env python3
"""Compares the oracle with golden.safetensors of each directory: logits, and the intermediate results it holds."""

import argparse
import os
import sys
import time

import numpy as np

import storage
from deepseek_v4 import Model


def compare_trace(golden, trace):
    """Largest difference per kind of intermediate result."""
    at, worst = golden["at"], {}
    for name in golden.keys():
        kind = name.split(".")[0]
        if name not in trace:
            continue
        want, have = golden[name], trace[name]
        if kind in ("entries", "index_keys"):
            have = have[: len(want)]
        elif kind == "picks":
            have = have[at]
            want_set = np.zeros_like(have)
            for row, picks in enumerate(want):
                want_set[row, picks[picks >= 0]] = True
            worst[kind] = worst.get(kind, 0) + int((want_set & ~have).sum())
            continue
        else:
            have = have[at]
        both = np.isfinite(want) & np.isfinite(have)
        if kind == "pick_gap" and (np.isfinite(want) != np.isfinite(have)).any():
            worst[kind] = np.inf
        difference = np.abs(want[both] - have[both]).max(initial=0)
        worst[kind] = max(worst.get(kind, 0), float(difference))
    return worst


def check(directory, dtype, tolerance):
    golden = storage.File(os.path.join(directory, "golden.safetensors"))
    model = Model(directory, dtype)
    good = True
    for name in golden.keys():
        if name != "logits" and not name.endswith(".logits"):
            continue
        prompt = name.removesuffix("logits")
        start = time.time()
        result = model.run(golden[prompt + "ids"], trace=True)
        difference = np.abs(result.logits - golden[name]).max(axis=1)
        close = int((result.pick_margin < 1e-5).sum() + (result.route_gap < 1e-5).sum())
        bad = int((~(difference <= tolerance)).sum())
        good = good and bad == 0
        print(
            f"{'ok  ' if bad == 0 else 'FAIL'} {os.path.basename(os.path.normpath(directory))} {prompt}"
            f" positions {len(difference)}, logits: max {difference.max():.2e} std {golden[name].std():.2f},"
            f" {bad} positions beyond {tolerance:g}, {close} choices within 1e-5, {time.time() - start:.1f} s"
        )
        if "at" in golden:
            worst = compare_trace(golden, result.trace)
            print("     " + ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items()))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="+", metavar="DIR")
    parser.add_argument("--f64", action="store_true", help="f64 maths in the oracle")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    dtype = np.float64 if arguments.f64 else np.float32
    results = [check(directory, dtype, arguments.tolerance) for directory in arguments.directories]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
