#include "eval/ladder.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "eval/comparison.h"

namespace varve {
namespace {

constexpr RowFormat kPlain = RowFormat::bf16;  // what formats are smaller than

// Candidates side by side, at most. The reference is then a ninth of the work; more would take
// memory for little.
constexpr size_t kMaxGroup = 8;

// All pools plain; what formats say beside the formats themselves, as in `like`.
PoolFormats plain(const PoolFormats& like) {
  PoolFormats out = like;
  for (const PoolInfo& info : pools()) out.*(info.format) = kPlain;
  return out;
}

// The pools of a shape and how large their rows are, by format.
class PoolSizes {
 public:
  PoolSizes(const CacheShape& shape, const PoolFormats& like) : shape_(shape), plain_(plain(like)) {
    const CacheLayout layout(shape, plain_);
    for (const PoolInfo& info : varve::pools()) {
      if (layout.has(info.pool)) pools_.push_back(&info);
    }
  }

  const PoolFormats& all_plain() const { return plain_; }
  std::span<const PoolInfo* const> pools() const { return pools_; }
  bool has_keys_and_values() const {
    return std::any_of(pools_.begin(), pools_.end(),
                       [](const PoolInfo* info) { return info->pool == Pool::k; });
  }
  /// Of a context so long that what is kept of few tokens alone hardly counts.
  size_t bytes(const PoolInfo& info, RowFormat format) const {
    constexpr size_t kManyBlocks = 512;
    PoolFormats formats = plain_;
    formats.*(info.format) = format;
    const CacheLayout layout(shape_, formats);
    return kManyBlocks * layout.block_pools[info.pool] + layout.detail_pools[info.pool];
  }
  /// Whether a pool takes a format that is no larger than bf16 in it.
  bool takes(const PoolInfo& info, RowFormat format) const {
    return pool_takes(info.pool, format) && bytes(info, format) <= bytes(info, kPlain);
  }

