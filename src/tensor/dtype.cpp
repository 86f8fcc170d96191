#include "tensor/dtype.h"

#include <array>

namespace varve {
namespace {

struct Row {
  DType type;
  std::string_view name;
  size_t bytes;
  size_t values = 1;
};

// Block types: 32 or 256 values with their scales and minima, as GGUF stores them.
constexpr std::array kTypes = {
    Row{DType::f32, "F32", 4},
    Row{DType::bf16, "BF16", 2},
    Row{DType::f16, "F16", 2},
    Row{DType::f8_e4m3, "F8_E4M3", 1},
    Row{DType::f8_e8m0, "F8_E8M0", 1},
    Row{DType::e2m1x2, "E2M1x2", 1, 2},
    Row{DType::i8, "I8", 1},
    Row{DType::i32, "I32", 4},
    Row{DType::i64, "I64", 8},
    Row{DType::q8_0, "Q8_0", 34, 32},
    Row{DType::q4_0, "Q4_0", 18, 32},
    Row{DType::q4_1, "Q4_1", 20, 32},
    Row{DType::q5_0, "Q5_0", 22, 32},
    Row{DType::q5_1, "Q5_1", 24, 32},
    Row{DType::q4_k, "Q4_K", 144, 256},
    Row{DType::q5_k, "Q5_K", 176, 256},
    Row{DType::q6_k, "Q6_K", 210, 256},
    Row{DType::mxfp4, "MXFP4", 17, 32},
    Row{DType::iq4_nl, "IQ4_NL", 18, 32},
};

const Row& row(DType type) {
  return kTypes[static_cast<size_t>(type)];
}

}  // namespace

size_t dtype_bytes(DType type) {
  return row(type).bytes;
}

size_t dtype_values(DType type) {
  return row(type).values;
}

bool dtype_is_block(DType type) {
  return type >= DType::q8_0;
}

std::string_view dtype_name(DType type) {
  return row(type).name;
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const Row& r : kTypes) {
    const bool stored = r.type != DType::e2m1x2 && !dtype_is_block(r.type);
    if (stored && r.name == name) return r.type;
  }
  return std::nullopt;
}

}  // namespace varve
