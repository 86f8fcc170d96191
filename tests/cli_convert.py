"""`varve convert`: models that give the same logits bit by bit on the other side and after the way
back, tokenizers that give the same ids, and what it refuses.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_convert.py"""

import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
GOLDENS = SOURCE / "tests" / "data" / "goldens"
TINY = SOURCE / "models" / "varve-tiny"
TEXT = "In 1984 Ned wrote:\n\n  'x += 12345;' ... 中文かなカナ, naïve -- isn't it?"
# How text is cut by the published DeepSeek-V3 and V4 (their tokenizer.json).
DEEPSEEK_PATTERNS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]


def varve(*arguments):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, timeout=600,
                          check=False)


class Convert(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def convert(self, *arguments):
        done = varve("convert", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertLessEqual(max(map(len, done.stdout.decode().splitlines()[1:])), 80)
        return done.stdout.decode() + done.stderr.decode()

    def logits(self, model):
        ids, out = self.folder / "ids", self.folder / "logits"
        ids.write_text(" ".join(str(3 + i * 37 % 300) for i in range(150)))
        done = varve("eval", "logits", model, "--ids", ids, "--numerics", "reference", "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return out.read_bytes()

    def with_deepseek_pretokenizer(self):
        """varve-tiny, but that its text is cut as DeepSeek's is."""
        model = self.folder / "deepseek-cut"
        shutil.copytree(TINY, model)
        path = model / "tokenizer.json"
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
             "invert": False} for pattern in DEEPSEEK_PATTERNS
        ] + [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}
        path.write_text(json.dumps(tokenizer), encoding="utf-8")
        return model

    def refuses(self, code, words, *arguments):
        before = sorted(self.folder.rglob("*"))
        done = varve("convert", *arguments)
        message = done.stderr.decode()
        self.assertEqual((done.returncode, message.count("\n")), (code, 1), message)
        for word in words:
            self.assertIn(word, message)
        self.assertEqual(sorted(self.folder.rglob("*")), before, "it left something behind")


class Models(Convert):
    def there_and_back(self, name):
        gguf, back = self.folder / "model.gguf", self.folder / "back"
        said = self.convert(GOLDENS / name, gguf)
        self.assertNotIn("rounded", said)
        expected = self.logits(GOLDENS / name)
        self.assertEqual(len(expected) % (150 * 4), 0)
        self.assertTrue(self.logits(gguf) == expected, "the GGUF file's logits differ")
        self.convert(gguf, back)
        self.assertTrue(self.logits(back) == expected, "logits after the way back differ")
        self.assertEqual(sorted(path.name for path in self.folder.glob("*.part")), [])
        return said, back

    def test_official_types(self):
        said, back = self.there_and_back("v4-flash-mini")
        self.assertRegex(said, r"F8_E4M3 +-> BF16 .* every value kept")
        self.assertRegex(said, r"E2M1x2 +-> MXFP4 .* every value kept")
        self.assertRegex(said, r"expert ids +-> I32 ")
        self.assertIn("left out: 1 tensor of blocks that predict further tokens", said)
        self.assertIn("has no vocabulary", said)
        # The experts are the bytes that they were.
        def experts(folder):
            found = {}
            for path in folder.glob("model*.safetensors"):
                data = path.read_bytes()
                start = 8 + struct.unpack_from("<Q", data)[0]
                for name, entry in json.loads(data[8:start]).items():
                    if ".experts." in name:
                        begin, end = entry["data_offsets"]
                        found[name] = (entry["dtype"], entry["shape"],
                                       data[start + begin:start + end])
            return found
        self.assertGreater(len(experts(back)), 100)
        self.assertTrue(experts(back) == experts(GOLDENS / "v4-flash-mini"))

    def test_bf16(self):
        self.there_and_back("v4-pro-mini")

    def test_f32(self):
        self.there_and_back("v4-micro")

    def test_a_directory_may_end_with_a_slash(self):
        gguf = self.folder / "model.gguf"
        self.convert(GOLDENS / "v4-micro", gguf)
        self.convert(gguf, f"{self.folder}/back//")
        self.assertEqual(self.logits(self.folder / "back"), self.logits(gguf))

    def test_bundled(self):
        gguf = self.folder / "tiny.gguf"
        said = self.convert(TINY, gguf)
        self.assertIn("the GGUF file has no vocabulary: ", said)
        self.assertIn("tokenizer.json: pre_tokenizer: expected one that", said)
        self.assertTrue(self.logits(gguf) == self.logits(TINY))

    def test_the_texts_of_prompts_go_along(self):
        request = self.folder / "request.json"
        request.write_text(json.dumps({
            "messages": [{"role": "system", "content": "S", "response_format": {"a": 1}},
                         {"role": "user", "content": "U"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "thinking": True, "reasoning_effort": "max", "add_generation_prompt": True}))

        def rendered(model):
            done = varve("chat", model, "--render", request)
            return done.returncode, (done.stdout or done.stderr).decode()

        model = self.folder / "model"
        shutil.copytree(TINY, model)
        module = model / "encoding" / "encoding_dsv4.py"
        hard = 'RESPONSE = 1\nresponse_format_template = "\\t{schema} \\"é\\" \\\\ \\x01" \'\\n\''
        module.write_text(module.read_text(encoding="utf-8") + hard, encoding="utf-8")
        code, text = rendered(model)
        self.assertEqual(code, 0, text)
        self.assertIn('\t{"a": 1} "é" \\ \x01\n', text)
        gguf, back = self.folder / "model.gguf", self.folder / "back"
        self.convert(model, gguf)
        self.assertEqual(rendered(gguf), (0, text))
        self.convert(gguf, back)
        self.assertEqual(rendered(back), (0, text))
        constants = {}
        exec((back / "encoding" / "encoding_dsv4.py").read_text(encoding="utf-8"), constants)
        self.assertIn("TOOLS_TEMPLATE", constants)
        self.assertEqual(constants["response_format_template"], '\t{schema} "é" \\ \x01\n')
        # A text that is not there is not made up.
        module.write_text("REASONING_EFFORT_MAX = 'x'\n", encoding="utf-8")
        gguf.unlink()
        self.convert(model, gguf)
        code, text = rendered(gguf)
        self.assertEqual(code, 3)
        self.assertIn("`varve.chat.tools_template`, it is missing", text)
        shutil.rmtree(model / "encoding")
        gguf.unlink()
        shutil.rmtree(back)
        self.convert(model, gguf)
        self.convert(gguf, back)
        self.assertFalse((back / "encoding").exists())

    def test_fp8_as_q8_0(self):
        gguf, back = self.folder / "model.gguf", self.folder / "back"
        said = self.convert(GOLDENS / "v4-flash-mini", gguf, "--fp8", "q8_0")
        self.assertRegex(said, r"F8_E4M3 +-> Q8_0 .* rounded")
        logits = self.logits(gguf)
        self.assertFalse(logits == self.logits(GOLDENS / "v4-flash-mini"))
        said = self.convert(gguf, back)
        self.assertRegex(said, r"Q8_0 +-> F32 .* every value kept")
        self.assertTrue(self.logits(back) == logits)


class Tokenizers(Convert):
    def ids(self, model):
        text = self.folder / "text"
        text.write_text(TEXT * 5, encoding="utf-8")
        done = varve("eval", "ppl", model, "-f", text, "--ctx", 64, "--json")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        out = json.loads(done.stdout)
        return out["nll"], out["chunks"], out["left_over_tokens"]

    def test_gives_the_same_ids(self):
        model = self.with_deepseek_pretokenizer()
        gguf, back = self.folder / "model.gguf", self.folder / "back"
        self.assertNotIn("vocabulary", self.convert(model, gguf))
        self.convert(gguf, back)
        expected = self.ids(model)
        self.assertEqual(self.ids(gguf), expected)
        self.assertEqual(self.ids(back), expected)
        before = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
        after = json.loads((back / "tokenizer.json").read_text(encoding="utf-8"))
        self.assertEqual([m if isinstance(m, str) else " ".join(m)
                          for m in before["model"]["merges"]], after["model"]["merges"])
        self.assertEqual(before["added_tokens"], after["added_tokens"])

    def test_a_broken_one_is_refused(self):
        model = self.with_deepseek_pretokenizer()
        (model / "tokenizer.json").write_text("{", encoding="utf-8")
        self.refuses(3, ["tokenizer.json"], model, self.folder / "out.gguf")


class Refused(Convert):
    def test_no_model(self):
        self.refuses(3, ["no model at"], self.folder / "none", self.folder / "out.gguf")

    def test_another_family(self):
        self.refuses(3, ["gqa-llama3", "deepseek_v4", "llama"], GOLDENS / "gqa-llama3",
                     self.folder / "out.gguf")

    def test_a_file_that_is_there(self):
        out = self.folder / "out.gguf"
        out.write_text("mine")
        self.refuses(2, ["out.gguf", "there already"], GOLDENS / "v4-micro", out)
        self.assertEqual(out.read_text(), "mine")

    def test_the_same_format(self):
        self.refuses(2, ["ends in .gguf"], GOLDENS / "v4-micro", self.folder / "out")
        gguf = self.folder / "a.gguf"
        self.convert(GOLDENS / "v4-micro", gguf)
        self.refuses(2, ["name of a directory"], gguf, self.folder / "b.gguf")

    def test_flags(self):
        self.refuses(2, ["--fp8 int3", "bf16 or q8_0"], GOLDENS / "v4-micro",
                     self.folder / "out.gguf", "--fp8", "int3")

    def test_a_place_that_is_not_there(self):
        self.refuses(1, ["none/out.gguf"], GOLDENS / "v4-micro", self.folder / "none" / "out.gguf")
        gguf = self.folder / "a.gguf"
        self.convert(GOLDENS / "v4-micro", gguf)
        self.refuses(1, ["none/out"], gguf, self.folder / "none" / "out")

    def config_with(self, **fields):
        model = self.folder / "changed"
        shutil.copytree(GOLDENS / "v4-micro", model)
        path = model / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, **fields}))
        return model

    def test_more_ends_than_keys(self):
        model = self.config_with(eos_token_id=[1, 2, 3, 4])
        self.refuses(3, ["eos_token_id", "at most 3 ids"], model, self.folder / "out.gguf")

    def test_broken_gguf(self):
        gguf = self.folder / "a.gguf"
        self.convert(GOLDENS / "v4-micro", gguf)
        gguf.write_bytes(gguf.read_bytes()[:5000])
        self.refuses(3, ["a.gguf"], gguf, self.folder / "out")


if __name__ == "__main__":
    unittest.main()
