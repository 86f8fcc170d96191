#include "plan/wall.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/cpu.h"
#include "base/memory.h"
#include "plan/ways.h"

namespace varve {
namespace {

// Of what is free: see kWallMargin.
constexpr size_t kLeastShareKept = 8;

std::string text(size_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

// By which the address space of one process differs from that of the next.
constexpr size_t kAddressesLater = size_t{1} << 20;

// What a run is held against.
struct Limits {
  const Model& model;
  const ProcessBytes& process;
  const Wall& wall;

  Result<MemoryPlan> fit(const EngineOptions& options) const {
    return fit(options, wall.memory_bytes, {});
  }
  // Whether a run with `options` would also fit a moment later, when less may be free.
  bool accept(const EngineOptions& options) const {
    Spare spare;
    const size_t less = wall.is_named ? 0 : std::min(wall.memory_bytes, spare.memory_bytes);
    spare.memory_bytes *= 2;
    spare.address_bytes += kAddressesLater;
    return fit(options, wall.memory_bytes - less, spare).has_value();
  }

 private:
  Result<MemoryPlan> fit(const EngineOptions& options, size_t memory_bytes, Spare spare) const {
    spare.memory_bytes += process.read_roof;
    spare.address_bytes += process.read_roof;
    const auto bounded = options_within(model, options, process, memory_bytes);
    if (!bounded) return usage_error("no room beside the weights");
    return Engine::fit(model, *bounded, spare);
  }
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
  EngineOptions fewer = options;  // whose stacks take address space, and whose scratch memory
  for (int threads = options.n_threads / 2; threads > 0; threads /= 2) {
    fewer.n_threads = threads;
    if (!limits.accept(fewer)) continue;
    ways.push_back(fmt::format("--threads {}", threads));
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

// "--memory allows 1000000 (976.56 KiB)"
std::string limit_that_binds(const Limits& limits, const EngineOptions& options,
                             const MemoryPlan& plan) {
  const auto both = [](size_t bytes) { return fmt::format("{} ({})", bytes, text(bytes)); };
  const Wall& wall = limits.wall;
  if (plan.total_bytes() + limits.process.total() > wall.memory_bytes) {
    if (wall.is_named) return fmt::format("--memory allows {}", both(wall.memory_bytes));
    return fmt::format("there are free {}, and {} more that are kept back", both(wall.memory_bytes),
                       text(wall.margin_bytes));
  }
  const size_t space =
      address_space_bytes(options, plan) + Spare().address_bytes + limits.process.read_roof;
  const size_t space_left = address_space_left_bytes();
  if (space > space_left) {
    return fmt::format("of address space it takes {}, and `ulimit -v` leaves {}", text(space),
                       both(space_left));
  }
  return fmt::format("the machine has {} left", both(available_memory_bytes()));
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
  return usage_error("--ctx {} needs {}; {}; {}", options.ctx_tokens, needs(plan, limits.process),
                     limit_that_binds(limits, options, plan), nearest);
}

}  // namespace

Result<Wall> Wall::parse(const std::string& memory) {
  if (memory != "auto") {
    VARVE_TRY(const size_t bytes, parse_bytes("--memory", memory));
    return Wall{bytes, true};
  }
  const size_t free = available_memory_bytes();
  const size_t margin = std::min(kWallMargin, free / kLeastShareKept);
  return Wall{free - margin, false, margin};
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
  EngineOptions wanted = options;
  if (wanted.n_threads == 0) wanted.n_threads = usable_cores();
  const auto bounded = options_within(model, wanted, process, wall.memory_bytes);
  VARVE_TRY(const MemoryPlan asked, Engine::plan(model, bounded.value_or(wanted)));
  const Limits limits{model, process, wall};
  const auto fitting = limits.fit(wanted);
  if (!fitting) return refuse(limits, wanted, asked, least_ctx_tokens);
  EngineOptions out = *bounded;
  out.chunk_tokens = fitting->chunk_tokens;
  return out;
}

}  // namespace varve
