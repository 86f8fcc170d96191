#!/usr/bin/env python3
"""DeepSeek-V4 in plain numpy: logits at every position of one sequence, all of it at once.

Reference numerics: every stored weight is dequantised exactly, everything else is f32 (or f64) maths. No quantised
rows, no activation quantisation, no Hadamard or FP4 in the indexer (spec 2.3 and 2.5 are left out on purpose).
Sections in comments are those of the DeepSeek-V4 specification.
"""

import argparse
import json
import os
import re
import sys

import numpy as np

import storage

SWA, CSA, HCA = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
CHUNK = 128  # queries worked on at a time, which only bounds memory

# --- config --------------------------------------------------------------------------------------


class Config:
    """config.json, in the published spelling (1.1) or in that of Transformers."""

    def __init__(self, json_config):
        get = json_config.get
        self.vocab = json_config["vocab_size"]
        self.hidden = json_config["hidden_size"]
        self.n_layers = json_config["num_hidden_layers"]
        self.n_heads = json_config["num_attention_heads"]
        self.head_dim = json_config["head_dim"]
        self.q_lora = json_config["q_lora_rank"]
        self.o_groups = json_config["o_groups"]
        self.o_lora = json_config["o_lora_rank"]
        self.window = json_config["sliding_window"]
        self.index_heads = json_config["index_n_heads"]
        self.index_dim = json_config["index_head_dim"]
        self.index_topk = json_config["index_topk"]
        self.n_experts = json_config["n_routed_experts"]
        self.n_used = json_config["num_experts_per_tok"]
        self.n_shared = get("n_shared_experts", 1)
        self.expert_dim = json_config["moe_intermediate_size"]
        self.scoring = get("scoring_func", "sqrtsoftplus")
        self.normalise_weights = get("norm_topk_prob", True)
        self.route_scale = get("routed_scaling_factor", 1.0)
        self.swiglu_limit = get("swiglu_limit") or 0.0  # 0: no clamp
        self.hc = get("hc_mult", 4)
        self.sinkhorn = get("hc_sinkhorn_iters", 20)
        self.hc_eps = get("hc_eps", 1e-6)
        self.eps = get("rms_norm_eps", 1e-6)
        self.tied = get("tie_word_embeddings", False)
        quantisation = get("quantization_config") or {}
        self.fp8_block = quantisation.get("weight_block_size", [128, 128])
        self._read_layers(json_config)
        self._read_rope(json_config)

    def _read_layers(self, json_config):
        """1.2: the attention type and ratio of every layer, and which layers route by hash."""
        get = json_config.get
        rates = dict(get("compress_rates") or {})
        rates.setdefault(CSA, get("compress_rate_csa", 4))
        rates.setdefault(HCA, get("compress_rate_hca", 128))
        types = get("layer_types")
        if types is None:
            # The list may go on with the entries of the MTP blocks.
            ratios = json_config["compress_ratios"]
            unknown = set(ratios) - {0, 4, 128}
            if unknown:
                raise ValueError(f"compress_ratios cannot say of which kind a layer of ratio {unknown} is")
            types = [{0: SWA, 4: CSA, 128: HCA}[ratio] for ratio in ratios]
        self.types = types[: self.n_layers]
        if len(self.types) != self.n_layers or set(self.types) - {SWA, CSA, HCA}:
            raise ValueError("bad layer types")
        self.ratios = [rates.get(kind, 0) for kind in self.types]

        mlp = get("mlp_layer_types")
        if mlp is None:
            n_hash = json_config["num_hash_layers"]
            self.hash = [layer < n_hash for layer in range(self.n_layers)]
        else:
            self.hash = [kind == "hash_moe" for kind in mlp[: self.n_layers]]

    def _read_rope(self, json_config):
        """2.2: `main` for SWA layers, `compress` for CSA and HCA layers."""
        get = json_config.get
        given = get("rope_parameters") or get("rope_scaling") or {}
        if isinstance(given.get("compress"), dict):
            main, compress = given["main"], given["compress"]
        else:
            main, compress = {"rope_theta": get("rope_theta", 10000.0)}, dict(given)
            compress["rope_theta"] = get("compress_rope_theta", 160000.0)
        self.rope_dim = get("qk_rope_head_dim")
        if self.rope_dim is None:
            factor = compress.get("partial_rotary_factor", get("partial_rotary_factor"))
            self.rope_dim = round(self.head_dim * factor)
        self.main_frequencies = rope_frequencies(self.rope_dim, main)
        self.compress_frequencies = rope_frequencies(self.rope_dim, compress)


