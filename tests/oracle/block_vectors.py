#!/usr/bin/env python3
"""Writes test vectors of GGUF's block types, made with the PyPI package `gguf`: NAME.blocks (stored bytes), NAME.f32
(their values), and for types that varve encodes NAME.encoded (the blocks of input.f32)."""

import argparse
import pathlib

import gguf
import numpy as np

# Bytes that hold f16 scales, of a block of each type.
SCALES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2],
    "Q6_K": [208], "MXFP4": [], "IQ4_NL": [0],
}
ENCODED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4"]


def random_blocks(rng, name, n_blocks):
    kind = gguf.GGMLQuantizationType[name]
    _, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    for at in SCALES[name]:
        scales = (rng.standard_normal(n_blocks) * 10.0 ** rng.integers(-6, 3, n_blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(n_blocks, 2)
    if name == "MXFP4":
        blocks[:, 0] = [0, 1, 2, 118, 127, 250][:n_blocks]
    return blocks, gguf.quants.dequantize(blocks, kind).astype(np.float32)


def inputs(rng):
    """[n, 32]: random blocks of several magnitudes, zeros, a constant, an outlier, ties between codes."""
    rows = [rng.standard_normal(32) * 10.0**power for power in (-3, -1, 0, 2)]
    outlier = rng.standard_normal(32)
    outlier[17] = -200.0
    rows += [np.zeros(32), np.full(32, 0.75), outlier, (np.arange(32) - 16) / 4.0]
    return np.array(rows, dtype=np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in SCALES:
        blocks, values = random_blocks(rng, name, 2 if name.endswith("_K") else 6)
        (out / f"{name}.blocks").write_bytes(blocks.tobytes())
        (out / f"{name}.f32").write_bytes(values.tobytes())
    values = inputs(rng)
    (out / "input.f32").write_bytes(values.tobytes())
    for name in ENCODED:
        encoded = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
        (out / f"{name}.encoded").write_bytes(encoded.tobytes())


if __name__ == "__main__":
    main()
