#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <numeric>

#include "tokenizer/quote.h"

namespace varve {

Result<AddedTokens> AddedTokens::make(std::vector<AddedToken> tokens, const std::string& where) {
  AddedTokens added;
  added.tokens_ = std::move(tokens);
  std::vector<AddedToken>& all = added.tokens_;
  std::sort(all.begin(), all.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (size_t i = 1; i < all.size(); ++i) {
    if (all[i].content == all[i - 1].content) {
      return bad_input("{}: expected each content once, found {} twice", where,
                       in_quotes(all[i].content));
    }
  }
  added.by_id_.resize(all.size());
  std::iota(added.by_id_.begin(), added.by_id_.end(), 0u);
  std::sort(added.by_id_.begin(), added.by_id_.end(),
            [&](uint32_t a, uint32_t b) { return all[a].id < all[b].id; });
  for (size_t i = 1; i < all.size(); ++i) {
    const AddedToken& a = all[added.by_id_[i - 1]];
    const AddedToken& b = all[added.by_id_[i]];
    if (a.id == b.id) {
      return bad_input("{}: expected each id once, found {} and {} both with the id {}", where,
                       in_quotes(a.content), in_quotes(b.content), a.id);
    }
  }
  bool any_single_word = false;
  for (size_t i = 0; i < all.size(); ++i) {
    Group& group = added.groups_[all[i].normalized ? 1 : 0];
    group.sorted.push_back(static_cast<uint32_t>(i));
    group.first_byte[static_cast<unsigned char>(all[i].content[0])] = true;
    any_single_word = any_single_word || all[i].single_word;
  }
  if (any_single_word) {
    VARVE_TRY(added.word_character_, Regex::compile_native("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
                                                           "\\x{200c}\\x{200d}]",
                                                           where));
  }
  return added;
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto at =
      std::lower_bound(tokens_.begin(), tokens_.end(), content,
                       [](const AddedToken& t, std::string_view c) { return t.content < c; });
  return at != tokens_.end() && at->content == content ? &*at : nullptr;
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto at =
      std::lower_bound(by_id_.begin(), by_id_.end(), id,
                       [&](uint32_t i, int32_t value) { return tokens_[i].id < value; });
  return at != by_id_.end() && tokens_[*at].id == id ? &tokens_[*at] : nullptr;
}

bool AddedTokens::next_to_word(std::string_view before, std::string_view after,
                               RegexScratch& scratch) const {
  const auto is_word = [&](std::string_view character) {
    return word_character_->search(character, 0, scratch).outcome == Regex::Outcome::match;
  };
  if (!before.empty() && is_word(last_character(before))) return true;
  return !after.empty() && is_word(after.substr(0, utf8_step(after).n_bytes));
}

std::optional<AddedTokens::Match> AddedTokens::next(const Group& group, std::string_view text,
                                                    size_t from) const {
  if (group.sorted.empty()) return std::nullopt;
  for (size_t at = from; at < text.size(); ++at) {
    if (!group.first_byte[static_cast<unsigned char>(text[at])]) continue;
    if (const AddedToken* token = longest_at(group, text.substr(at))) {
      return Match{token, at, at + token->content.size()};
    }
  }
  return std::nullopt;
}

const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  const AddedToken* longest = nullptr;
  for (const Group& group : groups_) {
    if (text.empty() || !group.first_byte[static_cast<unsigned char>(text[0])]) continue;
    const AddedToken* const token = longest_at(group, text);
    if (token == nullptr) continue;
    if (longest == nullptr || token->content.size() > longest->content.size()) longest = token;
  }
  return longest;
}

const AddedToken* AddedTokens::longest_at(const Group& group, std::string_view text) const {
  // The tokens that agree with the text in their first n bytes are neighbours in sorted order.
  // The one that ends after n bytes, if any, is the first of them.
  const AddedToken* longest = nullptr;
  auto low = group.sorted.begin();
  auto high = group.sorted.end();
  for (size_t n = 0; low != high; ++n) {
    if (tokens_[*low].content.size() == n) {
      longest = &tokens_[*low];
      if (++low == high) break;
    }
    if (n == text.size()) break;
    const auto byte_of = [&](uint32_t i) {
      return static_cast<unsigned char>(tokens_[i].content[n]);
    };
    const auto wanted = static_cast<unsigned char>(text[n]);
    low = std::partition_point(low, high, [&](uint32_t i) { return byte_of(i) < wanted; });
    high = std::partition_point(low, high, [&](uint32_t i) { return byte_of(i) == wanted; });
  }
  return longest;
}

}  // namespace varve
