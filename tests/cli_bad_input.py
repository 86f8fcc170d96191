"""The program on bad input: one sentence on stderr, exit code 2 (usage) or 3 (bad input), nothing
on stdout, and no trace of a crash. Meant for the ASan build as much as for the release one.

    VARVE_BIN=build/asan/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_bad_input.py"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
TINY = SOURCE / "models" / "varve-tiny"
MISTRAL = SOURCE / "tests" / "data" / "goldens" / "gqa-mistral-swa"
DSA = SOURCE / "tests" / "data" / "goldens" / "dsa-deepseek-v32"
SHARDED = SOURCE / "tests" / "data" / "goldens" / "v4-flash-mini"
USAGE, BAD_INPUT = 2, 3


def edit_json(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def put(name, value):
    return lambda fields: fields.__setitem__(name, value)


def drop(name):
    return lambda fields: fields.pop(name)


def edit_header(path, change):
    """Rewrites the header of a safetensors file, its data left alone."""
    data = path.read_bytes()
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + n])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + n:])


class BadInput(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def copy(self, model, files=("config.json", "*.safetensors", "*.index.json", "tokenizer*.json")):
        to = self.folder / "model"
        to.mkdir()
        for pattern in files:
            for path in model.glob(pattern):
                if path.name != "golden.safetensors":
                    shutil.copy(path, to)
        return to

    def refused(self, code, *arguments, words=(), stdin=b"", env=None):
        """Runs varve, which has to end with `code` and one sentence that has all `words`."""
        done = subprocess.run([BIN, *map(str, arguments)], input=stdin, capture_output=True,
                              env={**os.environ, **(env or {})}, timeout=300, check=False)
        error = done.stderr.decode("utf-8", errors="strict")
        self.assertEqual(done.returncode, code, error)
        self.assertEqual(done.stdout, b"")
        lines = [line for line in error.splitlines() if "using the bundled varve-tiny" not in line]
        self.assertEqual(len(lines), 1, error)
        self.assertTrue(lines[0].startswith("varve: "), error)
        for trace in ("Sanitizer", "runtime error", "terminate", "Assertion", "what():"):
            self.assertNotIn(trace, error)
        for word in words:
            self.assertIn(word, error)

    def refused_model(self, model, *words):
        self.refused(BAD_INPUT, "run", model, "-p", "And", "-n", 1, words=words)
        self.refused(BAD_INPUT, "inspect", model, words=words)

    # ---- the model's files

    def test_missing_path(self):
        self.refused_model(self.folder / "nowhere", "nowhere")

    def test_a_file_where_a_model_has_to_be(self):
        self.refused_model(SOURCE / "README.md", "README.md", "GGUF", "directory")

    def test_gguf(self):
        good = (SOURCE / "fuzz" / "corpus" / "config" / "llama.gguf").read_bytes()
        model = self.folder / "m.gguf"
        for name, change, words in (
                ("as it is", lambda b: b, ("output_norm.weight",)),
                ("truncated", lambda b: b[:-5], ("rope_freqs.weight", "bytes of data")),
                ("no header", lambda b: b[:20], ("number of tensors", "found 2")),
                ("not GGUF", lambda b: b"GGML" + b[4:], ("GGUF", "GGML")),
                ("version 1", lambda b: b[:4] + b"\1" + b[5:], ("version 2 or 3", "found 1")),
                ("family", lambda b: b.replace(b"\0llama", b"\0mamba", 1),
                 ("general.architecture", "llama, qwen2, qwen3, deepseek2, deepseek4", "mamba")),
                ("key", lambda b: b.replace(b"feed_forward", b"feed_f0rward", 1),
                 ("llama.feed_forward_length", "it is missing"))):
            with self.subTest(name):
                model.write_bytes(change(good))
                self.refused_model(model, "m.gguf", *words)

    def test_empty_directory(self):
        self.refused_model(self.folder, "config.json")

    def test_no_weights(self):
        self.refused_model(self.copy(TINY, ("config.json", "tokenizer.json")), "safetensors")

    def test_truncated_shard(self):
        model = self.copy(SHARDED)
        shard = model / "model-00002-of-00002.safetensors"
        size = shard.stat().st_size
        for keep in (size - 1, size // 2, 9, 7, 0):
            os.truncate(shard, min(keep, shard.stat().st_size))
            with self.subTest(keep=keep):
                self.refused_model(model, shard.name)

    def test_header_longer_than_the_file(self):
        model = self.copy(TINY)
        weights = model / "model.safetensors"
        data = weights.read_bytes()
        for length in (len(data), 1 << 40, (1 << 64) - 1):
            weights.write_bytes(struct.pack("<Q", length) + data[8:])
            with self.subTest(length=length):
                self.refused_model(model, "model.safetensors")

    def test_header_is_garbage(self):
        model = self.copy(TINY)
        weights = model / "model.safetensors"
        weights.write_bytes(struct.pack("<Q", 64) + bytes(range(128, 256)))
        self.refused_model(model, "model.safetensors")

    def test_tensor_of_the_wrong_shape(self):
        model = self.copy(TINY)

        def turn(header):
            header["layers.1.attn.wq_a.weight"]["shape"].reverse()

        edit_header(model / "model.safetensors", turn)
        self.refused_model(model, "layers.1.attn.wq_a.weight", "expected", "found")

    def test_tensor_of_the_wrong_type(self):
        model = self.copy(TINY)

        def retype(header):
            header["layers.1.attn.wq_a.weight"]["dtype"] = "F16"
            header["norm.weight"]["dtype"] = "I16"

        edit_header(model / "model.safetensors", retype)
        self.refused_model(model, "norm.weight")

    def test_missing_tensor(self):
        model = self.copy(TINY)

        def rename(header):
            header["layers.2.attn.wkv.other"] = header.pop("layers.2.attn.wkv.weight")

        edit_header(model / "model.safetensors", rename)
        self.refused_model(model, "layers.2.attn.wkv")

    def test_index_names_a_missing_shard(self):
        model = self.copy(SHARDED)
        (model / "model-00002-of-00002.safetensors").unlink()
        self.refused_model(model, "model-00002-of-00002.safetensors")

    def test_index_leads_out_of_the_directory(self):
        model = self.copy(SHARDED)

        def lead_out(index):
            name = next(iter(index["weight_map"]))
            index["weight_map"][name] = "../" + model.name + "/model-00001-of-00002.safetensors"

        edit_json(model / "model.safetensors.index.json", lead_out)
        self.refused_model(model, "model.safetensors.index.json")

    # ---- config.json

    def test_ratio_of_7(self):
        model = self.copy(TINY)
        edit_json(model / "config.json", lambda c: c["compress_ratios"].__setitem__(1, 7))
        self.refused_model(model, "config.json", "compress_ratios", "7")

    def refused_fields(self, model, cases):
        """Every change of `cases`, by the word that its message has to have, to `model`'s config."""
        copy = self.copy(model)
        original = (copy / "config.json").read_bytes()
        for word, changes in cases.items():
            for i, change in enumerate(changes):
                (copy / "config.json").write_bytes(original)
                edit_json(copy / "config.json", change)
                with self.subTest(word=word, change=i):
                    self.refused_model(copy, "config.json", word)

    def test_config_fields(self):
        self.refused_fields(TINY, {
            "hidden_size": (drop("hidden_size"), put("hidden_size", "many"), put("hidden_size", 0),
                            put("hidden_size", 1 << 40)),
            "model_type": (put("model_type", "gpt2"),),
            "num_attention_heads": (put("num_attention_heads", -4),),
            "compress_ratios": (put("compress_ratios", []), put("compress_ratios", [0, 4, "x", 4])),
            "rope_scaling": (put("rope_scaling", {"type": "linear", "factor": 2}),),
        })

    def test_config_fields_of_the_llama_line(self):
        self.refused_fields(MISTRAL, {
            "num_key_value_heads": (put("num_key_value_heads", 3),),
            "head_dim": (put("head_dim", 31), put("head_dim", 1 << 14)),
            "hidden_act": (put("hidden_act", "gelu"),),
            "rope_type": (put("rope_scaling", {"rope_type": "longrope", "factor": 2}),),
            "factor": (put("rope_scaling", {"rope_type": "linear"}),),
            "layer_types": (put("layer_types", ["full_attention"]),
                            put("layer_types", ["full_attention", "chunked", "x"])),
            "sliding_window": (put("sliding_window", -1),),
        })

    def test_config_fields_of_mla(self):
        self.refused_fields(DSA, {
            "qk_rope_head_dim": (put("qk_rope_head_dim", 15),),
            "kv_lora_rank": (put("kv_lora_rank", None), put("kv_lora_rank", 4096)),
            "scoring_func": (put("scoring_func", "relu"),),
            "topk_method": (put("topk_method", "best"),),
            "n_group": (put("n_group", 3),),
            "topk_group": (put("topk_group", 1), put("topk_group", 5)),
            "index_topk": (put("index_topk", 0),),
            "q_lora_rank": (put("q_lora_rank", None),),
            "rope_type": (put("rope_scaling", {"rope_type": "llama3", "factor": 2}),),
        })

    def test_an_unknown_family_is_told_which_run(self):
        model = self.copy(TINY)
        edit_json(model / "config.json", lambda c: c.__setitem__("model_type", "gpt2"))
        self.refused_model(model, "model_type", "deepseek_v4, llama, mistral, qwen2, qwen3, "
                           "deepseek_v2, deepseek_v3, deepseek_v32", "gpt2")

    def test_config_is_no_json(self):
        model = self.copy(TINY)
        for text in (b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 100000):
            (model / "config.json").write_bytes(text)
            with self.subTest(text=text[:8]):
                self.refused_model(model, "config.json")

    # ---- tokenizer.json

    def test_tokenizer(self):
        model = self.copy(TINY)
        for text in (b"", bytes(range(256)) * 64, b"{}", b'{"model": {"type": "Unigram"}}'):
            (model / "tokenizer.json").write_bytes(text)
            with self.subTest(text=text[:8]):
                self.refused(BAD_INPUT, "run", model, "-p", "And", words=("tokenizer.json",))
        (model / "tokenizer.json").unlink()
        self.refused(BAD_INPUT, "run", model, "-p", "And", words=("tokenizer.json",))

    def test_tokenizer_of_another_model(self):
        model = self.copy(TINY)

        def add(tokenizer):
            tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 99999,
                                              "content": "<beyond>"})

        edit_json(model / "tokenizer.json", add)
        self.refused(BAD_INPUT, "run", model, "-p", "And", words=("tokenizer.json", "99999"))

    # ---- memory

    def test_context_beyond_memory(self):
        model = self.copy(TINY)
        edit_json(model / "config.json", put("max_position_embeddings", 1 << 30))
        self.refused(USAGE, "run", model, "-p", "And", "--ctx", 1_000_000_000,
                     words=("--ctx 1000000000", "GiB", "would fit"))

    def test_a_cache_whose_bytes_no_size_holds(self):
        model = self.copy(MISTRAL, ("config.json",))
        edit_json(model / "config.json", lambda c: c.update(
            num_hidden_layers=4096, num_attention_heads=64, num_key_value_heads=64, head_dim=2048,
            max_position_embeddings=1 << 30, sliding_window=(1 << 30) - 1))
        words = ("config.json", "num_hidden_layers x values kept of a window is", "at most")
        self.refused_model(model, *words)
        self.refused(BAD_INPUT, "inspect", model, "--ctx", 1 << 30, words=words)

    def test_context_beyond_the_model(self):
        self.refused(USAGE, "run", TINY, "-p", "And", "--ctx", 2_000_000, words=("--ctx 2000000",))

    def test_a_budget_that_is_too_small(self):
        flags = ("run", TINY, "-p", "And", "--ctx", 65536, "--threads", 2)
        self.refused(USAGE, *flags, "--kv-memory", 1, words=("--ctx 65536 needs", "allows 1 (1 B)"))
        self.refused(USAGE, *flags, "--kv-memory", "8MiB", words=(
            "--ctx 65536 needs", "--kv-memory allows 8388608 (8.00 MiB); --ctx ", " would fit"))
        self.refused(USAGE, *flags, "--kv-memory", "16M", "--kv", "all=f32", words=(
            "bytes (", "--kv-memory allows 16777216", " or --kv all=native would fit"))
        self.refused(USAGE, *flags, "--kv-memory", "16M", "--chunk", 2048, words=(
            "--ctx ", " or --chunk "))

    def test_memory_that_is_none(self):
        for text in ("8Q", "0", "-1", "nan", "inf", "", "G", "8 G", "1e30"):
            for verb in (("run", TINY, "-p", "And"), ("chat", TINY), ("bench", TINY),
                         ("plan", TINY), ("eval", "ppl", TINY, "-f", SOURCE / "README.md")):
                with self.subTest(verb=verb[0], text=text):
                    self.refused(USAGE, *verb, "--memory", text,
                                 words=(f"--memory {text}: expected bytes, e.g. 8G",))

    def test_memory_below_the_process_itself(self):
        words = ("bytes (", " of weights, ", " of cache, ", " of scratch and logits, ",
                 " of process), most of it ", "nothing smaller fits either")
        for text, bytes in (("1", 1), ("100K", 102400), ("1.5M", 1572864)):
            for verb in (("run", TINY, "-p", "And"), ("chat", TINY), ("bench", TINY),
                         ("plan", TINY, "--measure")):
                with self.subTest(verb=verb[0], text=text):
                    self.refused(USAGE, *verb, "--memory", text,
                                 words=(*words, f"--memory allows {bytes} ("))
        self.refused(USAGE, "eval", "ppl", TINY, "-f", SOURCE / "README.md", "--memory", "100K",
                     words=("--memory allows 102400 (",))

    def test_contexts_beyond_the_model(self):
        least = ("the model was made for at most 2048 tokens",)
        for arguments in (("plan", MISTRAL, "--ctx", 2049), ("bench", MISTRAL, "--ctx", 2049),
                          ("plan", MISTRAL, "--measure", "--ctx", 2049)):
            with self.subTest(arguments=arguments):
                self.refused(USAGE, *arguments, words=("--ctx 2049", *least))
        self.refused(USAGE, "bench", MISTRAL, "--depth", 2049, words=("--depth 2049", *least))
        self.refused(USAGE, "chat", TINY, "--ctx", 2_000_000, words=("--ctx 2000000", "at most"))

    def test_pools_that_contradict(self):
        for kv, words in (
                ("k=q8_0,k=q4_0", ("k cannot be both q8_0 and q4_0",)),
                ("k=f16,v=f16,v=bf16", ("v cannot be both f16 and bf16",)),
                ("all=f32,k=f16,all=bf16", ("all cannot be both f32 and bf16",)),
                ("k=f16,all=bf16", ("all=bf16 would undo what stands before it",)),
                ("k=q8_0,latent=q8_0", ("a pool that the model has", "k, v"))):
            for verb in (("plan",), ("bench",), ("inspect",)):
                with self.subTest(verb=verb, kv=kv):
                    self.refused(USAGE, *verb, MISTRAL, "--kv", kv, words=(f"--kv {kv}: ", *words))

    # ---- arguments

    def test_flags(self):
        for arguments in (
                ("run", TINY, "-p", "And", "--no-such-flag"),
                ("run", TINY, "-p", "And", "-n", "x"),
                ("run", TINY, "-p", "And", "-n", -1),
                ("run", TINY, "-p", "And", "--threads", -1),
                ("run", TINY, "-p", "And", "--threads", 100000),
                ("run", TINY, "-p", "And", "--chunk", 0),
                ("run", TINY, "-p", "And", "--chunk", -1),
                ("run", TINY, "-p", "And", "--chunk", 65537),
                ("run", TINY, "-p", "And", "--kv-memory", ""),
                ("run", TINY, "-p", "And", "--kv-memory", 0),
                ("run", TINY, "-p", "And", "--kv-memory", "-1"),
                ("run", TINY, "-p", "And", "--kv-memory", "much"),
                ("run", TINY, "-p", "And", "--kv-memory", "G"),
                ("run", TINY, "-p", "And", "--kv-memory", "8 G"),
                ("run", TINY, "-p", "And", "--kv-memory", "8TB"),
                ("run", TINY, "-p", "And", "--kv-memory", "99999999999G"),
                ("run", TINY, "-p", "And", "--kv-memory", "99999999999999999999"),
                ("run", TINY, "-p", "And", "--ctx", -5),
                ("run", TINY, "-p", "And", "--ctx", 1),
                ("run", TINY, "-p", "And", "--temp", -1),
                ("run", TINY, "-p", "And", "--temp", "nan"),
                ("run", TINY, "-p", "And", "--top-p", 2),
                ("run", TINY, "-p", "And", "--logit-bias", "5"),
                ("run", TINY, "-p", "And", "--logit-bias", "99999:1"),
                ("run", TINY, "-p", "And", "--bos", "perhaps"),
                ("run", TINY, "-p", "And", "--numerics", "exact"),
                ("run", TINY, "-p", "And", "--weights", "mine"),
                ("run", TINY, "-p", "And", "--kv", "csa=q9"),
                ("run", TINY, "-p", "And", "--kv", "latent=f32"),
                ("run", TINY, "-p", "And", "--kv", "csa=f32,k=f32"),
                ("inspect", MISTRAL, "--kv", "k=native"),
                ("inspect", MISTRAL, "--kv", "csa=f32"),
                ("run", TINY, "-p", "And", "--kv", "native"),
                ("run", TINY, "-p", "And", "--products", "f64"),
                ("run", TINY, "-p", "And", "--file", "README.md"),
                ("run", TINY, "-p", "And", "--json", "more", "words"),
                ("bench", TINY, "--prefill", 0, "--decode", 0),
                ("bench", TINY, "--depth", -1),
                ("make-model", self.folder / "m", "--preset", "enormous"),
                ("make-model", SOURCE, "--preset", "micro"),
                ("no-such-verb",), ("eval",), ()):
            with self.subTest(arguments=arguments):
                self.refused(USAGE, *arguments)

    def test_unknown_kernel_set(self):
        self.refused(USAGE, "run", TINY, "-p", "And", words=("abacus",),
                     env={"VARVE_KERNELS": "abacus"})

    def test_prompts(self):
        self.refused(BAD_INPUT, "run", TINY, "--file", self.folder / "nowhere.txt",
                     words=("nowhere.txt",))
        self.refused(USAGE, "run", TINY, "--bos", "no", words=("empty",))

    def test_eval_ids(self):
        ids = self.folder / "ids.txt"
        out = self.folder / "out"
        for text, code in (("1 2 x", BAD_INPUT), ("", BAD_INPUT), ("1 99999", USAGE),
                           ("1 -1", USAGE), ("1 99999999999999999999", BAD_INPUT)):
            ids.write_text(text, encoding="utf-8")
            with self.subTest(text=text):
                self.refused(code, "eval", "logits", TINY, "--ids", ids, "--out", out)
        ids.write_text("1 2", encoding="utf-8")
        self.refused(USAGE, "eval", "logits", TINY, "--ids", ids, "--out",
                     self.folder / "no" / "such" / "folder")


if __name__ == "__main__":
    sys.exit(unittest.main())
