// Values for the store's tests: all that is in them follows from their number.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/rng.h"
#include "store/store.h"

namespace varve {

inline Digest test_digest(uint64_t tag, uint64_t i) {
  const uint64_t words[2] = {tag, i};
  return sha256(std::as_bytes(std::span(words)));
}

/// Block or point i of a chain. Every seventh is a point after the block before it, with i % 128
/// tail tokens.
struct TestValue {
  StoredKind kind = StoredKind::block;
  Digest key = {};
  Digest parent = {};
  std::vector<int32_t> ids;
  std::vector<std::byte> rows;
  std::vector<std::byte> open;

  bool put(Store& store) const {
    if (kind == StoredKind::block) return store.put(StoredBlock{key, parent, ids, rows});
    return store.put(StoredPoint{key, parent, ids, rows, open});
  }
  bool has(const Store& store) const {
    return kind == StoredKind::block ? store.has_block(key) : store.has_point(key);
  }

  enum class Got { right, missed, wrong };
  Got get(Store& store) const {
    std::vector<std::byte> found(rows.size());
    std::vector<std::byte> found_open(open.size());
    const bool is_hit = kind == StoredKind::block
                            ? store.get_block(key, parent, ids, found)
                            : store.get_point(key, parent, ids, found, found_open);
    if (!is_hit) return Got::missed;
    return found == rows && found_open == open ? Got::right : Got::wrong;
  }
};

inline constexpr uint64_t kPointEvery = 7;

inline TestValue test_value(uint64_t i, size_t rows_bytes, uint64_t chain = 0) {
  const bool is_point = i % kPointEvery == kPointEvery - 1;
  TestValue value;
  value.kind = is_point ? StoredKind::point : StoredKind::block;
  value.key = test_digest(chain, i);
  if (i > 0) value.parent = test_digest(chain, i - (i % kPointEvery == 0 ? 2 : 1));
  Rng rng(chain * 1'000'003 + i);
  value.ids.resize(is_point ? i % 128 : 128);
  for (int32_t& id : value.ids) id = static_cast<int32_t>(rng.next() % 100'000);
  value.rows.resize(rows_bytes);
  if (is_point) value.open.resize(rows_bytes / 4);
  for (auto* const bytes : {&value.rows, &value.open}) {
    for (std::byte& byte : *bytes) byte = static_cast<std::byte>(rng.next());
  }
  return value;
}

class TestDirectory {
 public:
  TestDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "varve-store-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TestDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  std::string path(const std::string& name = "store") const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline StoreOptions test_options(const std::string& directory, size_t rows_bytes = 4096) {
  return {.directory = directory,
          .fingerprint = test_digest(77, 0),
          .description = "a model of tests",
          .budget_bytes = uint64_t{256} << 20,
          .queue_bytes = size_t{4} << 20,
          .block_bytes = rows_bytes,
          .point_bytes = rows_bytes + rows_bytes / 4};
}

}  // namespace varve
