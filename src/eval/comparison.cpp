#include "eval/comparison.h"

#include <algorithm>
#include <numeric>

#include "base/memory.h"

namespace varve {
namespace {

// What is asked of each row, and where rows of one engine go before they are compared.
class Comparer {
 public:
  Comparer(Engine& reference, std::span<const std::unique_ptr<Engine>> tests)
      : reference_(reference),
        tests_(tests),
        vocab_(static_cast<size_t>(reference.model().vocab_size())),
        logits_(static_cast<size_t>(kMaxLogitRows) * vocab_),
        reference_rows_(kMaxLogitRows),
        divergences_(tests.size()) {}

  // Rows [0, n) of the last step of every engine; next_ids[r] comes after row r in the text.
  void compare(int n, const int32_t* next_ids) {
    for (int begin = 0; begin < n; begin += kMaxLogitRows) {
      rows_.resize(static_cast<size_t>(std::min(kMaxLogitRows, n - begin)));
      std::iota(rows_.begin(), rows_.end(), begin);
      reference_.logits_of_rows(rows_, logits_.data());
      for_each_row([&](size_t r) { reference_rows_[r].assign(row(r)); });
      for (size_t t = 0; t < tests_.size(); ++t) compare_test(t, next_ids + begin);
    }
  }

  std::vector<DivergenceSummary> summaries() const {
    std::vector<DivergenceSummary> out;
    out.reserve(divergences_.size());
    for (const auto& one : divergences_) out.push_back(summarise(one));
    return out;
  }

 private:
  void compare_test(size_t t, const int32_t* next_ids) {
    tests_[t]->logits_of_rows(rows_, logits_.data());
    std::vector<Divergence>& out = divergences_[t];
    const size_t at = out.size();
    out.resize(at + rows_.size());
    for_each_row([&](size_t r) { out[at + r] = reference_rows_[r].compare(row(r), next_ids[r]); });
  }

  template <class Body>
  void for_each_row(Body body) {
    reference_.exec().parallel(static_cast<int>(rows_.size()),
                               [&](int r, int) { body(static_cast<size_t>(r)); });
  }

  std::span<const float> row(size_t r) const { return {logits_.data() + r * vocab_, vocab_}; }

  Engine& reference_;
  std::span<const std::unique_ptr<Engine>> tests_;
  size_t vocab_;
  std::vector<float> logits_;  // [kMaxLogitRows, vocab], of one engine
  std::vector<ReferenceRow> reference_rows_;
  std::vector<int32_t> rows_;  // of the last step, those under comparison
  std::vector<std::vector<Divergence>> divergences_;
};

// A session of each engine, the reference's first, with the chunk waiting in it.
Result<std::vector<Session>> open_sessions(Engine& reference,
                                           std::span<const std::unique_ptr<Engine>> tests,
                                           std::span<const int32_t> ids) {
  std::vector<Session> sessions;
  sessions.reserve(tests.size() + 1);
  for (size_t i = 0; i <= tests.size(); ++i) {
    Engine& engine = i == 0 ? reference : *tests[i - 1];
    VARVE_TRY(Session session, engine.new_session());
    VARVE_CHECKED(session.enqueue(ids));
    sessions.push_back(std::move(session));
  }
  return sessions;
}

}  // namespace

size_t comparison_bytes(int vocab_size) {
  // Logits of the rows as they come; of the reference's a copy and probabilities in f64.
  constexpr size_t kBytesPerLogit = 2 * sizeof(float) + sizeof(double);
  return static_cast<size_t>(kMaxLogitRows) * static_cast<size_t>(vocab_size) * kBytesPerLogit;
}

size_t room_for_engines(const MemoryPlan& plan, size_t budget_bytes) {
  const size_t available = std::min(available_memory_bytes(), address_space_left_bytes());
  const size_t model = plan.weight_bytes + plan.vector_bytes - plan.loaded_bytes;
  const size_t machine = available > model ? available - model : 0;
  return budget_bytes == 0 ? machine : std::min(machine, budget_bytes);
}

Result<ComparisonPlan> plan_comparison(const Model& model, const EngineOptions& reference,
                                       std::span<const PoolFormats> tests) {
  VARVE_TRY(const MemoryPlan first, Engine::plan(model, reference));
  ComparisonPlan plan;
  plan.options.push_back(reference);
  plan.options.front().chunk_tokens = first.chunk_tokens;
  plan.arena_bytes = first.arena_bytes + comparison_bytes(model.vocab_size());
  plan.n_that_fit = 1;
  const size_t room = room_for_engines(first, reference.arena_budget_bytes);
  for (const PoolFormats& formats : tests) {
    EngineOptions options = plan.options.front();
    options.formats = formats;
    plan.options.push_back(options);
    if (plan.n_that_fit + 1 < plan.options.size()) continue;  // an earlier one did not fit
    VARVE_TRY(const MemoryPlan one, Engine::plan(model, options));
    if (plan.arena_bytes + one.arena_bytes <= room) {
      plan.arena_bytes += one.arena_bytes;
      ++plan.n_that_fit;
    } else if (plan.n_that_fit == 1) {
      const auto text = [](size_t bytes) { return human_bytes(static_cast<double>(bytes)); };
      return usage_error(
          "--ctx {}: two caches side by side need {} ({} the reference, {} the one under test, {} "
          "logits); {} are {}; a smaller --ctx or --chunk takes less",
          reference.ctx_tokens, text(plan.arena_bytes + one.arena_bytes), text(first.arena_bytes),
          text(one.arena_bytes), text(comparison_bytes(model.vocab_size())), text(room),
          reference.arena_budget_bytes > 0 ? "allowed by --memory and --kv-memory" : "available");
    }
  }
  return plan;
}

Result<std::vector<DivergenceSummary>> compare_caches(
    Engine& reference, std::span<const std::unique_ptr<Engine>> tests, const TextChunks& text,
    const std::function<void(size_t)>& on_tokens) {
  Comparer comparer(reference, tests);
  const size_t n_engines = tests.size() + 1;
  size_t n_read = 0;
  for (const std::vector<int32_t>& chunk : text.chunks) {
    const std::span<const int32_t> read(chunk.data(),
                                        chunk.size() - 1);  // the last is only guessed
    VARVE_TRY(const std::vector<Session> sessions, open_sessions(reference, tests, read));
    while (sessions.front().n_pending() > 0) {
      const auto begin = static_cast<size_t>(sessions.front().n_tokens());
      const int n = reference.step();
      for (const std::unique_ptr<Engine>& test : tests) {
        const int same = test->step();
        if (same == n) continue;
        return fail(ErrorKind::internal, "engines under comparison read {} and {} tokens", n, same);
      }
      comparer.compare(n, chunk.data() + begin + 1);
      n_read += static_cast<size_t>(n) * n_engines;
      on_tokens(n_read);
    }
  }
  return comparer.summaries();
}

}  // namespace varve
