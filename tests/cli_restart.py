#!/usr/bin/env python3
"""A cache that survives a restart: `varve run --store`, one process after another."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
MODEL = SOURCE / "models" / "varve-tiny"
BLOCK = 128
TEXT = "And it came to pass in those days that there went out a decree from the king. "


def run(text, *flags, n=8):
    return subprocess.run([BIN, "run", str(MODEL), "-p", text, "-n", str(n), "--temp", "0", "--json",
                           *map(str, flags)], capture_output=True, text=True, timeout=300, check=False)


class Restart(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.store = Path(self.folder.name) / "store"

    def tearDown(self):
        self.folder.cleanup()

    def out(self, text, *flags, n=8):
        done = run(text, "--store", self.store, *flags, n=n)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def cold(self, text, n=8):
        done = run(text, n=n)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["ids"]

    def test_the_same_prompt_is_read_once(self):
        text = TEXT * 60
        first, second = self.out(text), self.out(text)
        self.assertEqual(first["reused_tokens"], 0)
        self.assertEqual(second["reused_tokens"], second["prompt_tokens"])
        self.assertEqual(first["ids"], second["ids"])
        self.assertEqual(first["ids"], self.cold(text))

    def test_what_follows_a_known_beginning_is_read_alone(self):
        text = TEXT * 60
        first = self.out(text)
        longer = text + "And the people were glad, and went every man to his own house. "
        second = self.out(longer)
        self.assertGreater(second["reused_tokens"], first["prompt_tokens"] // 2)
        self.assertEqual(second["ids"], self.cold(longer))

    def test_every_policy_ends_in_the_same_tokens(self):
        text = TEXT * 80
        changed = text[:-400] + "Behold, the end is not the same. "
        cold = self.cold(changed)
        for policy in ("full", "1000", "zero", "auto"):
            with self.subTest(policy=policy):
                self.store = Path(self.folder.name) / policy
                self.out(text, "--resume", policy)
                again = self.out(changed, "--resume", policy)
                self.assertEqual(again["ids"], cold)
                if policy == "full":
                    self.assertGreater(again["reused_tokens"], again["prompt_tokens"] - 3 * BLOCK)
                if policy in ("full", "1000", "zero"):
                    self.assertGreater(again["reused_tokens"], 0)

    def test_other_row_formats_are_another_model(self):
        text = TEXT * 30
        self.out(text)
        self.assertEqual(self.out(text, "--numerics", "reference")["reused_tokens"], 0)
        self.assertGreater(self.out(text)["reused_tokens"], 0)

    def test_a_flipped_byte_is_a_miss(self):
        text = TEXT * 60
        first = self.out(text)
        largest = max((path for path in self.store.rglob("*") if path.is_file()),
                      key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        for at in range(len(data) // 3, len(data), max(1, len(data) // 50)):
            data[at] ^= 0x10
        largest.write_bytes(data)
        second = self.out(text)
        self.assertLess(second["reused_tokens"], second["prompt_tokens"])
        self.assertEqual(second["ids"], first["ids"])
        self.assertEqual(self.out(text)["ids"], first["ids"])

    def test_bad_flags_are_one_sentence(self):
        (Path(self.folder.name) / "other").mkdir()
        (Path(self.folder.name) / "other" / "letter.txt").write_text("not a store")
        file = Path(self.folder.name) / "file"
        file.write_text("x")
        for flags in (["--resume", "often"], ["--resume", "0"], ["--store-budget", "8Q"],
                      ["--store-budget", "1K"], ["--store", Path(self.folder.name) / "other"],
                      ["--store", file]):
            if "--store" not in flags:
                flags = ["--store", self.store, *flags]
            done = run(TEXT, *flags)
            self.assertEqual(done.returncode, 2, f"{flags}: {done.stdout} {done.stderr}")
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
