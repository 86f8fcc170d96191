#include "formats/gguf_types.h"

#include <array>

namespace varve {
namespace {

constexpr auto kUnread = std::nullopt;

// Numbers and sizes as in gguf-py (constants.py: GGMLQuantizationType, GGML_QUANT_SIZES). I8 and
// I64 are not read: no tensor of a model that runs has them, and an I8 of safetensors is another
// thing (packed e2m1).
constexpr std::array kTypes = {
    GgufTensorType{0, "F32", 1, 4, DType::f32},
    GgufTensorType{1, "F16", 1, 2, DType::f16},
    GgufTensorType{2, "Q4_0", 32, 18, DType::q4_0},
    GgufTensorType{3, "Q4_1", 32, 20, DType::q4_1},
    GgufTensorType{6, "Q5_0", 32, 22, DType::q5_0},
    GgufTensorType{7, "Q5_1", 32, 24, DType::q5_1},
    GgufTensorType{8, "Q8_0", 32, 34, DType::q8_0},
    GgufTensorType{10, "Q2_K", 256, 84, kUnread},
    GgufTensorType{11, "Q3_K", 256, 110, kUnread},
    GgufTensorType{12, "Q4_K", 256, 144, DType::q4_k},
    GgufTensorType{13, "Q5_K", 256, 176, DType::q5_k},
    GgufTensorType{14, "Q6_K", 256, 210, DType::q6_k},
    GgufTensorType{16, "IQ2_XXS", 256, 66, kUnread},
    GgufTensorType{17, "IQ2_XS", 256, 74, kUnread},
    GgufTensorType{18, "IQ3_XXS", 256, 98, kUnread},
    GgufTensorType{19, "IQ1_S", 256, 50, kUnread},
    GgufTensorType{20, "IQ4_NL", 32, 18, DType::iq4_nl},
    GgufTensorType{21, "IQ3_S", 256, 110, kUnread},
    GgufTensorType{22, "IQ2_S", 256, 82, kUnread},
    GgufTensorType{23, "IQ4_XS", 256, 136, kUnread},
    GgufTensorType{24, "I8", 1, 1, kUnread},
    GgufTensorType{25, "I16", 1, 2, kUnread},
    GgufTensorType{26, "I32", 1, 4, DType::i32},
    GgufTensorType{27, "I64", 1, 8, kUnread},
    GgufTensorType{28, "F64", 1, 8, kUnread},
    GgufTensorType{29, "IQ1_M", 256, 56, kUnread},
    GgufTensorType{30, "BF16", 1, 2, DType::bf16},
    GgufTensorType{34, "TQ1_0", 256, 54, kUnread},
    GgufTensorType{35, "TQ2_0", 256, 66, kUnread},
    GgufTensorType{39, "MXFP4", 32, 17, DType::mxfp4},
};

}  // namespace

const GgufTensorType* gguf_tensor_type(uint32_t id) {
  for (const GgufTensorType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

const GgufTensorType* gguf_tensor_type(DType dtype) {
  for (const GgufTensorType& type : kTypes) {
    if (type.read_as == dtype) return &type;
  }
  return nullptr;
}

std::string readable_gguf_types() {
  std::string out;
  for (const GgufTensorType& type : kTypes) {
    if (!type.read_as) continue;
    if (!out.empty()) out += ", ";
    out += type.name;
  }
  return out;
}

}  // namespace varve
