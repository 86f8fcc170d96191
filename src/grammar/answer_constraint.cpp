#include "grammar/answer_constraint.h"

#include <algorithm>
#include <utility>

namespace varve {

AnswerConstraint::AnswerConstraint(TokenConstraint constraint, AnswerConstraintOptions options)
    : constraint_(std::move(constraint)),
      options_(std::move(options)),
      mask_((static_cast<size_t>(options_.vocab_size) + 31) / 32) {}

Result<AnswerConstraint> AnswerConstraint::create(const CompiledGrammar& grammar,
                                                  AnswerConstraintOptions options) {
  const auto is_token = [&](int32_t id) { return id >= 0 && id < options.vocab_size; };
  std::erase_if(options.end_ids, [&](int32_t id) { return !is_token(id); });
  if (options.begins_behind && !is_token(*options.begins_behind)) {
    return usage_error("the model's logits have no token {}", *options.begins_behind);
  }
  VARVE_TRY(TokenConstraint constraint, TokenConstraint::create(grammar));
  return AnswerConstraint(std::move(constraint), std::move(options));
}

bool AnswerConstraint::is_end(int32_t id) const {
  return std::ranges::find(options_.end_ids, id) != options_.end_ids.end();
}

void AnswerConstraint::set(int32_t id, bool is_allowed) {
  const uint32_t bit = uint32_t{1} << (static_cast<uint32_t>(id) % 32);
  uint32_t& word = mask_[static_cast<size_t>(id) / 32];
  word = is_allowed ? word | bit : word & ~bit;
}

int32_t AnswerConstraint::draw_before(const Draw& draw) {
  std::ranges::fill(mask_, ~uint32_t{0});
  for (const int32_t id : options_.end_ids) set(id, false);
  while (true) {
    const int32_t id = draw(mask_);
    if (id == *options_.begins_behind) {
      options_.begins_behind.reset();
      return id;
    }
    // Who reads the text would take that for the end of what comes before.
    const std::string_view mark = options_.piece(*options_.begins_behind);
    std::string text = tail_;
    text += options_.piece(id);
    if (mark.empty() || text.find(mark) == text.npos) {
      tail_ =
          text.substr(text.size() - std::min(text.size(), std::max<size_t>(mark.size(), 1) - 1));
      return id;
    }
    set(id, false);
  }
}

Result<std::optional<int32_t>> AnswerConstraint::next(const Draw& draw) {
  if (options_.begins_behind) return draw_before(draw);
  while (true) {
    VARVE_TRY(const bool is_finished, constraint_.is_finished());
    if (is_finished) return std::nullopt;
    VARVE_TRY(const std::span<const uint32_t> allowed, constraint_.allowed());
    std::ranges::copy(allowed.first(std::min(allowed.size(), mask_.size())), mask_.begin());
    for (const int32_t id : options_.end_ids) set(id, constraint_.is_complete());
    if (std::ranges::all_of(mask_, [](uint32_t word) { return word == 0; })) {
      return fail(ErrorKind::internal, "no token of the vocabulary goes on with the JSON");
    }
    const int32_t id = draw(mask_);
    if (is_end(id) || constraint_.accept(id)) return id;
  }
}

}  // namespace varve
