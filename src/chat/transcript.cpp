#include "chat/transcript.h"

#include <algorithm>
#include <utility>

#include "chat/jinja/text.h"

namespace varve {
namespace {

// Bytes at the start of `rendered` that are `text`, marks in them not counted; npos: it is not.
size_t bytes_of(std::string_view text, std::string_view rendered) {
  size_t at = 0;
  while (true) {
    const auto differs =
        std::mismatch(text.begin(), text.end(), rendered.begin() + static_cast<std::ptrdiff_t>(at),
                      rendered.end());
    const auto n = static_cast<size_t>(differs.first - text.begin());
    text.remove_prefix(n);
    at += n;
    if (text.empty()) return at;
    if (!rendered.substr(at).starts_with(kPlainTextMark)) return std::string_view::npos;
    at += kPlainTextMark.size();
  }
}

}  // namespace

size_t Transcript::matching_bytes(const Stretch& stretch, std::string_view rendered) {
  if (rendered.starts_with(stretch.text)) return stretch.text.size();
  if (!stretch.is_answer) return std::string_view::npos;
  if (const size_t n = bytes_of(stretch.text, rendered); n != std::string_view::npos) return n;
  // Many templates trim answers; the white space that was sampled stays in the session.
  for (const jinja::Side side : {jinja::Side::right, jinja::Side::left, jinja::Side::both}) {
    const std::string_view trimmed = jinja::strip(stretch.text, std::nullopt, side);
    if (trimmed.empty()) continue;
    if (const size_t n = bytes_of(trimmed, rendered); n != std::string_view::npos) return n;
  }
  return std::string_view::npos;
}

Transcript::Cut Transcript::cut_of(size_t i, std::string_view rendered) const {
  const Stretch& stretch = stretches_[i];
  const auto differs =
      std::mismatch(stretch.text.begin(), stretch.text.end(), rendered.begin(), rendered.end());
  const auto n_common = static_cast<size_t>(differs.first - stretch.text.begin());
  // A special token is never part of another one: before and behind it a text may be cut. An answer
  // may be behind each token: those before it were sampled without knowing what would come.
  Cut best;
  size_t at = 0;
  for (size_t id = stretch.first_id; id < end_id(i) && at <= n_common; ++id) {
    const bool is_special = tokenizer_->is_special(ids_[id]);
    if (is_special) best = {id - stretch.first_id, at};
    const std::string_view piece = tokenizer_->piece(ids_[id]);
    // Tokens that swallow white space beside them do not spell their text.
    if (std::string_view(stretch.text).substr(at, piece.size()) != piece) return {};
    at += piece.size();
    if ((is_special || stretch.is_answer) && at <= n_common) best = {id + 1 - stretch.first_id, at};
  }
  return best;
}

Transcript::Common Transcript::common_with(std::string_view rendered) const {
  Common common;
  for (; common.n_stretches < stretches_.size(); ++common.n_stretches) {
    const std::string_view rest = rendered.substr(common.n_bytes);
    const size_t n_bytes = matching_bytes(stretches_[common.n_stretches], rest);
    if (n_bytes == std::string_view::npos) {
      common.cut = cut_of(common.n_stretches, rest);
      break;
    }
    common.n_bytes += n_bytes;
  }
  return common;
}

size_t Transcript::common_bytes(std::string_view rendered) const {
  const Common common = common_with(rendered);
  return common.n_bytes + common.cut.n_bytes;
}

size_t Transcript::held_bytes() const {
  size_t bytes = ids_.capacity() * sizeof(int32_t) + stretches_.capacity() * sizeof(Stretch);
  for (const Stretch& stretch : stretches_) bytes += stretch.text.capacity();
  return bytes;
}

Result<void> Transcript::continue_to(std::string_view rendered) {
  auto [n_stretches, n_bytes, cut] = common_with(rendered);
  size_t n_kept = n_stretches == 0 ? 0 : end_id(n_stretches - 1);
  const std::string_view rest = rendered.substr(n_bytes + cut.n_bytes);
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

Result<void> Transcript::add_read(std::string text) {
  VARVE_TRY(const std::vector<int32_t> ids, tokenizer_->encode_marked(text));
  stretches_.push_back({std::move(text), ids_.size(), false});
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  return {};
}

std::vector<Transcript::Part> Transcript::parts() const {
  std::vector<Part> parts;
  for (size_t i = 0; i < stretches_.size(); ++i) {
    const size_t begin = stretches_[i].first_id;
    parts.push_back({stretches_[i].text, std::span(ids_).subspan(begin, end_id(i) - begin),
                     stretches_[i].is_answer});
  }
  return parts;
}

void Transcript::add_answer(std::vector<int32_t> ids, std::string text) {
  stretches_.push_back({std::move(text), ids_.size(), true});
  ids_.insert(ids_.end(), ids.begin(), ids.end());
}

}  // namespace varve
