#include "grammar/token_constraint.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "grammar/xgrammar_parts.h"

namespace varve {

struct TokenConstraint::Parts {
  CompiledGrammar grammar;
  xgrammar::GrammarMatcher matcher;
};

TokenConstraint::TokenConstraint(std::unique_ptr<Parts> parts)
    : parts_(std::move(parts)),
      mask_((static_cast<size_t>(parts_->grammar.parts_->vocab_size) + 31) / 32) {}

Result<TokenConstraint> TokenConstraint::create(const CompiledGrammar& grammar) {
  try {
    return TokenConstraint(
        std::make_unique<Parts>(Parts{grammar, xgrammar::GrammarMatcher(grammar.parts_->grammar)}));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return tl::unexpected(xgrammar_error(error));
  }
}

TokenConstraint::TokenConstraint(TokenConstraint&& other) noexcept = default;
TokenConstraint& TokenConstraint::operator=(TokenConstraint&& other) noexcept = default;
TokenConstraint::~TokenConstraint() = default;

Result<void> TokenConstraint::fill() {
  if (is_filled_) return {};
  auto n_words = static_cast<int64_t>(mask_.size());
  DLTensor tensor = {.data = mask_.data(),
                     .device = {kDLCPU, 0},
                     .ndim = 1,
                     .dtype = xgrammar::GetBitmaskDLType(),
                     .shape = &n_words,
                     .strides = nullptr,
                     .byte_offset = 0};
  try {
    parts_->matcher.FillNextTokenBitmask(&tensor);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return tl::unexpected(xgrammar_error(error));
  }
  const size_t n_over = mask_.size() * 32 - static_cast<size_t>(parts_->grammar.parts_->vocab_size);
  if (n_over > 0) mask_.back() &= ~uint32_t{0} >> n_over;
  is_filled_ = true;
  return {};
}

Result<std::span<const uint32_t>> TokenConstraint::allowed() {
  VARVE_CHECKED(fill());
  return std::span<const uint32_t>(mask_);
}

bool TokenConstraint::accept(int32_t id) {
  if (id < 0 || id >= parts_->grammar.parts_->vocab_size) return false;
  // Tokens that are no text it would refuse with a line on stderr.
  if (!fill() || !has_id(mask_, id)) return false;
  bool is_accepted = false;
  try {
    is_accepted = parts_->matcher.AcceptToken(id);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    is_accepted = false;
  }
  if (is_accepted) {
    is_filled_ = false;
  } else {
    mask_[static_cast<size_t>(id) / 32] &= ~(uint32_t{1} << (static_cast<size_t>(id) % 32));
  }
  return is_accepted;
}

bool TokenConstraint::is_complete() const {
  return parts_->matcher.IsCompleted();
}

Result<bool> TokenConstraint::is_finished() {
  if (!is_complete()) return false;
  VARVE_CHECKED(fill());
  return std::all_of(mask_.begin(), mask_.end(), [](uint32_t word) { return word == 0; });
}

}  // namespace varve
