#!/usr/bin/env python3
"""Writes the header of a GGUF file whose matrices are Q4_0, without the data: what `varve plan` needs
to know of a 4-bit model that is not there.

    tools/q4_header.py models/configs/llama-3.1-8b.json llama-3.1-8b-q4_0.gguf

Takes configs of llama and qwen3 with heads of their own (tie_word_embeddings false)."""

import json
import math
import struct
import sys
from pathlib import Path

F32, Q4_0 = 0, 2  # of ggml's types
Q4_0_VALUES, Q4_0_BYTES = 32, 18
ALIGNMENT = 32


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key, value):
    kinds = {str: (8, text), float: (6, lambda v: struct.pack("<f", v)),
             int: (4, lambda v: struct.pack("<I", v))}
    kind, packed = kinds[type(value)]
    return text(key) + struct.pack("<I", kind) + packed(value)


def metadata(config, head_dim):
    arch = config["model_type"]
    fields = {"block_count": config["num_hidden_layers"],
              "context_length": config["max_position_embeddings"],
              "embedding_length": config["hidden_size"],
              "feed_forward_length": config["intermediate_size"],
              "attention.head_count": config["num_attention_heads"],
              "attention.head_count_kv": config["num_key_value_heads"],
              "attention.key_length": head_dim, "attention.value_length": head_dim,
              "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
              "rope.freq_base": float(config["rope_theta"]), "vocab_size": config["vocab_size"]}
    return {"general.architecture": arch,
            **{f"{arch}.{key}": value for key, value in fields.items()}}


def tensors(config, head_dim):
    """(name, dimensions from the innermost) of each."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    q, kv = (head_dim * config[f"num_{which}_heads"] for which in ("attention", "key_value"))
    yield "token_embd", (hidden, config["vocab_size"])
    yield "output", (hidden, config["vocab_size"])
    yield "output_norm", (hidden,)
    if config["model_type"] == "llama":
        yield "rope_freqs", (head_dim // 2,)
    for i in range(config["num_hidden_layers"]):
        block = {"attn_norm": (hidden,), "ffn_norm": (hidden,), "attn_q": (hidden, q),
                 "attn_k": (hidden, kv), "attn_v": (hidden, kv), "attn_output": (q, hidden),
                 "ffn_gate": (hidden, width), "ffn_up": (hidden, width),
                 "ffn_down": (width, hidden)}
        if config["model_type"] == "qwen3":
            block |= {"attn_q_norm": (head_dim,), "attn_k_norm": (head_dim,)}
        for name, dimensions in block.items():
            yield f"blk.{i}.{name}", dimensions


def header(config):
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    keys, infos, offset = metadata(config, head_dim), [], 0
    for name, dimensions in tensors(config, head_dim):
        kind = F32 if len(dimensions) == 1 else Q4_0
        infos.append(text(name + ".weight") + struct.pack("<I", len(dimensions)) +
                     struct.pack(f"<{len(dimensions)}Q", *dimensions) +
                     struct.pack("<IQ", kind, offset))
        n = math.prod(dimensions)
        offset += 4 * n if kind == F32 else n // Q4_0_VALUES * Q4_0_BYTES
        offset += -offset % ALIGNMENT
    out = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(keys))
    out += b"".join(entry(key, value) for key, value in keys.items()) + b"".join(infos)
    return out + bytes(-len(out) % ALIGNMENT)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if config["model_type"] not in ("llama", "qwen3") or config.get("tie_word_embeddings"):
        sys.exit(f"{sys.argv[1]}: expected a config of llama or qwen3 with a head of its own")
    Path(sys.argv[2]).write_bytes(header(config))


if __name__ == "__main__":
    main()
