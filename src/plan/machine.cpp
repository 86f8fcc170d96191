#include "plan/machine.h"

#include <array>
#include <charconv>
#include <cmath>
#include <vector>

namespace varve {
namespace {

// A number above 0 with an optional unit in powers of `base`; 0 where it is none.
double parse_quantity(std::string_view text, double base) {
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number > 0) || !std::isfinite(number)) return 0;
  std::string_view unit(rest, static_cast<size_t>(text.data() + text.size() - rest));
  if (unit.ends_with("iB") && unit.size() == 3) unit.remove_suffix(2);
  if (unit == "B") unit = "";
  if (unit.empty()) return number;
  constexpr std::string_view kUnits = "KMGT";
  const size_t power = kUnits.find(unit);
  if (power == std::string_view::npos || unit.size() != 1) return 0;
  return number * std::pow(base, static_cast<double>(power + 1));
}

constexpr double kMostBytes = 0x1p60;

}  // namespace

std::string_view known_name(Known known) {
  switch (known) {
    case Known::exact:
      return "exact";
    case Known::measured:
      return "measured";
    case Known::assumed:
      break;
  }
  return "assumed";
}

Result<size_t> parse_bytes(std::string_view flag, const std::string& text) {
  const double bytes = parse_quantity(text, 1024);
  if (bytes < 1 || bytes > kMostBytes) {
    return usage_error("{} {}: expected bytes, e.g. 8G, 1.5GiB or 1000000", flag, text);
  }
  return static_cast<size_t>(bytes);
}

Result<Machine> parse_device(const std::string& text) {
  const auto wrong = [&] {
    return usage_error(
        "--device {}: expected cpu, or gpu:BANDWIDTH,FLOPS,MEMORY, e.g. gpu:1008G,165T,24G", text);
  };
  constexpr std::string_view kGpu = "gpu:";
  if (!text.starts_with(kGpu)) return wrong();
  std::array<std::string_view, 3> fields;
  std::string_view rest = std::string_view(text).substr(kGpu.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    const size_t comma = rest.find(',');
    if ((comma == std::string_view::npos) != (i + 1 == fields.size())) return wrong();
    fields[i] = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
  }
  const double bandwidth = parse_quantity(fields[0], 1000);
  const double macs = parse_quantity(fields[1], 1000) / 2;
  const double memory = parse_quantity(fields[2], 1024);
  if (bandwidth == 0 || macs == 0 || memory < 1 || memory > kMostBytes) return wrong();
  return Machine{.name = text,
                 .known = Known::assumed,
                 .roofs = {.read_bytes_per_s = bandwidth,
                           .f32_macs_per_s = macs,
                           .bf16_macs_per_s = macs,
                           .int8_macs_per_s = macs},
                 .memory_bytes = static_cast<size_t>(memory)};
}

}  // namespace varve
