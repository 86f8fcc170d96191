#include "tune/space.h"

#include <algorithm>
#include <set>

#include "plan/ways.h"

namespace varve {

int Space::n_levels(Knob knob) const {
  switch (knob) {
    case Knob::threads:
      return static_cast<int>(threads.size());
    case Knob::chunk:
      return static_cast<int>(chunks.size());
    case Knob::formats:
      break;
  }
  return static_cast<int>(formats.size());
}

std::vector<Setting> Space::all() const {
  std::vector<Setting> out = {Setting{}};
  for (const Knob knob : kKnobs) {
    std::vector<Setting> longer;
    for (Setting setting : out) {
      for (int level = 0; level < n_levels(knob); ++level) {
        setting[knob] = level;
        longer.push_back(setting);
      }
    }
    out = std::move(longer);
  }
  return out;
}

std::vector<Setting> Space::around_start() const {
  std::vector<Setting> out = {start};
  for (const Knob knob : kKnobs) {
    for (int level = 0; level < n_levels(knob); ++level) {
      Setting setting = start;
      setting[knob] = level;
      if (setting != start) out.push_back(setting);
    }
  }
  return out;
}

EngineOptions Space::options(const Setting& setting, EngineOptions base) const {
  base.n_threads = threads[static_cast<size_t>(setting[Knob::threads])];
  base.chunk_tokens = chunks[static_cast<size_t>(setting[Knob::chunk])];
  base.formats = formats[static_cast<size_t>(setting[Knob::formats])].formats;
  return base;
}

std::vector<int> thread_levels(int physical, int usable) {
  std::set<int> levels = {std::clamp(physical, 1, usable), usable};
  for (int n = 1; n < usable; n *= 2) levels.insert(n);
  return {levels.begin(), levels.end()};
}

std::vector<int> chunk_levels(int chosen, int most) {
  constexpr int kLeast = 32;
  std::set<int> levels = {chosen};
  for (int n = kLeast; n <= most; n *= 2) levels.insert(n);
  return {levels.begin(), levels.end()};
}

FormatChoice format_levels(const Model& model, const PoolFormats& asked,
                           std::optional<double> most_kld) {
  const auto known_kld = [&](const PoolFormats& formats) -> std::optional<double> {
    const auto quality = quality_of(CacheLayout(model.cache_shape(), formats));
    return quality ? std::optional(quality->mean_kld) : std::nullopt;
  };
  FormatChoice out;
  out.levels.push_back({"", asked, known_kld(asked)});
  for (SmallerFormats& smaller : smaller_formats(model, asked)) {
    const std::optional<double> kld = known_kld(smaller.formats);
    if (!most_kld || (kld && *kld <= *most_kld)) {
      out.levels.push_back({std::move(smaller.flags), smaller.formats, kld});
    } else if (kld) {
      out.refused.push_back({std::move(smaller.flags), kld,
                             fmt::format("mean KLD {:.1e} is over {:.1e}", *kld, *most_kld)});
    } else {
      out.refused.push_back({std::move(smaller.flags), kld, "its mean KLD is not known"});
    }
  }
  return out;
}

}  // namespace varve