def rope_frequencies(dim, rope):
    """2.2: 1/base^(2i/dim), with YaRN where asked for; f32 throughout."""
    base = float(rope["rope_theta"])
    exponent = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    plain = np.float32(1) / np.power(base, exponent.astype(np.float64)).astype(np.float32)
    if rope.get("rope_type", rope.get("type", "default")) != "yarn":
        return plain
    original = rope["original_max_position_embeddings"]
    factor = np.float32(rope["factor"])

    def corr(rotations):
        return dim * np.log(original / (2 * np.pi * rotations)) / (2 * np.log(base))

    low = max(np.floor(corr(rope.get("beta_fast", 32))), 0)
    high = min(np.ceil(corr(rope.get("beta_slow", 1))), dim - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1).astype(np.float32)
    return plain / factor * ramp + plain * (1 - ramp)


# --- weights -------------------------------------------------------------------------------------

# 11: official name -> Transformers name, as a row of replacements on the official one.
TRANSFORMERS_NAMES = [
    (r"^embed\.", "embed_tokens."),
    (r"^hc_head_", "hc_head.hc_"),
    (r"\.attn\.indexer\.compressor\.", ".self_attn.compressor.indexer."),
    (r"\.attn\.indexer\.", ".self_attn.compressor.indexer."),
    (r"\.attn\.", ".self_attn."),
    (r"\.ffn\.", ".mlp."),
    (r"\.attn_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
    (r"\.hc_(attn|ffn)_", r".\1_hc."),
    (r"\.attn_sink$", ".sinks"),
    (r"\.norm\.", ".kv_norm."),
    (r"\.ape$", ".position_bias"),
    (r"\.wq_a\.", ".q_a_proj."),
    (r"\.wq_b\.", ".q_b_proj."),
    (r"\.q_norm\.", ".q_a_norm."),
    (r"\.wkv\.", ".kv_proj."),
    (r"\.wgate\.", ".gate_proj."),
    (r"\.wo_a\.", ".o_a_proj."),
    (r"\.wo_b\.", ".o_b_proj."),
    (r"\.gate\.bias$", ".gate.e_score_correction_bias"),
    (r"\.shared_experts\.w1\.", ".shared_experts.gate_proj."),
    (r"\.shared_experts\.w2\.", ".shared_experts.down_proj."),
    (r"\.shared_experts\.w3\.", ".shared_experts.up_proj."),
]


def transformers_name(official):
    if official.startswith("head."):
        return "lm_head." + official[len("head.") :]
    for pattern, replacement in TRANSFORMERS_NAMES:
        official = re.sub(pattern, replacement, official)
    return "model." + official


class Weights:
    """Dequantised weights under their official names, whatever the directory calls and stores them."""

    def __init__(self, directory, config, dtype):
        self.tensors = storage.Directory(directory)
        self.config = config
        self.dtype = dtype

    def _find(self, official):
        current = transformers_name(official)
        names = [official, current, current.replace(".weights_proj", ".scorer.weights_proj")]
        return next((name for name in names if name in self.tensors), None)

    def has(self, official):
        return self._find(official) is not None

    def raw(self, official, shape):
        name = self._find(official)
        if name is None:
            raise KeyError(f"no tensor {official}")
        kind, array = self.tensors.raw(name)
        if kind == "I8":  # two FP4 codes a byte, one E8M0 scale per 32 of them (10.1)
            scale = storage.decode(*self.tensors.raw(self._scale_name(name)))
            array = storage.apply_block_scale(storage.unpack_fp4(array), scale, (1, 32))
        elif kind == "F8_E4M3":
            scale = storage.decode(*self.tensors.raw(self._scale_name(name)))
            array = storage.apply_block_scale(storage.decode(kind, array), scale, self.config.fp8_block)
        else:
            array = storage.decode(kind, array)
        if array.shape != tuple(shape):
            raise ValueError(f"{name}: shape {array.shape}, expected {tuple(shape)}")
        return array

    def _scale_name(self, name):
        stem = name.removesuffix(".weight")
        names = [stem + ".scale", name + "_scale_inv"]
        return next(candidate for candidate in names if candidate in self.tensors)

    def get(self, official, *shape):
        return self.raw(official, shape).astype(self.dtype)

    def expert(self, layer, expert):
        """w1 (gate), w3 (up), w2 (down) of one routed expert."""
        c = self.config
        prefix = f"layers.{layer}.ffn.experts.{expert}."
        if self.has(prefix + "w1.weight"):
            w1 = self.get(prefix + "w1.weight", c.expert_dim, c.hidden)
            w3 = self.get(prefix + "w3.weight", c.expert_dim, c.hidden)
            w2 = self.get(prefix + "w2.weight", c.hidden, c.expert_dim)
            return w1, w3, w2
        stack = f"layers.{layer}.ffn.experts."
        gate_up = self.get(stack + "gate_up_proj", c.n_experts, 2 * c.expert_dim, c.hidden)[expert]
        down = self.get(stack + "down_proj", c.n_experts, c.hidden, c.expert_dim)[expert]
        return gate_up[: c.expert_dim], gate_up[c.expert_dim :], down


# --- maths ---------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def rms_norm(x, eps, weight=None):
    """2.1."""
    x = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(eps))
    return x if weight is None else x * weight


