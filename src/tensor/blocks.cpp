#include "tensor/blocks.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "tensor/codecs.h"

namespace varve {
namespace {

constexpr int kHalf = 16;   // of a block of 32: codes of 4 bits lie as low nibbles, then high ones
constexpr int kGroups = 8;  // of 32 values in a block of 256
constexpr int kGroup = 32;

uint16_t load16(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

float load_f16(const uint8_t* p) {
  return f32_from_f16(load16(p));
}

void store_f16(float value, uint8_t* p) {
  const uint16_t bits = f16_from_f32(value);
  std::memcpy(p, &bits, sizeof bits);
}

uint32_t load32(const uint8_t* p) {
  uint32_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

// Code i of 32 in 16 bytes.
int nibble(const uint8_t* bytes, int i) {
  return i < kHalf ? bytes[i] & 15 : bytes[i - kHalf] >> 4;
}

// ---- blocks of 32

void decode_q8_0(const uint8_t* block, float* values) {
  const float scale = load_f16(block);
  for (int i = 0; i < 32; ++i) {
    values[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
}

// n_bits 4 or 5; the fifth bits come first, in 4 bytes. Without a minimum codes count from the
// middle.
void decode_nibbles(const uint8_t* block, int n_bits, bool has_minimum, float* values) {
  const float scale = load_f16(block);
  const float minimum = has_minimum ? load_f16(block + 2) : 0.0f;
  const int middle = has_minimum ? 0 : 1 << (n_bits - 1);
  const uint8_t* bytes = block + (has_minimum ? 4 : 2);
  uint32_t fifth = 0;
  if (n_bits == 5) {
    fifth = load32(bytes);
    bytes += sizeof fifth;
  }
  for (int i = 0; i < 32; ++i) {
    const int code = nibble(bytes, i) | static_cast<int>(fifth >> i & 1u) << 4;
    const float product = scale * static_cast<float>(code - middle);
    values[i] = has_minimum ? product + minimum : product;
  }
}

void decode_table(const uint8_t* bytes, float scale, const std::array<int8_t, 16>& table,
                  float* values) {
  for (int i = 0; i < 32; ++i) {
    values[i] = scale * static_cast<float>(table[static_cast<size_t>(nibble(bytes, i))]);
  }
}

// ---- blocks of 256

struct GroupScale {
  uint8_t scale, minimum;
};

// Both of a group have 6 bits; `packed` are the 12 bytes that hold those of all eight groups.
GroupScale group_scale(const uint8_t* packed, int group) {
  const auto six = [](int low, int high) { return static_cast<uint8_t>(low | high >> 6 << 4); };
  const uint8_t* const p = packed + group % 4;
  if (group < 4) return {static_cast<uint8_t>(p[0] & 63), static_cast<uint8_t>(p[4] & 63)};
  return {six(p[8] & 15, p[0]), six(p[8] >> 4, p[4])};
}

// Q4_K, and Q5_K with a fifth bit of each code: bit g of byte i for value i of group g.
void decode_k(const uint8_t* block, bool has_fifth, float* values) {
  const float scale = load_f16(block), minimum = load_f16(block + 2);
  const uint8_t* const packed = block + 4;
  const uint8_t* const fifth = packed + 12;
  const uint8_t* const bytes = has_fifth ? fifth + kGroup : fifth;
  for (int g = 0; g < kGroups; ++g) {
    const GroupScale of_group = group_scale(packed, g);
    const float step = scale * of_group.scale, lift = minimum * of_group.minimum;
    for (int i = 0; i < kGroup; ++i) {
      const uint8_t byte = bytes[g / 2 * kGroup + i];
      int code = g % 2 == 0 ? byte & 15 : byte >> 4;
      if (has_fifth) code |= (fifth[i] >> g & 1) << 4;
      values[g * kGroup + i] = step * static_cast<float>(code) - lift;
    }
  }
}

// Halves of 128 values: 64 bytes with the low four bits, 32 with the upper two; a scale per 16.
void decode_q6_k(const uint8_t* block, float* values) {
  const uint8_t* const low = block;
  const uint8_t* const high = block + 128;
  const uint8_t* const scales = block + 192;
  const float scale = load_f16(block + 208);
  for (int g = 0; g < kGroups; ++g) {
    const int half = g / 4, quarter = g % 4;
    for (int i = 0; i < kGroup; ++i) {
      const uint8_t byte = low[half * 64 + quarter % 2 * 32 + i];
      const int upper = high[half * 32 + i] >> (2 * quarter) & 3;
      const int code = ((quarter < 2 ? byte & 15 : byte >> 4) | upper << 4) - 32;
      const auto group = static_cast<int8_t>(scales[g * 2 + i / 16]);
      values[g * kGroup + i] = scale * static_cast<float>(group) * static_cast<float>(code);
    }
  }
}

// ---- encoding

float inverse(float scale) {
  return scale != 0 ? 1.0f / scale : 0.0f;
}

float of_largest_magnitude(const float* values) {
  return *std::max_element(values, values + 32,
                           [](float a, float b) { return std::fabs(a) < std::fabs(b); });
}

void encode_q8_0(const float* values, uint8_t* block) {
  const float scale = std::fabs(of_largest_magnitude(values)) / 127.0f;
  const float inverse_scale = inverse(scale);
  store_f16(scale, block);
  for (int i = 0; i < 32; ++i) {
    block[2 + i] = static_cast<uint8_t>(std::lround(values[i] * inverse_scale));
  }
}

// Codes of n_bits at `to`: the fifth bits, if any, then nibbles.
void pack_codes(const std::array<uint8_t, 32>& codes, int n_bits, uint8_t* to) {
  if (n_bits == 5) {
    uint32_t fifth = 0;
    for (size_t i = 0; i < 32; ++i) fifth |= static_cast<uint32_t>(codes[i] >> 4) << i;
    std::memcpy(to, &fifth, sizeof fifth);
    to += sizeof fifth;
  }
  for (size_t i = 0; i < kHalf; ++i) {
    to[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + kHalf] & 15) << 4);
  }
}

// Rounds by adding a half and cutting off, as ggml does: `x` is not below -0.5.
uint8_t code_of(float x, int most) {
  return static_cast<uint8_t>(std::min(static_cast<int>(x + 0.5f), most));
}

// The value of the largest magnitude gets the code at the negative end, which reaches one further.
void encode_from_the_middle(const float* values, int n_bits, uint8_t* block) {
  const int middle = 1 << (n_bits - 1);
  const float scale = of_largest_magnitude(values) / static_cast<float>(-middle);
  const float inverse_scale = inverse(scale);
  std::array<uint8_t, 32> codes;
  for (size_t i = 0; i < 32; ++i) {
    // One rounding of the sum: the half is added together with the middle.
    const float shifted = values[i] * inverse_scale + (static_cast<float>(middle) + 0.5f);
    codes[i] = static_cast<uint8_t>(std::min(static_cast<int>(shifted), 2 * middle - 1));
  }
  store_f16(scale, block);
  pack_codes(codes, n_bits, block + 2);
}

void encode_from_the_minimum(const float* values, int n_bits, uint8_t* block) {
  const auto [least, most] = std::minmax_element(values, values + 32);
  const int largest = (1 << n_bits) - 1;
  const float scale = (*most - *least) / static_cast<float>(largest);
  const float inverse_scale = inverse(scale);
  std::array<uint8_t, 32> codes;
  for (size_t i = 0; i < 32; ++i) {
    codes[i] = code_of((values[i] - *least) * inverse_scale, largest);
  }
  store_f16(scale, block);
  store_f16(*least, block + 2);
  pack_codes(codes, n_bits, block + 4);
}

// The scale brings the largest magnitude into the top binade of e2m1, [4, 8); what lies above 6
// becomes 6. Of two codes that are equally near the one with the lower number wins.
void encode_mxfp4(const float* values, uint8_t* block) {
  const float most = std::fabs(of_largest_magnitude(values));
  constexpr int kTopExponent = 2;
  const int exponent = most > 0 ? std::ilogb(most) - kTopExponent + 127 : 0;
  block[0] = static_cast<uint8_t>(std::clamp(exponent, 0, 254));
  const float scale = f32_from_half_e8m0(block[0]);
  std::array<uint8_t, 32> codes;
  for (size_t i = 0; i < 32; ++i) {
    size_t best = 0;
    float best_error = std::fabs(values[i]);
    for (size_t code = 1; code < kTwiceE2m1Values.size(); ++code) {
      const float error = std::fabs(scale * kTwiceE2m1Values[code] - values[i]);
      if (error < best_error) best = code, best_error = error;
    }
    codes[i] = static_cast<uint8_t>(best);
  }
  pack_codes(codes, 4, block + 1);
}

}  // namespace

float f32_from_half_e8m0(uint8_t byte) {
  if (byte < 2) return std::bit_cast<float>(uint32_t{0x00200000} << byte);
  return std::bit_cast<float>(static_cast<uint32_t>(byte - 1) << 23);
}

void decode_block(DType type, const std::byte* block, float* values) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(block);
  switch (type) {
    case DType::q8_0:
      return decode_q8_0(bytes, values);
    case DType::q4_0:
      return decode_nibbles(bytes, 4, false, values);
    case DType::q4_1:
      return decode_nibbles(bytes, 4, true, values);
    case DType::q5_0:
      return decode_nibbles(bytes, 5, false, values);
    case DType::q5_1:
      return decode_nibbles(bytes, 5, true, values);
    case DType::q4_k:
      return decode_k(bytes, false, values);
    case DType::q5_k:
      return decode_k(bytes, true, values);
    case DType::q6_k:
      return decode_q6_k(bytes, values);
    case DType::mxfp4:
      return decode_table(bytes + 1, f32_from_half_e8m0(bytes[0]), kTwiceE2m1Values, values);
    case DType::iq4_nl:
      return decode_table(bytes + 2, load_f16(bytes), kIq4NlValues, values);
    default:
      assert(!"a block type");
  }
}

bool can_encode_block(DType type) {
  switch (type) {
    case DType::q8_0:
    case DType::q4_0:
    case DType::q4_1:
    case DType::q5_0:
    case DType::q5_1:
    case DType::mxfp4:
      return true;
    default:
      return false;
  }
}

void encode_block(DType type, const float* values, std::byte* block) {
  auto* const bytes = reinterpret_cast<uint8_t*>(block);
  switch (type) {
    case DType::q8_0:
      return encode_q8_0(values, bytes);
    case DType::q4_0:
      return encode_from_the_middle(values, 4, bytes);
    case DType::q4_1:
      return encode_from_the_minimum(values, 4, bytes);
    case DType::q5_0:
      return encode_from_the_middle(values, 5, bytes);
    case DType::q5_1:
      return encode_from_the_minimum(values, 5, bytes);
    case DType::mxfp4:
      return encode_mxfp4(values, bytes);
    default:
      assert(!"a type that can_encode_block()");
  }
}

}  // namespace varve
