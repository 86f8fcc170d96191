"""The wall: under a hard cap on memory, random settings either run to their end or are refused in one
sentence, whose suggestions then run; nothing is killed. And what `varve plan` says, `--memory` takes to
the byte.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_wall.py

Caps are a limit on address space (`ulimit -v`) and, where this user may make one, a memory cgroup."""

import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
TINY = SOURCE / "models" / "varve-tiny"

MIB = 1 << 20
N_SETTINGS = 50
# With each, what --kv is drawn from.
KV_FORMATS = ("f32", "bf16", "q8_0", "q4_0", "k=q8_0,v=q4_0")
LATENT_FORMATS = ("f32", "bf16", "native", "q8_0", "q4_0")
V4_FORMATS = ("f32", "bf16", "native", "csa=native,index=f32")
MODELS = {"mha-llama": KV_FORMATS, "gqa-qwen3": KV_FORMATS, "gqa-mistral-swa": KV_FORMATS,
          "mla-deepseek-v3": LATENT_FORMATS, "dsa-deepseek-v32": LATENT_FORMATS,
          "v4-micro": V4_FORMATS, "v4-flash-mini": V4_FORMATS}
GPU = ("--device", "gpu:1008G,165T,24G")  # whose roofs are not measured
PLAIN = ("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
         "{% if add_generation_prompt %}assistant: {% endif %}")


class AddressSpace:
    """A cap on address space, of which the program's own libraries take some."""
    name, least_bytes = "ulimit -v", 64 * MIB

    def run(self, command, cap_bytes, stdin):
        script = f'ulimit -v {cap_bytes // 1024}; exec "$@"'
        return subprocess.run(["sh", "-c", script, "sh", *command], input=stdin,
                              capture_output=True, timeout=120, check=False)


class Cgroup:
    """A cap by a memory cgroup of version 2 or 1, without swap."""
    name, least_bytes = "memory cgroup", 10 * MIB

    def __init__(self):
        """Raises OSError where this user may make none."""
        if Path("/sys/fs/cgroup/cgroup.controllers").exists():
            self.root, self.limits = Path("/sys/fs/cgroup"), {"memory.max": 1, "memory.swap.max": 0}
        else:
            self.root = Path("/sys/fs/cgroup/memory")
            self.limits = {"memory.limit_in_bytes": 1, "memory.memsw.limit_in_bytes": 1}
        self.n_made = 0
        done = self.run(["true"], 64 * MIB, b"")
        if done.returncode != 0:
            raise OSError(done.stderr.decode())

    def run(self, command, cap_bytes, stdin):
        self.n_made += 1
        group = self.root / f"varve-wall-{os.getpid()}-{self.n_made}"
        group.mkdir()
        try:
            for file, share in self.limits.items():
                if (group / file).exists() or "swap" not in file and "memsw" not in file:
                    (group / file).write_text(str(cap_bytes * share))
            script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
            return subprocess.run(["sh", "-c", script, str(group), *command], input=stdin,
                                  capture_output=True, timeout=120, check=False)
        finally:
            self.remove(group)

    @staticmethod
    def remove(group):
        for _ in range(100):  # the kernel may still be at it
            try:
                group.rmdir()
                return
            except OSError:
                time.sleep(0.02)


def caps():
    try:
        return [AddressSpace(), Cgroup()]
    except OSError:
        return [AddressSpace()]


def with_long_context(source, target):
    """A directory like `source` whose model takes any context."""
    target.mkdir()
    for file in source.iterdir():
        if file.name == "config.json":
            config = json.loads(file.read_text(encoding="utf-8"))
            config["max_position_embeddings"] = 1 << 20
            (target / file.name).write_text(json.dumps(config), encoding="utf-8")
        else:
            (target / file.name).symlink_to(file.resolve())
    return target


def log_uniform(rng, least, most):
    return int(math.exp(rng.uniform(math.log(least), math.log(most))))


def small_alphabet(tokenizer):
    """The bundled tokenizer for small vocabularies: special tokens and bytes, nothing merged."""
    model = tokenizer["model"]
    n_special = len(tokenizer["added_tokens"])
    model["vocab"] = {piece: id for piece, id in model["vocab"].items() if id < n_special + 256}
    model["merges"] = []
    return tokenizer


class Setting:
    """A command line of words, some of which are flags with a value."""

    def __init__(self, verb, model, flags, stdin=b""):
        self.verb, self.model, self.flags, self.stdin = verb, model, flags, stdin

    def command(self):
        words = [word for flag, value in self.flags.items() for word in (flag, value)]
        return [BIN, *self.verb, *map(str, (self.model, *words))]

    def with_flag(self, flag, value):
        return Setting(self.verb, self.model, {**self.flags, flag: value}, self.stdin)


