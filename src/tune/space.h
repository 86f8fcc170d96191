// What a search chooses from: three knobs, each with levels in an order in which neighbours are
// alike.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace varve {

enum class Knob { threads, chunk, formats };
inline constexpr int kNumKnobs = 3;
inline constexpr std::array kKnobs = {Knob::threads, Knob::chunk, Knob::formats};

/// One level of each knob, by its place in Space.
struct Setting {
  std::array<int, kNumKnobs> levels = {};

  int& operator[](Knob knob) { return levels[static_cast<size_t>(knob)]; }
  int operator[](Knob knob) const { return levels[static_cast<size_t>(knob)]; }
  bool operator==(const Setting&) const = default;
};

struct FormatLevel {
  std::string flags;  // "--kv ..."; empty: as asked
  PoolFormats formats;
  std::optional<double> mean_kld;  // nats; nothing where it is not known
};

struct Space {
  std::vector<int> threads;          // ascending
  std::vector<int> chunks;           // tokens, ascending
  std::vector<FormatLevel> formats;  // as asked, then the smaller ones from the finest
  Setting start;                     // the defaults

  int n_levels(Knob knob) const;
  /// All settings in a fixed order.
  std::vector<Setting> all() const;
  /// Those that differ from the start in one knob at most, the start first, then knob by knob.
  std::vector<Setting> around_start() const;
  EngineOptions options(const Setting& setting, EngineOptions base) const;
};

/// Powers of two below `usable`, `physical`, and `usable` itself.
std::vector<int> thread_levels(int physical, int usable);

/// Powers of two from 32 to `most`, and `chosen`.
std::vector<int> chunk_levels(int chosen, int most);

/// A format that is not tried, and why.
struct RefusedFormat {
  std::string flags;
  std::optional<double> mean_kld;
  std::string reason;
};

struct FormatChoice {
  std::vector<FormatLevel> levels;
  std::vector<RefusedFormat> refused;
};

/// `asked` and the smaller formats whose divergence is known and within the bound; without a bound
/// all of them.
FormatChoice format_levels(const Model& model, const PoolFormats& asked,
                           std::optional<double> most_kld);

}  // namespace varve
