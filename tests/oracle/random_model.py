#!/usr/bin/env python3
"""Writes a small random-weight DeepSeek-V4 directory of an unusual shape, with its golden logits.

The shape, the storage and every spelling are drawn from the seed, so the same seed gives the same directory.
golden.safetensors holds ids [S] i32; logits [S,V] f32, from f64 maths; pick_gap, pick_margin and route_gap [S] f32
(see deepseek_v4.Result). Its metadata says what was drawn, and by how much f32 maths moves the logits.
"""

import argparse
import json
import math
import os
import sys

import numpy as np

import storage
from deepseek_v4 import CSA, HCA, SWA, Model, transformers_name

# --- shape ---------------------------------------------------------------------------------------


class Draw:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def one(self, options):
        return options[int(self.rng.integers(len(options)))]

    def between(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability):
        return bool(self.rng.random() < probability)


def draw_shape(draw, storage_kind):
    """Everything a config says, under the published key names, and the layer lists."""
    packed = storage_kind == "fp8-fp4"  # FP4 rows come in 32s
    s = {}
    s["vocab_size"] = draw.between(50, 400)
    s["hidden_size"] = draw.one([h for h in (32, 48, 64, 96, 128, 160, 256) if not packed or h % 32 == 0])
    s["num_hidden_layers"] = draw.between(2, 6)
    s["num_attention_heads"] = draw.one([1, 2, 3, 4, 6, 8, 12])
    s["num_key_value_heads"] = 1
    s["head_dim"] = draw.one([16, 24, 32, 48, 64, 96, 128, 192])
    s["q_lora_rank"] = draw.one([16, 24, 32, 64])
    s["o_groups"] = draw.one([g for g in range(1, 13) if s["num_attention_heads"] % g == 0])
    s["o_lora_rank"] = draw.one([8, 16, 24])
    s["index_n_heads"] = draw.one([1, 2, 3, 8, 16])
    s["index_head_dim"] = draw.one([16, 32, 64, 128])
    s["index_topk"] = draw.one([1, 2, 5, 16, 64])
    s["sliding_window"] = draw.one([1, 3, 8, 33, 64, 128, 200])
    widest = min(s["head_dim"], s["index_head_dim"])
    s["qk_rope_head_dim"] = min(widest, draw.one([2, 4, 6, 8, 16, 22, 32, 64]))
    s["n_routed_experts"] = draw.between(2, 9)
    s["num_experts_per_tok"] = draw.between(1, min(4, s["n_routed_experts"]))
    s["n_shared_experts"] = draw.one([1] * 8 + [2, 2, 0])
    s["moe_intermediate_size"] = draw.one([32, 64, 96] if packed else [16, 24, 32, 40, 64, 96])
    s["scoring_func"] = "sqrtsoftplus"
    s["topk_method"] = "noaux_tc"
    s["norm_topk_prob"] = not draw.chance(0.12)
    s["routed_scaling_factor"] = draw.one([1.0, 1.5, 2.5, round(0.5 + 2 * float(draw.rng.random()), 3)])
    s["swiglu_limit"] = draw.one([10.0, 10.0, 7.0, 1.0, 0.5])
    s["hidden_act"] = "silu"
    s["hc_mult"] = draw.one([1, 2, 3, 4, 4, 5])
    s["hc_sinkhorn_iters"] = draw.one([1, 2, 3, 20])
    s["hc_eps"] = draw.one([1e-6, 1e-6, 1e-5])
    s["rms_norm_eps"] = draw.one([1e-6, 1e-6, 1e-5])
    s["rope_theta"] = draw.one([10000.0, 10000.0, 500000.0])
    s["compress_rope_theta"] = draw.one([160000.0, 160000.0, 40000.0])
    s["max_position_embeddings"] = 1048576
    s["num_nextn_predict_layers"] = draw.one([0, 0, 1, 1, 2])
    s["tie_word_embeddings"] = draw.chance(0.15)
    s["bos_token_id"], s["eos_token_id"] = 0, 1
    s["attention_bias"] = False

    kinds = [draw.one([SWA, CSA, CSA, HCA]) for _ in range(s["num_hidden_layers"])]
    rates = {CSA: draw.one([2, 4, 4, 8, 16]), HCA: draw.one([16, 32, 64, 128, 128])}
    n_hash = draw.one([0, 0, 1, 1, 2, s["num_hidden_layers"]])
    hashed = [layer < n_hash for layer in range(s["num_hidden_layers"])]
    yarn = None
    if draw.chance(0.9):
        yarn = {
            "factor": draw.one([16.0, 16.0, 4.0, 40.0]),
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "original_max_position_embeddings": draw.one([65536, 65536, 4096, 256]),
        }
    return s, kinds, rates, hashed, yarn


