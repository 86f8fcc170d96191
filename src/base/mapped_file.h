// A whole file mapped read-only: bytes are paged in as they are read and shared between processes.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"

namespace varve {

class MappedFile {
 public:
  /// Errors name the path and the system's reason. An empty file maps to no bytes. A file of fewer
  /// than min_bytes is followed by zeros up to there, which take address space alone.
  static Result<MappedFile> open(const std::string& path, size_t min_bytes = 0);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Whether they are a copy in memory of this process.
  bool is_copy() const { return is_copy_; }

  /// Puts zeros, which take address space alone, in the place of what begins on the pages after
  /// `offset`: bytes() stay where they are. Errors: the system's, by `path`.
  Result<void> forget_after(size_t offset, const std::string& path);

  /// Puts a copy of the file in the mapping's place, in memory of this process, on large pages
  /// where the system has them: bytes() stay where they are and are read faster. `path` is that of
  /// open(); `progress` is told of bytes as they are read. After an error the bytes are lost.
  Result<void> replace_by_copy(const std::string& path,
                               const std::function<void(size_t)>& progress);

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool is_copy_ = false;
};

/// Reads a small text file (config.json and the like) whole; refuses more than `max_bytes`.
Result<std::string> read_text_file(const std::string& path, size_t max_bytes);

}  // namespace varve
