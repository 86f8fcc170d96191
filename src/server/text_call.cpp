#include "server/text_call.h"

#include <charconv>
#include <limits>
#include <random>

#include "server/json_text.h"

namespace varve::server {
namespace {

constexpr double kMaxBias = 100;

uint64_t random_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

Result<void> read_biases(const RequestFields& fields, SamplerOptions& sampling) {
  if (!fields.has("logit_bias")) return {};
  VARVE_TRY(const RequestFields biases, fields.object("logit_bias"));
  for (const auto& [key, value] : biases.value().dict()->entries) {
    const std::string& text = *key.text();
    int32_t id = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, id);
    if (error != std::errc() || stop != end) {
      return bad_input("field `logit_bias`: expected token ids as keys, found {}", shown(key));
    }
    VARVE_TRY(const double bias, biases.number_or(text, 0, -kMaxBias, kMaxBias));
    sampling.logit_bias.emplace_back(id, static_cast<float>(bias));
  }
  return {};
}

}  // namespace

Result<SamplerOptions> read_sampling(const RequestFields& fields, const SamplerOptions& defaults,
                                     double max_temperature) {
  SamplerOptions sampling = defaults;
  const auto number = [&](std::string_view key, float& value, double max) -> Result<void> {
    VARVE_TRY(const double given, fields.number_or(key, static_cast<double>(value), 0, max));
    value = static_cast<float>(given);
    return {};
  };
  VARVE_CHECKED(number("temperature", sampling.temperature, max_temperature));
  VARVE_CHECKED(number("top_p", sampling.top_p, 1));
  VARVE_CHECKED(number("min_p", sampling.min_p, 1));
  // Of no mass at all the likeliest token is what is left.
  if (sampling.top_p == 0) sampling.top_p = std::numeric_limits<float>::min();
  constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
  VARVE_TRY(const int64_t top_k, fields.integer_or("top_k", sampling.top_k, -1, kMaxInt));
  sampling.top_k = std::max(0, static_cast<int>(top_k));  // -1 turns it off, as 0 does
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  VARVE_TRY(const int64_t seed, fields.integer_or("seed", 0, kMin, kMax));
  sampling.seed = fields.has("seed") ? static_cast<uint64_t>(seed) : random_seed();
  VARVE_CHECKED(read_biases(fields, sampling));
  for (const std::string_view penalty : {"frequency_penalty", "presence_penalty"}) {
    VARVE_TRY(const double value, fields.number_or(penalty, 0, -2, 2));
    if (value != 0) return fields.wrong(penalty, "0: penalties are not supported");
  }
  return sampling;
}

Result<std::vector<std::string>> read_stops(const RequestFields& fields, std::string_view key) {
  VARVE_TRY(const std::vector<std::string> stops, fields.strings(key));
  if (stops.size() > kMaxStopStrings) {
    return bad_input("field `{}`: expected at most {} strings, found {}", fields.path(key),
                     kMaxStopStrings, stops.size());
  }
  for (const std::string& stop : stops) {
    if (!stop.empty() && stop.size() <= kMaxStopBytes) continue;
    return bad_input("field `{}`: expected strings of 1 to {} bytes, found one of {}",
                     fields.path(key), kMaxStopBytes, stop.size());
  }
  return stops;
}

Result<std::optional<JsonFormat>> read_json_format(const RequestFields& fields,
                                                   std::string_view key,
                                                   std::string_view schema_in) {
  if (!fields.has(key)) return std::optional<JsonFormat>();
  VARVE_TRY(const RequestFields format, fields.object(key));
  VARVE_TRY(const std::string type, format.string("type"));
  if (type == "text") return std::optional<JsonFormat>();
  if (type == "json_object") return std::optional(JsonFormat{.path = fields.path(key)});
  if (type != "json_schema") {
    return format.wrong("type", "'text', 'json_object' or 'json_schema'");
  }
  const auto schema_of = [](const RequestFields& holder) -> Result<std::optional<JsonFormat>> {
    VARVE_CHECKED(holder.boolean_or("strict", true));
    VARVE_TRY(const RequestFields schema, holder.object("schema"));
    return std::optional(
        JsonFormat{.schema = json_text(json_of(schema.value())), .path = holder.path("schema")});
  };
  if (schema_in.empty()) return schema_of(format);
  VARVE_TRY(const RequestFields holder, format.object(schema_in));
  return schema_of(holder);
}

Result<void> check_json(const TextCall& call) {
  if (!call.json) return {};
  if (call.chat && call.chat->tools.list() != nullptr) {
    return bad_input("field `{}`: expected 'text' where tools may be called (tool_choice 'none')",
                     call.json->path);
  }
  if (call.generation.ignore_eos) {
    return bad_input("field `ignore_eos`: expected false beside `{}`", call.json->path);
  }
  return {};
}

Result<std::optional<int>> read_max_tokens(const RequestFields& fields, std::string_view key) {
  if (!fields.has(key)) return std::optional<int>();
  VARVE_TRY(const int64_t n, fields.integer_or(key, 0, 0, std::numeric_limits<int32_t>::max()));
  return std::optional(static_cast<int>(n));
}

}  // namespace varve::server
