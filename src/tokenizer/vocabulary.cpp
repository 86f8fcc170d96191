#include "tokenizer/vocabulary.h"

#include <algorithm>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/hash.h"
#include "tokenizer/quote.h"

namespace varve {

void Vocabulary::add(std::string_view spelt, int32_t id) {
  const auto start = static_cast<uint32_t>(pool_.size());
  const bool bytes = append_spelt_bytes(spelt, pool_);
  if (!bytes) pool_.append(spelt);
  start_.push_back(bytes ? start : start | kLiteral);
  ids_.push_back(id);
}

void Vocabulary::add_literal(std::string_view text, int32_t id) {
  start_.push_back(static_cast<uint32_t>(pool_.size()) | kLiteral);
  pool_.append(text);
  ids_.push_back(id);
}

std::string_view Vocabulary::entry_bytes(size_t entry) const {
  const size_t start = start_[entry] & ~kLiteral;
  const size_t end = entry + 1 < start_.size() ? start_[entry + 1] & ~kLiteral : pool_.size();
  return std::string_view(pool_).substr(start, end - start);
}

Result<void> Vocabulary::index(const std::string& where) {
  slots_.assign(ids_.size() + ids_.size() / 2 + 1, 0);
  for (size_t entry = 0; entry < ids_.size(); ++entry) {
    const std::string_view bytes = entry_bytes(entry);
    size_t slot = slot_of(hash_bytes(bytes), slots_.size());
    while (slots_[slot] != 0) {
      const size_t other = slots_[slot] - 1;
      if (entry_literal(other) == entry_literal(entry) && entry_bytes(other) == bytes) {
        return bad_input("{}: expected each piece once, found {} with the ids {} and {}", where,
                         in_quotes(bytes), ids_[other], ids_[entry]);
      }
      if (++slot == slots_.size()) slot = 0;
    }
    slots_[slot] = static_cast<uint32_t>(entry + 1);
  }
  return {};
}

Result<void> Vocabulary::index_ids(const std::string& where) {
  pool_.shrink_to_fit();
  start_.shrink_to_fit();
  ids_.shrink_to_fit();
  int32_t largest = -1;
  for (const int32_t id : ids_) largest = std::max(largest, id);
  // The table takes 4 bytes an id, so an id may not run far ahead of the number of pieces.
  constexpr size_t kAlwaysAllowed = size_t{1} << 20;
  if (static_cast<size_t>(largest + 1) > std::max(kAlwaysAllowed, 8 * ids_.size())) {
    return bad_input("{}: expected ids in keeping with {} pieces, found the id {}", where,
                     ids_.size(), largest);
  }
  entry_of_id_.assign(static_cast<size_t>(largest + 1), -1);
  for (size_t entry = 0; entry < ids_.size(); ++entry) {
    int32_t& at = entry_of_id_[static_cast<size_t>(ids_[entry])];
    if (at >= 0) {
      return bad_input("{}: expected one piece an id, found {} and {} both with the id {}", where,
                       in_quotes(entry_bytes(static_cast<size_t>(at))),
                       in_quotes(entry_bytes(entry)), ids_[entry]);
    }
    at = static_cast<int32_t>(entry);
  }
  return {};
}

std::optional<int32_t> Vocabulary::find(std::string_view bytes, bool literal) const {
  if (slots_.empty()) return std::nullopt;
  size_t slot = slot_of(hash_bytes(bytes), slots_.size());
  while (slots_[slot] != 0) {
    const size_t entry = slots_[slot] - 1;
    if (entry_literal(entry) == literal && entry_bytes(entry) == bytes) return ids_[entry];
    if (++slot == slots_.size()) slot = 0;
  }
  return std::nullopt;
}

std::optional<int32_t> Vocabulary::find_spelt(std::string_view spelt) const {
  std::string bytes;
  if (append_spelt_bytes(spelt, bytes)) return find(bytes, false);
  return find(spelt, true);
}

std::optional<int32_t> Vocabulary::find_bytes(std::string_view bytes) const {
  return find(bytes, false);
}

std::string_view Vocabulary::bytes_of(int32_t id) const {
  const int32_t entry = entry_of(id);
  return entry < 0 ? std::string_view() : entry_bytes(static_cast<size_t>(entry));
}

}  // namespace varve
