"""`varve tune`: what it searches, writes and refuses, and that its profile is taken. No speed is looked
at: what wins on a busy machine is chance.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_tune.py"""

import json
import os
import signal
import subprocess
import tempfile
import time
import tomllib
import unittest
from pathlib import Path

BIN = Path(os.environ["VARVE_BIN"]).resolve()
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"]).resolve()
MODEL = SOURCE / "models" / "varve-tiny"
GQA = SOURCE / "tests" / "data" / "goldens" / "gqa-qwen3"


def varve(*arguments, cwd=None):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          check=False, cwd=cwd)


class Tune(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.profile = self.folder / "found.toml"

    def tune(self, *arguments, model=MODEL, budget=3):
        done = varve("tune", model, "--budget", budget, "--out", self.profile, "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def expect_sentence(self, words, *arguments):
        done = varve(*arguments)
        self.assertEqual(done.returncode, 2, (arguments, done.stderr))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(words, done.stderr)

    def test_what_it_says_and_writes(self):
        out = self.tune("--memory", "1G", "--ctx", 2048)
        self.assertEqual(out["schema"], "varve.tune/1")
        self.assertEqual(out["memory_bytes"], 1 << 30)
        self.assertEqual(out["job"], {"prefill_tokens": 512, "decode_tokens": 128, "depth": 1536})
        self.assertIn(1, out["searched"]["threads"])
        self.assertEqual(out["searched"]["chunks"], [32, 64, 128, 256, 512])
        self.assertGreaterEqual(out["settings"], 2)
        self.assertFalse(out["interrupted"])
        for name in ("start", "best"):
            found = out[name]
            self.assertGreater(found["visits"], 0)
            self.assertLessEqual(found["measured_peak_bytes"], out["memory_bytes"])
            self.assertGreater(found["measured_peak_bytes"], 0)
            self.assertAlmostEqual(found["job_seconds"],
                                   512 / found["prefill_tokens_per_s"] +
                                   128 / found["decode_tokens_per_s"])
        self.assertEqual(out["defaults_are_best"], out["start"] == out["best"])
        if not out["defaults_are_best"]:
            self.assertGreater(out["gain"], out["noise"])
        best = out["best"]
        written = tomllib.loads(self.profile.read_text(encoding="utf-8"))
        self.assertEqual(written, {"ctx": 2048, "threads": best["threads"],
                                   "chunk": best["chunk_tokens"], "kv": out["profile"]["kv"],
                                   "memory": "1G"})

    def test_its_bound_is_that_of_bench(self):
        bound = self.tune("--memory", "1G", "--ctx", 2048)["start"]["decode_bound"]
        done = varve("bench", MODEL, "--depth", 1536, "--prefill", 0, "--decode", 8, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        row = json.loads(done.stdout)["rows"][0]
        groups = {group["name"]: group for group in row["profile"]}
        of_group = [part for part in row["parts"] if part["part"] in groups[bound["group"]]["parts"]]
        longest = max(of_group, key=lambda part: part["roof_ms_per_token"])
        self.assertEqual(bound["bound_by"], longest["bound_by"])

    def test_flags_are_kept_and_not_searched(self):
        out = self.tune("--threads", 1, "--chunk", 64, "--kv", "all=bf16,index=native", "--ctx",
                        1024, "--weights", "mapped", "--kv-sink", 3)
        self.assertEqual(out["searched"], {"threads": [1], "chunks": [64], "formats": [""]})
        self.assertEqual(out["settings"], 1)
        self.assertTrue(out["defaults_are_best"])
        self.assertEqual(out["weights"], "mapped")
        written = tomllib.loads(self.profile.read_text(encoding="utf-8"))
        self.assertEqual(written["weights"], "mapped")
        self.assertEqual(written["kv-sink"], 3)
        self.assertIn("index=native", written["kv"])

    def test_formats_by_their_divergence(self):
        def searched(*arguments):
            out = self.tune("--ctx", 512, *arguments, model=GQA, budget=1)
            return out["searched"]["formats"], {format["flags"]: format["mean_kld_of_smollm2"]
                                                for format in out["refused_formats"]}
        formats, refused = searched()
        self.assertNotIn("--kv k=q4_0,v=q4_0", formats)
        for kld in refused.values():
            self.assertGreater(kld or 1, 5e-4)
        everything, refused = searched("--quality", "any")
        self.assertFalse(refused)
        self.assertGreater(len(everything), len(formats))
        only, refused = searched("--quality", "0")
        self.assertEqual(only, [""])

    def test_every_verb_takes_the_profile_and_flags_go_first(self):
        self.profile.write_text("# a comment\nctx = 700\nthreads = 1\nchunk = 64\n"
                                'kv = "all=bf16,index=native"\nmemory = "1G"\n', encoding="utf-8")
        run = ["run", MODEL, "-p", "In the beginning", "-n", 2, "--temp", 0, "--json", "--profile",
               self.profile]
        done = varve(*run)
        self.assertEqual(done.returncode, 0, done.stderr)
        out = json.loads(done.stdout)
        self.assertEqual((out["ctx_tokens"], out["threads"], out["chunk_tokens"]), (700, 1, 64))
        out = json.loads(varve(*run, "--chunk", 32, "--ctx", 500).stdout)
        self.assertEqual((out["ctx_tokens"], out["threads"], out["chunk_tokens"]), (500, 1, 32))
        done = varve("bench", MODEL, "--depth", 0, "--prefill", 8, "--decode", 2, "--reps", 1,
                     "--json", "--profile", self.profile)
        self.assertEqual(done.returncode, 0, done.stderr)
        out = json.loads(done.stdout)
        self.assertEqual((out["threads"], out["formats"]["csa"]), (1, "bf16"))
        done = varve("plan", MODEL, "--profile", self.profile, "--json")
        self.assertEqual(json.loads(done.stdout)["ctx_tokens"], 700)

    def test_what_tune_writes_run_takes(self):
        best = self.tune("--memory", "1G", "--ctx", 1024)["best"]
        done = varve("run", MODEL, "-p", "In the beginning", "-n", 2, "--json", "--profile",
                     self.profile)
        self.assertEqual(done.returncode, 0, done.stderr)
        out = json.loads(done.stdout)
        self.assertEqual((out["threads"], out["chunk_tokens"]),
                         (best["threads"], best["chunk_tokens"]))

    def test_interrupted_it_keeps_the_best_so_far(self):
        with subprocess.Popen([BIN, "tune", str(MODEL), "--budget", "200", "--out",
                               str(self.profile), "--json", "--ctx", "8192"],
                              stdout=subprocess.PIPE, text=True) as process:
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            out = json.loads(process.communicate(timeout=100)[0])
        # A tiny model may be done by then.
        self.assertTrue(out["interrupted"] or out["finished"])
        self.assertIn("threads", self.profile.read_text(encoding="utf-8"))

    def test_text_fits_80_columns(self):
        done = varve("tune", GQA, "--budget", 1, "--ctx", 512, "--memory", "1G", "--out",
                     "found.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)
        self.assertIn("bound by", done.stdout)

    def test_bad_input_is_one_sentence(self):
        for words, arguments in [
                ("--budget 0", ["--budget", "0"]),
                ("--quality good", ["--quality", "good"]),
                ("--quality -1", ["--quality=-1"]),
                ("--sequences 0", ["--sequences", "0"]),
                ("--prefill 0", ["--prefill", "0"]),
                ("--memory 8Q", ["--memory", "8Q"]),
                ("--memory allows", ["--memory", "1M"]),
                ("--ctx 1:", ["--ctx", "1"]),
                ("no/such/folder.toml", ["--out", "no/such/folder.toml"])]:
            with self.subTest(words):
                self.expect_sentence(words, "tune", MODEL, *arguments)

    def test_bad_profiles_are_one_sentence(self):
        for words, text in [
                ('found "speed"', "threads = 1\nspeed = 3\n"),
                ('found "json"', "json = true\n"),
                ('found section "run"', "[run]\nthreads = 1\n"),
                ('threads = "two"', "threads = two\n"),
                ('kv-sink = "-1"', "kv-sink = -1\n"),
                ("threads stands there twice", "threads = 1\nchunk = 32\nthreads = 2\n"),
                ("expected one value", "kv = k=bf16,v=bf16\n"),
                ("--threads -3", "threads = -3\n"),
                ("--kv k=", 'kv = "k=q9_0"\n')]:
            self.profile.write_text(text, encoding="utf-8")
            with self.subTest(text):
                self.expect_sentence(words, "run", MODEL, "-p", "x", "--profile", self.profile)
        self.profile.write_bytes(bytes(range(256)) * 8)
        self.expect_sentence("expected keys of", "run", MODEL, "-p", "x", "--profile", self.profile)
        for missing in ("no/such.toml", MODEL):
            self.expect_sentence("expected a file of", "bench", MODEL, "--profile", missing)


if __name__ == "__main__":
    unittest.main()
