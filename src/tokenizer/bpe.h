// Byte-pair encoding of one word: of all neighbours that a merge joins, the pair with the lowest
// rank is joined first, and of equal ones the leftmost, until none is left.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace varve {

/// Which pair of ids becomes which id, and in what order. The rank of a merge is its place in the
/// file.
class MergeTable {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  static constexpr size_t kMaxMerges = size_t{1} << 24;

  /// Takes the next merge, its pieces as the file spells them. Messages begin with `where`, the
  /// field, and the place in it. Errors: too many merges; a piece, or what the two make together,
  /// that `vocabulary` lacks.
  Result<void> add(std::string_view left, std::string_view right, const Vocabulary& vocabulary,
                   const std::string& where);
  /// The same for "left right". Errors also: no space, or more than one.
  Result<void> add(std::string_view merge, const Vocabulary& vocabulary, const std::string& where);
  size_t size() const { return merges_.size() + results_.size(); }

  /// After the last add(). Errors: a pair that stands twice.
  Result<void> index(const std::string& where, const Vocabulary& vocabulary);

  /// kNoRank if no merge joins the two.
  uint32_t rank_of(uint32_t left, uint32_t right) const;
  uint32_t result_of(uint32_t rank) const { return results_[rank]; }
  /// Of memory, all of it.
  size_t table_bytes() const {
    return merges_.capacity() * sizeof(Merge) + slots_.capacity() * sizeof(Slot) +
           results_.capacity() * sizeof(uint32_t);
  }

 private:
  struct Merge {
    int32_t left, right, result;
  };
  struct Slot {
    uint32_t left = 0;
    uint32_t right = 0;
    uint32_t rank = kNoRank;  // kNoRank: empty
  };

  std::vector<Merge> merges_;      // until index()
  std::vector<Slot> slots_;        // open addressing by the pair
  std::vector<uint32_t> results_;  // per rank
};

/// Room that encode_word() works in, kept from word to word.
struct BpeScratch {
  struct Node {
    uint32_t id;
    uint32_t rank;  // of the merge with the next node; kNoRank also where the node is gone
    uint32_t previous, next;
  };
  std::vector<Node> nodes;
  std::vector<uint64_t> queue;  // min-heap of rank << 32 | node
};

class Bpe {
 public:
  Bpe() = default;
  /// `ignore_merges`: a word that is a piece is not taken apart.
  Bpe(const Vocabulary& vocabulary, MergeTable merges, bool ignore_merges);

  /// Appends the ids of `word`, which is below 2^32 bytes, in time O(n log n). If a byte of it has
  /// no piece, appends nothing and returns that byte.
  std::optional<uint8_t> encode_word(const Vocabulary& vocabulary, std::string_view word,
                                     BpeScratch& scratch, std::vector<int32_t>& ids) const;

  size_t table_bytes() const { return merges_.table_bytes(); }

 private:
  void merge_short(std::string_view word, std::vector<int32_t>& ids) const;
  void merge_long(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;

  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_{};  // -1: no piece
  bool ignore_merges_ = false;
};

}  // namespace varve
