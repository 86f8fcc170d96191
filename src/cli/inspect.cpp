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

#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/tensor_report.h"
#include "cli/verbs.h"
#include "kvcache/layout.h"
#include "models/deepseek_v4/model.h"

namespace varve::cli {
namespace {

using deepseek_v4::Config;
using deepseek_v4::DeepseekV4;
using deepseek_v4::LayerConfig;
using nlohmann::ordered_json;

struct InspectFlags {
  EngineFlags engine;
  bool json = false;

  bool wants_plan() const { return engine.ctx != 0 || engine.kv_memory != "auto"; }
};

// ---- the model ----

bool has_weights(const std::filesystem::path& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; at != end && !error;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")) return true;
  }
  return false;
}

// A plan needs shapes alone: for it a config.json without weights will do.
Result<std::unique_ptr<DeepseekV4>> load_for(const InspectFlags& flags, const std::string& path) {
  std::error_code error;
  std::filesystem::path config = path;
  if (std::filesystem::is_directory(path, error)) config /= "config.json";
  const bool alone = std::filesystem::exists(config, error) && config.extension() == ".json" &&
                     !has_weights(config.parent_path());
  if (!flags.wants_plan() || !alone) return deepseek_v4::load(path);
  VARVE_TRY(Config shapes, deepseek_v4::load_config(config.string()));
  return std::make_unique<DeepseekV4>(std::move(shapes), Checkpoint{}, deepseek_v4::Weights{});
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

bool use_colours() {
  const char* const term = std::getenv("TERM");
  const char* const no_color = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

char layer_letter(LayerKind kind) {
  switch (kind) {
    case LayerKind::swa:
      return 'S';
    case LayerKind::csa:
      return 'c';
    case LayerKind::hca:
      break;
  }
  return 'H';
}

std::string coloured(LayerKind kind, std::string text, bool colours) {
  if (!colours) return text;
  const int colour = kind == LayerKind::swa ? 33 : kind == LayerKind::csa ? 36 : 35;
  return fmt::format("\x1b[{}m{}\x1b[0m", colour, text);
}

// Text from a file in one line of the terminal: its last `width` bytes, nothing unprintable.
std::string fitted(std::string text, size_t width) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  if (text.size() <= width) return text;
  size_t begin = text.size() - (width - 3);
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  return "..." + text.substr(begin);
}

void print_config(const DeepseekV4& model, const std::string& path) {
  const Config& c = model.config();
  const auto line = [](std::string_view label, const std::string& text) {
    fmt::print("  {:<18}{}\n", label, text);
  };
  fmt::print("{}\n", fitted(path, 80));
  line("family", fmt::format("{}, context {} tokens", model.family(), c.max_position));
  line("hidden", fmt::format("{}, {} streams (hyper-connections)", c.hidden_size, c.hc_mult));
  line("attention", fmt::format("{} heads x {} (RoPE {}), query rank {}", c.n_heads, c.head_dim,
                                c.rope_dim, c.q_lora_rank));
  line("output", fmt::format("{} groups, rank {}", c.o_groups, c.o_lora_rank));
  if (c.index_n_heads > 0) {
    line("indexer", fmt::format("{} heads x {}, {} entries picked", c.index_n_heads,
                                c.index_head_dim, c.index_topk));
  }
  line("experts", fmt::format("{} x {}, {} used, {} shared", c.n_experts, c.moe_dim,
                              c.n_experts_used, c.n_shared_experts));
  line("vocabulary", fmt::format("{}{}", c.vocab_size, c.tied_head ? ", head tied" : ""));
  const auto rope_text = [](const deepseek_v4::RopeConfig& rope) {
    return rope.yarn.factor == 1 ? fmt::format("theta {:.9g}", rope.theta)
                                 : fmt::format("theta {:.9g}, YaRN {:.9g} x {}", rope.theta,
                                               rope.yarn.factor, rope.yarn.original_max_position);
  };
  line("RoPE", fmt::format("window layers: {}", rope_text(c.window_rope)));
  line("", fmt::format("compressed layers: {}", rope_text(c.compress_rope)));
}

void print_layers(const Config& c) {
  constexpr size_t kPerRow = 64;
  const bool colours = use_colours();
  fmt::print("\nlayers ({})\n", c.n_layers);
  for (size_t begin = 0; begin < c.layers.size(); begin += kPerRow) {
    const size_t end = std::min(c.layers.size(), begin + kPerRow);
    std::string strip;
    std::string marks;
    for (size_t i = begin; i < end; ++i) {
      const LayerConfig& layer = c.layers[i];
      strip += coloured(layer.attention, std::string(1, layer_letter(layer.attention)), colours);
      marks += layer.hash_routed ? '#' : ' ';
    }
    fmt::print("  {:>5} {}\n", begin, strip);
    marks.erase(marks.find_last_not_of(' ') + 1);
    if (!marks.empty()) fmt::print("  {:>5} {}\n", "", marks);
  }
  std::map<std::pair<LayerKind, int>, int> counts;
  int n_hash = 0;
  for (const LayerConfig& layer : c.layers) {
    ++counts[{layer.attention, layer.ratio}];
    n_hash += layer.hash_routed ? 1 : 0;
  }
  for (const auto& [key, count] : counts) {
    const auto [kind, ratio] = key;
    std::string what = fmt::format("window of {} tokens", c.window);
    if (kind == LayerKind::csa) {
      what += fmt::format(" + {} entries picked, {} tokens each", c.index_topk, ratio);
    } else if (kind == LayerKind::hca) {
      what += fmt::format(" + all entries, {} tokens each", ratio);
    }
    fmt::print("  {} {} x{:<5} {}\n", coloured(kind, std::string(1, layer_letter(kind)), colours),
               layer_kind_name(kind), count, what);
  }
  if (n_hash > 0) fmt::print("  # hash x{:<4} experts by token id\n", n_hash);
}

void print_tensors(const DeepseekV4& model, const TensorReport& report) {
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
  const Config& c = model.config();
  fmt::print("  parameters: {} in use, {} active a token ({} of {} experts)\n",
             human_count(report.used_parameters), human_count(report.active_parameters),
             c.n_experts_used, c.n_experts);
  const std::vector<UnreadTensor>& unread = model.checkpoint().unread();
  if (!unread.empty()) {
    fmt::print("  not counted: {} tensor{} of types that are not read ({})\n", unread.size(),
               unread.size() == 1 ? "" : "s", fitted(unread.front().dtype, 16));
  }
  fmt::print("  mapped: {} in {} file{}\n", bytes_text(model.mapped_bytes()),
             model.checkpoint().files().size(), model.checkpoint().files().size() == 1 ? "" : "s");
}

void print_cache(const CacheLayout& layout, int max_position) {
  fmt::print("\n{:<26}{:>14}{:>13}{:>13}{:>13}\n",
             fmt::format("cache, {} rows (exact)",
                         layout.formats == PoolFormats::all(layout.formats.window)
                             ? row_format_name(layout.formats.window)
                             : "mixed"),
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
  pool("CSA entries", layout.csa_block_bytes);
  pool("HCA entries", layout.hca_block_bytes);
  pool("index keys", layout.index_block_bytes);
  const size_t pools = layout.csa_block_bytes + layout.hca_block_bytes + layout.index_block_bytes;
  if (layout.block_bytes != pools) pool("padding of blocks", layout.block_bytes - pools);
  const auto fixed = [&](std::string_view label, size_t bytes) {
    row(label, "-", [bytes](int) { return bytes; });
  };
  fixed("window rows", layout.window_detail_bytes);
  const size_t details =
      layout.window_detail_bytes + layout.state_detail_bytes + layout.hidden_detail_bytes;
  fixed("compressor state", layout.state_detail_bytes);
  fixed("hidden state", layout.hidden_detail_bytes);
  if (layout.detail_bytes != details) fixed("padding", layout.detail_bytes - details);
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

Result<RunPlan> plan_run(const DeepseekV4& model, EngineOptions options) {
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

void print_plan(const RunPlan& plan, const CacheLayout& layout) {
  const MemoryPlan& memory = plan.memory;
  fmt::print("\n{:<42}{:>16}\n", fmt::format("plan for {} tokens", plan.options.ctx_tokens),
             "bytes");
  const auto row = [](std::string_view label, size_t bytes) {
    fmt::print("  {:<40}{:>16}{:>13}\n", label, bytes, bytes_text(bytes));
  };
  row("window rows", memory.cache.window);
  row("CSA entries", memory.cache.csa);
  row("HCA entries", memory.cache.hca);
  row("index keys", memory.cache.index);
  row("state of the sequence", memory.cache.state);
  row("tables, ids, padding", plan.table_bytes());
  row(fmt::format("scratch (chunk {})", memory.chunk_tokens), memory.scratch_bytes());
  row("logits", memory.logits_bytes());
  row("arena, the sum of these", memory.arena_bytes);
  if (memory.weight_bytes == 0) {
    fmt::print("  weights: not there, not counted\n");
  } else {
    row("weights", memory.weight_bytes + memory.vector_bytes);
    row("total", memory.total_bytes());
  }
  fmt::print("  growth: {:.2f} B/token ({})\n", layout.bytes_per_token(),
             describe_formats(layout.formats));
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

ordered_json plan_object(const RunPlan& plan, const CacheLayout& layout) {
  const MemoryPlan& memory = plan.memory;
  ordered_json out = {
      {"ctx_tokens", plan.options.ctx_tokens},
      {"chunk_tokens", memory.chunk_tokens},
      {"cache_bytes",
       {{"window", memory.cache.window},
        {"csa", memory.cache.csa},
        {"hca", memory.cache.hca},
        {"index", memory.cache.index},
        {"state", memory.cache.state},
        {"tables", plan.table_bytes()},
        {"total", memory.cache_bytes()}}},
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

ordered_json config_object(const Config& c) {
  ordered_json layers = ordered_json::array();
  for (const LayerConfig& layer : c.layers) {
    layers.push_back({{"attention", layer_kind_name(layer.attention)},
                      {"ratio", layer.ratio},
                      {"hash_routed", layer.hash_routed}});
  }
  return {
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.hidden_size},
      {"n_layers", c.n_layers},
      {"n_heads", c.n_heads},
      {"head_dim", c.head_dim},
      {"rope_dim", c.rope_dim},
      {"q_lora_rank", c.q_lora_rank},
      {"o_groups", c.o_groups},
      {"o_lora_rank", c.o_lora_rank},
      {"index_n_heads", c.index_n_heads},
      {"index_head_dim", c.index_head_dim},
      {"index_topk", c.index_topk},
      {"window", c.window},
      {"n_experts", c.n_experts},
      {"n_experts_used", c.n_experts_used},
      {"n_shared_experts", c.n_shared_experts},
      {"moe_dim", c.moe_dim},
      {"hc_mult", c.hc_mult},
      {"max_position", c.max_position},
      {"tied_head", c.tied_head},
      {"layers", layers},
  };
}

ordered_json tensors_object(const DeepseekV4& model, const TensorReport& report) {
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
      {"mapped_bytes", model.mapped_bytes()},
      {"n_files", model.checkpoint().files().size()},
  };
}

ordered_json cache_object(const CacheLayout& layout, int max_position) {
  ordered_json totals = ordered_json::array();
  for (const int n_tokens : kContexts) {
    if (n_tokens > max_position) continue;
    totals.push_back({{"tokens", n_tokens}, {"bytes", cache_bytes(layout, n_tokens)}});
  }
  const auto format_name = [](RowFormat format) { return row_format_name(format); };
  return {
      {"row_formats",
       {{"window", format_name(layout.formats.window)},
        {"csa", format_name(layout.formats.csa)},
        {"hca", format_name(layout.formats.hca)},
        {"index", format_name(layout.formats.index)}}},
      {"bytes_per_token",
       {{"csa", per_token(layout.csa_block_bytes)},
        {"hca", per_token(layout.hca_block_bytes)},
        {"index", per_token(layout.index_block_bytes)},
        {"total", layout.bytes_per_token()}}},
      {"bytes_per_sequence",
       {{"window", layout.window_detail_bytes},
        {"state", layout.state_detail_bytes},
        {"hidden", layout.hidden_detail_bytes},
        {"total", layout.detail_bytes}}},
      {"totals", totals},
  };
}

Result<void> inspect(const InspectFlags& flags) {
  VARVE_TRY(const EngineOptions options, flags.engine.options());
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(const std::unique_ptr<DeepseekV4> model, load_for(flags, path));
  const TensorReport report = report_tensors(*model);
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
        {"config", config_object(model->config())},
        {"tensors", tensors_object(*model, report)},
        {"cache", cache_object(layout, model->max_position())},
    };
    if (plan) out["plan"] = plan_object(*plan, layout);
    // A path need not be valid UTF-8; JSON must be.
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return {};
  }
  print_config(*model, path);
  print_layers(model->config());
  if (report.total.count > 0) print_tensors(*model, report);
  print_cache(layout, model->max_position());
  if (plan) print_plan(*plan, layout);
  return {};
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* const verb =
      app.add_subcommand("inspect", "Show a model's shape, its tensors and its cache's size");
  flags->engine.add_to(*verb);
  verb->get_option("--ctx")->description("Show what a run with room for this many tokens takes");
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
      "  varve inspect models/configs/deepseek-v4-flash.json --kv-memory 4GiB\n"
      "With --ctx or --kv-memory, a config.json without weights will do.");
  verb->callback([flags, &action] { action = [flags] { return inspect(*flags); }; });
}

}  // namespace varve::cli
