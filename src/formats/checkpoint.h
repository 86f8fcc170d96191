// The tensors of a checkpoint in safetensors or GGUF files, mapped, copied only when asked to.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "formats/gguf_metadata.h"
#include "formats/safetensors_header.h"
#include "formats/safetensors_index.h"
#include "formats/unread_tensor.h"
#include "tensor/view.h"

namespace varve {

/// What of a checkpoint is read. With `headers` its files may end anywhere behind their headers,
/// and values are zeros, also where they are there.
enum class Read { all, headers };

/// Opening costs O(n log n) in the tensors and touches only headers: 145,116 of them in 8 shards
/// take 0.4 s (CheckpointTest.ManyTensorsOpenFast, two busy cores). Types read: of safetensors F32
/// BF16 F16 F8_E4M3 F8_E8M0 I8 I32 I64, of GGUF those of gguf_types.h. Tensors of the other
/// published types (U8, BOOL, F64, ...) do not keep a checkpoint from opening: tensors() and find()
/// leave them out and get() says why.
class Checkpoint {
 public:
  /// `path` is one .safetensors file, or a directory with model.safetensors.index.json and its
  /// shards, or with model.safetensors; where both are there the index is followed. A shard's
  /// tensors that the index does not list are there too. Or it is one GGUF file, or the first part
  /// of a split one (NAME-00001-of-00003.gguf), beside which the others lie.
  static Result<Checkpoint> open(const std::string& path, Read read = Read::all);

  /// Null for a name that is not there or whose type is not read. O(log n).
  const TensorView* find(std::string_view name) const;
  /// Never null: a tensor that is missing or not readable is a sentence.
  Result<const TensorView*> get(std::string_view name) const;
  /// Sorted by name. The views live as long as the checkpoint, wherever it is moved to.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  const std::vector<UnreadTensor>& unread() const { return unread_; }
  /// `__metadata__` of the file; of all shards together, where the first that has a key holds.
  const Metadata& metadata() const { return metadata_; }
  /// Of a GGUF file, or of the first of its parts; null for safetensors.
  const GgufMetadata* gguf() const { return gguf_ ? &*gguf_ : nullptr; }
  /// Whether values may be read, not only names, types and shapes.
  bool has_values() const { return read_ == Read::all; }

  /// Copies all files into memory (MappedFile::replace_by_copy); views stay what they are.
  Result<void> replace_by_copy(const std::function<void(size_t)>& progress);

  /// Bytes of all the files, whole ones, and of those that were copied.
  size_t mapped_bytes() const;
  size_t copied_bytes() const;
  /// What the directory of tensors and the metadata take of memory, beside the files.
  size_t table_bytes() const;
  /// Where the files lie in memory, in the order of files().
  std::vector<std::span<const std::byte>> mapped_ranges() const;
  /// The paths of the mapped files, in the order of their names.
  const std::vector<std::string>& files() const { return paths_; }

 private:
  Result<MappedFile> map(const std::string& path) const;
  Result<void> open_file(const std::string& path);
  Result<void> add_safetensors(const std::string& path, MappedFile map);
  Result<void> add_gguf(const std::string& first_path, MappedFile first);
  Result<GgufMetadata> add_gguf_part(const std::string& path, MappedFile map);
  Result<void> add_shards(const std::string& index_path, const std::string& directory);
  Result<void> sort_by_name();

  Read read_ = Read::all;
  std::string path_;
  std::vector<std::string> paths_;
  std::vector<MappedFile> maps_;
  std::vector<TensorView> tensors_;
  std::vector<UnreadTensor> unread_;
  Metadata metadata_;
  std::optional<GgufMetadata> gguf_;
};

/// What is there of a checkpoint.
struct CheckpointOutline {
  std::optional<Checkpoint> checkpoint;   // where any of its files is there
  std::optional<SafetensorsIndex> index;  // where it is alone
};

/// Reads headers, or the index where no shard is beside it, or nothing where no file of a
/// checkpoint is there (has_checkpoint()).
Result<CheckpointOutline> open_outline(const std::string& directory);

/// Whether any .safetensors file or an index of such is in a directory.
bool has_checkpoint(const std::string& directory);

}  // namespace varve
