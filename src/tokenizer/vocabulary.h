// The pieces of a vocabulary: their bytes in one pool, found by id and by bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve {

/// Ids lie in 0..kMaxId: a file with larger ones is refused, for its tables would not be.
inline constexpr int32_t kMaxId = (1 << 24) - 1;

class Vocabulary {
 public:
  /// Takes a piece as the file spells it. A spelling outside the byte alphabet stands for its own
  /// UTF-8 and is never made by merges.
  void add(std::string_view spelt, int32_t id);

  /// Builds the table by bytes, after the last add(). Errors: a piece that stands twice.
  Result<void> index(const std::string& where);

  /// Takes an added token that no piece spells: raw text that decodes to itself and is not found
  /// by find_bytes().
  void add_literal(std::string_view text, int32_t id);

  /// Builds the table by id, after everything. Errors: an id that two pieces have, or
  /// one far too large for the number of pieces.
  Result<void> index_ids(const std::string& where);

  /// By the spelling of the file. After index().
  std::optional<int32_t> find_spelt(std::string_view spelt) const;
  /// By raw bytes. After index().
  std::optional<int32_t> find_bytes(std::string_view bytes) const;

  /// After index_ids(). Empty if `id` names no piece.
  std::string_view bytes_of(int32_t id) const;
  bool names_piece(int32_t id) const { return entry_of(id) >= 0; }
  int size() const { return static_cast<int>(entry_of_id_.size()); }

  size_t n_pieces() const { return ids_.size(); }
  size_t pool_bytes() const { return pool_.size(); }
  /// Of memory, all of it.
  size_t table_bytes() const {
    return pool_.capacity() + sizeof(uint32_t) * (start_.capacity() + slots_.capacity()) +
           sizeof(int32_t) * (ids_.capacity() + entry_of_id_.capacity());
  }

 private:
  std::optional<int32_t> find(std::string_view bytes, bool literal) const;
  std::string_view entry_bytes(size_t entry) const;
  bool entry_literal(size_t entry) const { return (start_[entry] & kLiteral) != 0; }
  int32_t entry_of(int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) >= entry_of_id_.size()) return -1;
    return entry_of_id_[static_cast<size_t>(id)];
  }

  // The top bit of an entry's start says that its spelling is not of the byte alphabet.
  static constexpr uint32_t kLiteral = 1u << 31;

  std::string pool_;                  // bytes of all pieces, in the order of the file
  std::vector<uint32_t> start_;       // per entry: offset into pool_ | kLiteral
  std::vector<int32_t> ids_;          // per entry
  std::vector<uint32_t> slots_;       // open addressing by bytes: entry + 1, or 0
  std::vector<int32_t> entry_of_id_;  // per id: entry, or -1
};

}  // namespace varve