 private:
  const CacheShape& shape_;
  PoolFormats plain_;
  std::vector<const PoolInfo*> pools_;
};

void add_pure(const PoolSizes& sizes, std::span<const RowFormat> formats,
              std::vector<PoolFormats>& out) {
  for (const RowFormat format : formats) {
    PoolFormats choice = sizes.all_plain();
    bool any = false;
    for (const PoolInfo* const info : sizes.pools()) {
      if (!sizes.takes(*info, format)) continue;
      choice.*(info->format) = format;
      any = true;
    }
    if (any) out.push_back(choice);
  }
}

void add_pairs(const PoolSizes& sizes, std::span<const RowFormat> formats,
               std::vector<PoolFormats>& out) {
  const auto& keys = pools()[static_cast<size_t>(Pool::k)];
  const auto& values = pools()[static_cast<size_t>(Pool::v)];
  std::vector<RowFormat> of_each_size;
  for (const RowFormat format : formats) {
    const bool is_new = std::none_of(
        of_each_size.begin(), of_each_size.end(),
        [&](RowFormat other) { return sizes.bytes(keys, other) == sizes.bytes(keys, format); });
    if (sizes.takes(keys, format) && is_new) of_each_size.push_back(format);
  }
  for (const RowFormat k : of_each_size) {
    for (const RowFormat v : of_each_size) {
      const size_t k_bytes = sizes.bytes(keys, k), v_bytes = sizes.bytes(values, v);
      if (v_bytes >= k_bytes || 2 * v_bytes < k_bytes) continue;
      PoolFormats choice = sizes.all_plain();
      choice.k = k;
      choice.v = v;
      out.push_back(choice);
    }
  }
}

void add_singles(const PoolSizes& sizes, std::span<const RowFormat> formats,
                 std::vector<PoolFormats>& out) {
  for (const PoolInfo* const info : sizes.pools()) {
    for (const RowFormat format : formats) {
      if (!pool_takes(info->pool, format) ||
          sizes.bytes(*info, format) >= sizes.bytes(*info, kPlain)) {
        continue;
      }
      PoolFormats choice = sizes.all_plain();
      choice.*(info->format) = format;
      out.push_back(choice);
    }
  }
}

Result<ComparisonPlan> plan_group(const Model& model, const LadderOptions& options, size_t begin) {
  const auto rest = std::span(options.candidates).subspan(begin);
  return plan_comparison(model, options.engine, rest.first(std::min(rest.size(), kMaxGroup)));
}

// One group: the reference and the candidates from `begin` on that fit beside it. Returns how many
// were compared.
Result<size_t> compare_group(const std::shared_ptr<const Model>& model,
                             const LadderOptions& options, const TextChunks& text, size_t begin,
                             std::vector<LadderRung>& rungs, const LadderProgress& progress) {
  VARVE_TRY(const ComparisonPlan plan, plan_group(*model, options, begin));
  std::vector<std::unique_ptr<Engine>> engines;
  for (const EngineOptions& one : std::span(plan.options).first(plan.n_that_fit)) {
    VARVE_TRY(std::unique_ptr<Engine> engine, Engine::create(model, one));
    engines.push_back(std::move(engine));
  }
  const auto tests = std::span<const std::unique_ptr<Engine>>(engines).subspan(1);
  const auto n_text = static_cast<double>(text.n_tokens());
  VARVE_TRY(const std::vector<DivergenceSummary> divergences,
            compare_caches(*engines.front(), tests, text, [&](size_t n) {
              const double of_each = static_cast<double>(n) / static_cast<double>(engines.size());
              progress(
                  "divergence",
                  static_cast<double>(begin) * n_text + of_each * static_cast<double>(tests.size()),
                  static_cast<double>(options.candidates.size()) * n_text);
            }));
  for (size_t i = 0; i < tests.size(); ++i) {
    LadderRung& rung = rungs[begin + i];
    const CacheLayout& layout = tests[i]->cache().layout();
    rung.kv = kv_spec(layout);
    rung.bytes_per_token = cache_bytes_per_token(layout, options.engine.ctx_tokens);
    rung.divergence = divergences[i];
  }
  return tests.size();
}

// An engine of the rung's formats that one session at a time goes back and forth in.
Result<std::unique_ptr<Engine>> engine_of(const std::shared_ptr<const Model>& model,
                                          const LadderOptions& options, const LadderRung& rung,
                                          int ctx_tokens) {
  EngineOptions engine = options.engine;
  engine.formats = rung.formats;
  engine.ctx_tokens = ctx_tokens;
  engine.resume_points = 1;
  engine.resume_interval_tokens = std::numeric_limits<int>::max();
  return Engine::create(model, engine);
}

Result<void> measure_needles(const std::shared_ptr<const Model>& model,
                             const LadderOptions& options,
                             std::span<const NeedleDocument> documents,
                             std::vector<LadderRung>& rungs, const LadderProgress& progress) {
  if (documents.empty()) return {};
  int longest = 0;
  for (const NeedleDocument& document : documents) longest = std::max(longest, document.length);
  const auto n = static_cast<double>(documents.size());
  for (size_t i = 0; i < rungs.size(); ++i) {
    VARVE_TRY(const auto engine, engine_of(model, options, rungs[i], longest));
    VARVE_TRY(const NeedleMap map, find_needles(*engine, documents, [&](size_t n_read) {
                progress("needles", static_cast<double>(i) * n + static_cast<double>(n_read),
                         static_cast<double>(rungs.size()) * n);
              }));
    rungs[i].needle_right = map.right();
    rungs[i].needle_probability = map.probability();
  }
  return {};
}

Result<void> measure_speeds(const std::shared_ptr<const Model>& model, const LadderOptions& options,
                            std::vector<LadderRung>& rungs, const LadderProgress& progress) {
  const int ctx_tokens = options.decode.depth + options.decode.n_tokens;
  for (size_t i = 0; i < rungs.size(); ++i) {
    VARVE_TRY(const auto engine, engine_of(model, options, rungs[i], ctx_tokens));
    VARVE_TRY(rungs[i].decode_tokens_per_s, measure_decode_speed(*engine, options.decode));
    progress("speed", static_cast<double>(i + 1), static_cast<double>(rungs.size()));
  }
  return {};
}

}  // namespace

double cache_bytes_per_token(const CacheLayout& layout, int n_tokens) {
  return layout.bytes_per_token() +
         static_cast<double>(layout.detail_pools.sum()) / static_cast<double>(n_tokens);
}

std::string kv_spec(const CacheLayout& layout) {
  std::vector<const PoolInfo*> there;
  for (const PoolInfo& info : pools()) {
    if (layout.has(info.pool)) there.push_back(&info);
  }
  const auto format = [&](const PoolInfo* info) { return layout.formats.of(info->pool); };
  const bool same = std::all_of(there.begin(), there.end(), [&](const PoolInfo* info) {
    return format(info) == format(there.front());
  });
  if (same) return fmt::format("all={}", row_format_name(format(there.front())));
  // Two pools are both named; of more, those whose format is not the usual one.
  std::optional<RowFormat> usual;
  if (there.size() > 2) {
    const auto n_of = [&](const PoolInfo* info) {
      return std::count_if(there.begin(), there.end(),
                           [&](const PoolInfo* other) { return format(other) == format(info); });
    };
    usual = format(*std::max_element(there.begin(), there.end(), [&](const auto* a, const auto* b) {
      return n_of(a) < n_of(b);
    }));
  }
  std::string text = usual ? fmt::format("all={}", row_format_name(*usual)) : "";
  for (const PoolInfo* const info : there) {
    if (format(info) == usual) continue;
    text +=
        fmt::format("{}{}={}", text.empty() ? "" : ",", info->name, row_format_name(format(info)));
  }
  return text;
}

std::vector<PoolFormats> ladder_candidates(const CacheShape& shape,
                                           std::span<const RowFormat> formats,
                                           const PoolFormats& like) {
  const PoolSizes sizes(shape, like);
  std::vector<PoolFormats> all;
  add_pure(sizes, formats, all);
  if (sizes.has_keys_and_values()) {
    add_pairs(sizes, formats, all);
  } else if (sizes.pools().size() > 1) {
    add_singles(sizes, formats, all);
  }
  std::vector<PoolFormats> out;
  for (const PoolFormats& choice : all) {
    if (std::find(out.begin(), out.end(), choice) == out.end()) out.push_back(choice);
  }
  return out;
}

std::vector<bool> pareto_front(std::span<const ParetoPoint> points) {
  std::vector<bool> front;
  front.reserve(points.size());
  for (const ParetoPoint& one : points) {
    front.push_back(std::none_of(points.begin(), points.end(), [&](const ParetoPoint& other) {
      return other.bytes <= one.bytes && other.loss <= one.loss &&
             (other.bytes < one.bytes || other.loss < one.loss);
    }));
  }
  return front;
}

Result<size_t> ladder_arena_bytes(const Model& model, const LadderOptions& options) {
  VARVE_TRY(const ComparisonPlan plan, plan_group(model, options, 0));
  return plan.arena_bytes;
}

Result<std::vector<LadderRung>> measure_ladder(const std::shared_ptr<const Model>& model,
                                               const LadderOptions& options, const TextChunks& text,
                                               std::span<const NeedleDocument> documents,
                                               const LadderProgress& progress) {
  std::vector<LadderRung> rungs;
  for (const PoolFormats& formats : options.candidates) rungs.emplace_back().formats = formats;
  for (size_t begin = 0; begin < rungs.size();) {
    VARVE_TRY(const size_t n, compare_group(model, options, text, begin, rungs, progress));
    begin += n;
  }
  VARVE_CHECKED(measure_needles(model, options, documents, rungs, progress));
  VARVE_CHECKED(measure_speeds(model, options, rungs, progress));
  std::sort(rungs.begin(), rungs.end(), [](const LadderRung& a, const LadderRung& b) {
    return std::pair(a.bytes_per_token, a.divergence.kld.mean) <
           std::pair(b.bytes_per_token, b.divergence.kld.mean);
  });
  std::vector<ParetoPoint> points;
  points.reserve(rungs.size());
  for (const LadderRung& rung : rungs) {
    points.push_back({rung.bytes_per_token, rung.divergence.kld.mean});
  }
  const std::vector<bool> front = pareto_front(points);
  for (size_t i = 0; i < rungs.size(); ++i) rungs[i].is_on_front = front[i];
  return rungs;
}

}  // namespace varve