def rope(x, positions, frequencies, inverse=False):
    """2.2: turns the last dims of x [T, dim] or [T, heads, dim] in interleaved pairs. Angles are f32 products."""
    dim = 2 * len(frequencies)
    if dim == 0:
        return x
    angle = positions.astype(np.float32)[:, None] * frequencies
    cos, sin = np.cos(angle.astype(x.dtype)), np.sin(angle.astype(x.dtype))
    if inverse:
        sin = -sin
    if x.ndim == 3:
        cos, sin = cos[:, None], sin[:, None]
    y = x.copy()
    even, odd = x[..., -dim::2], x[..., x.shape[-1] - dim + 1 :: 2]
    y[..., -dim::2] = even * cos - odd * sin
    y[..., x.shape[-1] - dim + 1 :: 2] = odd * cos + even * sin
    return y


def swiglu(x, w1, w3, w2, limit, weight=None):
    """8: one expert. The routing weight is applied before w2."""
    gate, up = x @ w1.T, x @ w3.T
    if limit > 0:
        gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    h = gate * sigmoid(gate) * up
    if weight is not None:
        h = h * weight[:, None]
    return h @ w2.T


class Result:
    """logits [S, V] and, for telling where a rounding may change a choice:

    pick_gap    [S] score of the last index pick minus that of the first entry left out, the least over CSA layers
    pick_margin [S] the same, but entries tied at exactly 0 (every ReLU shut), which go by entry id, count by how far
                they are from not being tied
    route_gap   [S] the same as pick_gap for the experts of score-routed layers
    trace       'name.layer' -> array, the intermediate results
    """