def spell_config(draw, s, kinds, rates, hashed, yarn, storage_kind, scale_kind):
    """config.json in one of its spellings (spec 1.1 and 1.2), each part drawn by itself."""
    c = {"architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4"}
    c.update(s)

    layers = draw.one(["ratios", "ratios", "types"])
    if any(kind != SWA and rates[kind] != {CSA: 4, HCA: 128}[kind] for kind in kinds):
        layers = "types"  # a list of ratios says the kind by 4 and 128
    if layers == "ratios":
        tail = s["num_nextn_predict_layers"] if draw.chance(0.8) else 0
        c["compress_ratios"] = [{SWA: 0, **rates}[kind] for kind in kinds] + [0] * tail
    else:
        c["layer_types"], c["compress_rates"] = kinds, rates

    mlp = draw.one(["number", "number", "types"])
    if mlp == "types" and draw.chance(0.3):
        hashed[:] = [draw.chance(0.4) for _ in kinds]  # only this spelling can mix them
    if mlp == "number":
        c["num_hash_layers"] = sum(hashed)
    else:
        c["mlp_layer_types"] = ["hash_moe" if is_hash else "moe" for is_hash in hashed]

    if draw.chance(0.5):
        type_key = draw.one(["type", "rope_type"])
        if yarn:
            c["rope_scaling"] = {type_key: "yarn", **yarn}
        elif draw.chance(0.5):
            c["rope_scaling"] = None
        rope = "scaling"
    else:
        main = {"rope_type": "default", "rope_theta": c.pop("rope_theta")}
        compress = {"rope_type": "default", "rope_theta": c.pop("compress_rope_theta")}
        if yarn:
            compress.update(yarn, rope_type="yarn", attention_factor=1.0)
        factor = s["qk_rope_head_dim"] / s["head_dim"]
        if int(s["head_dim"] * factor) == s["qk_rope_head_dim"]:
            main["partial_rotary_factor"] = compress["partial_rotary_factor"] = factor
            if draw.chance(0.5):
                c.pop("qk_rope_head_dim")
                c["partial_rotary_factor"] = factor
        c["rope_parameters"] = {"main": main, "compress": compress}
        rope = "parameters"

    if storage_kind.startswith("fp8"):
        c["quantization_config"] = {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
        }
        if scale_kind == "F8_E8M0":
            c["quantization_config"]["scale_fmt"] = "ue8m0"
        if storage_kind == "fp8-fp4" and draw.chance(0.3):
            c["expert_dtype"] = "fp4"
    key = draw.one(["torch_dtype", "dtype"])
    c[key] = "float32" if storage_kind == "f32" else "bfloat16"
    return c, f"layers {layers}, mlp {mlp}, rope {rope}"


# --- weights -------------------------------------------------------------------------------------

# 10.1: how the official checkpoints store a tensor.
FP8_NAMES = ("wq_a.weight", "wq_b.weight", "attn.wkv.weight", "wo_a.weight", "wo_b.weight")
F32_NAMES = ("ape", "attn_sink", "gate.bias", "_fn", "_base", "_scale")


