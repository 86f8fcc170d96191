#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/contention.h"
#include "base/cpu.h"
#include "cli/engine_flags.h"
#include "plan/prediction.h"
#include "plan/time_profile.h"

namespace varve::cli {
namespace {

using Json = nlohmann::ordered_json;

// One measurement, worked out: seconds are those of one token.
struct Analysis {
  std::vector<PartRoof> roofs;
  std::vector<GroupTime> groups;
  double share_of_roof = 0;  // one part after the other; of the repetitions, the median
};

// Seconds by part.
PartTimes mean_token(const Measurement& m) {
  PartTimes token = m.times;
  for (double& seconds : token.seconds) {
    seconds /= m.n_tokens * static_cast<double>(m.repetitions.size());
  }
  return token;
}

double roof_seconds(const Analysis& analysis, const BenchReport& report, double read_bytes_per_s) {
  Roofs roofs = report.roofs;
  roofs.read_bytes_per_s = read_bytes_per_s;
  double seconds = 0;
  for (const PartRoof& part : analysis.roofs) {
    seconds += part_roof(part.cost, report.options, roofs).seconds;
  }
  return seconds;
}

Analysis analyse(const BenchReport& report, const Measurement& m) {
  Analysis out;
  const PoolFormats& formats = report.options.formats;
  const auto costs =
      m.what == "decode"
          ? mean_decode_costs(*report.model, formats, m.depth, m.n_tokens)
          : report.model->prefill_costs(formats, m.depth, m.n_tokens, m.chunk_tokens);
  Roofs roofs = report.roofs;
  roofs.read_bytes_per_s = m.read_bytes_per_s().median;
  out.roofs = roofline(costs, report.options, roofs).parts;
  std::vector<double> shares;
  shares.reserve(m.repetitions.size());
  for (const Repetition& rep : m.repetitions) {
    shares.push_back(rep.tokens_per_s * roof_seconds(out, report, rep.read_bytes_per_s));
  }
  out.share_of_roof = spread(std::move(shares)).median;
  out.groups = group_times(mean_token(m), out.roofs);
  return out;
}

// One line of the profile; what is not there stays blank.
void print_profile_line(int indent, std::string_view name, const PartRoof* roof,
                        const double* seconds, std::string_view bound) {
  const auto number = [](bool there, double value, int digits) {
    return there ? fmt::format("{:.{}f}", value, digits) : std::string();
  };
  const bool has = roof != nullptr;
  const std::string line = fmt::format(
      "{:{}}{:<{}} {:>11} {:>8} {:>9} {:>9}  {}", "", indent, name, 21 - indent,
      has ? human_bytes(roof->cost.bytes) : "", number(has, has ? roof->cost.macs / 1e6 : 0, 1),
      number(has, has ? roof->seconds * 1e3 : 0, 3),
      number(seconds != nullptr, seconds != nullptr ? *seconds * 1e3 : 0, 3), bound);
  fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
}

void print_profile(const Measurement& m, const Analysis& analysis) {
  fmt::print("  {:<19} {:>11} {:>8} {:>9} {:>9}  {}\n", "per token", "bytes", "M MAC", "roof ms",
             "ms", "bound by");
  const PartTimes token = mean_token(m);
  for (const GroupTime& group : analysis.groups) {
    const std::vector<PartRoof>& roofs = group.roofs.parts;
    const bool one = roofs.size() == 1;
    const PartRoof total = group.total();
    print_profile_line(2, group.about->name, roofs.empty() ? nullptr : &total, &group.seconds,
                       one ? total.bound : "");
    if (!one) {
      for (const PartRoof& roof : roofs) {
        print_profile_line(4, roof.cost.part, &roof, nullptr, roof.bound);
      }
    }
    if (group.about->spent_on.size() == 1) continue;
    for (const Part part : group.about->spent_on) {
      const double seconds = token.seconds[static_cast<int>(part)];
      if (seconds == 0) continue;
      print_profile_line(4, part_name(part), nullptr, &seconds, "");
    }
  }
}

// "  time: weights 81 %, attention 12 %, indexer 5 %, compressor 2 %"
void print_shares(const Analysis& analysis) {
  double total = 0;
  for (const GroupTime& group : analysis.groups) total += group.seconds;
  std::string_view before = "  time: ";
  for (const GroupTime& group : analysis.groups) {
    fmt::print("{}{} {:.0f} %", before, group.about->name, 100 * group.seconds / total);
    before = ", ";
  }
  fmt::print("\n");
}

// Of decoding, in the middle of the tokens.
Prediction predicted(const BenchReport& report, const Measurement& m) {
  if (m.what == "decode") {
    return predict_decode(*report.model, report.options, *report.calibration,
                          m.depth + m.n_tokens / 2);
  }
  return predict_prefill(*report.model, report.options, *report.calibration, m.depth, m.n_tokens,
                         m.chunk_tokens);
}

// "  predicted 47.21 (-3 %): weights 80 %, attention 20 %"
void print_prediction(const BenchReport& report, const Measurement& m) {
  const Prediction prediction = predicted(report, m);
  if (prediction.parts.empty()) {
    fmt::print("  not predicted: a chunk takes too long to be measured\n");
    return;
  }
  const double rate = prediction.tokens_per_s();
  std::string parts;
  for (const PredictedPart& part : prediction.parts) {
    parts += fmt::format("{}{} {:.0f} %", parts.empty() ? "" : ", ", part.name,
                         100 * part.seconds / prediction.seconds());
  }
  fmt::print("  predicted: {:.2f} t/s ({:+.0f} %): {}\n", rate,
             100 * (rate / m.tokens_per_s().median - 1), parts);
}

Json spread_object(const Spread& of) {
  return {{"min", of.min}, {"median", of.median}, {"max", of.max}};
}

Json json_of(const BenchReport& report, const Measurement& m) {
  const Analysis analysis = analyse(report, m);
  Json seconds, parts = Json::array(), profile = Json::array();
  for (int p = 0; p < kNumParts; ++p) {
    seconds[std::string(part_name(static_cast<Part>(p)))] = m.times.seconds[p];
  }
  for (const PartRoof& part : analysis.roofs) {
    parts.push_back({{"part", part.cost.part},
                     {"bytes_per_token", part.cost.bytes},
                     {"macs_per_token", part.cost.macs},
                     {"roof_ms_per_token", part.seconds * 1e3},
                     {"bound_by", part.bound}});
  }
  for (const GroupTime& group : analysis.groups) {
    Json spent_on = Json::array();
    for (const Part part : group.about->spent_on) spent_on.push_back(part_name(part));
    profile.push_back({{"name", group.about->name},
                       {"ms_per_token", group.seconds * 1e3},
                       {"roof_ms_per_token", group.roofs.seconds * 1e3},
                       {"spent_on", spent_on},
                       {"parts", group.about->costs}});
  }
  Json out = {{"what", m.what},
              {"asked_depth", m.asked_depth},
              {"depth", m.depth},
              {"tokens", m.n_tokens},
              {"repetitions", m.repetitions.size()},
              {"chunk_tokens", m.chunk_tokens},
              {"tokens_per_s", spread_object(m.tokens_per_s())},
              {"read_bytes_per_s", spread_object(m.read_bytes_per_s())},
              {"share_of_roof", analysis.share_of_roof},
              {"parts", parts},
              {"profile", profile},
              {"part_seconds", seconds}};
  if (report.calibration) {
    const Prediction prediction = predicted(report, m);
    out["predicted_tokens_per_s"] =
        prediction.parts.empty() ? Json() : Json(prediction.tokens_per_s());
  }
  return out;
}

}  // namespace

Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {values.front(), (values[(n - 1) / 2] + values[n / 2]) / 2, values.back()};
}

