"""`varve store`: what it says of a store, that it finds damage and frees the disk, and what it
refuses. The stores are written by store_writer, a program of the unit tests.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_store.py"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["VARVE_BIN"])
WRITER = BIN.resolve().parent.parent / "tests" / "store_writer"
ROWS = 6000
VALUES = 200  # chains of 50; every seventh of a chain is a resume point
FOR_EVER = 1 << 62


def writer(store, end):
    return [str(WRITER), str(store), "0", str(1 << 30), str(ROWS), str(end)]


def varve(*arguments):
    return subprocess.run([BIN, "store", *map(str, arguments)], capture_output=True, text=True,
                          timeout=300, check=False)


def disk_bytes(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


class Store(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.shared.cleanup)
        cls.whole = Path(cls.shared.name) / "store"
        subprocess.run(writer(cls.whole, VALUES), check=True, stdout=subprocess.DEVNULL,
                       timeout=300)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.store = self.folder / "store"
        shutil.copytree(self.whole, self.store)

    def says(self, *arguments, code=0):
        done = varve(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertLessEqual(max(map(len, done.stdout.splitlines()), default=0), 80, done.stdout)
        return done.stdout

    def says_json(self, *arguments, code=0):
        done = varve(*arguments, "--json")
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def refuses(self, code, words, *arguments):
        done = varve(*arguments)
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (code, "", 1),
                         done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)


class Looking(Store):
    def test_models(self):
        out = self.says_json("ls", self.store)
        self.assertEqual(out["schema"], "varve.store.ls/1")
        (model,) = out["models"]
        self.assertEqual(model["description"], "a model of tests")
        self.assertEqual((model["blocks"], model["points"]), (172, 28))
        self.assertEqual(model["tokens"], 172 * 128)
        text = self.says("ls", self.store)
        for word in (model["fingerprint"][:12], "a model of tests", "172", "28"):
            self.assertIn(word, text)

    def test_entries(self):
        name = self.says_json("ls", self.store)["models"][0]["fingerprint"]
        entries = self.says_json("ls", self.store, "--model", name[:8])["entries"]
        self.assertEqual(len(entries), VALUES)
        keys = {entry["key"] for entry in entries}
        for entry in entries:
            self.assertTrue(entry["parent"] in keys or entry["parent"] == "0" * 64)
            self.assertEqual(entry["model"], name)
            self.assertGreater(entry["bytes"], ROWS)
        self.assertEqual(self.says("ls", self.store, "--entries").count("\n"), VALUES + 1)

    def test_stat(self):
        out = self.says_json("stat", self.store)
        self.assertEqual((out["models"], out["blocks"], out["points"]), (1, 172, 28))
        self.assertGreater(out["value_bytes"], VALUES * ROWS)
        # Beside values in their files, and before those in the log, there is little.
        self.assertEqual(out["set_aside"], 0)
        self.assertIn("172", self.says("stat", self.store))

    def test_verify(self):
        out = self.says_json("verify", self.store)
        self.assertEqual((out["values"], out["problems"]), (VALUES, []))
        self.assertIn(f"{VALUES} values read", self.says("verify", self.store))


class Damaged(Store):
    def change(self, pattern, position):
        path = sorted(self.store.glob(pattern))[0]
        data = bytearray(path.read_bytes())
        at = position % len(data)
        data[at] ^= 0x10
        path.write_bytes(data)

    def test_a_flipped_byte_is_found(self):
        self.says("gc", self.store)  # all values are in blob files then
        self.change("db/*.blob", 100_000)
        out = self.says_json("verify", self.store, code=3)
        self.assertEqual(len(out["problems"]), 1)
        done = varve("verify", self.store)
        self.assertEqual(done.returncode, 3)
        self.assertIn(out["problems"][0]["key"], done.stdout)
        self.assertIn("1 of 200 values are damaged", done.stderr)

    def test_a_damaged_database_is_set_aside_and_taken_over(self):
        self.says("gc", self.store)
        (self.store / "db" / "CURRENT").unlink()
        done = varve("verify", self.store)
        self.assertEqual(done.returncode, 3)
        self.assertIn("damaged-1", done.stderr)
        self.assertEqual(self.says_json("stat", self.store)["set_aside"], 1)
        out = self.says_json("gc", self.store)
        self.assertEqual(out["taken_over"], VALUES)
        self.assertEqual(self.says_json("stat", self.store)["set_aside"], 0)
        self.assertEqual(self.says_json("verify", self.store)["values"], VALUES)

    def test_killed_while_it_writes(self):
        store = self.folder / "killed"
        with subprocess.Popen(writer(store, FOR_EVER), stdout=subprocess.PIPE) as process:
            for _ in range(20):
                said = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        out = self.says_json("verify", store)
        self.assertGreaterEqual(out["values"], said)
        self.assertEqual(out["problems"], [])


class Shrinking(Store):
    def test_gc_to_a_budget(self):
        before = disk_bytes(self.store)
        out = self.says_json("gc", self.store, "--budget", "300K")
        self.assertGreater(out["removed"], VALUES / 2)
        self.assertEqual(out["disk_bytes"], disk_bytes(self.store))
        self.assertLess(disk_bytes(self.store), min(500_000, before))
        stat = self.says_json("stat", self.store)
        self.assertLessEqual(stat["value_bytes"], 300 << 10)
        self.assertGreater(stat["value_bytes"], 250 << 10)
        self.assertEqual(self.says_json("verify", self.store)["problems"], [])

    def test_a_block_goes_with_what_follows(self):
        entries = self.says_json("ls", self.store, "--entries")["entries"]
        root = next(entry for entry in entries if entry["parent"] == "0" * 64)
        self.assertEqual(self.says_json("rm", self.store, "--key", root["key"][:10])["removed"], 50)
        left = self.says_json("ls", self.store, "--entries")["entries"]
        self.assertEqual(len(left), VALUES - 50)
        self.assertEqual(self.says_json("verify", self.store)["problems"], [])

    def test_a_model(self):
        name = self.says_json("ls", self.store)["models"][0]["fingerprint"]
        self.assertIn(f"{VALUES} values removed", self.says("rm", self.store, "--model", name[:6]))
        self.assertEqual(self.says_json("stat", self.store)["blocks"], 0)
        self.assertLess(disk_bytes(self.store), 100_000)

    def test_all_of_it(self):
        self.says("rm", self.store, "--all")
        self.assertFalse(self.store.exists())

    def test_all_of_it_beside_other_files(self):
        mine = self.store / "mine.txt"
        mine.write_text("mine")
        self.says("rm", self.store, "--all")
        self.assertEqual(list(self.store.iterdir()), [mine])


class Refused(Store):
    def test_no_store(self):
        none = self.folder / "none"
        empty = self.folder / "empty"
        empty.mkdir()
        for verb in (["ls"], ["stat"], ["verify"], ["gc"], ["rm", "--all"]):
            self.refuses(3, ["no store at", "none"], verb[0], none, *verb[1:])
            self.refuses(3, ["no store at", "empty"], verb[0], empty, *verb[1:])
        self.assertFalse(none.exists())
        self.assertEqual(list(empty.iterdir()), [])

    def test_other_files(self):
        other = self.folder / "other"
        (other / "db").mkdir(parents=True)
        (other / "db" / "CURRENT").write_text("mine")
        for verb in (["ls"], ["gc"], ["rm", "--all"]):
            self.refuses(2, ["expected a store", "left alone"], verb[0], other, *verb[1:])
        self.assertEqual((other / "db" / "CURRENT").read_text(), "mine")
        self.refuses(2, ["expected a directory"], "ls", other / "db" / "CURRENT")

    def test_in_use(self):
        with subprocess.Popen(writer(self.store, FOR_EVER), stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            self.refuses(2, ["in use by another process"], "stat", self.store)
            process.kill()
            process.communicate(timeout=60)

    def test_flags(self):
        self.refuses(2, ["one of --model, --key and --all", "found 0"], "rm", self.store)
        self.refuses(2, ["found 2"], "rm", self.store, "--all", "--key", "00")
        self.refuses(2, ["--key xyz", "found 0"], "rm", self.store, "--key", "xyz")
        self.refuses(2, ["--model xyz", "found none"], "rm", self.store, "--model", "xyz")
        self.refuses(2, ["--budget much"], "gc", self.store, "--budget", "much")
        self.refuses(2, ["--help"], "look", self.store)
        self.assertEqual(self.says_json("stat", self.store)["blocks"], 172)


if __name__ == "__main__":
    unittest.main()
