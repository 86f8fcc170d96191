"""`varve plan`: what it says without weights, beside what runs then take, and what it refuses.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_plan.py"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
MODEL = SOURCE / "models" / "varve-tiny"
SHARDS = SOURCE / "tests" / "data" / "goldens" / "v4-flash-mini"
INDEX = "model.safetensors.index.json"
CACHE = tempfile.TemporaryDirectory()  # not the user's
GPU = ["--device", "gpu:1008G,165T,24G"]


def varve(*arguments, cache=CACHE.name):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=600,
                          check=False, env=os.environ | {"XDG_CACHE_HOME": cache})


def plan(*arguments, cache=CACHE.name):
    done = varve("plan", *arguments, "--json", cache=cache)
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
            self.assertGreater(before["speed"]["decode_tokens_per_s_at_most"],
                               after["speed"]["decode_tokens_per_s_at_most"])
            self.assertNotIn("decode", before["speed"])

    def test_speed_is_predicted_from_a_calibration_that_is_kept(self):
        with tempfile.TemporaryDirectory() as cache:
            first, second, anew = (
                plan(MODEL, "--ctx", 4096, "--threads", 2, *flags, cache=cache)
                for flags in ([], [], ["--remeasure"]))
            kept = json.loads((Path(cache) / "varve" / "calibrations.json").read_text())
        self.assertEqual(kept["schema"], "varve.calibrations/2")
        self.assertEqual(first["speed"], second["speed"])
        self.assertNotEqual(first["speed"], anew["speed"])
        for context in first["contexts"]:
            speed = context["speed"]
            parts = {part["part"]: part for part in speed["decode"]["parts"]}
            self.assertEqual(set(parts), {"weights", "attention", "indexer", "other"}
                             if context["ctx_tokens"] > 4096 else set(parts))
            seconds = sum(part["ms_per_token"] for part in parts.values()) / 1e3
            self.assertAlmostEqual(speed["decode"]["tokens_per_s"] * seconds, 1)
            self.assertGreater(speed["prefill"]["tokens_per_s"], 0)

    def test_no_room_to_calibrate_is_said(self):
        for flags in ([], ["--json"]):
            command = [BIN, "plan", MODEL, "--ctx", "1024", *flags]
            with tempfile.TemporaryDirectory() as cache:
                done = subprocess.run(
                    ["bash", "-c", f'ulimit -v {200 << 10}; exec "$@"', "-", *map(str, command)],
                    capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": cache})
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("not predicted: calibrating takes", " ".join(done.stdout.split()))
            if flags:
                self.assertIsNone(json.loads(done.stdout)["speed"]["decode_tokens_per_s_at_most"])
                continue
            for line in done.stdout.splitlines():
                self.assertLessEqual(len(line), 80, line)

    def test_what_does_not_fit_is_bound_by_capacity(self):
        out = plan("qwen3-8b", "--memory", "8G", *GPU)
        self.assertEqual(out["speed"]["bound_by"], "capacity")
        self.assertEqual({context["speed"]["bound_by"] for context in out["contexts"]}, {"capacity"})

    def test_text_fits_80_columns(self):
        done = varve("plan", "deepseek-v4-flash", "--ctx", "max", "--memory", "160G", *GPU)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)

    # What DeepSeek's report says of V4: 10 % and 7 % of V3.2's cache, 2 % of GQA-8's, 27 % and 10 % of
    # the FLOPs at 1M, in percent to the second digit.
    def test_compare_says_what_the_report_says(self):
        for model, gqa_8, v32, weighted, unweighted in [
                ("deepseek-v4-pro", 2.01, 10.47, 26.45, 26.19),
                ("deepseek-v4-flash", 2.00, 7.31, 9.97, 12.12)]:
            out = plan(model, "--compare")
            self.assertEqual(out["schema"], "varve.plan.compare/1")
            self.assertEqual(out["flops_count"], {"weights": 1, "index_fp8": 1, "index_fp4": 0.5,
                                                  "attention_bf16": 2})
            own = out["attention"][0]
            shares = [100 * share for share in own["shares"].values()]
            for share, expected in zip(shares, [gqa_8, v32, weighted, unweighted], strict=True):
                self.assertAlmostEqual(share, expected, delta=0.005)
            text = varve("plan", model, "--compare").stdout
            self.assertRegex(text, rf"this model +{gqa_8:.2f} +{v32:.2f} +"
                                   rf"{weighted:.2f} +{unweighted:.2f}\n")

    def test_compare_adds_up(self):
        out = plan("llama-3.1-8b", "--compare", "--kv", "all=q8_0")
        self.assertEqual([row["id"] for row in out["attention"]],
                         ["own", "mha", "gqa_8", "mla", "dsa", "csa_hca", "deepseek_v32"])
        self.assertEqual(out["row_formats"], {"k": "q8_0", "v": "q8_0"})
        count = out["flops_count"]
        for row in out["attention"]:
            self.assertEqual([at["ctx_tokens"] for at in row["depths"]],
                             [4096 * 4 ** i for i in range(5)])
            index = count["index_fp4" if row["id"] == "csa_hca" else "index_fp8"]
            for at in row["depths"]:
                flops = at["flops"]
                self.assertEqual(at["cache_bytes"], row["bytes_per_token"] * at["ctx_tokens"] +
                                 row["bytes_per_sequence"])
                self.assertEqual(flops["weights"], 2 * row["active_parameters"])
                self.assertEqual(flops["sum"],
                                 flops["weights"] + flops["index"] + flops["attention"])
                self.assertAlmostEqual(
                    flops["weighted"] /
                    (flops["weights"] + index * flops["index"] + 2 * flops["attention"]), 1)

    def test_compare_text_and_picture(self):
        with tempfile.TemporaryDirectory() as folder:
            for model in ["deepseek-v4-pro", "deepseek-v3.2", "smollm2-135m", MODEL]:
                picture = Path(folder) / "compare.svg"
                done = varve("plan", model, "--compare", "--svg", picture)
                self.assertEqual(done.returncode, 0, done.stderr)
                for line in done.stdout.splitlines():
                    self.assertLessEqual(len(line), 80, line)
                root = ElementTree.parse(picture).getroot()
                curves = [node for node in root if node.tag.endswith("polyline")]
                labels = [node.text for node in root if node.tag.endswith("text")]
                rows = plan(model, "--compare")["attention"]
                self.assertEqual(len(curves), 2 * len(rows))
                for row in rows:
                    self.assertIn(row["text"], labels)

    def test_bad_input_is_one_sentence(self):
        for arguments, code, words in [
                (["nope"], 2, "llama-3.1-8b"),
                (["qwen3-8b", "--memory", "8Q"], 2, "--memory 8Q"),
                (["qwen3-8b", "--memory", "0"], 2, "--memory 0"),
                (["qwen3-8b", "--ctx", "1000000"], 2, "at most 40960"),
                (["qwen3-8b", "--kv", "csa=native"], 2, "--kv csa=native"),
                (["qwen3-8b", "--sequences", "0"], 2, "--sequences 0"),
                (["qwen3-8b", "--device", "gpu:1,2"], 2, "--device gpu:1,2"),
                (["qwen3-8b", "--svg", "x.svg"], 2, "--compare"),
                (["qwen3-8b", "--compare", "--svg", "no/such/folder.svg"], 2, "--svg no/such")]:
            done = varve("plan", *arguments)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


def header(file):
    """A safetensors file without its data."""
    data = file.read_bytes()
    return data[:8 + int.from_bytes(data[:8], "little")]


def without_tables(value):
    """Of a plan what does not depend on where the files lie and on whether a tokenizer is there."""
    if isinstance(value, list):
        return [without_tables(one) for one in value
                if not (isinstance(one, dict) and one.get("part", "").startswith("tokenizer"))]
    if isinstance(value, dict):
        return {key: without_tables(one) for key, one in value.items() if key != "total_bytes"}
    return value


class FromHeaders(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def copy(self, source, *names):
        for name in names:
            shutil.copy(source / name, self.directory / name)

    def expect_as_whole(self, cut, whole):
        expected, found = (plan(path, "--ctx", 4096, *GPU) for path in (whole, cut))
        for key in ("footprint", "contexts", "ways", "largest_ctx_tokens", "row_formats"):
            self.assertEqual(without_tables(found[key]), without_tables(expected[key]), key)
        self.assertEqual(found["footprint"]["parts"][0]["part"], "weights")
        self.assertEqual(found["footprint"]["parts"][0]["known"], "exact")
        for verb in (("run", cut, "-p", "x"), ("inspect", cut)):
            self.expect_sentence(verb, "")

    def expect_sentence(self, arguments, words, code=3):
        done = varve(*arguments)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(words, done.stderr)

    def weights(self):
        parts = plan(self.directory, "--ctx", 512, *GPU)["footprint"]["parts"]
        return parts[0]["part"], parts[0]["bytes"], parts[0]["known"]

    def test_one_safetensors_file(self):
        self.copy(MODEL, "config.json")
        data = (MODEL / "model.safetensors").read_bytes()
        n = len(header(MODEL / "model.safetensors"))
        for end in (n, n + 1, len(data) // 2, len(data) - 1):
            (self.directory / "model.safetensors").write_bytes(data[:end])
            self.expect_as_whole(self.directory, MODEL)
        for end in (0, 7, 100, n - 1):
            (self.directory / "model.safetensors").write_bytes(data[:end])
            self.expect_sentence(("plan", self.directory), "model.safetensors: expected")

    def test_shards(self):
        self.copy(SHARDS, "config.json", INDEX)
        shards = sorted(SHARDS.glob("model-*.safetensors"))
        for shard in shards:
            (self.directory / shard.name).write_bytes(header(shard))
        self.expect_as_whole(self.directory, SHARDS)
        (self.directory / shards[1].name).unlink()
        self.expect_sentence(("plan", self.directory), f"expected it in shard \"{shards[1].name}\"")

    def test_an_index(self):
        self.copy(SHARDS, "config.json", INDEX)
        index = json.loads((SHARDS / INDEX).read_text())
        self.assertEqual(self.weights(), ("weights, as the index has them",
                                          index["metadata"]["total_size"], "assumed"))
        self.expect_sentence(("run", self.directory, "-p", "x"), "found no such file")
        for metadata in ({}, None):
            index["metadata"] = metadata
            (self.directory / INDEX).write_text(json.dumps(index))
            self.assertEqual(self.weights()[0], "weights, as the config has them")

    def test_a_gguf_file(self):
        whole, cut = self.directory / "whole.gguf", self.directory / "cut.gguf"
        done = varve("convert", MODEL, whole)
        self.assertEqual(done.returncode, 0, done.stderr)
        data = whole.read_bytes()

        def plans(end):
            cut.write_bytes(data[:end])
            return varve("plan", cut, *GPU).returncode == 0

        least, most = 0, len(data)  # does not plan, does
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (least, middle) if plans(middle) else (middle, most)
        for end in (most, len(data) // 2, len(data) - 32):
            self.assertTrue(plans(end))
            self.expect_as_whole(cut, whole)
        for end in (3, most // 2, most - 1):
            self.assertFalse(plans(end))
            self.expect_sentence(("plan", cut), "cut.gguf: expected")

    def test_bad_input_is_one_sentence(self):
        config = json.loads((SHARDS / "config.json").read_text())
        index = json.loads((SHARDS / INDEX).read_text())
        name = "layers.0.attn.wq_a.weight"
        fewer = {key: shard for key, shard in index["weight_map"].items() if key != name}
        good = {"config.json": json.dumps(config), INDEX: json.dumps(index)}
        in_one = {INDEX: '{"weight_map":{"a":"1.safetensors"}}'}
        one = lambda text: {**in_one, "1.safetensors": chr(len(text)) + "\0" * 7 + text}
        for files, words in [
                ({INDEX: "[]"}, f"{INDEX}: expected a JSON object"),
                ({INDEX: "{"}, "not JSON"),
                ({INDEX: '{"weight_map":7}'}, "`weight_map`: expected an object, found 7"),
                ({INDEX: '{"weight_map":{}}'}, "expected at least one tensor"),
                ({INDEX: '{"weight_map":{"a":7}}'}, "`weight_map.a`: expected a string"),
                ({INDEX: '{"weight_map":{"a":"../a"}}'}, "expected the name of a file"),
                ({INDEX: json.dumps({**index, "metadata": 7})}, "field `metadata`"),
                ({INDEX: json.dumps({**index, "metadata": {"total_size": "x"}})},
                 "field `metadata.total_size`: expected"),
                ({INDEX: json.dumps({**index, "weight_map": fewer})}, name),
                ({"config.json": "{"}, "config.json"),
                ({"config.json": json.dumps({**config, "hidden_size": None})}, "`hidden_size`"),
                (one("{}"), "found it in none"),
                (one("{x}"), "1.safetensors: expected a header in JSON"),
                (one("[]"), "1.safetensors: expected a header that starts with {"),
                ({**in_one, "1.safetensors": "no header"}, "1.safetensors: expected a header")]:
            for file, text in {**good, **files}.items():
                (self.directory / file).write_text(text)
            self.expect_sentence(("plan", self.directory), words)


if __name__ == "__main__":
    unittest.main()
