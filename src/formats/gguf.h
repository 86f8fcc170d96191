// One GGUF file (versions 2 and 3, little-endian): "GGUF", version, number of tensors and of
// metadata entries; the metadata; of each tensor its name, extents, type and offset; then, from the
// next multiple of the alignment on, data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/gguf_metadata.h"
#include "formats/unread_tensor.h"
#include "tensor/view.h"

namespace varve {

/// Between tensors, where `general.alignment` says nothing else.
inline constexpr int64_t kGgufAlignment = 32;
/// Extents of a tensor at most, as in ggml.
inline constexpr size_t kGgufMaxDims = 4;

struct GgufFile {
  GgufMetadata metadata;
  std::vector<TensorView> tensors;   // sorted by name; they look into the parsed bytes
  std::vector<UnreadTensor> unread;  // sorted by name
};

/// Whether a file starts like one.
bool is_gguf(std::span<const std::byte> bytes);

/// `bytes` is the whole file, named `file` in messages. Names are unique; a tensor starts at a
/// multiple of the alignment, ends within the file and overlaps no other. No array that is made
/// while reading is larger than a fixed multiple of the bytes that stand for it.
Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, const std::string& file);

/// Bytes of the whole file by its header, where `bytes` may be the first of them only: up to the
/// end of the tensor that lies last, filled up to the alignment as writers do. Places of tensors
/// are not checked further.
Result<uint64_t> gguf_file_bytes(std::span<const std::byte> bytes, const std::string& file);

}  // namespace varve