class Wall(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        folder = Path(cls.folder.name)
        os.environ["XDG_CACHE_HOME"] = str(folder)  # where calibrations are kept
        tokenizer = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
        small = json.dumps(small_alphabet(tokenizer))
        cls.models = [(TINY, V4_FORMATS)]
        for name, formats in MODELS.items():
            model = with_long_context(SOURCE / "tests" / "data" / "goldens" / name, folder / name)
            (model / "tokenizer.json").write_text(small, encoding="utf-8")
            cls.models.append((model, formats))
        cls.template = folder / "plain.jinja"
        cls.template.write_text(PLAIN, encoding="utf-8")

    def setting(self, rng):
        model, formats = rng.choice(self.models)
        verb = rng.choices(("run", "chat", "plan", "bench"), (4, 3, 4, 1))[0]
        ctx = log_uniform(rng, 64, 1 << 17)
        flags = {"--ctx": ctx, "--threads": rng.randint(1, 3)}
        if rng.random() < 0.7:
            kv = rng.choice(formats)
            flags["--kv"] = kv if "=" in kv else f"all={kv}"
        if rng.random() < 0.5:
            flags["--chunk"] = log_uniform(rng, 1, 2048)
        if rng.random() < 0.5:
            flags["--memory"] = log_uniform(rng, 8 * MIB, 1024 * MIB)
        if verb == "plan":
            flags["--sequences"] = rng.randint(1, 3)
            return Setting(("plan", "--measure", *(GPU if rng.random() < 0.8 else ())), model, flags)
        flags["--weights"] = rng.choice(("auto", "mapped", "copied"))
        if verb == "bench":
            flags["--depth"] = min(ctx, log_uniform(rng, 16, 1 << 16)) - 10
            return Setting(("bench", "--prefill", "8", "--decode", "2", "--reps", "1"), model, flags)
        text = b"abcdefg " * rng.randint(1, min(ctx // 8 - 6, 400))
        if verb == "run":
            return Setting(("run", "-n", "2", "--temp", "0"), model, flags, text)
        return Setting(("chat", "-n", "2", "--chat-template", str(self.template)), model, flags,
                       text[:100] + b"\n")

    def refusal(self, setting, cap, cap_bytes):
        """Runs a setting, which has to end well or to be refused: then in this sentence."""
        done = cap.run(setting.command(), cap_bytes, setting.stdin)
        error = done.stderr.decode()
        text = f"{cap.name} of {cap_bytes}: {' '.join(setting.command())}\n{done.returncode} {error}"
        self.assertIn(done.returncode, (0, 2), text)
        for trace in ("bad_alloc", "Cannot allocate", "has run out"):
            self.assertNotIn(trace, error, text)
        if done.returncode == 0:
            return None
        self.assertEqual(done.stdout, b"", text)
        self.assertRegex(error, r"\Avarve: [^\n]+\n\Z", text)
        return text

    def test_nothing_is_killed(self):
        for cap in caps():
            rng = random.Random(1)
            n_done = n_refused = n_ways = 0
            for _ in range(N_SETTINGS):
                setting = self.setting(rng)
                cap_bytes = log_uniform(rng, cap.least_bytes, 256 * MIB)
                refusal = self.refusal(setting, cap, cap_bytes)
                if refusal is None:
                    n_done += 1
                    continue
                n_refused += 1
                ways = re.search(r"; ([^;]+) would fit\n", refusal)
                for way in ways[1].split(" or ") if ways else ():
                    n_ways += 1
                    again = self.refusal(setting.with_flag(*way.split()), cap, cap_bytes)
                    self.assertIsNone(again, f"{refusal}{way}\n{again}")
            print(f"{cap.name}: {n_done} ran, {n_refused} were refused, {n_ways} suggestions ran")
            for n in (n_done, n_refused, n_ways):
                self.assertGreaterEqual(n, N_SETTINGS // 10)

    def test_memory_is_what_was_planned(self):
        done = subprocess.run([sys.executable, "-B", SOURCE / "tools" / "memory_grid.py", "--varve",
                               BIN, "--quick"], capture_output=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr).decode())
        self.assertRegex(done.stdout.decode(), r"18 runs, 0 off by more than 2 %, [^\n]*; 0 refused\n")

    def test_the_plan_is_the_least_memory(self):
        for model, formats in self.models:
            kv = formats[1] if "=" in formats[1] else f"all={formats[1]}"
            flags = ["--ctx", "3000", "--chunk", "64", "--threads", "2", "--kv", kv]
            done = subprocess.run([BIN, "plan", model, *flags, *GPU, "--resume-points", "0", "--json"],
                                  capture_output=True, timeout=120, check=True)
            total = json.loads(done.stdout)["footprint"]["total_bytes"]
            for memory, code in ((total, 0), (total - 1, 2)):
                done = subprocess.run([BIN, "run", model, *flags, "-n", "2", "-p", "And",
                                       "--memory", str(memory)], capture_output=True, timeout=120,
                                      check=False)
                self.assertEqual(done.returncode, code, done.stderr.decode())
            self.assertIn(f"--memory allows {total - 1} (", done.stderr.decode())


if __name__ == "__main__":
    sys.exit(unittest.main())
