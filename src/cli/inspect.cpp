// varve inspect: what a model is made of, and what its cache will cost.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "cli/cache_comparison.h"
#include "cli/engine_flags.h"
#include "cli/inspect_gguf.h"
#include "cli/inspect_model.h"
#include "cli/model_path.h"
#include "cli/tensor_report.h"
#include "cli/verbs.h"
#include "kvcache/layout.h"
#include "models/model.h"

namespace varve::cli {
namespace {

using nlohmann::ordered_json;

struct InspectFlags {
  EngineFlags engine;
  bool json = false;

  bool wants_plan() const { return engine.ctx != 0 || engine.kv_memory != "auto"; }
};

// ---- the model ----

Result<std::unique_ptr<Model>> load_for(const InspectFlags& flags, const std::string& path) {
  if (flags.wants_plan() && is_config_alone(path)) return load_shapes(path);
  return load_model(path);
}

// ---- cache ----

// Contexts to show the cost of, where the model has them.
constexpr std::array<int, 3> kContexts = {32 << 10, 128 << 10, 1 << 20};

// Of one sequence, as the cache allocates it: whole blocks, and one slot of detail.
size_t cache_bytes(const CacheLayout& layout, int n_tokens) {
  return static_cast<size_t>(n_tokens / kBlockTokens) * layout.block_bytes + layout.detail_bytes;
}

double per_token(size_t block_bytes) {
  return static_cast<double>(block_bytes) / kBlockTokens;
}

// ---- text ----

std::string human_count(int64_t n) {
  const auto value = static_cast<double>(n);
  if (value >= 1e12) return fmt::format("{:.2f} T", value / 1e12);
  if (value >= 1e9) return fmt::format("{:.2f} B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f} M", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.1f} K", value / 1e3);
  return fmt::format("{}", n);
}

std::string bytes_text(size_t n) {
  return human_bytes(static_cast<double>(n));
}

std::string type_text(DType type) {
  return type == DType::i8 ? "I8 (e2m1)" : std::string(dtype_name(type));
}

void print_tensors(const Model& model, const TensorReport& report) {
  fmt::print("\n{:<20}{:<11}{:>9}{:>13}{:>14}{:>8}\n", "tensors", "stored as", "count",
             "parameters", "bytes", "share");
  const auto row = [&](std::string_view label, const std::string& type, const TensorSum& sum) {
    const double share = report.total.n_bytes == 0 ? 0
                                                   : static_cast<double>(sum.n_bytes) /
                                                         static_cast<double>(report.total.n_bytes);
    fmt::print("  {:<18}{:<11}{:>9}{:>13}{:>14}{:>6.1f} %\n", label, type, sum.count,
               sum.n_parameters == 0 ? "-" : human_count(sum.n_parameters), bytes_text(sum.n_bytes),
               share * 100);
  };
  std::optional<TensorClass> before;
  for (const auto& [key, sum] : report.sums) {
    const auto [tensor_class, type] = key;
    row(before == tensor_class ? "" : class_names(tensor_class).label, type_text(type), sum);
    before = tensor_class;
  }
  row("total", "", report.total);
  const ExpertCounts experts = model.experts();
  fmt::print("  parameters: {} in use, {} active a token{}\n", human_count(report.used_parameters),
             human_count(report.active_parameters),
             experts.n == 0 ? "" : fmt::format(" ({} of {} experts)", experts.n_used, experts.n));
  const std::vector<UnreadTensor>& unread = model.checkpoint().unread();
  if (!unread.empty()) {
    fmt::print("  not counted: {} tensor{} of types that are not read ({})\n", unread.size(),
               unread.size() == 1 ? "" : "s", fitted(unread.front().dtype, 16));
  }
  fmt::print("  mapped: {} in {} file{}\n", bytes_text(model.checkpoint().mapped_bytes()),
             model.checkpoint().files().size(), model.checkpoint().files().size() == 1 ? "" : "s");
}

void print_cache(const CacheLayout& layout, int max_position) {
  fmt::print("\n{:<26}{:>14}{:>13}{:>13}{:>13}\n",
             fmt::format("cache, {} (exact)",
                         common_format(layout) ? describe_formats(layout) : "mixed rows"),
             "bytes/token", "32K tokens", "128K tokens", "1M tokens");
  const auto row = [&](std::string_view label, const std::string& rate, auto bytes_at) {
    fmt::print("  {:<24}{:>14}", label, rate);
    for (const int n_tokens : kContexts) {
      fmt::print("{:>13}", n_tokens <= max_position ? bytes_text(bytes_at(n_tokens)) : "-");
    }
    fmt::print("\n");
  };
  const auto pool = [&](std::string_view label, size_t block_bytes) {
    row(label, fmt::format("{:.2f}", per_token(block_bytes)),
        [&](int n_tokens) { return static_cast<size_t>(n_tokens / kBlockTokens) * block_bytes; });
  };
  for (const PoolInfo& info : pools()) {
    if (layout.block_pools[info.pool] > 0) pool(info.label, layout.block_pools[info.pool]);
  }
  const size_t in_blocks = layout.block_pools.sum();
  if (layout.block_bytes != in_blocks) pool("padding of blocks", layout.block_bytes - in_blocks);
  const auto fixed = [&](std::string_view label, size_t bytes) {
    if (bytes > 0) row(label, "-", [bytes](int) { return bytes; });
  };
  for (const PoolInfo& info : pools()) fixed(info.label, layout.detail_pools[info.pool]);
  fixed("compressor state", layout.state_detail_bytes);
  fixed("hidden state", layout.hidden_detail_bytes);
  fixed("padding", layout.detail_bytes - layout.detail_pools.sum() - layout.state_detail_bytes -
                       layout.hidden_detail_bytes);
  row("one sequence", fmt::format("{:.2f}", per_token(layout.block_bytes)),
      [&](int n_tokens) { return cache_bytes(layout, n_tokens); });
}

// ---- the plan of a run ----

// What `run` would take with the same flags.
struct RunPlan {
  EngineOptions options;
  MemoryPlan memory;
  int largest_ctx = 0;  // within the budget, where there is one; 0: none

