// The header of one safetensors file: 8 bytes of little-endian length, that many bytes of JSON
// ({"name": {"dtype", "shape", "data_offsets": [begin, end]}, ..., "__metadata__": {...}}), data.
//
// As strict as the reference implementation (huggingface/safetensors, Metadata::validate): the
// tensors must fill the data part from its first byte to its last, with no overlap, no hole and
// nothing behind them. Offsets may have any alignment. Names and metadata keys are unique.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/unread_tensor.h"
#include "tensor/view.h"

namespace varve {

/// The longest header that is read. (The reference stops at 100 MB.)
inline constexpr size_t kMaxHeaderBytes = size_t{512} << 20;

using Metadata = std::map<std::string, std::string, std::less<>>;

struct SafetensorsFile {
  std::vector<TensorView> tensors;   // sorted by name; they point into the parsed bytes
  std::vector<UnreadTensor> unread;  // sorted by name
  Metadata metadata;
};

/// Reads the header at the start of `bytes`, the whole file named `file` in messages.
Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> bytes,
                                          const std::string& file);

/// Bytes of the whole file by its header, where `bytes` may be the first of them only: up to the
/// end of the tensor that lies last. What the header says is not checked further.
Result<uint64_t> safetensors_file_bytes(std::span<const std::byte> bytes, const std::string& file);

/// Bits of one element of a published safetensors type, read by varve or not; nothing for others.
std::optional<int> safetensors_bits(std::string_view dtype);

/// Bytes of a tensor; nothing where the shape is negative, overflows or ends inside a byte.
std::optional<int64_t> tensor_bytes(std::span<const int64_t> shape, int bits);

/// "F32, BF16, ...": the types that varve reads, for messages.
std::string readable_dtypes();

}  // namespace varve
