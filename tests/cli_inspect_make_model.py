"""varve make-model and varve inspect, run as a user runs them.

Needs nothing but Python's own library. VARVE_BIN names the built program.
"""

import hashlib
import json
import os
import pty
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = os.environ.get("VARVE_BIN", "build/release/bin/varve")
CONFIGS = Path(__file__).resolve().parent.parent / "models" / "configs"
FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def varve(*args, **options):
    return subprocess.run(
        [BIN, *map(str, args)], capture_output=True, text=True, timeout=120, check=False, **options
    )


def digest(directory):
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in FILES}


def read_header(path):
    """The tensors of a safetensors file, and where their data begins."""
    with open(path, "rb") as file:
        n_bytes = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(n_bytes))
    header.pop("__metadata__", None)
    return header, 8 + n_bytes


def add_tensors(path, extra):
    """Rewrites the file with more tensors behind: {name: (dtype, shape, data)}."""
    header, begin = read_header(path)
    data = path.read_bytes()[begin:]
    for name, (dtype, shape, content) in extra.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class VerbTest(unittest.TestCase):
    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="varve-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def make(self, name="model", *args):
        out = self.dir / name
        done = varve("make-model", out, "--preset", "micro", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def assert_refused(self, done, code, *parts):
        """The exit code and one sentence on stderr that has these parts in it."""
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"\Avarve: [^\n]+\n\Z")
        for part in parts:
            self.assertIn(str(part), done.stderr)


class MakeModelTest(VerbTest):
    def test_same_seed_same_bytes(self):
        first = digest(self.make("a", "--seed", "5"))
        self.assertEqual(first, digest(self.make("b", "--seed", "5")))
        other = digest(self.make("c", "--seed", "6"))
        self.assertNotEqual(first["model.safetensors"], other["model.safetensors"])
        self.assertEqual(first["config.json"], other["config.json"])
        self.assertEqual(sorted(os.listdir(self.dir / "a")), FILES)

    def test_closing_line(self):
        done = varve("make-model", self.dir / "m", "--preset", "micro", "--seed", "9")
        self.assertRegex(
            done.stdout, r"\A.*/m: micro with seed 9: [\d.]+ MiB, [\d.]+ M parameters, [\d.]+ s\n\Z"
        )
        self.assertEqual(done.stderr, "")

    def test_help_lists_the_presets(self):
        done = varve("make-model", "--help")
        self.assertEqual(done.returncode, 0)
        for preset in ["micro", "mini", "flash-cache", "flash-1l", "flash-6l", "pro-4l"]:
            self.assertIn(f"  {preset} ", done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)

    def test_usage_errors(self):
        out = self.dir / "m"
        done = varve("make-model", out, "--preset", "nano")
        self.assert_refused(done, 2, "nano", "micro, mini, flash-cache, flash-1l, flash-6l, pro-4l")
        self.assert_refused(varve("make-model", out), 2, "--preset")
        self.assert_refused(varve("make-model", "", "--preset", "micro"), 2, "OUT")
        self.assertEqual(varve("make-model").returncode, 2)
        for seed in ["-1", "1.5", "x", str(1 << 64)]:
            done = varve("make-model", out, "--preset", "micro", f"--seed={seed}")
            self.assert_refused(done, 2, f"--seed {seed}:")
        self.assertFalse(out.exists())

    def test_does_not_overwrite_unless_forced(self):
        out = self.make("m", "--seed", "1")
        before = digest(out)
        (out / "notes.txt").write_text("mine")
        self.assert_refused(
            varve("make-model", out, "--preset", "micro", "--seed", "2"), 2, out, "--force"
        )
        self.assertEqual(digest(out), before)
        self.make("m", "--seed", "2", "--force")
        self.assertNotEqual(digest(out), before)
        self.assertEqual((out / "notes.txt").read_text(), "mine")

    def test_takes_an_empty_directory(self):
        (self.dir / "empty").mkdir()
        self.make("empty")

    def test_refuses_a_file_and_a_sharded_model(self):
        file = self.dir / "file"
        file.write_text("text")
        self.assert_refused(varve("make-model", file, "--preset", "micro", "--force"), 2, file)
        self.assertEqual(file.read_text(), "text")
        out = self.make()
        (out / "model.safetensors.index.json").write_text("{}")
        self.assert_refused(
            varve("make-model", out, "--preset", "micro", "--force"), 2, "index.json"
        )

    def test_a_path_that_cannot_be_written(self):
        file = self.dir / "file"
        file.write_text("")
        done = varve("make-model", file / "below", "--preset", "micro")
        self.assert_refused(done, 1, file / "below", "Not a directory")

    def test_no_room_leaves_nothing_behind(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        out = self.dir / "m"
        done = varve("make-model", out, "--preset", "micro", preexec_fn=limit)
        self.assert_refused(done, 1, "model.safetensors", "File too large")
        self.assertFalse(out.exists())

    def test_config_and_tensors_agree(self):
        out = self.make()
        config = json.loads((out / "config.json").read_text())
        self.assertEqual(config["compress_ratios"], [0, 4, 128, 4])
        header, _ = read_header(out / "model.safetensors")
        dtypes = {name: tensor["dtype"] for name, tensor in header.items()}
        self.assertEqual(dtypes["layers.0.attn.wq_a.weight"], "F8_E4M3")
        self.assertEqual(dtypes["layers.0.attn.wq_a.scale"], "F8_E8M0")
        self.assertEqual(dtypes["layers.3.ffn.experts.7.w2.weight"], "I8")
        self.assertEqual(dtypes["layers.3.attn.indexer.weights_proj.weight"], "BF16")
        self.assertEqual(dtypes["layers.2.attn.compressor.ape"], "F32")
        self.assertEqual(dtypes["layers.0.ffn.gate.tid2eid"], "I64")
        self.assertNotIn("layers.0.ffn.gate.bias", dtypes)
        self.assertNotIn("layers.1.ffn.gate.tid2eid", dtypes)
        tokenizer = json.loads((out / "tokenizer.json").read_text())
        ids = sorted(tokenizer["model"]["vocab"].values())
        self.assertEqual(ids, list(range(config["vocab_size"])))

    def test_the_model_runs(self):
        out = self.make()
        done = varve("run", out, "-p", "héllo", "-n", "4", "--temp", "0", "--ignore-eos", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)["ids"]), 4)


