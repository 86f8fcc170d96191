"""Safetensors files and the stored number types of DeepSeek-V4 checkpoints (spec 10.1)."""

import json
import os
import struct

import numpy as np

# --- number types --------------------------------------------------------------------------------


def _e4m3_values():
    """The 256 values of float8 e4m3 (bias 7, no infinities, 0x7f and 0xff are NaN)."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    value = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    value = np.where(exponent * 8 + mantissa == 127, np.nan, value)
    return np.where(code & 128, -value, value).astype(np.float32)


E4M3 = _e4m3_values()
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def decode_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def decode_e8m0(code):
    """2^(b-127); 255 is NaN."""
    value = np.exp2(code.astype(np.float64) - 127)
    return np.where(code == 255, np.nan, value).astype(np.float32)


def unpack_fp4(packed):
    """[out, in/2] bytes -> [out, in] values; the low nibble is the even column (spec 10.1)."""
    packed = packed.view(np.uint8)
    value = np.empty((packed.shape[0], packed.shape[1] * 2), np.float32)
    value[:, 0::2] = E2M1[packed & 15]
    value[:, 1::2] = E2M1[packed >> 4]
    return value


def apply_block_scale(value, scale, block):
    """value * scale, one scale per block = (rows, columns); edge blocks may be partial."""
    rows = np.arange(value.shape[0]) // block[0]
    columns = np.arange(value.shape[1]) // block[1]
    expected = (rows[-1] + 1, columns[-1] + 1)
    if scale.shape != expected:
        raise ValueError(f"scale of shape {scale.shape}, expected {expected}")
    return value * scale[rows][:, columns]


def encode_bf16(value):
    """Round to nearest, ties to even."""
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _nearest_code(magnitude, ladder):
    """Index of the nearest step of an ascending ladder; ties go to the even index."""
    upper = np.clip(np.searchsorted(ladder, magnitude), 1, len(ladder) - 1)
    lower = upper - 1
    to_lower, to_upper = magnitude - ladder[lower], ladder[upper] - magnitude
    take_lower = (to_lower < to_upper) | ((to_lower == to_upper) & (lower % 2 == 0))
    return np.where(take_lower, lower, upper).astype(np.uint8)


def encode_e4m3(value):
    value = np.asarray(value, np.float64)
    return _nearest_code(np.abs(value), E4M3[:127].astype(np.float64)) | np.where(value < 0, 128, 0).astype(np.uint8)


def encode_fp4(value):
    """[out, in] -> [out, in/2] packed bytes."""
    value = np.asarray(value, np.float64)
    code = _nearest_code(np.abs(value), E2M1[:8].astype(np.float64)) | np.where(value < 0, 8, 0).astype(np.uint8)
    return (code[:, 0::2] | (code[:, 1::2] << 4)).view(np.int8)


# --- safetensors ---------------------------------------------------------------------------------

# What each stored type is held as before decoding.
RAW = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F8_E4M3": np.uint8,
    "F8_E8M0": np.uint8, "I8": np.int8, "U8": np.uint8, "I32": np.int32, "I64": np.int64,
}  # fmt: skip


class File:
    """One safetensors file: 8-byte length, JSON header, data."""

    def __init__(self, path):
        self.data = np.memmap(path, np.uint8, "r")
        length = struct.unpack("<Q", self.data[:8].tobytes())[0]
        self.entries = json.loads(self.data[8 : 8 + length].tobytes())
        self.metadata = self.entries.pop("__metadata__", {})
        self.start = 8 + length

    def raw(self, name):
        """(stored type, array in the RAW type)."""
        entry = self.entries[name]
        first, last = (self.start + offset for offset in entry["data_offsets"])
        array = np.frombuffer(self.data[first:last].tobytes(), RAW[entry["dtype"]])
        return entry["dtype"], array.reshape(entry["shape"])

    def __getitem__(self, name):
        """The values, as numpy has them; BF16 and the 8-bit floats become f32."""
        kind, array = self.raw(name)
        return decode(kind, array)

    def __contains__(self, name):
        return name in self.entries

    def keys(self):
        return self.entries.keys()


def decode(kind, array):
    if kind == "BF16":
        return decode_bf16(array)
    if kind == "F8_E4M3":
        return E4M3[array]
    if kind == "F8_E8M0":
        return decode_e8m0(array)
    return array


class Directory:
    """All tensors of a checkpoint directory: model.safetensors, or shards and their index."""

    def __init__(self, path):
        index = os.path.join(path, "model.safetensors.index.json")
        if os.path.exists(index):
            with open(index) as file:
                where = json.load(file)["weight_map"]
        else:
            single = File(os.path.join(path, "model.safetensors"))
            where = {name: "model.safetensors" for name in single.keys()}
        self.files = {name: File(os.path.join(path, name)) for name in set(where.values())}
        self.where = where

    def __contains__(self, name):
        return name in self.where

    def raw(self, name):
        return self.files[self.where[name]].raw(name)


def write(path, tensors, metadata=None):
    """tensors: name -> array, or (stored type, array in its RAW type)."""
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.int32): "I32", np.dtype(np.int64): "I64"}
    header, chunks, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = metadata
    for name, tensor in tensors.items():
        kind, array = tensor if isinstance(tensor, tuple) else (kinds[tensor.dtype], tensor)
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for data in chunks:
            file.write(data)
