"""`varve eval`: its figures against each other and against ones worked out here, and what it
refuses. No speed is looked at.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_eval.py"""

import array
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
MODEL = SOURCE / "models" / "varve-tiny"
GQA = SOURCE / "tests" / "data" / "goldens" / "gqa-llama3"
SVG = "{http://www.w3.org/2000/svg}"
QUANTILES = ["50", "90", "95", "99", "99.9", "100"]


def varve(verb, *arguments, model=MODEL):
    return subprocess.run([BIN, "eval", verb, model, *map(str, arguments)], capture_output=True,
                          timeout=600, check=False)


def result(verb, *arguments, model=MODEL):
    done = varve(verb, *arguments, "--json", model=model)
    if done.returncode != 0:
        raise AssertionError(done.stderr.decode())
    return json.loads(done.stdout)


def log_softmax(row):
    most = max(row)
    log_sum = most + math.log(math.fsum(math.exp(x - most) for x in row))
    return [x - log_sum for x in row]


class Eval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.text = cls.folder / "text"
        cls.text.write_text((SOURCE / "CONTRIBUTING.md").read_text(encoding="utf-8")[:1500])
        cls.bos = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))["bos_token_id"]

    def ids_file(self, ids, name="ids.txt"):
        path = self.folder / name
        path.write_text(" ".join(map(str, ids)), encoding="utf-8")
        return path

    def logits(self, ids, *arguments):
        """Rows of `eval logits`."""
        out = self.folder / "logits.f32"
        done = varve("logits", "--ids", self.ids_file(ids), "--out", out, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        values = array.array("f", out.read_bytes())
        vocab = len(values) // len(ids)
        return [values[i * vocab:(i + 1) * vocab] for i in range(len(ids))]

    def lines_fit(self, done):
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        lines = done.stdout.decode().splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        return lines


class Ppl(Eval):
    def test_is_that_of_the_logits(self):
        ids, n = [20 + i * 31 % 900 for i in range(50)], 16  # 3 chunks of BOS and 15, 5 left over
        out = result("ppl", "--ids", self.ids_file(ids), "--ctx", n)
        self.assertEqual(out["schema"], "varve.eval.ppl/1")
        self.assertEqual((out["chunks"], out["left_over_tokens"], out["scored_tokens"]), (3, 5, 24))
        nlls = []
        for begin in range(0, 45, n - 1):
            chunk = [self.bos] + ids[begin:begin + n - 1]
            rows = self.logits(chunk, "--numerics", "native")
            nlls += [-log_softmax(rows[i - 1])[chunk[i]] for i in range(n // 2, n)]
        mean = sum(nlls) / len(nlls)
        error = math.sqrt(sum((x - mean) ** 2 for x in nlls) / (len(nlls) - 1) / len(nlls))
        self.assertAlmostEqual(out["nll"]["mean"], mean, places=9)
        self.assertAlmostEqual(out["nll"]["error"], error, places=9)
        self.assertAlmostEqual(out["perplexity"]["mean"], math.exp(mean), places=5)
        self.assertAlmostEqual(out["perplexity"]["error"], math.exp(mean) * error, places=5)

    def test_text_and_ids_agree(self):
        text = self.folder / "scripture"
        text.write_text("And God said, Let there be light: and there was light. " * 9)
        out = result("ppl", "-f", text, "--ctx", 64)
        self.assertGreater(out["chunks"], 0)
        self.assertLess(out["perplexity"]["mean"], 200)
        self.lines_fit(varve("ppl", "-f", text, "--ctx", 64))

    def test_runs_where_there_is_no_tokenizer(self):
        out = result("ppl", "--ids", self.ids_file(range(3, 90)), "--ctx", 32, model=GQA)
        self.assertEqual(out["family"], "llama")


class Kld(Eval):
    def test_of_a_cache_with_itself_is_zero(self):
        for formats in ("f32", "bf16"):
            out = result("kld", "-f", self.text, "--kv", f"all={formats}", "--base-kv", formats,
                         "--ctx", 300)
            self.assertEqual(out["schema"], "varve.eval.kld/1")
            self.assertEqual(out["formats"], out["base_formats"])
            self.assertEqual(list(out["kld_quantiles"].values()), [0] * 6)
            self.assertEqual(out["kld"], {"mean": 0, "error": 0})
            self.assertEqual(out["same_top"], {"mean": 1, "error": 0})
            self.assertEqual(out["top5_overlap"]["mean"], 1)
            self.assertEqual(out["delta_p_rms"], 0)

    def test_grows_as_rows_get_coarser(self):
        outs = [result("kld", "-f", self.text, "--kv", f"all={formats}")
                for formats in ("bf16", "native")]
        means = [out["kld"]["mean"] for out in outs]
        self.assertGreater(means[0], 0)
        self.assertEqual(means, sorted(means))
        for out in outs:
            self.assertEqual(list(out["kld_quantiles"]), QUANTILES)
            values = list(out["kld_quantiles"].values())
            self.assertEqual(values, sorted(values))
            self.assertEqual((out["chunks"], out["left_over_tokens"]), (1, 0))
            self.assertEqual(out["positions"], out["ctx_tokens"] - 1)
            self.assertLess(out["same_top"]["mean"], 1)
            self.assertGreaterEqual(out["delta_p_rms"], abs(out["delta_p"]["mean"]))

    def test_is_that_of_the_logits(self):
        ids = [20 + i * 31 % 900 for i in range(40)]
        out = result("kld", "--ids", self.ids_file(ids), "--kv", "all=bf16", "--products", "f32")
        chunk = [self.bos] + ids
        base = self.logits(chunk, "--products", "f32", "--kv", "all=f32")
        test = self.logits(chunk, "--products", "f32", "--kv", "all=bf16")
        klds, same, overlap, delta = [], 0, 0, []
        for i in range(len(chunk) - 1):
            p, q = log_softmax(base[i]), log_softmax(test[i])
            klds.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q)))
            tops = [sorted(range(len(row)), key=lambda id: -row[id])[:5]
                    for row in (base[i], test[i])]
            same += tops[0][0] == tops[1][0]
            overlap += len(set(tops[0]) & set(tops[1]))
            delta.append(math.exp(q[chunk[i + 1]]) - math.exp(p[chunk[i + 1]]))
        n = len(klds)
        self.assertEqual(out["positions"], n)
        self.assertAlmostEqual(out["kld"]["mean"], sum(klds) / n, places=10)
        self.assertAlmostEqual(out["kld_quantiles"]["100"], max(klds), places=10)
        self.assertAlmostEqual(out["same_top"]["mean"], same / n)
        self.assertAlmostEqual(out["top5_overlap"]["mean"], overlap / (5 * n))
        self.assertAlmostEqual(out["delta_p"]["mean"], sum(delta) / n, places=10)
        self.assertAlmostEqual(out["delta_p_rms"],
                               math.sqrt(sum(x * x for x in delta) / n), places=10)

    def test_the_table_fits_a_terminal(self):
        lines = self.lines_fit(varve("kld", "-f", self.text, "--ctx", 200))
        self.assertEqual(sum(line.startswith("attention by ") for line in lines), 2)
        self.assertTrue(any("kernels" in line for line in lines))


