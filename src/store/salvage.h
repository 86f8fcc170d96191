// Whole values out of the files of a database that cannot be opened any more.
//
// A value says how long it is and proves itself by its checksum, so it needs no database to be
// found: the files are searched for the bytes that values begin with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"

namespace varve {

class Salvage {
 public:
  /// Of databases that were set aside: directories.
  explicit Salvage(const std::vector<std::string>& directories);
  Salvage() = default;

  /// The next whole value; nothing: there is none. Its bytes stay until the next call.
  std::optional<std::span<const std::byte>> next();
  /// Deletes the files that were read to their end: their values are safe elsewhere.
  void delete_read_files();
  /// Of files that were not read to their end.
  uint64_t bytes_left() const { return bytes_left_; }

 private:
  struct File {
    std::string path;
    uint64_t bytes = 0;
  };

  bool open_next_file();
  void close_file();
  bool read_log_record();

  std::vector<File> files_;  // the next one is the last
  std::vector<std::string> read_files_;
  uint64_t bytes_left_ = 0;

  MappedFile file_;
  bool is_open_ = false;
  bool is_log_ = false;
  size_t log_at_ = 0;                  // in a log: where the next record begins
  std::vector<std::byte> log_record_;  // whose pieces were put together
  std::span<const std::byte> text_;    // what is still to be searched
};

}  // namespace varve
