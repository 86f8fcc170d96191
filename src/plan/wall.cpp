#include "plan/wall.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/memory.h"
#include "plan/ways.h"

namespace varve {
namespace {

std::string text(size_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

// What a run is held against.
struct Limits {
  const Model& model;
  const ProcessBytes& process;
  const Wall& wall;

  Result<MemoryPlan> fit(const EngineOptions& options) const {
    const auto bounded = options_within(model, options, process, wall.memory_bytes);
    if (!bounded) return usage_error("no room beside the weights");
    return Engine::fit(model, *bounded);
  }
  bool accept(const EngineOptions& options) const { return fit(options).has_value(); }
};

// What fits in place of options that do not, one change each: flags of the command line.
std::vector<std::string> nearest_that_fit(const Limits& limits, const EngineOptions& options,
                                          int planned_chunk, int least_ctx_tokens) {
  std::vector<std::string> ways;
  const int ctx = Engine::largest_context(
      options, [&](const EngineOptions& smaller) { return limits.accept(smaller); });
  if (ctx > 0 && ctx >= least_ctx_tokens) ways.push_back(fmt::format("--ctx {}", ctx));
  for (const SmallerFormats& smaller : smaller_formats(limits.model, options.formats)) {
    EngineOptions changed = options;
    changed.formats = smaller.formats;
    if (!limits.accept(changed)) continue;
    ways.push_back(smaller.flags);
    break;
  }
  EngineOptions shorter = options;
  for (int chunk = planned_chunk; chunk > 1;) {
    chunk = static_cast<int>(std::bit_floor(static_cast<unsigned>(chunk - 1)));
    shorter.chunk_tokens = chunk;
    if (!limits.accept(shorter)) continue;
    ways.push_back(fmt::format("--chunk {}", chunk));
    break;
  }
  return ways;
}

// "8.31 GiB (4.10 GiB of weights, 4.00 GiB of cache, ...)"
std::string needs(const MemoryPlan& plan, const ProcessBytes& process) {
  const size_t weights = plan.weight_bytes + plan.vector_bytes;
  const size_t cache = plan.cache_bytes(), scratch = plan.arena_bytes - cache;
  const std::array parts = {std::pair{weights, "weights"}, std::pair{cache, "cache"},
                            std::pair{scratch, "scratch and logits"},
                            std::pair{process.total(), "process"}};
  const auto largest = std::max_element(parts.begin(), parts.end());
  std::string list;
  for (const auto& [bytes, name] : parts) {
    list += fmt::format("{}{} of {}", list.empty() ? "" : ", ", text(bytes), name);
  }
  return fmt::format("{} bytes ({}), most of it {}", plan.total_bytes() + process.total(), list,
                     largest->second);
}

tl::unexpected<Error> refuse(const Limits& limits, const EngineOptions& options,
                             const MemoryPlan& plan, int least_ctx_tokens) {
  const auto ways = nearest_that_fit(limits, options, plan.chunk_tokens, least_ctx_tokens);
  const std::string nearest = ways.empty() ? std::string("nothing smaller fits either")
                                           : fmt::format("{} would fit", fmt::join(ways, " or "));
  const size_t budget = options.arena_budget_bytes;
  if (budget > 0 && plan.arena_bytes > budget) {
    return usage_error(
        "--ctx {} needs {} bytes ({} of cache, {} of scratch and logits); --kv-memory allows {} "
        "({}); {}",
        options.ctx_tokens, plan.arena_bytes, text(plan.cache_bytes()),
        text(plan.arena_bytes - plan.cache_bytes()), budget, text(budget), nearest);
  }
  const size_t wall = limits.wall.memory_bytes;
  const size_t left = std::min(available_memory_bytes(), address_space_left_bytes());
  const std::string allowed =
      plan.total_bytes() + limits.process.total() > wall
          ? fmt::format("{} {} ({})", limits.wall.is_named ? "--memory allows" : "there are free",
                        wall, text(wall))
          : fmt::format("the machine has {} ({}) left", left, text(left));
  return usage_error("--ctx {} needs {}; {}; {}", options.ctx_tokens, needs(plan, limits.process),
                     allowed, nearest);
}

}  // namespace

Result<Wall> Wall::parse(const std::string& memory) {
  if (memory != "auto") {
    VARVE_TRY(const size_t bytes, parse_bytes("--memory", memory));
    return Wall{bytes, true};
  }
  const size_t left = available_memory_bytes();
  return Wall{left > kWallMargin ? left - kWallMargin : 0, false};
}

std::optional<EngineOptions> options_within(const Model& model, EngineOptions options,
                                            const ProcessBytes& process, size_t memory_bytes) {
  const size_t beside = model.weight_bytes() + model.vector_bytes() + process.total();
  if (beside >= memory_bytes) return std::nullopt;
  const size_t room = memory_bytes - beside, budget = options.arena_budget_bytes;
  options.arena_budget_bytes = budget == 0 ? room : std::min(budget, room);
  return options;
}

Result<EngineOptions> fit_within(const Model& model, const EngineOptions& options,
                                 const ProcessBytes& process, const Wall& wall,
                                 int least_ctx_tokens) {
  const auto bounded = options_within(model, options, process, wall.memory_bytes);
  VARVE_TRY(const MemoryPlan asked, Engine::plan(model, bounded.value_or(options)));
  const Limits limits{model, process, wall};
  const auto fitting = limits.fit(options);
  if (!fitting) return refuse(limits, options, asked, least_ctx_tokens);
  EngineOptions out = *bounded;
  out.chunk_tokens = fitting->chunk_tokens;
  return out;
}

}  // namespace varve