Spread Measurement::tokens_per_s() const {
  std::vector<double> rates;
  rates.reserve(repetitions.size());
  for (const Repetition& rep : repetitions) rates.push_back(rep.tokens_per_s);
  return spread(std::move(rates));
}

Spread Measurement::read_bytes_per_s() const {
  std::vector<double> rates;
  rates.reserve(repetitions.size());
  for (const Repetition& rep : repetitions) rates.push_back(rep.read_bytes_per_s);
  return spread(std::move(rates));
}

void print_bench_table(const BenchReport& report, bool profile) {
  const Roofs& roofs = report.roofs;
  fmt::print("{}, {} threads, kernels {}, products {}\n", cpu_name(), report.n_threads,
             report.options.kernels->name, products_name(report.options.products));
  const CacheLayout layout(report.model->cache_shape(), report.options.formats);
  fmt::print("{}, weights {}\n{}\n", describe_formats(layout), report.weights,
             describe_attention(*report.options.kernels, layout, report.options.products));
  fmt::print("roofs, measured here: read {:.1f} GB/s, f32 FMA {:.0f} GMAC/s,\n  bf16 dot ",
             roofs.read_bytes_per_s / 1e9, roofs.f32_macs_per_s / 1e9);
  const auto dot = [](double macs) {
    return macs > 0 ? fmt::format("{:.0f} GMAC/s", macs / 1e9) : std::string("none");
  };
  fmt::print("{}, int8 dot {}\n", dot(roofs.bf16_macs_per_s), dot(roofs.int8_macs_per_s));
  fmt::print("weights per decoded token (mean over experts): {} read, {:.0f} M multiply-adds\n",
             human_bytes(static_cast<double>(report.model->decode_weight_bytes())),
             static_cast<double>(report.model->decode_weight_macs()) / 1e6);
  fmt::print("depth is reached by {}\n\n",
             report.fill == "seeded" ? "seeded random rows, not by prefill" : "prefill");
  if (report.waited_share > kMostWaitedShare) {
    fmt::print("other processes had the cores {:.0f} % of the time: speeds are too low\n\n",
               100 * report.waited_share);
  }
  fmt::print("{:<8} {:>8} {:>7} {:>9} {:>9} {:>9} {:>8} {:>11}\n", "", "depth", "tokens", "min t/s",
             "median", "max", "of roof", "read then");
  for (const Measurement& m : report.rows) {
    const Analysis analysis = analyse(report, m);
    const Spread speed = m.tokens_per_s();
    fmt::print("{:<8} {:>8} {:>7} {:>9.2f} {:>9.2f} {:>9.2f} {:>6.0f} % {:>6.1f} GB/s\n", m.what,
               m.depth, m.n_tokens, speed.min, speed.median, speed.max,
               100 * analysis.share_of_roof, m.read_bytes_per_s().median / 1e9);
    if (m.depth < m.asked_depth) {
      fmt::print("  asked for at {}: this is the last depth from which the tokens fit\n",
                 m.asked_depth);
    }
    if (report.calibration) print_prediction(report, m);
    if (profile) {
      print_profile(m, analysis);
    } else {
      print_shares(analysis);
    }
  }
}

void print_bench_json(const BenchReport& report) {
  const Roofs& roofs = report.roofs;
  Json rows = Json::array();
  for (const Measurement& m : report.rows) rows.push_back(json_of(report, m));
  const Json out = {
      {"schema", "varve.bench/2"},
      {"model", report.model_name},
      {"cpu", cpu_name()},
      {"threads", report.n_threads},
      {"kernels", report.options.kernels->name},
      {"products", products_name(report.options.products)},
      {"formats", formats_object(CacheLayout(report.model->cache_shape(), report.options.formats))},
      {"fill", report.fill},
      {"weights", report.weights},
      {"waited_share", report.waited_share},
      {"roofs",
       {{"read_bytes_per_s", roofs.read_bytes_per_s},
        {"f32_macs_per_s", roofs.f32_macs_per_s},
        {"bf16_macs_per_s", roofs.bf16_macs_per_s},
        {"int8_macs_per_s", roofs.int8_macs_per_s}}},
      {"weight_bytes_per_token", report.model->decode_weight_bytes()},
      {"weight_macs_per_token", report.model->decode_weight_macs()},
      {"rows", rows}};
  // A directory's name need not be UTF-8.
  fmt::print("{}\n", out.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace varve::cli
