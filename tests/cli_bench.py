"""`varve bench`: what it prints, counts, draws and refuses. No speed is looked at.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_bench.py"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
MODEL = Path(os.environ["VARVE_SOURCE_DIR"]) / "models" / "varve-tiny"
SVG = "{http://www.w3.org/2000/svg}"
DEPTHS, PREFILL, DECODE = (0, 300), 32, 4
SMALL = ("--depth", "0,300", "--prefill", PREFILL, "--decode", DECODE, "--reps", 1)


def bench(*arguments, model=MODEL):
    return subprocess.run([BIN, "bench", model, *map(str, arguments)], capture_output=True,
                          timeout=300, check=False)


class Costs:
    """Bytes and multiply-adds of native rows by part, summed over tokens [depth, depth + n) that
    are read at once, from config.json alone."""

    def __init__(self, depth, n):
        c = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
        head_dim, rope_dim = c["head_dim"], c["qk_rope_head_dim"]
        plain = head_dim - rope_dim
        row = -(-(plain + 2 * rope_dim + -(-plain // 64)) // 8) * 8
        key = c["index_head_dim"] // 2 + c["index_head_dim"] // 32
        attend = 2 * c["num_attention_heads"] * head_dim  # multiply-adds of a row
        seen = [t + 1 for t in range(depth, depth + n)]
        window, topk = c["sliding_window"], c["index_topk"]
        ratios = c["compress_ratios"]
        first = max(0, depth - window + 1)
        picks = [min(topk, s // 4) for s in seen]
        scored = [s // 4 for s in seen if s // 4 > topk]
        n_csa, n_hca = ratios.count(4), ratios.count(128)
        self.bytes = {
            "window rows": len(ratios) * (depth + n - first) * row,
            "CSA entries": n_csa * min(seen[-1] // 4, sum(picks)) * row,
            "index keys": n_csa * (seen[-1] // 4 if scored else 0) * key,
            "HCA entries": n_hca * (seen[-1] // 128) * row}
        self.macs = {
            "window rows": len(ratios) * sum(min(window, s) for s in seen) * attend,
            "CSA entries": n_csa * sum(picks) * attend,
            "index keys": n_csa * sum(scored) * c["index_n_heads"] * c["index_head_dim"],
            "HCA entries": n_hca * sum(s // 128 for s in seen) * attend}


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.plot = Path(cls.folder.name) / "plot.svg"
        done = bench(*SMALL, "--json", "--plot", cls.plot)
        assert done.returncode == 0, done.stderr.decode()
        cls.out = json.loads(done.stdout)

    def test_fields(self):
        kinds = {"schema": str, "model": str, "cpu": str, "threads": int, "kernels": str,
                 "products": str, "formats": dict, "weights": str, "fill": str, "roofs": dict,
                 "weight_bytes_per_token": int, "weight_macs_per_token": int, "rows": list}
        for name, kind in kinds.items():
            self.assertIsInstance(self.out.get(name), kind, name)
        self.assertEqual(self.out["schema"], "varve.bench/2")
        self.assertEqual(self.out["model"], "varve-tiny")
        self.assertEqual(set(self.out["formats"].values()), {"native"})
        self.assertEqual([(row["what"], row["depth"], row["asked_depth"], row["tokens"])
                          for row in self.out["rows"]],
                         [(what, depth, depth, n) for depth in DEPTHS
                          for what, n in (("prefill", PREFILL), ("decode", DECODE))])
        for row in self.out["rows"]:
            rates = row["tokens_per_s"]
            self.assertLessEqual(rates["min"], rates["median"])
            self.assertLessEqual(rates["median"], rates["max"])
            self.assertGreater(row["share_of_roof"], 0)
            self.assertGreaterEqual(row["chunk_tokens"], PREFILL)
            for part in row["parts"]:
                self.assertIn(part["bound_by"],
                              ("read bandwidth", "f32 FMA", "bf16 dot", "int8 dot"))

    def test_costs_are_those_of_the_config(self):
        for row in self.out["rows"]:
            n, depth = row["tokens"], row["depth"]
            chunks = ([Costs(depth, n)] if row["what"] == "prefill" else
                      [Costs(depth + i, 1) for i in range(n)])
            parts = {part["part"]: part for part in row["parts"]}
            for name in chunks[0].bytes:
                with self.subTest(what=row["what"], depth=depth, part=name):
                    got = parts.get(name, {"bytes_per_token": 0, "macs_per_token": 0})
                    self.assertAlmostEqual(got["bytes_per_token"] * n,
                                           sum(chunk.bytes[name] for chunk in chunks), places=3)
                    self.assertAlmostEqual(got["macs_per_token"] * n,
                                           sum(chunk.macs[name] for chunk in chunks), places=3)
        # 2 CSA layers, 75 entries, keys of 64 bytes and 4 scales.
        self.assertEqual(Costs(300, 1).bytes["index keys"], 2 * 75 * 68)

    # A latent row is key and value of all heads: a decoded token reads each once.
    def test_latents_are_read_once(self):
        model = Path(__file__).parent / "data" / "goldens" / "mla-deepseek-v2"
        for kv, row, whole in (("bf16", 160, 0), ("q8_0", 2 * 34 + 32, 4 + 128)):
            done = bench("--kv", f"latent={kv}", "--depth", "300", "--prefill", "0", "--decode", "1",
                         "--reps", "1", "--json", model=model)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            parts = {part["part"]: part for part in json.loads(done.stdout)["rows"][0]["parts"]}
            self.assertEqual(parts["latent rows"]["bytes_per_token"],
                             3 * ((301 - whole) * row + whole * 160))

    def test_a_decoded_token_reads_the_weights_once_and_a_chunk_shares_them(self):
        weights = {(row["what"], row["depth"]): row["parts"][0] for row in self.out["rows"]}
        for depth in DEPTHS:
            decode, prefill = weights["decode", depth], weights["prefill", depth]
            self.assertEqual(decode["part"], "weights")
            self.assertEqual(decode["bytes_per_token"], self.out["weight_bytes_per_token"])
            self.assertEqual(decode["macs_per_token"], self.out["weight_macs_per_token"])
            self.assertLess(prefill["bytes_per_token"] * PREFILL, 3 * decode["bytes_per_token"])
            self.assertLess(prefill["macs_per_token"], decode["macs_per_token"])  # one head row

    def test_the_profile_holds_every_part_once_and_all_of_their_time(self):
        for row in self.out["rows"]:
            spent_on = [part for group in row["profile"] for part in group["spent_on"]]
            self.assertEqual(sorted(spent_on), sorted(row["part_seconds"]))
            n = row["tokens"] * row["repetitions"]
            self.assertAlmostEqual(sum(group["ms_per_token"] for group in row["profile"]),
                                   sum(row["part_seconds"].values()) * 1e3 / n)
            self.assertAlmostEqual(sum(group["roof_ms_per_token"] for group in row["profile"]),
                                   sum(part["roof_ms_per_token"] for part in row["parts"]))

    def test_the_table_fits_a_terminal(self):
        for more in ((), ("--profile",)):
            done = bench(*SMALL, *more)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            lines = done.stdout.decode().splitlines()
            self.assertLessEqual(max(map(len, lines)), 80)
            self.assertEqual(sum(line.startswith(("prefill", "decode")) for line in lines), 4)
            self.assertEqual(any(line.startswith("  time: weights ") for line in lines), not more)
            self.assertEqual(any("attention linears" in line for line in lines), bool(more))

    def test_the_plot_is_well_formed(self):
        root = ElementTree.parse(self.plot).getroot()
        self.assertEqual(root.tag, SVG + "svg")
        self.assertEqual([len(line.get("points").split()) for line in root.iter(SVG + "polyline")],
                         [len(DEPTHS)] * 2)
        texts = [text.text for text in root.iter(SVG + "text")]
        for text in ("0", "300", "tokens/s", "prefill of 32 tokens", "decode of 4 tokens"):
            self.assertIn(text, texts)
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
            for element in root.iter():
                self.assertGreaterEqual(float(element.get(name, 0)), 0)
                self.assertLessEqual(float(element.get(name, 0)), float(root.get("width")))

    def test_the_title_is_escaped(self):
        link = Path(self.folder.name) / 'a<b>&"c'
        link.symlink_to(MODEL.resolve())
        plot = Path(self.folder.name) / "odd.svg"
        done = bench("--depth", 7, "--prefill", 0, "--decode", 2, "--reps", 1, "--plot", plot,
                     model=link)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        title = ElementTree.parse(plot).getroot().find(SVG + "title").text
        self.assertTrue(title.startswith(link.name), title)

    def test_the_last_depth_that_fits_stands_for_one_that_does_not(self):
        done = bench("--depth", 1048576, "--prefill", 0, "--decode", 2, "--reps", 1, "--json")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        row = json.loads(done.stdout)["rows"][0]
        self.assertEqual((row["asked_depth"], row["depth"]), (1048576, 1048574))

    def test_depths_may_be_reached_by_prefill(self):
        done = bench("--depth", 200, "--prefill", 8, "--decode", 2, "--reps", 2, "--fill",
                     "prefill", "--json")
        out = json.loads(done.stdout)
        self.assertEqual(out["fill"], "prefill")
        self.assertEqual([row["depth"] for row in out["rows"]], [200, 200])

    def test_bad_flags_are_one_sentence(self):
        nowhere = Path(self.folder.name) / "no" / "plot.svg"
        for flag, *arguments in (("--fill", "random"), ("--reps", 0), ("--depth", -1),
                                 ("--depth", 1048577), ("--prefill", -1), ("--decode", -1),
                                 ("--prefill", 0, "--decode", 0), ("--prefill", 1 << 21),
                                 ("--plot", nowhere), ("--depth", "many"), ("--threads", 2000)):
            with self.subTest(flag=flag, arguments=arguments):
                done = bench(flag, *arguments)
                message = done.stderr.decode()
                self.assertEqual(done.returncode, 2, message)
                self.assertEqual(done.stdout, b"")
                self.assertEqual(message.count("\n"), 1, message)
                self.assertIn(flag, message)

    def test_help_has_an_example(self):
        self.assertIn(b"Example", bench("--help").stdout)


if __name__ == "__main__":
    sys.exit(unittest.main())