class Model:
    def __init__(self, directory, dtype=np.float32):
        with open(os.path.join(directory, "config.json")) as file:
            self.config = Config(json.load(file))
        self.dtype = np.dtype(dtype).type
        self.weights = Weights(directory, self.config, self.dtype)

    def run(self, ids, trace=False):
        with np.errstate(over="ignore"):  # exp(-x) of a large negative x: the sigmoid is 0
            return self._run(np.asarray(ids, np.int64), trace)

    def _run(self, ids, trace):
        c, w = self.config, self.weights
        self.ids, self.positions = ids, np.arange(len(ids))
        self.result = result = Result()
        result.trace = {} if trace else None
        result.pick_gap, result.pick_margin, result.route_gap = (np.full(len(ids), np.inf) for _ in range(3))

        # 3: the embedding in every residual stream, the blocks, the collapsed streams through the head.
        embed = w.get("embed.weight", c.vocab, c.hidden)
        streams = np.repeat(embed[ids][:, None], c.hc, axis=1)
        for layer in range(c.n_layers):
            streams = self.site(streams, layer, "attn", self.attention)
            streams = self.site(streams, layer, "ffn", self.moe)
            self.keep("streams", layer, streams)
        x = rms_norm(self.collapse(streams), c.eps, w.get("norm.weight", c.hidden))
        head = embed if c.tied else w.get("head.weight", c.vocab, c.hidden)
        result.logits = x @ head.T
        return result

    def keep(self, name, layer, value):
        if self.result.trace is not None:
            self.result.trace[f"{name}.{layer}"] = value

    # --- residual streams (7) ---

    def mix(self, streams, name, rows):
        """7.1: the projection of all streams together, normalised after it."""
        c = self.config
        v = streams.reshape(len(streams), -1)
        fn = self.weights.get(name + "_fn", rows, c.hc * c.hidden)
        return (v @ fn.T) / np.sqrt(np.mean(v * v, axis=-1, keepdims=True) + self.dtype(c.eps))

    def site(self, streams, layer, which, inner):
        """7.2 and 7.3: one of the two sub-layers of a block."""
        c, w = self.config, self.weights
        name = f"layers.{layer}.hc_{which}"
        n, eps = c.hc, self.dtype(c.hc_eps)
        mix = self.mix(streams, name, (2 + n) * n)
        base, scale = w.get(name + "_base", (2 + n) * n), w.get(name + "_scale", 3)
        pre = sigmoid(mix[:, :n] * scale[0] + base[:n]) + eps
        post = 2 * sigmoid(mix[:, n : 2 * n] * scale[1] + base[n : 2 * n])
        comb = (mix[:, 2 * n :] * scale[2] + base[2 * n :]).reshape(-1, n, n)
        comb = softmax(comb, axis=2) + eps
        comb = comb / (comb.sum(axis=1, keepdims=True) + eps)
        for _ in range(c.sinkhorn - 1):
            comb = comb / (comb.sum(axis=2, keepdims=True) + eps)
            comb = comb / (comb.sum(axis=1, keepdims=True) + eps)

        x = np.einsum("sj,sjd->sd", pre, streams)
        x = rms_norm(x, c.eps, w.get(f"layers.{layer}.{which}_norm.weight", c.hidden))
        out = inner(x, layer)
        self.keep(which + "_out", layer, out)
        # The matrix is used transposed: stream k sums over the first index.
        return post[:, :, None] * out[:, None] + np.einsum("sjk,sjd->skd", comb, streams)

    def collapse(self, streams):
        """7.4."""
        c, w = self.config, self.weights
        mix = self.mix(streams, "hc_head", c.hc)
        pre = sigmoid(mix * w.get("hc_head_scale", 1) + w.get("hc_head_base", c.hc)) + self.dtype(c.hc_eps)
        return np.einsum("sj,sjd->sd", pre, streams)

    # --- attention (4) ---

    def attention(self, x, layer):
        c, w = self.config, self.weights
        name = f"layers.{layer}.attn."
        kind, ratio, length = c.types[layer], c.ratios[layer], len(x)
        frequencies = c.main_frequencies if kind == SWA else c.compress_frequencies

        # 4.1
        qr = rms_norm(
            x @ w.get(name + "wq_a.weight", c.q_lora, c.hidden).T, c.eps, w.get(name + "q_norm.weight", c.q_lora)
        )
        q = qr @ w.get(name + "wq_b.weight", c.n_heads * c.head_dim, c.q_lora).T
        q = rms_norm(q.reshape(length, c.n_heads, c.head_dim), c.eps)
        q = rope(q, self.positions, frequencies)

        # 4.2
        rows = rms_norm(
            x @ w.get(name + "wkv.weight", c.head_dim, c.hidden).T, c.eps, w.get(name + "kv_norm.weight", c.head_dim)
        )
        rows = rope(rows, self.positions, frequencies)
        self.keep("window_rows", layer, rows)

        # 4.3: which entries each query sees
        if kind == SWA:
            entries, seen = np.empty((0, c.head_dim), self.dtype), np.empty((length, 0), bool)
        else:
            entries = self.compress(x, name + "compressor.", kind, ratio, c.head_dim)
            self.keep("entries", layer, entries)
            if kind == CSA:
                seen = self.index(x, qr, layer, ratio)
            else:
                seen = np.arange(len(entries)) < ((self.positions + 1) // ratio)[:, None]

        # 4.4: one softmax over window rows, entries and the sink, a logit per head that has no value
        scale = self.dtype(c.head_dim**-0.5)
        sink = w.get(name + "attn_sink", c.n_heads)[None, :, None]
        out = np.empty_like(q)
        for first in range(0, length, CHUNK):
            queries = self.positions[first : first + CHUNK, None]
            start = max(0, first - c.window + 1)
            window = self.positions[None, start : first + CHUNK]
            mask = np.concatenate(
                [(window <= queries) & (window > queries - c.window), seen[first : first + CHUNK]], axis=1
            )
            keys = np.concatenate([rows[start : first + CHUNK], entries])
            scores = np.where(mask[:, None], scale * (q[first : first + CHUNK] @ keys.T), -np.inf)
            top = scores.max(axis=2, keepdims=True)
            p = np.exp(scores - top)
            p = p / (p.sum(axis=2, keepdims=True) + np.exp(sink - top))
            out[first : first + CHUNK] = p @ keys

        # 4.5
        out = rope(out, self.positions, frequencies, inverse=True)
        per_group = c.n_heads // c.o_groups * c.head_dim
        out = out.reshape(length, c.o_groups, per_group)
        wo_a = w.get(name + "wo_a.weight", c.o_groups * c.o_lora, per_group).reshape(c.o_groups, c.o_lora, per_group)
        out = np.einsum("sgi,goi->sgo", out, wo_a, optimize=True).reshape(length, c.o_groups * c.o_lora)
        return out @ w.get(name + "wo_b.weight", c.hidden, c.o_groups * c.o_lora).T

    def compress(self, x, name, kind, ratio, dim):
        """5: the entries of all full blocks, [S // ratio, dim]."""
        c, w = self.config, self.weights
        overlap = kind == CSA
        width = 2 * dim if overlap else dim
        count = len(x) // ratio
        x = x[: count * ratio]
        values = (x @ w.get(name + "wkv.weight", width, c.hidden).T).reshape(count, ratio, width)
        scores = (x @ w.get(name + "wgate.weight", width, c.hidden).T).reshape(count, ratio, width)
        scores = scores + w.get(name + "ape", ratio, width)
        if overlap and count:
            # The first half of the channels speaks for the previous block, the second for this one.
            none = np.full((1, ratio, dim), -np.inf, self.dtype)
            scores = np.concatenate(
                [np.concatenate([none, scores[:-1, :, :dim]]), scores[:, :, dim:]], axis=1
            )
            values = np.concatenate(
                [np.concatenate([np.zeros_like(none), values[:-1, :, :dim]]), values[:, :, dim:]], axis=1
            )
        elif overlap:
            scores, values = scores[..., :dim], values[..., :dim]
        entries = (softmax(scores, axis=1) * values).sum(axis=1)
        entries = rms_norm(entries, c.eps, w.get(name + "norm.weight", dim))
        return rope(entries, np.arange(count) * ratio, c.compress_frequencies)

    def index(self, x, qr, layer, ratio):
        """6: which entries each query picks, [S, entries]. Equal scores go to the lower entry id."""
        c, w = self.config, self.weights
        name = f"layers.{layer}.attn.indexer."
        keys = self.compress(x, name + "compressor.", CSA, ratio, c.index_dim)
        self.keep("index_keys", layer, keys)
        q = qr @ w.get(name + "wq_b.weight", c.index_heads * c.index_dim, c.q_lora).T
        q = rope(q.reshape(-1, c.index_heads, c.index_dim), self.positions, c.compress_frequencies)
        head_weights = x @ w.get(name + "weights_proj.weight", c.index_heads, c.hidden).T
        head_weights = head_weights * self.dtype((c.index_dim * c.index_heads) ** -0.5)

        length, count, topk = len(x), len(keys), c.index_topk
        seen = np.zeros((length, count), bool)
        gap, margin = np.full(length, np.inf), np.full(length, np.inf)
        for t in range(length):
            visible = (t + 1) // ratio
            if visible <= topk:
                seen[t, :visible] = True
                continue
            dots = q[t] @ keys[:visible].T  # [heads, visible]
            scores = (head_weights[t][:, None] * np.maximum(dots, 0)).sum(axis=0)
            order = np.argsort(-scores, kind="stable")
            seen[t, order[:topk]] = True
            ranked = scores[order]
            gap[t] = ranked[topk - 1] - ranked[topk]
            margin[t] = gap[t] if gap[t] > 0 else tie_margin(scores, ranked[topk], dots, head_weights[t])
        self.keep("picks", layer, seen)
        self.keep("pick_gap", layer, gap)
        self.result.pick_gap = np.minimum(self.result.pick_gap, gap)
        self.result.pick_margin = np.minimum(self.result.pick_margin, margin)
        return seen

    # --- mixture of experts (8) ---

    def moe(self, x, layer):
        c, w = self.config, self.weights
        name = f"layers.{layer}.ffn."
        logits = x @ w.get(name + "gate.weight", c.n_experts, c.hidden).T
        if c.scoring == "sqrtsoftplus":
            scores = np.sqrt(np.where(logits > 20, logits, np.log1p(np.exp(np.minimum(logits, 20)))))
        elif c.scoring == "sigmoid":
            scores = sigmoid(logits)
        elif c.scoring == "softmax":
            scores = softmax(logits, axis=1)
        else:
            raise ValueError(f"scoring_func {c.scoring}")

        if c.hash[layer]:
            chosen = w.raw(name + "gate.tid2eid", (c.vocab, c.n_used))[self.ids]
        else:
            biased = scores + w.get(name + "gate.bias", c.n_experts)
            order = np.argsort(-biased, axis=1, kind="stable")
            chosen = order[:, : c.n_used]
            if c.n_used < c.n_experts:
                ranked = np.take_along_axis(biased, order, axis=1)
                gap = ranked[:, c.n_used - 1] - ranked[:, c.n_used]
                self.result.route_gap = np.minimum(self.result.route_gap, gap)
        weights = np.take_along_axis(scores, chosen, axis=1)
        if c.normalise_weights:
            weights = weights / weights.sum(axis=1, keepdims=True)
        weights = weights * self.dtype(c.route_scale)

        limit = self.dtype(c.swiglu_limit)
        out = np.zeros_like(x)
        for expert in range(c.n_experts):
            tokens, slots = np.nonzero(chosen == expert)
            if len(tokens):
                w1, w3, w2 = w.expert(layer, expert)
                np.add.at(out, tokens, swiglu(x[tokens], w1, w3, w2, limit, weights[tokens, slots]))
        if c.n_shared:
            width, shared = c.n_shared * c.expert_dim, name + "shared_experts."
            w1 = w.get(shared + "w1.weight", width, c.hidden)
            w3 = w.get(shared + "w3.weight", width, c.hidden)
            w2 = w.get(shared + "w2.weight", c.hidden, width)
            out += swiglu(x, w1, w3, w2, limit)
        return out


def tie_margin(scores, tied_score, dots, head_weights):
    """How far a tie across the boundary of the picks is from being none."""
    tied = scores == tied_score
    if tied_score != 0 or (dots[:, tied] > 0).any():
        return 0.0
    to_others = np.abs(scores[~tied] - tied_score).min(initial=np.inf)
    to_open = (np.abs(dots[:, tied]) * np.abs(head_weights)[:, None]).min()
    return min(to_others, to_open)


def main():
    parser = argparse.ArgumentParser(description="Logits of a DeepSeek-V4 directory, at every position.")
    parser.add_argument("directory")
    parser.add_argument("--ids", required=True, help="comma-separated, or a safetensors file with a tensor `ids`")
    parser.add_argument("--f64", action="store_true", help="f64 maths")
    parser.add_argument("--out", help="safetensors file for the logits, gaps and, with --trace, intermediate results")
    parser.add_argument("--trace", action="store_true")
    arguments = parser.parse_args()
    if os.path.exists(arguments.ids):
        ids = storage.File(arguments.ids)["ids"]
    else:
        ids = [int(text) for text in arguments.ids.split(",")]
    model = Model(arguments.directory, np.float64 if arguments.f64 else np.float32)
    result = model.run(ids, arguments.trace)
    if arguments.out:
        tensors = {"ids": np.asarray(ids), "logits": result.logits}
        for name in ("pick_gap", "pick_margin", "route_gap"):
            tensors[name] = getattr(result, name)
        tensors.update(result.trace or {})
        for name, tensor in tensors.items():
            tensors[name] = tensor.astype(np.float32 if tensor.dtype.kind == "f" else np.int32)
        storage.write(arguments.out, tensors)
    best = np.argsort(-result.logits[-1], kind="stable")[:5]
    print("after the last id:", ", ".join(f"{token} ({result.logits[-1, token]:.6f})" for token in best))


if __name__ == "__main__":
    sys.exit(main())