  size_t table_bytes() const { return memory.cache_bytes() - memory.cache.sum(); }
};

Result<RunPlan> plan_run(const Model& model, EngineOptions options) {
  RunPlan plan;
  options.resume_points = 0;  // as in `run`
  if (options.arena_budget_bytes > 0) {
    EngineOptions longest = options;
    longest.ctx_tokens = model.max_position();
    plan.largest_ctx = Engine::largest_context(model, longest);
    if (options.ctx_tokens == 0) options.ctx_tokens = std::max(1, plan.largest_ctx);
  }
  VARVE_TRY(plan.memory, Engine::plan(model, options));
  plan.options = options;
  return plan;
}

void print_plan(const Model& model, const RunPlan& plan, const CacheLayout& layout) {
  const MemoryPlan& memory = plan.memory;
  fmt::print("\n{:<42}{:>16}\n", fmt::format("plan for {} tokens", plan.options.ctx_tokens),
             "bytes");
  const auto row = [](std::string_view label, size_t bytes) {
    fmt::print("  {:<40}{:>16}{:>13}\n", label, bytes, bytes_text(bytes));
  };
  for (const PoolInfo& info : pools()) {
    if (memory.cache.pools[info.pool] > 0) row(info.label, memory.cache.pools[info.pool]);
  }
  row("state of the sequence", memory.cache.state);
  row("tables, ids, padding", plan.table_bytes());
  row(fmt::format("scratch (chunk {})", memory.chunk_tokens), memory.scratch_bytes());
  row("logits", memory.logits_bytes());
  row("arena, the sum of these", memory.arena_bytes);
  const bool alone = model.checkpoint().files().empty();
  row(alone ? "weights, as the config has them" : "weights",
      memory.weight_bytes + memory.vector_bytes);
  row("total", memory.total_bytes());
  fmt::print("  growth: {:.2f} B/token ({})\n", layout.bytes_per_token(), describe_formats(layout));
  const size_t budget = plan.options.arena_budget_bytes;
  if (budget == 0) return;
  fmt::print("  --kv-memory {} ({}) {}; ", budget, bytes_text(budget),
             memory.arena_bytes <= budget ? "is enough" : "is too little");
  if (plan.largest_ctx > 0) {
    fmt::print("largest --ctx: {}\n", plan.largest_ctx);
  } else {
    fmt::print("no context fits\n");
  }
}

// ---- JSON ----

// What each pool that the model has takes.
ordered_json by_pool(const CacheLayout& layout, const PoolBytes& bytes) {
  ordered_json out = ordered_json::object();
  for (const PoolInfo& info : pools()) {
    if (layout.has(info.pool)) out[std::string(info.name)] = bytes[info.pool];
  }
  return out;
}

ordered_json plan_object(const RunPlan& plan, const CacheLayout& layout) {
  const MemoryPlan& memory = plan.memory;
  ordered_json cache = by_pool(layout, memory.cache.pools);
  cache["state"] = memory.cache.state;
  cache["tables"] = plan.table_bytes();
  cache["total"] = memory.cache_bytes();
  ordered_json out = {
      {"ctx_tokens", plan.options.ctx_tokens},
      {"chunk_tokens", memory.chunk_tokens},
      {"cache_bytes", cache},
      {"scratch_bytes", memory.scratch_bytes()},
      {"logits_bytes", memory.logits_bytes()},
      {"arena_bytes", memory.arena_bytes},
      {"weight_bytes", memory.weight_bytes},
      {"vector_bytes", memory.vector_bytes},
      {"total_bytes", memory.total_bytes()},
      {"bytes_per_token", layout.bytes_per_token()},
  };
  if (plan.options.arena_budget_bytes > 0) {
    out["budget_bytes"] = plan.options.arena_budget_bytes;
    out["largest_ctx_tokens"] = plan.largest_ctx;
  }
  return out;
}

ordered_json tensors_object(const Model& model, const TensorReport& report) {
  ordered_json classes = ordered_json::array();
  for (const auto& [key, sum] : report.sums) {
    classes.push_back({{"class", class_names(key.first).id},
                       {"used", is_used(key.first)},
                       {"dtype", dtype_name(key.second)},
                       {"count", sum.count},
                       {"parameters", sum.n_parameters},
                       {"bytes", sum.n_bytes}});
  }
  return {
      {"classes", classes},
      {"count", report.total.count},
      {"parameters", report.total.n_parameters},
      {"used_parameters", report.used_parameters},
      {"active_parameters", report.active_parameters},
      {"bytes", report.total.n_bytes},
      {"unread_count", model.checkpoint().unread().size()},
      {"mapped_bytes", model.checkpoint().mapped_bytes()},
      {"n_files", model.checkpoint().files().size()},
  };
}

ordered_json cache_object(const CacheLayout& layout, int max_position) {
  ordered_json totals = ordered_json::array();
  for (const int n_tokens : kContexts) {
    if (n_tokens > max_position) continue;
    totals.push_back({{"tokens", n_tokens}, {"bytes", cache_bytes(layout, n_tokens)}});
  }
  ordered_json rates = ordered_json::object();
  ordered_json fixed = ordered_json::object();
  for (const PoolInfo& info : pools()) {
    const std::string name(info.name);
    if (layout.block_pools[info.pool] > 0) rates[name] = per_token(layout.block_pools[info.pool]);
    if (layout.detail_pools[info.pool] > 0) fixed[name] = layout.detail_pools[info.pool];
  }
  rates["total"] = layout.bytes_per_token();
  fixed["state"] = layout.state_detail_bytes;
  fixed["hidden"] = layout.hidden_detail_bytes;
  fixed["total"] = layout.detail_bytes;
  return {
      {"row_formats", formats_object(layout)},
      {"bytes_per_token", rates},
      {"bytes_per_sequence", fixed},
      {"totals", totals},
  };
}

Result<void> inspect(const InspectFlags& flags) {
  VARVE_TRY(const EngineOptions options, flags.engine.options());
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(const std::unique_ptr<Model> model, load_for(flags, path));
  VARVE_CHECKED(flags.engine.check_pools(*model));
  const TensorReport report = report_tensors(*model);
  const GgufMetadata* const gguf = model->checkpoint().gguf();
  const CacheLayout layout(model->cache_shape(), options.formats);
  std::optional<RunPlan> plan;
  if (flags.wants_plan()) {
    VARVE_TRY(plan, plan_run(*model, options));
  }
  if (flags.json) {
    ordered_json out = {
        {"schema", "varve.inspect/1"},
        {"model", path},
        {"family", model->family()},
        {"config", config_object(*model)},
        {"tensors", tensors_object(*model, report)},
        {"cache", cache_object(layout, model->max_position())},
    };
    for (const AttentionVariant& other : cache_comparisons(*model)) {
      out["cache"]["comparisons"][other.id] = {
          {"bytes_per_token", other.bytes_per_token},
          {"share", layout.bytes_per_token() / other.bytes_per_token}};
    }
    if (gguf != nullptr) out["gguf"] = metadata_object(*gguf);
    if (plan) out["plan"] = plan_object(*plan, layout);
    // A path need not be valid UTF-8; JSON must be.
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return {};
  }
  print_model(*model, path);
  if (gguf != nullptr) print_metadata(*gguf);
  if (report.total.count > 0) print_tensors(*model, report);
  print_cache(layout, model->max_position());
  print_comparisons(*model, layout);
  if (plan) print_plan(*model, *plan, layout);
  return {};
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* const verb =
      app.add_subcommand("inspect", "Show a model's shape, its tensors and its cache's size");
  flags->engine.add_to(*verb);
  verb->get_option("--ctx")->description("Show what a run with room for this many tokens takes");
  verb->remove_option(verb->get_option("--memory"));
  verb->get_option("--kv-memory")
      ->description(
          "Show the largest context within this: bytes, or with K M G\n"
          "(KiB MiB GiB, of 1024)");
  verb->add_flag("--json", flags->json, "Print one JSON object instead of the tables");
  verb->footer(
      "Examples:\n"
      "  varve inspect\n"
      "  varve inspect MODEL --json | jq .cache.totals\n"
      "  varve inspect MODEL --ctx 1048576 --kv all=bf16\n"
      "  varve inspect FILE.gguf\n"
      "  varve inspect models/configs/deepseek-v4-flash.json --kv-memory 4GiB\n"
      "With --ctx or --kv-memory, a config.json without weights will do.");
  verb->callback([flags, &action] { action = [flags] { return inspect(*flags); }; });
}

}  // namespace varve::cli
