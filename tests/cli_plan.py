"""`varve plan`: what it says without weights, beside what runs then take, and what it refuses.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_plan.py"""

import json
import os
import subprocess
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
MODEL = SOURCE / "models" / "varve-tiny"
GPU = ["--device", "gpu:1008G,165T,24G"]


def varve(*arguments):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=600,
                          check=False)


def plan(*arguments):
    done = varve("plan", *arguments, "--json")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


class Plan(unittest.TestCase):
    def test_a_published_model_by_its_name(self):
        out = plan("llama-3.1-8b", "--ctx", 32768, *GPU)
        self.assertEqual(out["schema"], "varve.plan/1")
        self.assertEqual(out["bytes_per_token"], 128 * 1024)
        parts = {part["part"]: part for part in out["footprint"]["parts"]}
        self.assertEqual(parts["keys"]["bytes"] + parts["values"]["bytes"], 4 << 30)
        self.assertEqual(parts["keys"]["known"], "exact")
        self.assertEqual(sum(part["bytes"] for part in parts.values()),
                         out["footprint"]["total_bytes"])
        self.assertEqual(out["memory_bytes"], 24 << 30)
        self.assertTrue(out["fits"])

    def test_the_wall(self):
        roomy = plan("qwen3-8b", "--memory", "18G", *GPU)
        self.assertFalse(roomy["fits"])
        largest = roomy["largest_ctx_tokens"]
        self.assertTrue(plan("qwen3-8b", "--memory", "18G", "--ctx", largest, *GPU)["fits"])
        self.assertFalse(plan("qwen3-8b", "--memory", "18G", "--ctx", largest + 128, *GPU)["fits"])
        self.assertEqual(plan("qwen3-8b", "--memory", "8G", *GPU)["largest_ctx_tokens"], 0)

    def test_each_way_fits_as_it_says(self):
        out = plan("llama-3.1-8b", "--memory", "20G", "--ctx", 65536, *GPU)
        fitting = [way for way in out["ways"] if way["fits"]]
        self.assertTrue(fitting)
        for way in fitting:
            again = plan("llama-3.1-8b", "--memory", "20G", "--ctx", 65536, *GPU,
                         *way["flags"].split())
            self.assertTrue(again["fits"], way)
            self.assertEqual(again["footprint"]["total_bytes"], way["total_bytes"])

    def test_a_run_takes_what_was_planned(self):
        planned = plan(MODEL, "--ctx", 4096, "--resume-points", 0)
        done = varve("run", MODEL, "--ctx", 4096, "-p", "In the beginning", "-n", 4, "--temp", 0,
                     "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["arena_bytes"], planned["footprint"]["arena_bytes"])

    def test_deeper_is_slower_and_larger(self):
        contexts = plan("deepseek-v4-flash", "--ctx", "max", "--memory", "160G", *GPU)["contexts"]
        self.assertEqual(contexts[-1]["ctx_tokens"], 1 << 20)
        for before, after in zip(contexts, contexts[1:]):
            self.assertLess(before["total_bytes"], after["total_bytes"])
            self.assertGreater(before["decode_tokens_per_s_at_most"],
                               after["decode_tokens_per_s_at_most"])

    def test_text_fits_80_columns(self):
        done = varve("plan", "deepseek-v4-flash", "--ctx", "max", "--memory", "160G", *GPU)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_bad_input_is_one_sentence(self):
        for arguments, code, words in [
                (["nope"], 2, "llama-3.1-8b"),
                (["qwen3-8b", "--memory", "8Q"], 2, "--memory 8Q"),
                (["qwen3-8b", "--memory", "0"], 2, "--memory 0"),
                (["qwen3-8b", "--ctx", "1000000"], 2, "at most 40960"),
                (["qwen3-8b", "--kv", "csa=native"], 2, "--kv csa=native"),
                (["qwen3-8b", "--sequences", "0"], 2, "--sequences 0"),
                (["qwen3-8b", "--device", "gpu:1,2"], 2, "--device gpu:1,2")]:
            done = varve("plan", *arguments)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
