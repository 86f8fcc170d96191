#include "store/salvage.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "store/value.h"

namespace varve {
namespace {

namespace fs = std::filesystem;

// RocksDB's log: blocks of 32 KiB of pieces, each with a checksum, a length and a type before it. A
// block ends in zeros where no header fits.
constexpr size_t kLogBlock = size_t{32} << 10;
constexpr size_t kPieceHeader = 7;
constexpr size_t kPieceLengthAt = 4;
constexpr size_t kPieceTypeAt = 6;
enum PieceType : uint8_t { kWhole = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

bool may_hold_values(const std::string& name) {
  return name.ends_with(".blob") || name.ends_with(".sst") || name.ends_with(".log");
}

}  // namespace

Salvage::Salvage(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
      std::error_code ignored;
      const std::string path = at->path().string();
      if (may_hold_values(path) && at->is_regular_file(ignored)) {
        files_.push_back({path, at->file_size(ignored)});
      }
    }
  }
  std::sort(files_.begin(), files_.end(),
            [](const File& a, const File& b) { return a.path > b.path; });
  for (const File& file : files_) bytes_left_ += file.bytes;
}

bool Salvage::open_next_file() {
  while (!is_open_ && !files_.empty()) {
    auto opened = MappedFile::open(files_.back().path);
    if (!opened) {  // unreadable: it stays where it is
      bytes_left_ -= files_.back().bytes;
      files_.pop_back();
      continue;
    }
    file_ = std::move(*opened);
    is_open_ = true;
    is_log_ = files_.back().path.ends_with(".log");
    log_at_ = 0;
    text_ = is_log_ ? std::span<const std::byte>() : file_.bytes();
  }
  return is_open_;
}

void Salvage::close_file() {
  file_ = MappedFile();
  is_open_ = false;
  read_files_.push_back(files_.back().path);
  bytes_left_ -= files_.back().bytes;
  files_.pop_back();
}

// Puts the pieces of the next record together, as far as they are there.
bool Salvage::read_log_record() {
  const std::span<const std::byte> log = file_.bytes();
  log_record_.clear();
  while (log_at_ + kPieceHeader <= log.size()) {
    const size_t left_in_block = kLogBlock - log_at_ % kLogBlock;
    uint16_t length = 0;
    std::memcpy(&length, log.data() + log_at_ + kPieceLengthAt, sizeof(length));
    const auto type = static_cast<uint8_t>(log[log_at_ + kPieceTypeAt]);
    const size_t bytes = kPieceHeader + length;
    if (left_in_block < kPieceHeader || type < kWhole || type > kLast || bytes > left_in_block ||
        bytes > log.size() - log_at_) {
      log_at_ += left_in_block;  // the end of a block, or no piece: on with the next block
      continue;
    }
    if (type == kWhole || type == kFirst) log_record_.clear();
    const auto piece = log.subspan(log_at_ + kPieceHeader, length);
    log_record_.insert(log_record_.end(), piece.begin(), piece.end());
    log_at_ += bytes;
    if (type == kWhole || type == kLast) break;
  }
  text_ = log_record_;
  return !text_.empty();
}

std::optional<std::span<const std::byte>> Salvage::next() {
  while (open_next_file()) {
    while (const auto value = find_value(text_)) {
      text_ = text_.subspan(static_cast<size_t>(value->data() + value->size() - text_.data()));
      return value;
    }
    if (is_log_ && read_log_record()) continue;
    close_file();
  }
  return std::nullopt;
}

void Salvage::delete_read_files() {
  for (const std::string& path : read_files_) {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
  read_files_.clear();
}

}  // namespace varve