def official_class(name):
    if name.endswith("tid2eid"):
        return "integer"
    if ".shared_experts." in name or name.endswith(FP8_NAMES):
        return "linear"
    if ".ffn.experts." in name:
        return "expert"
    if name.endswith(F32_NAMES):
        return "f32"
    return "bf16"


def draw_weights(rng, s, kinds, rates, hashed):
    """Official name -> f64 or integer array. Linears are N(0, 1/inputs), so that activations stay around 1."""
    d, c, vocab, hc = s["hidden_size"], s["head_dim"], s["vocab_size"], s["hc_mult"]
    q_lora, heads, groups, o_lora = s["q_lora_rank"], s["num_attention_heads"], s["o_groups"], s["o_lora_rank"]
    weights = {}

    def linear(name, outputs, inputs):
        weights[name] = rng.standard_normal((outputs, inputs)) / math.sqrt(inputs)

    def norm(name, size):
        weights[name] = 1 + 0.1 * rng.standard_normal(size)

    def half(name, *shape):
        weights[name] = 0.5 * rng.standard_normal(shape)

    def hyper(prefix, rows, scales):
        linear(prefix + "_fn", rows, hc * d)
        half(prefix + "_base", rows)
        weights[prefix + "_scale"] = 1 + 0.3 * rng.standard_normal(scales)

    def compressor(prefix, ratio, width, dim):
        linear(prefix + "wkv.weight", width, d)
        linear(prefix + "wgate.weight", width, d)
        half(prefix + "ape", ratio, width)
        norm(prefix + "norm.weight", dim)

    def expert(prefix, width):
        linear(prefix + "w1.weight", width, d)
        linear(prefix + "w2.weight", d, width)
        linear(prefix + "w3.weight", width, d)

    weights["embed.weight"] = rng.standard_normal((vocab, d))
    if s["tie_word_embeddings"]:
        weights["embed.weight"] /= math.sqrt(d)
    else:
        linear("head.weight", vocab, d)
    norm("norm.weight", d)
    hyper("hc_head", hc, 1)
    for layer, kind in enumerate(kinds):
        p = f"layers.{layer}."
        norm(p + "attn_norm.weight", d)
        norm(p + "ffn_norm.weight", d)
        hyper(p + "hc_attn", (2 + hc) * hc, 3)
        hyper(p + "hc_ffn", (2 + hc) * hc, 3)
        a = p + "attn."
        linear(a + "wq_a.weight", q_lora, d)
        norm(a + "q_norm.weight", q_lora)
        linear(a + "wq_b.weight", heads * c, q_lora)
        linear(a + "wkv.weight", c, d)
        norm(a + "kv_norm.weight", c)
        linear(a + "wo_a.weight", groups * o_lora, heads // groups * c)
        linear(a + "wo_b.weight", d, groups * o_lora)
        half(a + "attn_sink", heads)
        if kind == HCA:
            compressor(a + "compressor.", rates[HCA], c, c)
        if kind == CSA:
            compressor(a + "compressor.", rates[CSA], 2 * c, c)
            dim = s["index_head_dim"]
            compressor(a + "indexer.compressor.", rates[CSA], 2 * dim, dim)
            linear(a + "indexer.wq_b.weight", s["index_n_heads"] * dim, q_lora)
            linear(a + "indexer.weights_proj.weight", s["index_n_heads"], d)
        f = p + "ffn."
        experts, used = s["n_routed_experts"], s["num_experts_per_tok"]
        linear(f + "gate.weight", experts, d)
        if hashed[layer]:
            weights[f + "gate.tid2eid"] = np.stack([rng.permutation(experts)[:used] for _ in range(vocab)])
        else:
            half(f + "gate.bias", experts)
        for e in range(experts):
            expert(f"{f}experts.{e}.", s["moe_intermediate_size"])
        if s["n_shared_experts"]:
            expert(f + "shared_experts.", s["n_shared_experts"] * s["moe_intermediate_size"])
    return weights


def block_amax(value, block):
    """The largest magnitude of each block, edge blocks being partial."""
    rows, columns = (-(-size // step) for size, step in zip(value.shape, block))
    padded = np.zeros((rows * block[0], columns * block[1]))
    padded[: value.shape[0], : value.shape[1]] = np.abs(value)
    return padded.reshape(rows, block[0], columns, block[1]).max(axis=(1, 3))


def quantise(value, block, largest, power_of_two):
    """(value / scale, stored scale)."""
    scale = block_amax(value, block) / largest
    if power_of_two:
        exponent = np.ceil(np.log2(scale))
        scale, stored = np.exp2(exponent), ("F8_E8M0", (exponent + 127).astype(np.uint8))
    else:
        scale = scale.astype(np.float32)
        stored = ("F32", scale)
    # A clamp only for the last bit of an F32 scale.
    return np.clip(storage.apply_block_scale(value, 1 / scale.astype(np.float64), block), -largest, largest), stored


def store(weights, storage_kind, current_names, scale_kind, integer_kind, scorer):
    """Stored name -> (type, array). `current_names`: those of Transformers, with stacked experts."""
    tensors = {}

    def name_of(official):
        name = transformers_name(official) if current_names else official
        return name.replace(".weights_proj", ".scorer.weights_proj") if current_names and scorer else name

    def plain(name, value, kind):
        tensors[name] = (kind, storage.encode_bf16(value) if kind == "BF16" else value.astype(np.float32))

    stacks = {}
    for official, value in weights.items():
        kind, name = official_class(official), name_of(official)
        if kind == "integer":
            tensors[name] = (integer_kind, value.astype(storage.RAW[integer_kind]))
        elif kind == "expert" and current_names:
            prefix, expert, part, _ = official.rsplit(".", 3)
            stacks.setdefault(transformers_name(prefix), {})[int(expert), part] = value
        elif kind == "linear" and storage_kind.startswith("fp8") or kind == "expert" and storage_kind == "fp8-fp8":
            scaled, scale = quantise(value, (128, 128), 448.0, scale_kind == "F8_E8M0")
            tensors[name] = ("F8_E4M3", storage.encode_e4m3(scaled))
            stem = name.removesuffix(".weight")
            tensors[name + "_scale_inv" if current_names else stem + ".scale"] = scale
        elif kind == "expert" and storage_kind == "fp8-fp4":
            scaled, scale = quantise(value, (1, 32), 6.0, True)
            tensors[name] = ("I8", storage.encode_fp4(scaled))
            tensors[name.removesuffix(".weight") + ".scale"] = scale
        else:
            plain(name, value, "F32" if storage_kind == "f32" or kind == "f32" else "BF16")
    for prefix, parts in stacks.items():
        count = 1 + max(expert for expert, _ in parts)
        gate_up = np.stack([np.concatenate([parts[e, "w1"], parts[e, "w3"]]) for e in range(count)])
        down = np.stack([parts[e, "w2"] for e in range(count)])
        kind = "F32" if storage_kind == "f32" else "BF16"
        plain(prefix + ".gate_up_proj", gate_up, kind)
        plain(prefix + ".down_proj", down, kind)
    return tensors


def write_tensors(draw, directory, tensors):
    """One file, or shards and their index; tensors in drawn order."""
    names = list(tensors)
    draw.rng.shuffle(names)
    shards = draw.one([1, 1, 2, 3])
    if shards == 1:
        storage.write(os.path.join(directory, "model.safetensors"), {n: tensors[n] for n in names}, {"format": "pt"})
        return shards
    where = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        storage.write(os.path.join(directory, file), part, {"format": "pt"})
        where.update({name: file for name in part})
    total = sum(array.nbytes for _, array in tensors.values())
    with open(os.path.join(directory, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": where}, file, indent=1)
    return shards


# --- golden --------------------------------------------------------------------------------------


def draw_golden(draw, directory, vocab):
    """Ids for which no choice is close, as far as a few attempts find some, and their logits."""
    model, best, safest = Model(directory, np.float64), None, -1.0
    length = draw.one([draw.between(1, 20), draw.between(1, 400), draw.between(1, 400), draw.between(200, 400)])
    for _ in range(8):
        ids = draw.rng.integers(0, vocab, length)
        result = model.run(ids)
        safety = min(result.pick_margin.min(), result.route_gap.min())
        if safety > safest:
            safest, best = safety, (ids, result)
        if safest > 1e-5:
            break
    ids, result = best
    f32 = Model(directory, np.float32).run(ids)
    return ids, result, float(np.abs(f32.logits - result.logits).max()), safest


def make(directory, seed):
    draw = Draw(seed)
    current_names = draw.chance(0.35)
    storage_kind = draw.one(["f32", "bf16", "fp8-bf16" if current_names else draw.one(["fp8-fp4"] * 3 + ["fp8-fp8"])])
    scale_kind = draw.one(["F8_E8M0", "F8_E8M0", "F8_E8M0", "F32"])
    integer_kind = draw.one(["I64", "I64", "I64", "I32"])
    s, kinds, rates, hashed, yarn = draw_shape(draw, storage_kind)
    config, spelling = spell_config(draw, s, kinds, rates, hashed, yarn, storage_kind, scale_kind)

    weights = draw_weights(draw.rng, s, kinds, rates, hashed)
    tensors = store(weights, storage_kind, current_names, scale_kind, integer_kind, draw.chance(0.5))
    for block in range(s["num_nextn_predict_layers"]):  # a reader has to skip these
        kind = "F32" if storage_kind == "f32" else "BF16"
        for name, shape in (("enorm.weight", [s["hidden_size"]]), ("attn.wkv.weight", [3, 5])):
            tensors[f"mtp.{block}.{name}"] = (kind, np.zeros(shape, storage.RAW[kind]))

    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(directory):  # what an earlier seed left here
        if name == "config.json" or name.endswith((".safetensors", ".safetensors.index.json")):
            os.remove(os.path.join(directory, name))
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    shards = write_tensors(draw, directory, tensors)

    ids, result, f32_difference, safest = draw_golden(draw, directory, s["vocab_size"])
    short = {SWA: "S", CSA: f"C{rates[CSA]}", HCA: f"H{rates[HCA]}"}
    about = {
        "seed": str(seed),
        "layers": " ".join(short[kind] + ("#" if is_hash else "") for kind, is_hash in zip(kinds, hashed)),
        "names": "transformers" if current_names else "official",
        "storage": storage_kind + (f", scales {scale_kind}" if storage_kind.startswith("fp8") else ""),
        "files": str(shards),
        "spelling": spelling,
        "f32_max_abs_diff": f"{f32_difference:.3e}",
        "least_margin": f"{safest:.3e}",
    }
    golden = {"ids": ids.astype(np.int32), "logits": result.logits.astype(np.float32)}
    for name in ("pick_gap", "pick_margin", "route_gap"):
        golden[name] = getattr(result, name).astype(np.float32)
    storage.write(os.path.join(directory, "golden.safetensors"), golden, about)
    print(
        f"seed {seed}: [{about['layers']}] S {len(ids)}, window {s['sliding_window']}, top {s['index_topk']},"
        f" {s['num_attention_heads']}x{s['head_dim']} heads, hidden {s['hidden_size']}, hc {s['hc_mult']},"
        f" {about['names']} names, {about['storage']}, {shards} file(s); logits std {result.logits.std():.2f},"
        f" f32 within {f32_difference:.1e}, least margin {safest:.1e}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="directory to write")
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    make(arguments.out, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
