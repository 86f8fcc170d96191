#include "cli/plan_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cli/engine_flags.h"
#include "cli/inspect_model.h"
#include "cli/model_path.h"
#include "cli/output_file.h"
#include "cli/svg.h"
#include "plan/machine.h"

namespace varve::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kDepths = {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20};
constexpr int kDeepest = kDepths.back();
constexpr const char* kV32Config = "deepseek-v3.2";

Result<PlanComparison> compared(const Model& model, const std::string& model_name,
                                const PoolFormats& formats) {
  const std::string v32_file = published_config(kV32Config);
  if (v32_file.empty()) {
    return usage_error("--compare: the config of {} (models/configs) is not beside the program",
                       kV32Config);
  }
  VARVE_TRY(const std::unique_ptr<Model> v32, load_shapes(v32_file));
  const auto params = static_cast<double>(model.decode_weight_macs());
  PlanComparison out{.model_name = model_name, .model = &model, .formats = formats, .rows = {}};
  out.rows.push_back({own_attention(model, formats), params});
  for (AttentionVariant& other : other_attention(model)) {
    out.rows.push_back({std::move(other), params});
  }
  out.rows.push_back({deepseek_v32_attention(), static_cast<double>(v32->decode_weight_macs())});
  return out;
}

DecodeFlops flops_at(const ComparedAttention& row, int ctx_tokens) {
  return row.attention.decode_flops(row.active_params, ctx_tokens);
}

// Of the growth of others' caches, and of DeepSeek-V3.2's FLOPs at the largest depth.
struct Shares {
  double gqa_8_bytes, v32_bytes;
  double v32_fp8_equivalent, v32_flops;
};

Shares shares_of(const PlanComparison& comparison, const ComparedAttention& row) {
  const auto gqa_8 = std::find_if(comparison.rows.begin(), comparison.rows.end(),
                                  [](const auto& other) { return other.attention.id == "gqa_8"; });
  const ComparedAttention& v32 = comparison.rows.back();
  const DecodeFlops flops = flops_at(row, kDeepest), v32_flops = flops_at(v32, kDeepest);
  const double bytes = row.attention.bytes_per_token;
  return {bytes / gqa_8->attention.bytes_per_token, bytes / v32.attention.bytes_per_token,
          flops.fp8_equivalent / v32_flops.fp8_equivalent, flops.sum() / v32_flops.sum()};
}

// ---- text

// Three digits that mean something: "4.91 GiB", "244 GiB".
std::string short_bytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, bytes < 9.995 ? 2 : bytes < 99.95 ? 1 : 0, kUnits[unit]);
}

// The same of a number that has its unit in the head of its column.
std::string short_number(double number) {
  return fmt::format("{:.{}f}", number, number < 9.995 ? 2 : number < 999.5 ? 1 : 0);
}

std::string percent(double share) {
  return share < 0.99995 ? fmt::format("{:.2f}", 100 * share) : short_number(100 * share);
}

std::string short_params(double n) {
  return n < 1e9 ? short_number(n / 1e6) + " M" : short_number(n / 1e9) + " G";
}

struct Head {
  std::string_view table, first_column;
};

// A row for each kind of attention: `first(row)`, then `at(row, depth)` for each depth.
template <class First, class At>
void print_depths(const PlanComparison& comparison, const Head& head, First&& first, At&& at) {
  fmt::print("\n{:<26}{:>9}", head.table, head.first_column);
  for (const int depth : kDepths) fmt::print("{:>9}", tokens_label(depth));
  fmt::print("\n");
  for (const ComparedAttention& row : comparison.rows) {
    fmt::print("  {:<24}{:>9}", row.attention.text, first(row));
    for (const int depth : kDepths) fmt::print("{:>9}", at(row, depth));
    fmt::print("\n");
  }
}

void print_parts(const PlanComparison& comparison) {
  fmt::print("\n{:<26}{:>10}{:>10}{:>11}{:>10}{:>10}\n",
             fmt::format("GFLOPs at {}", tokens_label(kDeepest)), "weights", "index", "attention",
             "sum", "weighted");
  for (const ComparedAttention& row : comparison.rows) {
    const DecodeFlops flops = flops_at(row, kDeepest);
    fmt::print("  {:<24}{:>10}{:>10}{:>11}{:>10}{:>10}\n", row.attention.text,
               short_number(flops.weights / 1e9), short_number(flops.index / 1e9),
               short_number(flops.attention / 1e9), short_number(flops.sum() / 1e9),
               short_number(flops.fp8_equivalent / 1e9));
  }
}

void print_shares(const PlanComparison& comparison) {
  fmt::print("\n{:<26}{:>10}{:>10}{:>15}{:>15}\n", "percent of", "GQA-8", "V3.2", "V3.2", "V3.2");
  fmt::print("{:<26}{:>10}{:>10}{:>15}{:>15}\n", "", "B/token", "B/token", "FLOPs weighted",
             "FLOPs sum");
  for (const ComparedAttention& row : comparison.rows) {
    const Shares shares = shares_of(comparison, row);
    fmt::print("  {:<24}{:>10}{:>10}{:>15}{:>15}\n", row.attention.text,
               percent(shares.gqa_8_bytes), percent(shares.v32_bytes),
               percent(shares.v32_fp8_equivalent), percent(shares.v32_flops));
  }
}