class Needle(Eval):
    ARGUMENTS = ("--lengths", "300,512", "--depths", "0,50,100", "--documents", 2)

    def test_the_object(self):
        out = result("needle", *self.ARGUMENTS)
        self.assertEqual(out["schema"], "varve.eval.needle/1")
        self.assertEqual([(cell["length"], cell["depth_percent"], cell["answers"])
                          for cell in out["cells"]],
                         [(n, d, 2) for n in (300, 512) for d in (0, 50, 100)])
        self.assertEqual(len(out["answers"]), 12)
        for answer in out["answers"]:
            self.assertEqual(len(answer["tokens"]), len(answer["code"]))  # digits one by one
            self.assertEqual(answer["right"], all(t["rank"] == 0 for t in answer["tokens"]))
            self.assertAlmostEqual(answer["probability"],
                                   math.prod(t["probability"] for t in answer["tokens"]))
            self.assertLessEqual(answer["document_tokens"], answer["length"])
        for cell in out["cells"]:
            right = [answer["right"] for answer in out["answers"]
                     if all(answer[key] == cell[key] for key in ("length", "depth_percent"))]
            self.assertEqual(cell["right"]["mean"], sum(right) / 2)
        self.assertEqual(out["right"]["mean"], sum(a["right"] for a in out["answers"]) / 12)
        self.assertGreater(out["right"]["mean"], 0)  # the bundled model looks codes up
        self.assertEqual(out, result("needle", *self.ARGUMENTS))

    def test_the_map_and_the_picture(self):
        svg = self.folder / "map.svg"
        lines = self.lines_fit(varve("needle", *self.ARGUMENTS, "--svg", svg))
        self.assertEqual(lines[0].split(), ["depth", "300", "512"])
        self.assertEqual([line.split()[:2] for line in lines[1:4]],
                         [["0", "%"], ["50", "%"], ["100", "%"]])
        root = ElementTree.parse(svg).getroot()
        self.assertEqual(len(list(root.iter(SVG + "rect"))), 1 + 6)
        texts = [text.text for text in root.iter(SVG + "text")]
        for text in ("300", "512", "50 %", "depth"):
            self.assertIn(text, texts)

    def test_the_widest_map_fits(self):
        lengths = ",".join(str(100 + i) for i in range(17))
        self.lines_fit(varve("needle", "--lengths", lengths, "--depths", 100, "--documents", 1))

    def test_filler_of_ones_own(self):
        haystack = self.folder / "hay.txt"
        haystack.write_text("All work and no play makes Jack a dull boy. It does.\n")
        out = result("needle", "--lengths", 256, "--depths", 40, "--haystack", haystack)
        self.assertGreater(out["answers"][0]["document_tokens"], 230)


