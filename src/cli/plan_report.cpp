#include "cli/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/memory.h"
#include "cli/engine_flags.h"
#include "cli/paragraph.h"

namespace varve::cli {
namespace {

using Json = nlohmann::ordered_json;

// ---- text

std::string bytes_text(size_t n) {
  return human_bytes(static_cast<double>(n));
}

std::string rate_text(const PlannedSpeed& speed) {
  const double rate = speed.decode ? speed.decode->tokens_per_s() : speed.decode_at_most;
  return rate > 0 ? fmt::format("{:.1f}", rate) : std::string("-");
}

// What holds a run back: that it does not fit, else what binds its speed.
std::string_view bound(const Plan& plan, const Footprint& footprint, const PlannedSpeed& speed) {
  return plan.fits(footprint) ? speed.bound : std::string_view("capacity");
}

std::string short_bound(const Plan& plan, const Footprint& footprint, const PlannedSpeed& speed) {
  const std::string_view name = bound(plan, footprint, speed);
  if (name.empty()) return "-";
  return std::string(name == "read bandwidth" ? "reading" : name);
}

std::string ctx_text(int tokens) {
  if (tokens % (1 << 20) == 0) return fmt::format("{}M", tokens >> 20);
  if (tokens % (1 << 10) == 0) return fmt::format("{}K", tokens >> 10);
  return fmt::format("{}", tokens);
}

std::string verdict(const Plan& plan) {
  const size_t total = plan.footprint.total_bytes(), memory = plan.machine.memory_bytes;
  if (total <= memory) return fmt::format("fits: {} are left", bytes_text(memory - total));
  const size_t beside = total - plan.footprint.memory.arena_bytes;
  if (beside > memory) {
    return fmt::format("does not fit: {} without any cache, {} more than there is",
                       bytes_text(beside), bytes_text(beside - memory));
  }
  return fmt::format("does not fit: {} too much", bytes_text(total - memory));
}

void print_parts(const Plan& plan) {
  const EngineOptions& options = plan.options;
  fmt::print("{}: {} tokens, {} sequence{}, {}\n\n", plan.model_name, options.ctx_tokens,
             options.n_sessions, options.n_sessions == 1 ? "" : "s",
             describe_formats(CacheLayout(plan.model->cache_shape(), options.formats)));
  fmt::print("{:<38}{:>18}{:>13}  {}\n", "part", "bytes", "", "known");
  for (const FootprintPart& part : plan.footprint.parts) {
    fmt::print("  {:<36}{:>18}{:>13}  {}\n", part.name, part.bytes, bytes_text(part.bytes),
               known_name(part.known));
  }
  const size_t total = plan.footprint.total_bytes();
  fmt::print("  {:<36}{:>18}{:>13}\n", "total", total, bytes_text(total));
  fmt::print("  {:<36}{:>18}{:>13}\n", "memory", plan.machine.memory_bytes,
             bytes_text(plan.machine.memory_bytes));
  fmt::print("\n{}; ", verdict(plan));
  if (plan.largest_ctx == 0) {
    fmt::print("no context fits\n");
  } else {
    fmt::print("the largest context that fits is {}\n", plan.largest_ctx);
  }
}

void print_columns(const Plan& plan) {
  const auto row = [&](std::string_view label, auto cell) {
    fmt::print("  {:<12}", label);
    for (const PlanColumn& column : plan.columns) fmt::print("{:>11}", cell(column));
    fmt::print("\n");
  };
  fmt::print("\n");
  row("context", [](const PlanColumn& c) { return ctx_text(c.ctx); });
  row("cache", [](const PlanColumn& c) { return bytes_text(c.footprint.memory.cache_bytes()); });
  row("total", [](const PlanColumn& c) { return bytes_text(c.footprint.total_bytes()); });
  row("fits", [&](const PlanColumn& c) { return plan.fits(c.footprint) ? "yes" : "no"; });
  row(plan.speed.decode ? "decode t/s" : "t/s at most",
      [](const PlanColumn& c) { return rate_text(c.speed); });
  if (plan.speed.prefill) {
    row("prefill t/s", [](const PlanColumn& c) {
      return c.speed.prefill ? fmt::format("{:.1f}", c.speed.prefill->tokens_per_s())
                             : std::string("-");
    });
  }
  row("bound by", [&](const PlanColumn& c) { return short_bound(plan, c.footprint, c.speed); });
  print_paragraph(
      fmt::format("t/s: one sequence at the end of that context, {}", plan.speed_source), "  ");
}

// A decoded token at the end of the context, part by part.
void print_speed(const Plan& plan) {
  if (!plan.speed.decode) return;
  fmt::print("\n{:<26}{:>10}{:>12}{:>8}  {}\n",
             fmt::format("a token after {} others", plan.options.ctx_tokens - 1), "ms", "at least",
             "share", "bound by");
  for (const PredictedPart& part : plan.speed.decode->parts) {
    fmt::print("  {:<24}{:>10.3f}{:>12.3f}{:>6.0f} %  {}\n", part.name, 1e3 * part.seconds,
               1e3 * part.roof_seconds, 100 * part.seconds / plan.speed.decode->seconds(),
               part.bound);
  }
  fmt::print("  at least: by roofs; scheduling: no roof takes half of the time\n");
}

// "-" where nothing is quantised beyond the model's own formats.
std::string kld_text(const Plan& plan, const Way& way) {
  if (way.quality) return fmt::format("{:.1e}", way.quality->mean_kld);
  const CacheLayout layout(plan.model->cache_shape(), way.options.formats);
  const bool quantized = std::any_of(pools().begin(), pools().end(), [&](const PoolInfo& info) {
    return layout.has(info.pool) && is_quantized(layout.formats.of(info.pool));
  });
  return quantized ? "unknown" : "-";
}

void print_ways(const Plan& plan) {
  fmt::print("\n{:<26}{:>12}{:>6}{:>10}{:>13}{:>12}\n", "ways to fit", "total", "fits", "largest",
             plan.speed.decode ? "decode t/s" : "t/s at most", "mean KLD");
  for (const Way& way : plan.ways) {
    const PlannedSpeed& speed = plan.way_speeds[static_cast<size_t>(&way - plan.ways.data())];
    fmt::print("  {:<24}{:>12}{:>6}{:>10}{:>13}{:>12}\n",
               way.flags.empty() ? "as asked" : way.flags, bytes_text(way.footprint.total_bytes()),
               plan.fits(way.footprint) ? "yes" : "no", way.largest_ctx, rate_text(speed),
               kld_text(plan, way));
  }
  fmt::print("  mean KLD: against an unquantised cache, measured on SmolLM2-135M\n");
}

void print_trial(const Trial& trial) {
  fmt::print("\nset up and filled to the last token, without pages of files:\n");
  fmt::print("  {:<36}{:>18}{:>13}\n", "planned", trial.planned_bytes,
             bytes_text(trial.planned_bytes));
  fmt::print("  {:<36}{:>18}{:>13}  {:+.2f} %\n", "measured", trial.measured_bytes,
             bytes_text(trial.measured_bytes), 100 * trial.excess());
}

// ---- JSON

Json prediction_object(const Prediction& prediction) {
  Json parts = Json::array();
  for (const PredictedPart& part : prediction.parts) {
    parts.push_back({{"part", part.name},
                     {"ms_per_token", 1e3 * part.seconds},
                     {"roof_ms_per_token", 1e3 * part.roof_seconds},
                     {"bound_by", part.bound}});
  }
  return {{"tokens_per_s", prediction.tokens_per_s()}, {"parts", parts}};
}

Json speed_object(const Plan& plan, const Footprint& footprint, const PlannedSpeed& speed) {
  Json out = {{"decode_tokens_per_s_at_most", Json()}, {"bound_by", Json()}};
  if (speed.is_known()) out["decode_tokens_per_s_at_most"] = speed.decode_at_most;
  if (const auto name = bound(plan, footprint, speed); !name.empty()) out["bound_by"] = name;
  if (speed.decode) out["decode"] = prediction_object(*speed.decode);
  if (speed.prefill) out["prefill"] = prediction_object(*speed.prefill);
  return out;
}

Json footprint_object(const Footprint& footprint) {
  Json parts = Json::array();
  for (const FootprintPart& part : footprint.parts) {
    parts.push_back(
        {{"part", part.name}, {"bytes", part.bytes}, {"known", known_name(part.known)}});
  }
  return {{"parts", parts},
          {"cache_bytes", footprint.memory.cache_bytes()},
          {"arena_bytes", footprint.memory.arena_bytes},
          {"weight_bytes", footprint.memory.weight_bytes},
          {"total_bytes", footprint.total_bytes()}};
}

}  // namespace

void print_plan_json(const Plan& plan) {
  Json contexts = Json::array(), ways = Json::array();
  for (const PlanColumn& column : plan.columns) {
    contexts.push_back({{"ctx_tokens", column.ctx},
                        {"cache_bytes", column.footprint.memory.cache_bytes()},
                        {"total_bytes", column.footprint.total_bytes()},
                        {"fits", plan.fits(column.footprint)},
                        {"speed", speed_object(plan, column.footprint, column.speed)}});
  }
  for (const Way& way : plan.ways) {
    const PlannedSpeed& speed = plan.way_speeds[static_cast<size_t>(&way - plan.ways.data())];
    Json object = {{"flags", way.flags},
                   {"total_bytes", way.footprint.total_bytes()},
                   {"fits", plan.fits(way.footprint)},
                   {"largest_ctx_tokens", way.largest_ctx},
                   {"speed", speed_object(plan, way.footprint, speed)}};
    object["mean_kld_of_smollm2"] = way.quality ? Json(way.quality->mean_kld) : Json();
    ways.push_back(std::move(object));
  }
  const Machine& machine = plan.machine;
  const CacheLayout layout(plan.model->cache_shape(), plan.options.formats);
  Json out = {
      {"schema", "varve.plan/1"},
      {"model", plan.model_name},
      {"family", plan.model->family()},
      {"ctx_tokens", plan.options.ctx_tokens},
      {"sequences", plan.options.n_sessions},
      {"chunk_tokens", plan.footprint.memory.chunk_tokens},
      {"row_formats", formats_object(layout)},
      {"bytes_per_token", layout.bytes_per_token()},
      {"footprint", footprint_object(plan.footprint)},
      {"memory_bytes", machine.memory_bytes},
      {"fits", plan.fits(plan.footprint)},
      {"largest_ctx_tokens", plan.largest_ctx},
      {"speed", speed_object(plan, plan.footprint, plan.speed)},
      {"machine",
       {{"name", machine.name},
        {"known", known_name(machine.known)},
        {"read_bytes_per_s", machine.roofs.read_bytes_per_s},
        {"f32_macs_per_s", machine.roofs.f32_macs_per_s},
        {"bf16_macs_per_s", machine.roofs.bf16_macs_per_s},
        {"int8_macs_per_s", machine.roofs.int8_macs_per_s}}},
      {"speed_source", plan.speed_source},
      {"contexts", contexts},
      {"ways", ways},
  };
  if (plan.trial) {
    out["trial"] = {{"planned_private_bytes", plan.trial->planned_bytes},
                    {"measured_private_bytes", plan.trial->measured_bytes}};
  }
  fmt::print("{}\n", out.dump(2));
}

void print_plan(const Plan& plan) {
  print_parts(plan);
  print_columns(plan);
  print_speed(plan);
  print_ways(plan);
  if (plan.trial) print_trial(*plan.trial);
}

}  // namespace varve::cli
