#include "cli/tune_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/memory.h"
#include "cli/engine_flags.h"
#include "cli/paragraph.h"
#include "tokenizer/quote.h"

namespace varve::cli {
namespace {

using Json = nlohmann::ordered_json;

EngineOptions options_of(const TuneReport& report, const Setting& setting) {
  return report.space.options(setting, report.base);
}

CacheLayout layout_of(const TuneReport& report, const Setting& setting) {
  return {report.model->cache_shape(), options_of(report, setting).formats};
}

const FormatLevel& format_of(const TuneReport& report, const Setting& setting) {
  return report.space.formats[static_cast<size_t>(setting[Knob::formats])];
}

// Relative, of rates.
double gain(const TuneReport& report) {
  const Outcome& outcome = report.outcome;
  return outcome.start.job_seconds(report.job) / outcome.best.job_seconds(report.job) - 1;
}

std::string bytes_text(size_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

// ---- the table

// The defaults beside the best, where that is another setting.
template <class Cell>
void print_row(const TuneReport& report, std::string_view label, Cell cell,
               const std::string& change = "") {
  fmt::print("  {:<24}{:>20}", label, cell(report.outcome.start));
  if (report.outcome.is_win()) fmt::print("{:>20}", cell(report.outcome.best));
  if (report.outcome.is_win() && !change.empty()) fmt::print("{:>10}", change);
  fmt::print("\n");
}

// "+5.3 %" of a rate.
std::string change_text(double start_seconds, double best_seconds) {
  return fmt::format("{:+.1f} %", 100 * (start_seconds / best_seconds - 1));
}

void print_comparison(const TuneReport& report) {
  const Candidate &start = report.outcome.start, &best = report.outcome.best;
  const bool is_win = report.outcome.is_win();
  const std::string_view before = report.defaults_refused.empty() ? "defaults" : "first that fits";
  fmt::print("\n  {:<24}{:>20}{}\n", "", is_win ? before : fmt::format("{} = best", before),
             is_win ? fmt::format("{:>20}", "best") : "");
  print_row(report, "threads",
            [&](const Candidate& c) { return options_of(report, c.setting).n_threads; });
  print_row(report, "chunk, tokens",
            [&](const Candidate& c) { return options_of(report, c.setting).chunk_tokens; });
  print_row(report, "row formats",
            [&](const Candidate& c) { return describe_formats(layout_of(report, c.setting)); });
  print_row(report, "mean KLD (SmolLM2's)", [&](const Candidate& c) {
    const auto& kld = format_of(report, c.setting).mean_kld;
    return kld ? fmt::format("{:.1e}", *kld) : std::string("-");
  });
  print_row(
      report, "prefill tokens/s",
      [](const Candidate& c) { return fmt::format("{:.1f}", 1 / c.prefill_seconds()); },
      change_text(start.prefill_seconds(), best.prefill_seconds()));
  print_row(
      report, "decode tokens/s",
      [](const Candidate& c) { return fmt::format("{:.1f}", 1 / c.decode_seconds()); },
      change_text(start.decode_seconds(), best.decode_seconds()));
  print_row(
      report, "seconds of the job",
      [&](const Candidate& c) { return fmt::format("{:.3f}", c.job_seconds(report.job)); },
      change_text(best.job_seconds(report.job), start.job_seconds(report.job)));
  print_row(report, "memory, planned", [&](const Candidate& c) {
    return bytes_text(c.setting == start.setting ? report.start_planned_bytes
                                                 : report.best_planned_bytes);
  });
  print_row(report, "memory, measured peak",
            [](const Candidate& c) { return bytes_text(c.peak_bytes()); });
  print_row(report, "headroom", [&](const Candidate& c) {
    const size_t peak = c.peak_bytes(), memory = report.wall.memory_bytes;
    return peak < memory ? bytes_text(memory - peak) : std::string("none");
  });
}

std::string verdict(const TuneReport& report) {
  const Outcome& outcome = report.outcome;
  const std::string noise = fmt::format("{:.1f} %", 100 * outcome.noise);
  std::string text =
      outcome.is_win()
          ? fmt::format(
                "The job takes {:.1f} % less time, which is beyond the noise "
                "of {}.",
                100 * (1 - 1 / (1 + gain(report))), noise)
          : fmt::format(
                "The {} are best: nothing is faster by more than the noise of "
                "{}.",
                report.defaults_refused.empty() ? "defaults" : "settings that fit first", noise);
  if (outcome.interrupted) {
    text += " Interrupted: this is the best so far.";
  } else if (!outcome.finished) {
    text += " The time was over before the search was: --budget gives it more.";
  }
  return text;
}

// ---- the paragraph

// "prefill spends 62 % of its time on attention, bound by bf16 dot (17 % of that roof reached)"
std::string bound_text(std::string_view what, const Bound& bound) {
  std::string text = fmt::format("{} spends {:.0f} % of its time on {}", what,
                                 100 * bound.share_of_time, bound.group);
  if (bound.roof.empty()) return text;
  if (bound.share_of_roof > 1) {
    return text + fmt::format(", bound by {} (out of caches: {:.1f} times what memory gives)",
                              bound.roof, bound.share_of_roof);
  }
  return text + fmt::format(", bound by {} ({:.0f} % of that roof reached)", bound.roof,
                            100 * bound.share_of_roof);
}

// What a thread sweep says of something that such a roof binds.
std::string trend_text(std::string_view what, double gain_of_threads, Trend trend,
                       const Bound& bound) {
  const bool reads = bound.roof == "read bandwidth";
  std::string_view meaning;
  switch (trend) {
    case Trend::unknown:
      return {};
    case Trend::scales:
      meaning = reads ? "it scales: fewer threads do not draw the bandwidth that there is"
                      : "it scales, as what arithmetic binds does";
      break;
    case Trend::flattens:
      meaning = reads ? "it flattens, as what bandwidth binds does"
                      : "it flattens: threads wait for memory or for each other";
      break;
    case Trend::falls:
      meaning = "it falls: threads are in each other's way, or the machine is busy";
      break;
  }
  return fmt::format("{} x{:.2f} ({})", what, gain_of_threads, meaning);
}

std::string thread_text(const TuneReport& report) {
  const ThreadTrend trend = thread_trend(sweep_of(report.space, report.outcome, Knob::threads));
  if (trend.from == 0) return {};
  return fmt::format(
      " From {} to {} thread{} {} and {}.", trend.from, trend.to, trend.to == 1 ? "" : "s",
      trend_text("decode goes", trend.decode_gain, trend.decode, report.start_bounds->decode),
      trend_text("prefill", trend.prefill_gain, trend.prefill, report.start_bounds->prefill));
}

std::string chunk_text(const TuneReport& report) {
  const ChunkTrend trend = chunk_trend(sweep_of(report.space, report.outcome, Knob::chunk));
  if (trend.best == 0) return {};
  if (!trend.climbs()) {
    return fmt::format(
        " Chunks of {} tokens read {:.0f} a second and the best, of {}, {:.0f}: the sweep is flat, "
        "chunks are not what holds prefill back.",
        trend.smallest, trend.smallest_tokens_per_s, trend.best, trend.best_tokens_per_s);
  }
  return fmt::format(
      " Chunks of {} tokens read {:.0f} a second, of {} {:.0f}: the sweep climbs, as short chunks "
      "leave arithmetic under-filled; {} tokens are enough.",
      trend.smallest, trend.smallest_tokens_per_s, trend.best, trend.best_tokens_per_s,
      trend.enough);
}

std::string paragraph(const TuneReport& report) {
  if (!report.start_bounds || !report.best_bounds) {
    return "What binds was not measured: that takes 256 MiB beside the weights.";
  }
  const bool is_win = report.outcome.is_win();
  std::string text = fmt::format("{}: {}; {}.", is_win ? "Before" : "What binds",
                                 bound_text("prefill", report.start_bounds->prefill),
                                 bound_text("decode", report.start_bounds->decode));
  text += thread_text(report) + chunk_text(report);
  if (is_win) {
    text += fmt::format(" After: {}; {}.", bound_text("prefill", report.best_bounds->prefill),
                        bound_text("decode", report.best_bounds->decode));
  }
  return text;
}

// ---- JSON

Json sweep_array(const TuneReport& report, Knob knob, std::string_view name) {
  Json out = Json::array();
  for (const SweepPoint& point : sweep_of(report.space, report.outcome, knob)) {
    out.push_back({{name, point.value},
                   {"prefill_tokens_per_s", point.prefill_tokens_per_s},
                   {"decode_tokens_per_s", point.decode_tokens_per_s}});
  }
  return out;
}

Json bound_object(const Bound& bound) {
  return {{"group", bound.group},
          {"share_of_time", bound.share_of_time},
          {"bound_by", bound.roof},
          {"share_of_roof", bound.share_of_roof}};
}

Json candidate_object(const TuneReport& report, const Candidate& candidate, size_t planned_bytes,
                      const std::optional<Bounds>& bounds) {
  const EngineOptions options = options_of(report, candidate.setting);
  const auto& kld = format_of(report, candidate.setting).mean_kld;
  Json out = {{"threads", options.n_threads},
              {"chunk_tokens", options.chunk_tokens},
              {"row_formats", formats_object(layout_of(report, candidate.setting))},
              {"mean_kld_of_smollm2", kld ? Json(*kld) : Json()},
              {"prefill_tokens_per_s", 1 / candidate.prefill_seconds()},
              {"decode_tokens_per_s", 1 / candidate.decode_seconds()},
              {"job_seconds", candidate.job_seconds(report.job)},
              {"visits", candidate.samples.size()},
              {"planned_bytes", planned_bytes},
              {"measured_peak_bytes", candidate.peak_bytes()}};
  if (bounds) {
    out["prefill_bound"] = bound_object(bounds->prefill);
    out["decode_bound"] = bound_object(bounds->decode);
  }
  return out;
}

std::string refused_text(const TuneReport& report) {
  std::string text;
  for (const RefusedFormat& refused : report.refused_formats) {
    text +=
        fmt::format("{}{} ({})", text.empty() ? "Left out: " : ", ", refused.flags, refused.reason);
  }
  return text.empty() ? text : text + ".";
}

std::vector<ProfileEntry> entries(const TuneReport& report) {
  const Setting& best = report.outcome.best.setting;
  const EngineOptions options = options_of(report, best);
  const CacheLayout layout = layout_of(report, best);
  std::string kv;
  for (const PoolInfo& info : pools()) {
    if (!layout.has(info.pool)) continue;
    kv += fmt::format("{}{}={}", kv.empty() ? "" : ",", info.name,
                      row_format_name(layout.formats.of(info.pool)));
  }
  std::vector<ProfileEntry> out = {{"ctx", std::to_string(options.ctx_tokens), true},
                                   {"threads", std::to_string(options.n_threads), true},
                                   {"chunk", std::to_string(options.chunk_tokens), true},
                                   {"kv", kv, false}};
  const size_t n_found = out.size();
  for (const ProfileEntry& entry : report.given) {
    const bool is_found = std::any_of(out.begin(), out.begin() + static_cast<ptrdiff_t>(n_found),
                                      [&](const ProfileEntry& e) { return e.key == entry.key; });
    if (!is_found) out.push_back(entry);
  }
  return out;
}

}  // namespace

std::string tune_profile(const TuneReport& report) {
  const Candidate& best = report.outcome.best;
  return profile_text(
      fmt::format("What `varve tune` found for {} on {}.\n"
                  "A job of {} tokens read and {} decoded after {} others, {} at once:\n"
                  "{:.3f} s where the defaults take {:.3f} s; {} measured at most.",
                  in_quotes(report.model_name, 200), cpu_name(), report.job.prefill_tokens,
                  report.job.decode_tokens, report.depth, report.base.n_sessions,
                  best.job_seconds(report.job), report.outcome.start.job_seconds(report.job),
                  bytes_text(best.peak_bytes())),
      entries(report));
}

void print_tune_table(const TuneReport& report) {
  const Outcome& outcome = report.outcome;
  fmt::print("{}: {} tokens, {} sequence{}, {} of memory, weights {}\n", report.model_name,
             report.base.ctx_tokens, report.base.n_sessions, report.base.n_sessions == 1 ? "" : "s",
             bytes_text(report.wall.memory_bytes), report.weights);
  fmt::print("the job: {} tokens read and {} decoded after {} others\n", report.job.prefill_tokens,
             report.job.decode_tokens, report.depth);
  fmt::print("{} settings measured in {} visits, {:.0f} s: threads {}, chunks {}\n",
             outcome.n_settings, outcome.n_visits, report.seconds,
             fmt::join(report.space.threads, " "), fmt::join(report.space.chunks, " "));
  if (!report.refused_formats.empty()) print_paragraph(refused_text(report));
  if (!report.defaults_refused.empty()) {
    print_paragraph(fmt::format("The defaults do not fit: {}.", report.defaults_refused));
  }
  print_comparison(report);
  fmt::print("\n");
  print_paragraph(verdict(report));
  print_paragraph(paragraph(report));
  fmt::print("\n{}: what run, chat and bench take as --profile {}\n", report.profile,
             report.profile);
}

void print_tune_json(const TuneReport& report) {
  const Outcome& outcome = report.outcome;
  Json refused = Json::array(), profile = Json::object();
  for (const RefusedFormat& format : report.refused_formats) {
    refused.push_back({{"flags", format.flags},
                       {"mean_kld_of_smollm2", format.mean_kld ? Json(*format.mean_kld) : Json()},
                       {"reason", format.reason}});
  }
  for (const ProfileEntry& entry : entries(report)) profile[entry.key] = entry.value;
  Json formats = Json::array();
  for (const FormatLevel& level : report.space.formats) formats.push_back(level.flags);
  const Json out = {
      {"schema", "varve.tune/1"},
      {"model", report.model_name},
      {"cpu", cpu_name()},
      {"kernels", report.base.kernels->name},
      {"ctx_tokens", report.base.ctx_tokens},
      {"sequences", report.base.n_sessions},
      {"memory_bytes", report.wall.memory_bytes},
      {"weights", report.weights},
      {"job",
       {{"prefill_tokens", report.job.prefill_tokens},
        {"decode_tokens", report.job.decode_tokens},
        {"depth", report.depth}}},
      {"searched",
       {{"threads", report.space.threads}, {"chunks", report.space.chunks}, {"formats", formats}}},
      {"refused_formats", refused},
      {"defaults_fit", report.defaults_refused.empty()},
      {"budget_seconds", report.budget_seconds},
      {"seconds", report.seconds},
      {"settings", outcome.n_settings},
      {"visits", outcome.n_visits},
      {"finished", outcome.finished},
      {"interrupted", outcome.interrupted},
      {"start",
       candidate_object(report, outcome.start, report.start_planned_bytes, report.start_bounds)},
      {"best",
       candidate_object(report, outcome.best, report.best_planned_bytes, report.best_bounds)},
      {"defaults_are_best", !outcome.is_win()},
      {"gain", gain(report)},
      {"noise", outcome.noise},
      {"thread_sweep", sweep_array(report, Knob::threads, "threads")},
      {"chunk_sweep", sweep_array(report, Knob::chunk, "chunk_tokens")},
      {"verdict", verdict(report) + " " + paragraph(report)},
      {"profile_file", report.profile},
      {"profile", profile}};
  // A directory's name need not be UTF-8.
  fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace varve::cli
