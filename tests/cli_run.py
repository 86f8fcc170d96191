"""The program on good input: what `varve run`, `eval`, `inspect` and `make-model` print and promise.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_run.py"""

import array
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
MODEL = SOURCE / "models" / "varve-tiny"
GOLDEN = SOURCE / "tests" / "data" / "goldens" / "varve-tiny" / "golden.safetensors"
MIB = 1 << 20


def varve(*arguments, stdin="", env=None):
    return subprocess.run([BIN, *map(str, arguments)], input=stdin.encode(), capture_output=True,
                          env={**os.environ, **(env or {})}, timeout=300, check=False)


def read_golden():
    """({prompt: text}, {name: array}) of the golden file."""
    data = GOLDEN.read_bytes()
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + n])
    prompts = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + n + offset for offset in entry["data_offsets"])
        tensors[name] = array.array({"F32": "f", "I32": "i"}[entry["dtype"]], data[begin:end])
    return prompts, tensors


def byte_alphabet():
    """Characters of byte-level pieces -> bytes (the printable ones stand for themselves)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


def decode(ids):
    """Text of ids by the bundled tokenizer.json, special tokens left out."""
    tokenizer = json.loads((MODEL / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = {id: piece for piece, id in tokenizer["model"]["vocab"].items()}
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    alphabet = byte_alphabet()
    raw = bytes(alphabet[c] for id in ids if id not in special for c in pieces[id])
    return raw.decode("utf-8", errors="replace")


class Run(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.prompts, cls.golden = read_golden()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def ok(self, *arguments, **more):
        done = varve(*arguments, **more)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done

    def run_json(self, *arguments, **more):
        done = self.ok("run", *arguments, "--json", **more)
        self.assertEqual(done.stdout.count(b"\n"), 1)
        return json.loads(done.stdout)

    def greedy(self, prompt, *arguments, **more):
        return self.run_json("-p", self.prompts[prompt], "--temp", 0, "-n", 32, "--ignore-eos",
                             *arguments, **more)

    def test_greedy_text_is_the_golden_continuation(self):
        for prompt in self.prompts:
            for kernels in ("ref", None):
                with self.subTest(prompt=prompt, kernels=kernels):
                    env = {"VARVE_KERNELS": kernels} if kernels else {}
                    out = self.greedy(prompt, "--numerics", "reference", env=env)
                    want = list(self.golden[prompt + ".greedy"])
                    self.assertEqual(out["ids"], want)
                    self.assertEqual(out["text"], decode(want))
                    self.assertEqual(out["prompt_tokens"], len(self.golden[prompt + ".ids"]))

    def test_plain_output_is_the_text_and_closing_lines_are_on_stderr(self):
        out = self.greedy("jargon")
        done = self.ok("run", "-p", self.prompts["jargon"], "--temp", 0, "-n", 32, "--ignore-eos")
        self.assertEqual(done.stdout.decode(), out["text"] + "\n")
        self.assertIn("7 prompt tokens", done.stderr.decode())
        self.assertIn("B/token", done.stderr.decode())
        self.assertNotIn("\x1b", done.stderr.decode())  # no progress bar off a terminal

    def test_bundled_model_is_used_and_said(self):
        done = self.ok("run", "-p", "And", "--temp", 0, "-n", 1)
        self.assertIn("no model given: using the bundled varve-tiny", done.stderr.decode())
        named = self.ok("run", MODEL, "-p", "And", "--temp", 0, "-n", 1)
        self.assertNotIn("bundled", named.stderr.decode())
        self.assertEqual(done.stdout, named.stdout)

    def test_stdin_file_and_flag_are_the_same_prompt(self):
        text = self.prompts["recall"]
        file = Path(self.folder.name) / "prompt.txt"
        file.write_text(text, encoding="utf-8")
        flags = ("--temp", 0, "-n", 8)
        want = self.run_json("-p", text, *flags)
        for arguments, stdin in ((("--file", file), ""), ((), text), (("--file", "-"), text)):
            out = self.run_json(*arguments, *flags, stdin=stdin)
            self.assertEqual((out["ids"], out["prompt_tokens"]),
                             (want["ids"], want["prompt_tokens"]))

    def test_threads_and_chunks_change_nothing(self):
        want = self.greedy("recall")
        for threads in (1, 2):
            for chunk in (1, 64):
                with self.subTest(threads=threads, chunk=chunk):
                    out = self.greedy("recall", "--threads", threads, "--chunk", chunk)
                    self.assertEqual(out["ids"], want["ids"])
                    self.assertEqual(out["text"], want["text"])
                    self.assertEqual(out["threads"], threads)

    def test_copied_weights_change_nothing(self):
        want = self.greedy("recall", "--weights", "mapped")
        self.assertEqual(want["weights"], "mapped")
        for flags in (("--weights", "copied"), ()):  # the bundled model is small: auto copies it
            out = self.greedy("recall", *flags)
            self.assertEqual((out["ids"], out["weights"]), (want["ids"], "copied"))

    def test_a_budget_is_kept_and_changes_no_token(self):
        flags = ("recall", "--ctx", 65536, "--threads", 2)
        want = self.greedy(*flags)
        budget = want["arena_bytes"] - 1
        for text in (budget, "12M", "12MiB", f"{12 << 10}K", f"{12 << 10}KiB"):
            out = self.greedy(*flags, "--kv-memory", text)
            self.assertLessEqual(out["arena_bytes"], budget if text == budget else 12 * MIB)
            self.assertLess(out["chunk_tokens"], want["chunk_tokens"])
            self.assertEqual(out["ids"], want["ids"])
        for text in ("auto", want["arena_bytes"], "1G", "1GiB"):
            out = self.greedy(*flags, "--kv-memory", text)
            self.assertEqual(out["arena_bytes"], want["arena_bytes"])

    def test_json_schema(self):
        out = self.greedy("scripture")
        kinds = {"schema": str, "text": str, "ids": list, "stop_reason": str, "prompt_tokens": int,
                 "prompt_seconds": float, "generated_tokens": int, "decode_seconds": float,
                 "ctx_tokens": int, "chunk_tokens": int, "threads": int, "kernels": str,
                 "cache_bytes_per_token": float, "cache_bytes": int, "arena_bytes": int,
                 "weight_bytes": int, "vector_bytes": int, "process_bytes": int,
                 "planned_bytes": int, "peak_rss_bytes": int, "part_seconds": dict}
        for name, kind in kinds.items():
            self.assertIsInstance(out.get(name), kind, name)
        self.assertEqual(out["schema"], "varve.run/1")
        self.assertEqual(out["stop_reason"], "length")
        self.assertEqual(out["generated_tokens"], len(out["ids"]))
        self.assertEqual(out["weight_bytes"], (MODEL / "model.safetensors").stat().st_size)

    def test_text_that_fits_a_schema(self):
        schema = {"type": "object", "required": ["name", "age"], "additionalProperties": False,
                  "properties": {"name": {"type": "string", "maxLength": 12},
                                 "age": {"type": "integer", "minimum": 1, "maximum": 99}}}
        file = Path(self.folder.name) / "schema.json"
        file.write_text(json.dumps(schema))
        flags = ("run", MODEL, "-p", "The king", "-n", 200, "--seed", 3, "--json", "--json-schema")
        texts = [json.loads(self.ok(*flags, given).stdout) for given in (file, json.dumps(schema))]
        self.assertEqual(texts[0]["text"], texts[1]["text"])
        self.assertEqual(texts[0]["stop_reason"], "end_token")
        person = json.loads(texts[0]["text"])
        self.assertEqual(list(person), ["name", "age"])
        self.assertIn(person["age"], range(1, 100))
        for given, part in (('{"not": {}}', "--json-schema: schema at `#/not`"),
                            (file.parent / "nowhere.json", "nowhere.json")):
            done = varve(*flags, given)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(part, done.stderr.decode())
        self.assertEqual(varve(*flags, file, "--ignore-eos").returncode, 2)

    def test_rows_are_native_unless_reference_is_asked_for(self):
        # Native rows: 64 e4m3 + 64 bf16 + 1 scale in 200 bytes, index keys of 68; 2 CSA layers with
        # both per 4 tokens, 1 HCA layer with one row per 128.
        native = 2 * (200 + 68) / 4 + 200 / 128
        # f32 rows: 2 CSA layers of (128 + 128) values per 4 tokens, 1 HCA layer of 128 per 128.
        reference = 2 * 256 * 4 / 4 + 128 * 4 / 128
        for arguments, rate in (((), native), (("--numerics", "native"), native),
                                (("--numerics", "reference"), reference)):
            out = self.greedy("scripture", *arguments)
            self.assertEqual(out["cache_bytes_per_token"], rate)
        done = self.ok("run", "-p", "And", "--temp", 0, "-n", 1, "--stats")
        self.assertIn(f"({native:.2f} B/token, native rows)", done.stderr.decode())
        self.assertIn("products bf16", done.stderr.decode())

    def test_a_chunk_is_chosen_unless_one_is_given(self):
        for arguments, chunk in (((), 512), (("--chunk", 7), 7), (("--chunk", 9999), 1000)):
            out = self.run_json("-p", "And", "--temp", 0, "-n", 1, "--ctx", 1000, *arguments)
            self.assertEqual(out["chunk_tokens"], chunk)
        done = self.ok("run", "-p", "And", "--temp", 0, "-n", 1, "--ctx", 1000, "--stats")
        self.assertIn("chunk 512", done.stderr.decode())

    def test_row_formats_are_chosen_by_pool(self):
        rows = {"f32": 512, "bf16": 256, "f16": 256, "native": 200}
        keys = {"f32": 512, "bf16": 256, "f16": 256, "native": 68}
        for csa, index in (("native", "f32"), ("bf16", "f16"), ("f32", "native")):
            out = self.run_json("-p", "And it came to pass", "--temp", 0, "-n", 4, "--kv",
                                f"all=f32,csa={csa},index={index}")
            self.assertEqual(out["cache_bytes_per_token"],
                             2 * (rows[csa] + keys[index]) / 4 + 512 / 128)

    def test_the_demo_prompt_is_answered_from_far_outside_the_window(self):
        demo = SOURCE / "tools" / "recall-prompt.txt"
        text = demo.read_text(encoding="utf-8")
        name = text.rstrip().rsplit("The code of ", 1)[1].removesuffix(" is")
        code = text.split(f"The code of {name} is ")[1][:2]
        for numerics in ("native", "reference"):
            out = self.run_json("--file", demo, "--temp", 0, "-n", 2, "--numerics", numerics)
            self.assertEqual(out["text"].strip()[:2], code)

    def test_seeds_repeat_and_differ(self):
        texts = [self.run_json("-p", "And", "-n", 24, "--seed", seed)["ids"] for seed in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_stop_id_ends_the_text(self):
        out = self.greedy("jargon")
        third = out["ids"][2]
        stopped = self.greedy("jargon", "--stop-id", third)
        self.assertEqual(stopped["stop_reason"], "end_token")
        self.assertEqual(stopped["ids"], out["ids"][:out["ids"].index(third)])

    def test_peak_memory_is_what_was_planned(self):
        long_prompt = "The code of the amber falcon is 47.\n" * 400
        for arguments in (("-p", "And", "-n", 4), ("--ctx", 65536, "-p", long_prompt, "-n", 4)):
            out = self.run_json(*arguments, "--temp", 0)
            parts = ("weight_bytes", "vector_bytes", "arena_bytes", "process_bytes")
            self.assertEqual(out["planned_bytes"], sum(out[part] for part in parts))
            self.assertLessEqual(out["peak_rss_bytes"], out["planned_bytes"] + MIB)

    def test_a_full_context_takes_what_was_planned(self):
        prompt = "The code of the amber falcon is 47.\n" * 1000
        for numerics in ("native", "reference"):
            flags = ("--temp", 0, "-n", 4, "--threads", 2, "--numerics", numerics)
            out = self.run_json(*flags, stdin=prompt)
            self.assertGreater(out["prompt_tokens"], 10000)
            self.assertLessEqual(abs(out["peak_rss_bytes"] - out["planned_bytes"]), 2 * MIB)
        done = self.ok("run", "-p", "And", "-n", 1, "--stats")
        self.assertRegex(done.stderr.decode(), r"process, tokenizer +[\d.]+ MiB\n"
                                               r"  planned +[\d.]+ MiB\n  peak resident set +"
                                               r"[\d.]+ MiB\n")


class OtherVerbs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def ok(self, *arguments, **more):
        done = varve(*arguments, **more)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done

    def test_eval_logits_are_the_golden_ones_in_every_chunking(self):
        _, golden = read_golden()
        ids, want = golden["recall.ids"], golden["recall.logits"]
        ids_file, out_file = self.folder / "ids.txt", self.folder / "logits.f32"
        ids_file.write_text(" ".join(map(str, ids)), encoding="utf-8")
        largest = max(map(abs, want))
        for kernels in ("ref", ""):
            runs = set()
            for chunk in (1, 7, 256):
                self.ok("eval", "logits", MODEL, "--ids", ids_file, "--out", out_file, "--chunk",
                        chunk, env={"VARVE_KERNELS": kernels})
                runs.add(out_file.read_bytes())
            self.assertEqual(len(runs), 1)
            got = array.array("f", runs.pop())
            self.assertEqual(len(got), len(want))
            self.assertLessEqual(max(abs(a - b) for a, b in zip(got, want)), 1e-4 * largest)

    def test_make_model_is_deterministic_and_runs(self):
        for name, seed in (("a", 7), ("b", 7), ("c", 8)):
            self.ok("make-model", self.folder / name, "--preset", "micro", "--seed", seed)
        weights = [(self.folder / name / "model.safetensors").read_bytes() for name in "abc"]
        self.assertEqual(weights[0], weights[1])
        self.assertNotEqual(weights[0], weights[2])
        out = json.loads(self.ok("run", self.folder / "a", "-p", "noise", "-n", 4, "--temp", 0,
                                 "--ignore-eos", "--json").stdout)
        self.assertEqual(out["generated_tokens"], 4)

    def test_inspect(self):
        text = self.ok("inspect", MODEL).stdout.decode()
        for word in ("SWA", "CSA", "HCA"):
            self.assertIn(word, text)
        self.assertIsInstance(json.loads(self.ok("inspect", MODEL, "--json").stdout), dict)

    def test_help_and_version(self):
        for verb in ("run", "eval", "inspect", "bench", "make-model"):
            self.assertIn(b"Usage", self.ok(verb, "--help").stdout)
        self.assertRegex(self.ok("--version").stdout.decode(), r"^varve \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    sys.exit(unittest.main())
