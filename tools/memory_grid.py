#!/usr/bin/env python3
"""Planned against measured memory over families, row formats, contexts and sequences, as one table.

    tools/memory_grid.py [--varve build/release/bin/varve] [--model FILE.gguf ...] [--quick]

The models have random weights: those of tests/data/goldens made wider (below), V4's by `varve
make-model`. Those that --model names are run up to the context that they were made for. Each line is
one process of `varve plan MODEL --measure`: the run is set up, every sequence is filled to its last
token, chunks are read at the end of it. What is compared is memory that is no page of a file. Exits
with 1 where a line is off by more than 2 %.

The goldens' own models will not do: of their 5 MB a thread's workspace of 1 MiB is much, of which
narrow layers touch a part."""

import argparse
import json
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_TOKENS = 1 << 20
TOLERANCE = 0.02

# Which formats make sense for which pools.
QUANTIZED = ("q8_0", "q4_0")
KEYS_AND_VALUES = ("f32", "bf16", *QUANTIZED)
WIDENED = {
    "mha-llama": KEYS_AND_VALUES,
    "gqa-llama3": KEYS_AND_VALUES,
    "gqa-qwen2": KEYS_AND_VALUES,
    "gqa-qwen3": KEYS_AND_VALUES,
    "gqa-mistral-swa": KEYS_AND_VALUES,
    "mla-deepseek-v2": ("f32", "bf16", "native", *QUANTIZED),
    "mla-deepseek-v3": ("f32", "bf16", "native", *QUANTIZED),
    "dsa-deepseek-v32": ("f32", "bf16", "native", *QUANTIZED),
}
V4_PRESETS = {"mini": ("f32", "bf16", "native"), "flash-1l": ("f32", "bf16", "native")}
QUICK_PRESETS = ("mini",)
CONTEXTS = (1 << 10, 16 << 10, 64 << 10)
SEQUENCES = (1, 4)


# What a wide model has in place of the golden one's.
WIDE = {"hidden_size": 2048, "intermediate_size": 4096, "vocab_size": 4096}
HIDDEN_ROWS = ("o_proj.weight", "down_proj.weight", "model.norm.weight", "input_layernorm.weight",
               "post_attention_layernorm.weight")
HIDDEN_COLUMNS = ("embed_tokens.weight", "lm_head.weight", "self_attn.q_proj.weight",
                  "q_a_proj.weight", "k_proj.weight", "v_proj.weight",
                  "kv_a_proj_with_mqa.weight", "gate_proj.weight", "up_proj.weight",
                  "mlp.gate.weight", "indexer.wk.weight", "indexer.weights_proj.weight")


def wide_shape(name, shape):
    """Of a tensor of the Llama line or of DeepSeek-V2 to V3.2; routed experts keep their width."""
    shape = list(shape)
    if name.endswith(HIDDEN_ROWS):
        shape[0] = WIDE["hidden_size"]
    if name.endswith(HIDDEN_COLUMNS):
        shape[1] = WIDE["hidden_size"]
    if "embed_tokens" in name or "lm_head" in name:
        shape[0] = WIDE["vocab_size"]
    if "expert" not in name and name.endswith(("gate_proj.weight", "up_proj.weight")):
        shape[0] = WIDE["intermediate_size"]
    if "expert" not in name and name.endswith("down_proj.weight"):
        shape[1] = WIDE["intermediate_size"]
    return shape


def random_bf16(n_values):
    """So many small numbers, as bytes."""
    rng = random.Random(1)
    return b"".join(struct.pack("<f", rng.gauss(0, 0.02))[2:] for _ in range(n_values))


def widened(source, target, values):
    """A directory like `source` with wider layers in BF16, whose model takes any context. `values`
    are repeated."""
    target.mkdir()
    config = json.loads((source / "config.json").read_text())
    config.update(WIDE, max_position_embeddings=MOST_TOKENS, torch_dtype="bfloat16")
    (target / "config.json").write_text(json.dumps(config))
    with open(source / "model.safetensors", "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        golden = json.loads(file.read(n))
    header, end = {}, 0
    for name, entry in golden.items():
        if name == "__metadata__":
            continue
        shape = wide_shape(name, entry["shape"])
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(target / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for written in range(0, end, len(values)):
            file.write(values[:end - written])
    return target


def preset(varve, name, target):
    subprocess.run([varve, "make-model", target, "--preset", name], check=True,
                   capture_output=True)
    return target


def plan(varve, model, *flags):
    """(what `varve plan` says, None), or (None, why it says nothing)."""
    command = [varve, "plan", model, "--json", "--device", "gpu:1T,1T,1T", *flags]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()
    return json.loads(done.stdout), None


def contexts_of(varve, model, contexts):
    """Those up to the one that it was made for, which is among them."""
    out, why = plan(varve, model, "--ctx", "max")
    if out is None:
        sys.exit(why)
    most = out["ctx_tokens"]
    return sorted({min(ctx, most) for ctx in contexts})


def grid(flags, folder):
    """(name, model, row format, context, sequences) of each line."""
    contexts = CONTEXTS[:1] if flags.quick else CONTEXTS
    sequences = SEQUENCES[:1] if flags.quick else SEQUENCES
    values = random_bf16(1 << 18)
    models = [(name, lambda name=name: widened(ROOT / "tests/data/goldens" / name, folder / name,
                                               values), formats)
              for name, formats in WIDENED.items()]
    models += [(f"v4-{name}", lambda name=name: preset(flags.varve, name, folder / name), formats)
               for name, formats in V4_PRESETS.items() if not flags.quick or name in QUICK_PRESETS]
    models += [(path.stem[:17], lambda path=path: path, KEYS_AND_VALUES) for path in flags.model]
    for name, make, formats in models:
        model = make()
        for form in (formats[0], formats[-1]) if flags.quick else formats:
            for ctx in contexts_of(flags.varve, model, contexts):
                for n in sequences:
                    yield name, model, form, ctx, n


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--varve", default=ROOT / "build/release/bin/varve")
    parser.add_argument("--model", action="append", default=[], type=Path,
                        help="another model, up to the context that it was made for")
    parser.add_argument("--quick", action="store_true", help="one context, one sequence, two row formats")
    flags = parser.parse_args()

    print(f"{'model':<18}{'rows':<8}{'context':>8}{'seqs':>6}{'planned':>14}{'measured':>14}{'':>9}")
    n_lines, n_off, n_refused, worst = 0, 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, model, form, ctx, n in grid(flags, Path(folder)):
            line = f"{name:<18}{form:<8}{ctx:>8}{n:>6}"
            out, why = plan(flags.varve, model, "--measure", "--ctx", ctx, "--sequences", n,
                            "--kv", f"all={form}")
            if out is None:
                n_refused += 1
                print(f"{line}  refused: {why}")
                continue
            planned = out["trial"]["planned_private_bytes"]
            measured = out["trial"]["measured_private_bytes"]
            off = measured / planned - 1
            n_lines += 1
            n_off += abs(off) > TOLERANCE
            worst = max(worst, off, key=abs)
            print(f"{line}{planned:>14}{measured:>14}{100 * off:>+8.2f} %", flush=True)
    print(f"{n_lines} runs, {n_off} off by more than {100 * TOLERANCE:.0f} %, "
          f"the worst by {100 * worst:+.2f} %; {n_refused} refused")
    return 1 if n_off > 0 or n_lines == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