class InspectTest(VerbTest):
    def inspect(self, *args):
        done = varve("inspect", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_text_fits_80_columns(self):
        for args in ([], [self.make()], [self.make("long" * 40)]):
            text = self.inspect(*args).stdout
            self.assertLessEqual(max(map(len, text.splitlines())), 80)
            self.assertNotIn("\x1b", text)

    def test_text_shows_the_parts(self):
        text = self.inspect(self.make()).stdout
        self.assertIn(" ScHc\n", text)
        for part in [
            "8 heads x 128 (RoPE 64)",
            "8 x 128, 2 used, 1 shared",
            "routed experts",
            "I8 (e2m1)",
            "F8_E8M0",
            "hyper-connections",
            "2 of 8 experts",
            "one sequence",
        ]:
            self.assertIn(part, text)

    def test_colours_on_a_terminal_only(self):
        out = self.make()
        for env, expected in [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]:
            environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
            environment |= {"TERM": "xterm"} | env
            host, terminal = pty.openpty()
            with subprocess.Popen(
                [BIN, "inspect", str(out)], stdout=terminal, env=environment
            ) as child:
                os.close(terminal)
                text = b""
                try:
                    while chunk := os.read(host, 4096):
                        text += chunk
                except OSError:
                    pass  # how a terminal says that its other end is closed
            os.close(host)
            self.assertEqual(child.returncode, 0)
            self.assertEqual(b"\x1b[" in text, expected, env)

    def test_sums_agree(self):
        out = self.make()
        report = json.loads(self.inspect(out, "--json").stdout)
        self.assertEqual(report["schema"], "varve.inspect/1")
        header, begin = read_header(out / "model.safetensors")
        sizes = [t["data_offsets"][1] - t["data_offsets"][0] for t in header.values()]
        tensors = report["tensors"]
        self.assertEqual(tensors["bytes"], sum(sizes))
        self.assertEqual(tensors["count"], len(sizes))
        self.assertEqual(tensors["mapped_bytes"], begin + sum(sizes))
        for field in ["bytes", "count", "parameters"]:
            self.assertEqual(tensors[field], sum(c[field] for c in tensors["classes"]), field)
        by_dtype = {}
        for t in header.values():
            size = t["data_offsets"][1] - t["data_offsets"][0]
            by_dtype[t["dtype"]] = by_dtype.get(t["dtype"], 0) + size
        found = {}
        for c in tensors["classes"]:
            found[c["dtype"]] = found.get(c["dtype"], 0) + c["bytes"]
        self.assertEqual(found, by_dtype)

    def test_parameters(self):
        report = json.loads(self.inspect(self.make(), "--json").stdout)["tensors"]
        routed = sum(c["parameters"] for c in report["classes"] if c["class"] == "routed_experts")
        self.assertEqual(routed, 4 * 8 * 3 * 128 * 256)  # layers x experts x matrices x width x d
        self.assertEqual(report["used_parameters"], report["parameters"])
        self.assertEqual(report["active_parameters"], report["parameters"] - routed * 6 // 8)

    def test_cache(self):
        out = self.make()
        native = json.loads(self.inspect(out, "--json").stdout)["cache"]
        self.assertEqual(set(native["row_formats"].values()), {"native"})
        # 64 e4m3 and 64 bf16 values under one scale, padded: 200; index keys: 64 + 4.
        self.assertEqual(
            native["bytes_per_token"],
            {"csa": 100, "hca": 200 / 128, "index": 34, "total": 134 + 200 / 128},
        )
        arguments = (out, "--json", "--numerics", "reference")
        cache = json.loads(self.inspect(*arguments).stdout)["cache"]
        self.assertEqual(cache["row_formats"]["csa"], "f32")
        rates = cache["bytes_per_token"]
        # Two CSA layers with an entry and a key of 128 values for 4 tokens, one HCA layer.
        self.assertEqual(rates, {"csa": 256, "hca": 4, "index": 256, "total": 516})
        fixed = cache["bytes_per_sequence"]
        self.assertEqual(fixed["window"], 4 * 128 * 128 * 4)
        self.assertEqual(fixed["total"], fixed["window"] + fixed["state"] + fixed["hidden"])
        for total in cache["totals"]:
            self.assertEqual(total["bytes"], total["tokens"] * 516 + fixed["total"])
        self.assertEqual([t["tokens"] for t in cache["totals"]], [1 << 15, 1 << 17, 1 << 20])

    def plan(self, *args):
        return json.loads(self.inspect(*args, "--json").stdout)["plan"]

    def test_plan_adds_up_and_is_what_run_takes(self):
        out = self.make()
        self.assertNotIn("plan", json.loads(self.inspect(out, "--json").stdout))
        for flags in ([], ["--kv", "csa=f32"], ["--numerics", "reference", "--chunk", "33"]):
            flags = ["--ctx", "5000", "--threads", "2", *flags]
            plan = self.plan(out, *flags)
            cache = plan["cache_bytes"]
            self.assertEqual(cache["total"], sum(v for k, v in cache.items() if k != "total"))
            self.assertEqual(
                plan["arena_bytes"],
                cache["total"] + plan["scratch_bytes"] + plan["logits_bytes"],
            )
            self.assertEqual(
                plan["total_bytes"],
                plan["arena_bytes"] + plan["weight_bytes"] + plan["vector_bytes"],
            )
            done = varve("run", out, "-p", "x", "-n", "1", "--ignore-eos", "--json", *flags)
            run = json.loads(done.stdout)
            for name in ["arena_bytes", "weight_bytes", "vector_bytes", "chunk_tokens"]:
                self.assertEqual(plan[name], run[name], name)
            self.assertEqual(cache["total"], run["cache_bytes"])
            self.assertEqual(plan["bytes_per_token"], run["cache_bytes_per_token"])

    def test_plan_of_a_budget(self):
        out = self.make()
        flags = ["--threads", "2", "--kv-memory", "8MiB"]
        plan = self.plan(out, *flags)
        largest = plan["largest_ctx_tokens"]
        self.assertEqual(plan["budget_bytes"], 8 << 20)
        self.assertEqual(plan["ctx_tokens"], largest)
        self.assertEqual(largest % 128, 0)
        self.assertLessEqual(plan["arena_bytes"], 8 << 20)
        more = self.plan(out, *flags, "--ctx", str(largest + 128))
        self.assertGreater(more["arena_bytes"], 8 << 20)
        self.assertEqual(more["largest_ctx_tokens"], largest)
        run = ["run", out, "-p", "x", "-n", "1", *flags, "--ctx"]
        self.assertEqual(varve(*run, largest).returncode, 0)
        self.assert_refused(varve(*run, largest + 128), 2,
                            f"--ctx {largest} or --chunk 16 or --threads 1 would fit")
        self.assertIn(f"is enough; largest --ctx: {largest}\n", self.inspect(out, *flags).stdout)
        text = self.inspect(out, *flags, "--ctx", "1048576").stdout
        self.assertIn(f"is too little; largest --ctx: {largest}\n", text)
        text = self.inspect(out, "--kv-memory", "1K").stdout
        self.assertIn("is too little; no context fits\n", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_plan_of_a_config_without_weights(self):
        million = str(1 << 20)
        for name, rate in [("flash", 3514.25), ("pro", 5031.4375)]:
            config = CONFIGS / f"deepseek-v4-{name}.json"
            plan = self.plan(config, "--ctx", million)
            self.assertEqual(plan["bytes_per_token"], rate)
            rows = sum(plan["cache_bytes"][pool] for pool in ["csa", "hca", "index"])
            self.assertEqual(rows, rate * (1 << 20))
            self.assertGreater(plan["weight_bytes"], 100 << 30)
            self.assertIn("weights, as the config", self.inspect(config, "--ctx", million).stdout)
            self.assert_refused(varve("inspect", config), 3, config)
        shutil.copy(CONFIGS / "deepseek-v4-flash.json", self.dir / "config.json")
        self.assertEqual(self.plan(self.dir, "--ctx", million)["bytes_per_token"], 3514.25)
        self.assert_refused(varve("inspect", self.dir), 3, "safetensors")
        (self.dir / "model.safetensors").write_bytes(b"")
        self.assert_refused(varve("inspect", self.dir, "--ctx", million), 3, "safetensors")

    # Shares that the report of DeepSeek-V4 states (10 % and 7 % of V3.2, 2 % of GQA-8), by formula, and
    # those of the generations before it.
    def test_cache_beside_others(self):
        for name, beside, share in [
            ("deepseek-v4-pro", "deepseek_v32", 5031.4375 / 48068),
            ("deepseek-v4-flash", "deepseek_v32", 3514.25 / 48068),
            ("deepseek-v4-pro", "gqa_8", 5031.4375 / (61 * 4096)),
            ("deepseek-v4-flash", "gqa_8", 3514.25 / (43 * 4096)),
            ("llama-3.1-8b", "mha", 8 / 32),
            ("llama-3.1-8b", "mla", 131072 / (32 * 1152)),
            ("deepseek-v3.2", "mha", (648 + 68) / (128 * (128 + 64 + 128) * 2)),
        ]:
            config = CONFIGS / f"{name}.json"
            out = json.loads(self.inspect(config, "--ctx", "4096", "--json").stdout)
            self.assertAlmostEqual(out["cache"]["comparisons"][beside]["share"], share, delta=1e-9)
        text = self.inspect(CONFIGS / "deepseek-v4-pro.json", "--ctx", "4096").stdout
        self.assertRegex(text, r"DeepSeek-V3.2, 61 layers +48068 +10.47 %")
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_plan_usage_errors(self):
        out = self.make()
        for flags in (["--ctx", "-1"], ["--ctx", "2000000"], ["--kv-memory", "much"]):
            self.assert_refused(varve("inspect", out, *flags), 2, *flags)

    def test_tensors_that_no_pass_reads(self):
        out = self.make()
        before = json.loads(self.inspect(out, "--json").stdout)["tensors"]
        add_tensors(
            out / "model.safetensors",
            {
                "mtp.0.enorm.weight": ("F32", [4], bytes(16)),
                "something.else": ("F32", [2], bytes(8)),
                "flags": ("BOOL", [3], bytes(3)),
            },
        )
        after = json.loads(self.inspect(out, "--json").stdout)["tensors"]
        unused = {c["class"]: c["bytes"] for c in after["classes"] if not c["used"]}
        self.assertEqual(unused, {"mtp": 16, "other": 8})
        self.assertEqual(after["unread_count"], 1)
        self.assertEqual(after["parameters"], before["parameters"] + 6)
        self.assertEqual(after["active_parameters"], before["active_parameters"])
        text = self.inspect(out).stdout
        self.assertIn("mtp (not used)", text)
        self.assertIn("not counted: 1 tensor", text)

    def test_bad_input(self):
        self.assert_refused(varve("inspect", self.dir / "none"), 3, "none")
        self.assert_refused(varve("inspect", self.dir), 3, "config.json")
        out = self.make()
        weights = out / "model.safetensors"
        data = weights.read_bytes()
        weights.write_bytes(data[:-1])
        self.assert_refused(varve("inspect", out, "--json"), 3, weights)
        weights.unlink()
        self.assert_refused(varve("inspect", out), 3, "model.safetensors")
        (out / "config.json").write_text("{")
        self.assert_refused(varve("inspect", out), 3, "config.json")


if __name__ == "__main__":
    unittest.main()
