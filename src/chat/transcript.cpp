#include "chat/transcript.h"

#include <algorithm>
#include <utility>

#include "chat/jinja/text.h"

namespace varve {

size_t Transcript::matching_bytes(const Stretch& stretch, std::string_view rendered) {
  if (rendered.starts_with(stretch.text)) return stretch.text.size();
  if (!stretch.is_answer) return std::string_view::npos;
  // Many templates trim answers; the white space that was sampled stays in the session.
  for (const jinja::Side side : {jinja::Side::right, jinja::Side::left, jinja::Side::both}) {
    const std::string_view trimmed = jinja::strip(stretch.text, std::nullopt, side);
    if (!trimmed.empty() && rendered.starts_with(trimmed)) return trimmed.size();
  }
  return std::string_view::npos;
}

Transcript::Cut Transcript::cut_of(size_t i, std::string_view rendered) const {
  const Stretch& stretch = stretches_[i];
  if (stretch.is_answer) return {};
  const auto differs =
      std::mismatch(stretch.text.begin(), stretch.text.end(), rendered.begin(), rendered.end());
  const auto n_common = static_cast<size_t>(differs.first - stretch.text.begin());
  // A special token is never part of another one: before and behind it a text may be cut.
  Cut best;
  size_t at = 0;
  for (size_t id = stretch.first_id; id < end_id(i) && at <= n_common; ++id) {
    const bool is_special = tokenizer_->is_special(ids_[id]);
    if (is_special) best = {id - stretch.first_id, at};
    const std::string_view piece = tokenizer_->piece(ids_[id]);
    // Tokens that swallow white space beside them do not spell their text.
    if (std::string_view(stretch.text).substr(at, piece.size()) != piece) return {};
    at += piece.size();
    if (is_special && at <= n_common) best = {id + 1 - stretch.first_id, at};
  }
  return best;
}

Result<void> Transcript::continue_to(std::string_view rendered) {
  std::string_view rest = rendered;
  size_t n_stretches = 0;
  size_t n_kept = 0;
  Cut cut;
  for (; n_stretches < stretches_.size(); ++n_stretches) {
    const size_t n_bytes = matching_bytes(stretches_[n_stretches], rest);
    if (n_bytes == std::string_view::npos) {
      cut = cut_of(n_stretches, rest);
      break;
    }
    rest.remove_prefix(n_bytes);
    n_kept = end_id(n_stretches);
  }
  rest.remove_prefix(cut.n_bytes);
  VARVE_TRY(const std::vector<int32_t> ids, tokenizer_->encode_marked(rest));
  if (cut.n_ids > 0) {
    stretches_[n_stretches].text.resize(cut.n_bytes);
    n_kept = stretches_[n_stretches].first_id + cut.n_ids;
    ++n_stretches;
  }
  stretches_.resize(n_stretches, Stretch{});
  ids_.resize(n_kept);
  if (!rest.empty()) stretches_.push_back({std::string(rest), n_kept, false});
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  return {};
}

void Transcript::add_answer(std::vector<int32_t> ids, std::string text) {
  stretches_.push_back({std::move(text), ids_.size(), true});
  ids_.insert(ids_.end(), ids.begin(), ids.end());
}

}  // namespace varve
