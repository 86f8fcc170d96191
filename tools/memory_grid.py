#!/usr/bin/env python3
"""Planned against measured memory over families, row formats, contexts and sequences, as one table.

    tools/memory_grid.py [--varve build/release/bin/varve] [--model FILE.gguf ...] [--quick]

The models are those of tests/data/goldens with their `max_position_embeddings` raised, varve-tiny,
and any that --model names. Each line is one process of `varve plan MODEL --measure`: the run is set
up, every sequence is filled to its last token, a chunk is read at the end of it. What is compared is
memory that is no page of a file. Exits with 1 where a line is off by more than 2 %."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_TOKENS = 1 << 20
TOLERANCE = 0.02

# Which formats make sense for which pools.
QUANTIZED = ("q8_0", "q4_0")
FAMILIES = {
    "mha-llama": ("f32", "bf16", *QUANTIZED),
    "gqa-llama3": ("f32", "bf16", *QUANTIZED),
    "gqa-qwen2": ("f32", "bf16", *QUANTIZED),
    "gqa-qwen3": ("f32", "bf16", *QUANTIZED),
    "gqa-mistral-swa": ("f32", "bf16", *QUANTIZED),
    "mla-deepseek-v2": ("f32", "bf16", "native", *QUANTIZED),
    "mla-deepseek-v3": ("f32", "bf16", "native", *QUANTIZED),
    "dsa-deepseek-v32": ("f32", "bf16", "native", *QUANTIZED),
    "v4-flash-mini": ("f32", "bf16", "native"),
    "v4-pro-mini": ("f32", "bf16", "native"),
}
CONTEXTS = (1 << 10, 16 << 10, 64 << 10)
SEQUENCES = (1, 4)


def with_long_context(source, target):
    """A directory like `source` whose model takes any context."""
    target.mkdir()
    for file in source.iterdir():
        if file.name == "config.json":
            config = json.loads(file.read_text())
            config["max_position_embeddings"] = MOST_TOKENS
            (target / file.name).write_text(json.dumps(config))
        else:
            (target / file.name).symlink_to(file.resolve())
    return target


def measure(varve, model, formats, ctx, sequences):
    command = [varve, "plan", model, "--measure", "--json", "--ctx", ctx, "--sequences", sequences,
               "--kv", f"all={formats}"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()
    return json.loads(done.stdout)["trial"], None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--varve", default=ROOT / "build/release/bin/varve")
    parser.add_argument("--model", action="append", default=[], type=Path,
                        help="another model, up to the context that it was made for")
    parser.add_argument("--quick", action="store_true", help="one context, one sequence")
    flags = parser.parse_args()
    contexts, sequences = (CONTEXTS[:1], SEQUENCES[:1]) if flags.quick else (CONTEXTS, SEQUENCES)

    print(f"{'model':<18}{'rows':<8}{'context':>8}{'seqs':>6}{'planned':>14}{'measured':>14}{'':>9}")
    n_lines, n_off, worst = 0, 0, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        models = [(name, with_long_context(ROOT / "tests/data/goldens" / name,
                                           Path(temporary) / name), formats)
                  for name, formats in FAMILIES.items()]
        models.append(("varve-tiny", ROOT / "models/varve-tiny", ("f32", "bf16", "native")))
        models += [(path.stem[:17], path, ("f32", "bf16", *QUANTIZED)) for path in flags.model]
        for name, path, formats in models:
            for form in formats:
                for ctx in contexts:
                    for n in sequences:
                        trial, why = measure(flags.varve, path, form, ctx, n)
                        line = f"{name:<18}{form:<8}{ctx:>8}{n:>6}"
                        if trial is None:
                            print(f"{line}  refused: {why[:200]}")
                            continue
                        planned = trial["planned_private_bytes"]
                        measured = trial["measured_private_bytes"]
                        off = measured / planned - 1
                        n_lines += 1
                        n_off += abs(off) > TOLERANCE
                        worst = max(worst, off, key=abs)
                        print(f"{line}{planned:>14}{measured:>14}{100 * off:>+8.2f} %", flush=True)
    print(f"{n_lines} runs, {n_off} off by more than {100 * TOLERANCE:.0f} %, "
          f"the worst by {100 * worst:+.2f} %")
    return 1 if n_off > 0 or n_lines == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