void print_text(const PlanComparison& comparison) {
  const ComparedAttention& own = comparison.rows.front();
  fmt::print("{}: {} layers of {} query heads, {} parameters active\n",
             fitted(comparison.model_name, 32), own.attention.layers.size(),
             own.attention.layers.front().n_heads, short_params(own.active_params));
  print_depths(
      comparison, {"cache of a sequence", "B/token"},
      [](const ComparedAttention& row) {
        return fmt::format("{:.0f}", row.attention.bytes_per_token);
      },
      [](const ComparedAttention& row, int depth) {
        return short_bytes(row.attention.cache_bytes(depth));
      });
  print_depths(
      comparison, {"GFLOPs a token, weighted", "weights"},
      [](const ComparedAttention& row) { return short_number(2 * row.active_params / 1e9); },
      [](const ComparedAttention& row, int depth) {
        return short_number(flops_at(row, depth).fp8_equivalent / 1e9);
      });
  print_parts(comparison);
  print_shares(comparison);
  fmt::print(
      "\nall by formula; \"as\": this model's layers, query heads and weights; weights:\n"
      "parameters that a token meets, from the config ({} of DeepSeek-V3.2)\n"
      "weighted as FP8 (assumed): weights x{}, FP8 index x{}, FP4 x{}, bf16 attention x{}\n",
      short_params(comparison.rows.back().active_params), kWeightsCount, kFp8IndexCount,
      kFp4IndexCount, kBf16AttentionCount);
  if (comparison.model->max_position() < kDeepest) {
    fmt::print("this model's own context ends at {} tokens\n", comparison.model->max_position());
  }
}

// ---- JSON

Json depth_object(const ComparedAttention& row, int depth) {
  const DecodeFlops flops = flops_at(row, depth);
  return {{"ctx_tokens", depth},
          {"cache_bytes", row.attention.cache_bytes(depth)},
          {"flops",
           {{"weights", flops.weights},
            {"index", flops.index},
            {"attention", flops.attention},
            {"sum", flops.sum()},
            {"weighted", flops.fp8_equivalent}}}};
}

Json row_object(const PlanComparison& comparison, const ComparedAttention& row) {
  const Shares shares = shares_of(comparison, row);
  Json depths = Json::array();
  for (const int depth : kDepths) depths.push_back(depth_object(row, depth));
  return {{"id", row.attention.id},
          {"text", row.attention.text},
          {"bytes_per_token", row.attention.bytes_per_token},
          {"bytes_per_sequence", row.attention.bytes_per_sequence},
          {"active_parameters", row.active_params},
          {"shares",
           {{"of_gqa_8_bytes_per_token", shares.gqa_8_bytes},
            {"of_deepseek_v32_bytes_per_token", shares.v32_bytes},
            {"of_deepseek_v32_flops_weighted", shares.v32_fp8_equivalent},
            {"of_deepseek_v32_flops_sum", shares.v32_flops}}},
          {"depths", depths}};
}

void print_json(const PlanComparison& comparison) {
  const Model& model = *comparison.model;
  Json rows = Json::array();
  for (const ComparedAttention& row : comparison.rows) rows.push_back(row_object(comparison, row));
  const AttentionVariant& own = comparison.rows.front().attention;
  const Json out = {
      {"schema", "varve.plan.compare/1"},
      {"model", comparison.model_name},
      {"family", model.family()},
      {"n_layers", own.layers.size()},
      {"n_heads", own.layers.front().n_heads},
      {"max_position", model.max_position()},
      {"row_formats", formats_object(CacheLayout(model.cache_shape(), comparison.formats))},
      {"known",
       {{"cache_bytes", known_name(Known::exact)},
        {"flops", known_name(Known::exact)},
        {"flops_count", known_name(Known::assumed)}}},
      {"flops_count",
       {{"weights", kWeightsCount},
        {"index_fp8", kFp8IndexCount},
        {"index_fp4", kFp4IndexCount},
        {"attention_bf16", kBf16AttentionCount}}},
      {"shares_at_ctx_tokens", kDeepest},
      {"attention", rows},
  };
  // A name need not be valid UTF-8; JSON must be.
  fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

Result<void> compare_attention(const Model& model, const std::string& model_name,
                               const PoolFormats& formats, const CompareFlags& flags) {
  VARVE_CHECKED(check_writable("--svg", flags.svg));
  VARVE_TRY(const PlanComparison comparison, compared(model, model_name, formats));
  if (flags.json) {
    print_json(comparison);
  } else {
    print_text(comparison);
  }
  return write_output("--svg", flags.svg, compare_plot(comparison));
}

}  // namespace varve::cli
