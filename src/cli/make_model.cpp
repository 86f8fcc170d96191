// varve make-model: a model directory with random weights.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <filesystem>
#include <memory>

#include "cli/engine_flags.h"
#include "cli/progress.h"
#include "cli/unfinished.h"
#include "cli/verbs.h"
#include "models/deepseek_v4/synthetic.h"

namespace varve::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using deepseek_v4::SyntheticPreset;
using deepseek_v4::SyntheticSize;

struct MakeModelFlags {
  std::string out;
  std::string preset;
  std::string seed = "1";
  bool force = false;
};

std::string human_count(int64_t n) {
  const auto value = static_cast<double>(n);
  if (value >= 1e9) return fmt::format("{:.2f} B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f} M", value / 1e6);
  return fmt::format("{:.1f} K", value / 1e3);
}

std::string preset_table() {
  std::string text = fmt::format("{:<12}{:>11}{:>13}\n", "Presets:", "bytes", "parameters");
  for (const SyntheticPreset& preset : deepseek_v4::synthetic_presets()) {
    const SyntheticSize size = deepseek_v4::synthetic_size(preset.config);
    text += fmt::format("  {:<10}{:>11}{:>13}   {}\n", preset.name,
                        human_bytes(static_cast<double>(size.n_bytes)),
                        human_count(size.n_parameters), preset.description);
  }
  return text +
         "The weights are random, of the official types and names: such a model has\n"
         "the shape, the bytes and the speed of a real one, and nothing to say.\n"
         "The same preset and seed give the same bytes on every machine.";
}

Result<uint64_t> parse_seed(const std::string& text) {
  uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, seed);
  if (error != std::errc() || stop != end) {
    return usage_error("--seed {}: expected a whole number from 0 to 2^64 - 1", text);
  }
  return seed;
}

Result<void> check_target(const std::string& out, bool force) {
  std::error_code error;
  const fs::file_status status = fs::status(out, error);
  if (!fs::exists(status)) return {};
  if (!fs::is_directory(status)) {
    return usage_error("{} is there already and is not a directory", out);
  }
  if (fs::exists(fs::path(out) / "model.safetensors.index.json", error)) {
    return usage_error(
        "{} holds the shards of another model (model.safetensors.index.json); name a new directory",
        out);
  }
  const bool empty = fs::is_empty(out, error);
  if (error) return usage_error("cannot look into {}: {}", out, error.message());
  if (!empty && !force) {
    return usage_error("{} is not empty; --force writes the model's files into it", out);
  }
  return {};
}

Result<void> make_model(const MakeModelFlags& flags) {
  if (flags.preset.empty()) {
    return usage_error("no --preset; `varve make-model --help` lists them");
  }
  VARVE_TRY(const SyntheticPreset* const preset, deepseek_v4::find_synthetic_preset(flags.preset));
  VARVE_TRY(const uint64_t seed, parse_seed(flags.seed));
  if (flags.out.empty()) return usage_error("OUT is empty; a directory is expected");
  VARVE_CHECKED(check_target(flags.out, flags.force));
  std::error_code ignored;
  const bool is_new = !fs::exists(flags.out, ignored);
  constexpr double kMiB = 1 << 20;
  const SyntheticSize size = deepseek_v4::synthetic_size(preset->config);
  const Clock::time_point begin = Clock::now();
  Progress progress("writing", static_cast<double>(size.n_bytes) / kMiB, "MiB");
  const auto write = [&] {
    const Unfinished unfinished({(fs::path(flags.out) / "model.safetensors.part").string()},
                                is_new ? std::vector{flags.out} : std::vector<std::string>());
    return deepseek_v4::write_synthetic(flags.out, *preset, seed, [&](size_t n_bytes, size_t) {
      progress.update(static_cast<double>(n_bytes) / kMiB);
    });
  };
  const Result<void> done = write();
  progress.finish();
  if (!done) {
    // Only where nothing was written: this takes away an empty directory and no other.
    if (is_new) fs::remove(flags.out, ignored);
    return done;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  fmt::print("{}: {} with seed {}: {}, {} parameters, {:.1f} s\n", flags.out, preset->name, seed,
             human_bytes(static_cast<double>(size.n_bytes)), human_count(size.n_parameters),
             seconds);
  return {};
}

}  // namespace

void add_make_model(CLI::App& app, Action& action) {
  auto flags = std::make_shared<MakeModelFlags>();
  CLI::App* const verb =
      app.add_subcommand("make-model", "Write a model with random weights, for tests and timings");
  verb->add_option("OUT", flags->out, "Directory to write; made if it is not there")->required();
  verb->add_option("--preset", flags->preset, "Shape of the model, see below");
  verb->add_option("--seed", flags->seed, "Chooses the weights")->capture_default_str();
  verb->add_flag("--force", flags->force, "Write into a directory that is not empty");
  verb->footer(preset_table);
  verb->callback([flags, &action] { action = [flags] { return make_model(*flags); }; });
}

}  // namespace varve::cli
