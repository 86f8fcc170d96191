#include "tokenizer/bpe.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "tokenizer/hash.h"
#include "tokenizer/quote.h"

namespace varve {
namespace {

// Up to here looking through all pairs for the lowest rank beats a queue.
constexpr size_t kShortWordBytes = 48;

constexpr uint32_t kEnd = UINT32_MAX;

}  // namespace

Result<void> MergeTable::add(std::string_view left, std::string_view right,
                             const Vocabulary& vocabulary, const std::string& where) {
  if (size() == kMaxMerges) {
    return bad_input("{}: expected at most {} merges, found more", where, kMaxMerges);
  }
  const std::string made = std::string(left).append(right);
  std::array<int32_t, 3> ids{};
  const std::array<std::string_view, 3> pieces = {left, right, made};
  for (size_t i = 0; i < 3; ++i) {
    const std::optional<int32_t> id = vocabulary.find_spelt(pieces[i]);
    if (!id) {
      return bad_input("{}[{}]: expected pieces of the vocabulary, found {}", where, size(),
                       in_quotes(pieces[i]));
    }
    ids[i] = *id;
  }
  merges_.push_back({ids[0], ids[1], ids[2]});
  return {};
}

Result<void> MergeTable::add(std::string_view merge, const Vocabulary& vocabulary,
                             const std::string& where) {
  const size_t space = merge.find(' ');
  if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
    return bad_input("{}[{}]: expected two pieces with one space between them, found {}", where,
                     size(), in_quotes(merge));
  }
  return add(merge.substr(0, space), merge.substr(space + 1), vocabulary, where);
}

Result<void> MergeTable::index(const std::string& where, const Vocabulary& vocabulary) {
  slots_.assign(merges_.size() + merges_.size() / 2 + 1, Slot{});
  results_.reserve(merges_.size());
  for (const Merge& merge : merges_) {
    const auto left = static_cast<uint32_t>(merge.left);
    const auto right = static_cast<uint32_t>(merge.right);
    size_t at = slot_of(hash_pair(left, right), slots_.size());
    while (slots_[at].rank != kNoRank) {
      if (slots_[at].left == left && slots_[at].right == right) {
        return bad_input("{}: expected each pair once, found {} {} as the merges {} and {}", where,
                         in_quotes(vocabulary.bytes_of(merge.left)),
                         in_quotes(vocabulary.bytes_of(merge.right)), slots_[at].rank,
                         results_.size());
      }
      if (++at == slots_.size()) at = 0;
    }
    slots_[at] = {left, right, static_cast<uint32_t>(results_.size())};
    results_.push_back(static_cast<uint32_t>(merge.result));
  }
  std::vector<Merge>().swap(merges_);
  return {};
}

uint32_t MergeTable::rank_of(uint32_t left, uint32_t right) const {
  if (slots_.empty()) return kNoRank;
  size_t at = slot_of(hash_pair(left, right), slots_.size());
  while (slots_[at].rank != kNoRank) {
    if (slots_[at].left == left && slots_[at].right == right) return slots_[at].rank;
    if (++at == slots_.size()) at = 0;
  }
  return kNoRank;
}

Bpe::Bpe(const Vocabulary& vocabulary, MergeTable merges, bool ignore_merges)
    : merges_(std::move(merges)), ignore_merges_(ignore_merges) {
  for (size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = vocabulary.find_bytes(std::string_view(&c, 1)).value_or(-1);
  }
}

std::optional<uint8_t> Bpe::encode_word(const Vocabulary& vocabulary, std::string_view word,
                                        BpeScratch& scratch, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = vocabulary.find_bytes(word)) {
      ids.push_back(*id);
      return std::nullopt;
    }
  }
  for (const char c : word) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte_ids_[byte] < 0) return byte;
  }
  if (word.size() <= kShortWordBytes) {
    merge_short(word, ids);
  } else {
    merge_long(word, scratch, ids);
  }
  return std::nullopt;
}

void Bpe::merge_short(std::string_view word, std::vector<int32_t>& ids) const {
  uint32_t id[kShortWordBytes];
  uint32_t rank[kShortWordBytes];  // rank[i]: of the merge of i with i + 1
  size_t n = word.size();
  for (size_t i = 0; i < n; ++i) {
    id[i] = static_cast<uint32_t>(byte_ids_[static_cast<uint8_t>(word[i])]);
  }
  for (size_t i = 0; i + 1 < n; ++i) rank[i] = merges_.rank_of(id[i], id[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) best = rank[i] < rank[best] ? i : best;
    if (rank[best] == MergeTable::kNoRank) break;
    id[best] = merges_.result_of(rank[best]);
    --n;
    std::memmove(id + best + 1, id + best + 2, (n - best - 1) * sizeof(id[0]));
    std::memmove(rank + best, rank + best + 1, (n - best - 1) * sizeof(rank[0]));
    if (best > 0) rank[best - 1] = merges_.rank_of(id[best - 1], id[best]);
    if (best + 1 < n) rank[best] = merges_.rank_of(id[best], id[best + 1]);
  }
  for (size_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(id[i]));
}

void Bpe::merge_long(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  auto& nodes = scratch.nodes;
  auto& queue = scratch.queue;
  const auto n = static_cast<uint32_t>(word.size());
  nodes.resize(n);
  queue.clear();
  for (uint32_t i = 0; i < n; ++i) {
    const auto id = static_cast<uint32_t>(byte_ids_[static_cast<uint8_t>(word[i])]);
    nodes[i] = {id, MergeTable::kNoRank, i == 0 ? kEnd : i - 1, i + 1 == n ? kEnd : i + 1};
  }
  // Looks up the merge of a node with the next one; returns whether there is one.
  const auto rerank = [&](uint32_t at) {
    BpeScratch::Node& node = nodes[at];
    node.rank =
        node.next == kEnd ? MergeTable::kNoRank : merges_.rank_of(node.id, nodes[node.next].id);
    return node.rank != MergeTable::kNoRank;
  };
  const auto key = [&](uint32_t at) { return (static_cast<uint64_t>(nodes[at].rank) << 32) | at; };
  for (uint32_t i = 0; i < n; ++i) {
    if (rerank(i)) queue.push_back(key(i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  const auto push = [&](uint32_t at) {
    if (!rerank(at)) return;
    queue.push_back(key(at));
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const auto rank = static_cast<uint32_t>(queue.back() >> 32);
    const auto at = static_cast<uint32_t>(queue.back());
    queue.pop_back();
    BpeScratch::Node& node = nodes[at];
    // A rank names its pair, so an entry is out of date just if the rank is another one by now.
    if (node.rank != rank) continue;
    BpeScratch::Node& gone = nodes[node.next];
    node.id = merges_.result_of(rank);
    node.next = gone.next;
    gone.rank = MergeTable::kNoRank;
    if (node.next != kEnd) nodes[node.next].previous = at;
    push(at);
    if (node.previous != kEnd) push(node.previous);
  }
  for (uint32_t at = 0; at != kEnd; at = nodes[at].next) {
    ids.push_back(static_cast<int32_t>(nodes[at].id));
  }
  // A word of megabytes is rare; its room is not kept.
  constexpr size_t kKeptNodes = 4096;
  if (nodes.size() > kKeptNodes) {
    std::vector<BpeScratch::Node>().swap(nodes);
    std::vector<uint64_t>().swap(queue);
  }
}

}  // namespace varve
