#!/usr/bin/env python3
"""What a turn writes to the store does not grow with the history (tools/store_growth.py)."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
BIN = os.environ["VARVE_BIN"]


def grow(*flags):
    command = [sys.executable, SOURCE / "tools/store_growth.py", "--varve", BIN, "--json", *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


class Growth(unittest.TestCase):
    def test_bytes_grow_with_the_turn(self):
        with tempfile.TemporaryDirectory() as folder:
            plot = Path(folder) / "plot.svg"
            sums = grow("--turns", 12, "--words", 400, "--ctx", 16384, "--plot", plot)
            self.assertEqual(len(re.findall("<rect ", plot.read_text())), 13)
        self.assertEqual(len(sums["turns"]), 12)
        twice = grow("--turns", 4, "--words", 1200, "--ctx", 16384)
        # Three times the turn: three times the blocks, and two points as before.
        self.assertGreater(twice["turns"][-1]["value_bytes"], sums["turns"][-1]["value_bytes"])
        self.assertLess(twice["value_bytes_a_token"], sums["value_bytes_a_token"])

    def test_rows_of_flash_are_as_in_memory(self):
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "flash-cache"
            subprocess.run([BIN, "make-model", model, "--preset", "flash-cache"], check=True,
                           capture_output=True, timeout=300)
            sums = grow("--model", model, "--turns", 4, "--words", 100, "--ctx", 4096, "--resume", "zero")
        n_blocks = sums["turns"][-1]["tokens"] // 128
        self.assertGreater(n_blocks, 10)
        self.assertLessEqual(sums["held_bytes"], n_blocks * 128 * 3600)
        self.assertGreaterEqual(sums["held_bytes"], n_blocks * 128 * 3514)


if __name__ == "__main__":
    unittest.main()
