#include "eval/needle.h"

#include <algorithm>
#include <cmath>

#include "eval/logits.h"

namespace varve {
namespace {

// Reads on from what the session holds of the document, through the question.
Result<std::vector<AnswerToken>> answer(Engine& engine, Session& session,
                                        const NeedleDocument& document) {
  const auto vocab = static_cast<size_t>(engine.model().vocab_size());
  const std::span<const int32_t> ids = document.ids;
  const auto n_read = static_cast<size_t>(session.n_tokens());
  const int first_answer = static_cast<int>(ids.size()) - document.n_answer;
  std::vector<AnswerToken> tokens;
  const auto look = [&](int first, int n_rows, const float* logits) -> Result<void> {
    for (size_t r = 0; r < static_cast<size_t>(n_rows); ++r) {
      const std::span<const float> row(logits + r * vocab, vocab);
      const int32_t id = ids[static_cast<size_t>(first) + r + 1];
      tokens.push_back({rank_of(row, id), std::exp(-negative_log_likelihood(row, id))});
    }
    return {};
  };
  VARVE_CHECKED(read_with_logits(engine, session, ids.subspan(n_read, ids.size() - 1 - n_read),
                                 first_answer - 1, look));
  return tokens;
}

// Ids at the beginning that both have and that are read before the first answer.
int common_tokens(const NeedleDocument& a, const NeedleDocument& b) {
  const auto n_before = [](const NeedleDocument& document) {
    return document.ids.size() - static_cast<size_t>(document.n_answer) - 1;
  };
  const size_t most = std::min(n_before(a), n_before(b));
  size_t n = 0;
  while (n < most && a.ids[n] == b.ids[n]) ++n;
  return static_cast<int>(n);
}

template <class Value>
Estimate estimate_of(std::span<const NeedleAnswer> answers, Value value) {
  std::vector<double> values;
  values.reserve(answers.size());
  for (const NeedleAnswer& one : answers) values.push_back(value(one));
  return estimate(values);
}

Estimate estimate_right(std::span<const NeedleAnswer> answers) {
  return estimate_of(answers, [](const NeedleAnswer& a) { return a.is_right() ? 1.0 : 0.0; });
}

Estimate estimate_probability(std::span<const NeedleAnswer> answers) {
  return estimate_of(answers, [](const NeedleAnswer& a) { return a.probability(); });
}

}  // namespace

bool NeedleAnswer::is_right() const {
  return std::all_of(tokens.begin(), tokens.end(),
                     [](const AnswerToken& token) { return token.rank == 0; });
}

double NeedleAnswer::probability() const {
  double product = 1;
  for (const AnswerToken& token : tokens) product *= token.probability;
  return product;
}

std::vector<NeedleCell> NeedleMap::cells(const NeedleOptions& options) const {
  std::vector<NeedleCell> out;
  std::vector<NeedleAnswer> of_cell;
  for (const int length : options.lengths) {
    for (const int depth : options.depths_percent) {
      of_cell.clear();
      std::copy_if(answers.begin(), answers.end(), std::back_inserter(of_cell),
                   [&](const NeedleAnswer& one) {
                     return one.length == length && one.depth_percent == depth;
                   });
      out.push_back({length, depth, static_cast<int>(of_cell.size()), estimate_right(of_cell),
                     estimate_probability(of_cell)});
    }
  }
  return out;
}

Estimate NeedleMap::right() const {
  return estimate_right(answers);
}

Estimate NeedleMap::probability() const {
  return estimate_probability(answers);
}

Result<std::vector<NeedleDocument>> make_needle_documents(const Tokenizer& tokenizer,
                                                          const Haystack& haystack, int bos_id,
                                                          const NeedleOptions& options) {
  std::vector<int> depths = options.depths_percent;
  std::sort(depths.begin(), depths.end());
  std::vector<NeedleDocument> out;
  for (const int length : options.lengths) {
    for (int i = 0; i < options.n_documents; ++i) {
      for (const int depth : depths) {
        VARVE_TRY(NeedleDocument document,
                  make_needle_document(tokenizer, haystack,
                                       {.length = length,
                                        .depth_percent = depth,
                                        .bos_id = bos_id,
                                        .seed = static_cast<uint64_t>(i) + 1}));
        out.push_back(std::move(document));
      }
    }
  }
  return out;
}

Result<NeedleMap> find_needles(Engine& engine, std::span<const NeedleDocument> documents,
                               const std::function<void(size_t)>& on_documents) {
  VARVE_TRY(Session session, engine.new_session());
  NeedleMap out;
  for (size_t d = 0; d < documents.size(); ++d) {
    const NeedleDocument& document = documents[d];
    const int n_kept = d + 1 < documents.size() ? common_tokens(document, documents[d + 1]) : 0;
    if (const int n_read = session.n_tokens(); n_read < n_kept) {
      VARVE_CHECKED(session.append(
          std::span(document.ids)
              .subspan(static_cast<size_t>(n_read), static_cast<size_t>(n_kept - n_read))));
      session.save_resume_point();
    }
    VARVE_TRY(std::vector<AnswerToken> tokens, answer(engine, session, document));
    out.answers.push_back({document.length, document.depth_percent, std::move(tokens)});
    VARVE_CHECKED(session.rewind(n_kept));
    on_documents(d + 1);
  }
  return out;
}

}  // namespace varve
