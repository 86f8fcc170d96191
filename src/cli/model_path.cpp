#include "cli/model_path.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "formats/checkpoint.h"

namespace varve::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBundled = "models/varve-tiny";
constexpr const char* kPublished = "models/configs";

// The first of DIR/../share/varve/NAME and NAME in each folder above the program that is there; ""
// if none is.
fs::path beside_program(const char* name) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (fs::path folder = program.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    for (const fs::path& candidate : {folder / ".." / "share" / "varve" / name, folder / name}) {
      if (fs::exists(candidate, error)) return fs::weakly_canonical(candidate, error);
    }
    if (folder == folder.root_path()) break;
  }
  return {};
}

}  // namespace

Result<std::string> model_or_bundled(const std::string& given) {
  if (!given.empty()) return given;
  const fs::path bundled = beside_program(kBundled);
  if (bundled.empty()) {
    return usage_error("no model given, and the bundled one ({}) is not beside the program",
                       kBundled);
  }
  fmt::print(stderr, "varve: no model given: using the bundled varve-tiny ({})\n",
             bundled.string());
  return bundled.string();
}

bool is_config_alone(const std::string& path) {
  std::error_code error;
  fs::path config = path;
  if (fs::is_directory(config, error)) config /= "config.json";
  return config.extension() == ".json" && fs::exists(config, error) &&
         !has_checkpoint(config.parent_path().string());
}

std::string published_config(const std::string& name) {
  std::error_code error;
  const fs::path config = beside_program(kPublished) / (name + ".json");
  return fs::exists(config, error) ? config.string() : std::string();
}

std::string model_or_published(const std::string& name) {
  std::error_code error;
  if (fs::exists(name, error)) return name;
  const std::string config = published_config(name);
  return config.empty() ? name : config;
}

std::vector<std::string> published_models() {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(beside_program(kPublished), error), end; at != end && !error;
       at.increment(error)) {
    if (at->path().extension() == ".json") names.push_back(at->path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string model_name(const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

}  // namespace varve::cli