class Ladder(Eval):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.svg, cls.markdown = cls.folder / "ladder.svg", cls.folder / "ladder.md"
        cls.out = result("ladder", "-f", cls.text, "--depth", 256, "--lengths", 256, "--depths", "0,100",
                         "--svg", cls.svg, "--markdown", cls.markdown)

    def test_rungs_are_sorted_and_the_front_is_theirs(self):
        self.assertEqual(self.out["schema"], "varve.eval.ladder/1")
        rungs = self.out["rungs"]
        points = [(rung["bytes_per_token"], rung["kld"]["mean"]) for rung in rungs]
        self.assertEqual(points, sorted(points))
        for rung, (size, loss) in zip(rungs, points):
            beaten = any(s <= size and k <= loss and (s, k) != (size, loss) for s, k in points)
            self.assertEqual(rung["on_front"], not beaten, rung["kv"])
            self.assertGreater(rung["decode_tokens_per_s"], 0)
            self.assertIn("needle_right", rung)
        names = [rung["kv"] for rung in rungs]
        self.assertEqual(len(set(names)), len(names))
        for name in ("all=bf16", "all=native", "all=bf16,csa=native"):
            self.assertIn(name, names)

    def test_pairs_of_keys_and_values(self):
        out = result("ladder", "--ids", self.ids_file(range(3, 127)), "--needle", "off", "--depth", 64,
                     "--formats", "bf16,q8_0,q4_0", "--kv-sink", 0, "--kv-recent", 0, model=GQA)
        rungs = {rung["kv"]: rung for rung in out["rungs"]}
        self.assertEqual(sorted(rungs), ["all=bf16", "all=q4_0", "all=q8_0", "k=bf16,v=q8_0",
                                         "k=q8_0,v=q4_0"])
        c = json.loads((GQA / "config.json").read_text(encoding="utf-8"))
        dim = c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
        values = c["num_hidden_layers"] * c["num_key_value_heads"] * dim  # of keys, as of values
        self.assertEqual(rungs["k=q8_0,v=q4_0"]["bytes_per_token"], values * (34 + 18) / 32)
        self.assertEqual(rungs["all=bf16"]["bytes_per_token"], values * 4)
        self.assertLess(rungs["all=q8_0"]["kld"]["mean"], rungs["all=q4_0"]["kld"]["mean"])

    def test_a_rung_is_what_kld_says_of_its_flags(self):
        for rung in self.out["rungs"][:2]:
            alone = result("kld", "-f", self.text, "--kv", rung["kv"])
            for key in ("positions", "kld", "kld_quantiles", "same_top", "delta_p"):
                self.assertEqual(rung[key], alone[key])

    def test_markdown_and_picture_hold_every_rung(self):
        markdown = self.markdown.read_text(encoding="utf-8")
        root = ElementTree.parse(self.svg).getroot()
        texts = [text.text for text in root.iter(SVG + "text")]
        rungs = self.out["rungs"]
        for rung in rungs:
            self.assertEqual(markdown.count(f"`{rung['kv']}`"), 1)
            self.assertEqual(f"**`{rung['kv']}`**" in markdown, rung["on_front"])
            self.assertEqual(rung["kv"] in texts, rung["on_front"])
        self.assertEqual(len(list(root.iter(SVG + "circle"))), len(rungs))
        front = next(root.iter(SVG + "polyline")).get("points").split()
        self.assertEqual(len(front), sum(rung["on_front"] for rung in rungs))

    def test_the_table_fits_and_formats_choose(self):
        lines = self.lines_fit(varve("ladder", "--ids", self.ids_file(range(3, 93)), "--formats",
                                     "bf16,f16", "--needle", "off", "--depth", 64, model=GQA))
        self.assertEqual(sorted(line[2:].split()[0] for line in lines[1:3]),
                         ["all=bf16", "all=f16"])
        self.assertTrue(lines[3].startswith("* "))


