#include "tensor/dtype.h"

#include <array>

namespace varve {
namespace {

struct Row {
  DType type;
  std::string_view name;
  size_t bytes;
};

constexpr std::array kTypes = {
    Row{DType::f32, "F32", 4},         Row{DType::bf16, "BF16", 2},
    Row{DType::f16, "F16", 2},         Row{DType::f8_e4m3, "F8_E4M3", 1},
    Row{DType::f8_e8m0, "F8_E8M0", 1}, Row{DType::e2m1x2, "E2M1x2", 1},
    Row{DType::i8, "I8", 1},           Row{DType::i32, "I32", 4},
    Row{DType::i64, "I64", 8},
};

const Row& row(DType type) {
  return kTypes[static_cast<size_t>(type)];
}

}  // namespace

size_t dtype_bytes(DType type) {
  return row(type).bytes;
}

std::string_view dtype_name(DType type) {
  return row(type).name;
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const Row& r : kTypes) {
    if (r.name == name && r.type != DType::e2m1x2) return r.type;
  }
  return std::nullopt;
}

}  // namespace varve