class Refusals(Eval):
    def test_one_sentence_each(self):
        empty = self.folder / "empty"
        empty.write_text("")
        short = self.ids_file([5, 6, 7], "short.txt")
        outside = self.ids_file([9] * 40 + [999999], "outside.txt")  # the last of a chunk is not read
        nowhere = self.folder / "no" / "file"
        for code, words, verb, *arguments in (
                (2, "--file", "ppl"),
                (2, "both", "kld", "-f", self.text, "--ids", short),
                (3, "empty", "ppl", "-f", empty),
                (3, "no ids", "kld", "--ids", empty),
                (3, "no/file", "ppl", "-f", nowhere),
                (3, "3 tokens", "ppl", "--ids", short),
                (3, "vocabulary", "ppl", "--ids", outside, "--ctx", 42),
                (2, "--ctx 1", "ppl", "-f", self.text, "--ctx", 1),
                (2, "--base-kv", "kld", "-f", self.text, "--base-kv", "q9"),
                (2, "pool", "kld", "-f", self.text, "--kv", "k=bf16"),
                (2, "--kv-memory", "kld", "-f", self.text, "--kv-memory", "100K"),
                (2, "--lengths", "needle", "--lengths", "1K,x"),
                (2, "--lengths 16", "needle", "--lengths", 16),
                (2, "--lengths", "needle", "--lengths", "1024M"),
                (2, "--depths", "needle", "--depths", 101),
                (2, "--depths", "needle", "--depths", "5,5"),
                (2, "--lengths: expected each length once", "needle", "--lengths", "64,64"),
                (2, "--documents", "needle", "--documents", 0),
                (3, "empty", "needle", "--haystack", empty),
                (3, "no/file", "needle", "--haystack", nowhere),
                (2, "--svg", "needle", "--svg", nowhere),
                (2, "--kv", "ladder", "-f", self.text, "--kv", "all=f16"),
                (2, "--formats", "ladder", "-f", self.text, "--formats", "q9"),
                (2, "--formats", "ladder", "-f", self.text, "--formats", "f32"),
                (2, "--needle", "ladder", "-f", self.text, "--needle", "maybe"),
                (2, "--depth", "ladder", "-f", self.text, "--depth", -1),
                (2, "--markdown", "ladder", "-f", self.text, "--markdown", nowhere)):
            with self.subTest(verb=verb, arguments=arguments):
                done = varve(verb, *arguments)
                message = done.stderr.decode()
                self.assertEqual(done.returncode, code, message)
                self.assertEqual(done.stdout, b"")
                self.assertEqual(message.count("\n"), 1, message)
                self.assertIn(words, message)


if __name__ == "__main__":
    sys.exit(unittest.main())
