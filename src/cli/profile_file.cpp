#include "cli/profile_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "tokenizer/quote.h"

namespace varve::cli {
namespace {

// Far more than any profile has.
constexpr std::uintmax_t kMostBytes = 64 << 10;

Result<void> apply(const std::string& file, const CLI::ConfigItem& item, CLI::Option& option) {
  if (item.inputs.size() != 1) {
    return usage_error("--profile {}: {}: expected one value, found {}; text stands in quotes",
                       file, item.name, item.inputs.size());
  }
  if (option.count() > 0) return {};  // the command line says otherwise
  try {
    option.add_result(item.inputs.front());
    option.run_callback();
  } catch (const CLI::Error& error) {
    return usage_error("--profile {}: {} = {}: {}", file, item.name, in_quotes(item.inputs.front()),
                       error.what());
  }
  return {};
}

}  // namespace

std::string profile_text(const std::string& comment, const std::vector<ProfileEntry>& entries) {
  std::string text;
  std::istringstream lines(comment);
  for (std::string line; std::getline(lines, line);) text += "# " + line + "\n";
  for (const ProfileEntry& entry : entries) {
    const std::string_view quote = entry.is_number ? "" : "\"";
    text += fmt::format("{} = {}{}{}\n", entry.key, quote, entry.value, quote);
  }
  return text;
}

Result<void> apply_profile(const std::string& file, CLI::App& verb,
                           const std::vector<std::string>& keys) {
  std::error_code error;
  std::ifstream stream(file);
  if (!std::filesystem::is_regular_file(file, error) || !stream ||
      std::filesystem::file_size(file, error) > kMostBytes) {
    return usage_error(
        "--profile {}: expected a file of KEY = VALUE lines, as `varve tune` writes it", file);
  }
  return apply_profile(stream, file, verb, keys);
}

Result<void> apply_profile(std::istream& text, const std::string& file, CLI::App& verb,
                           const std::vector<std::string>& keys) {
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(text);
  } catch (const std::exception& error) {
    return usage_error("--profile {}: {}", file, error.what());
  }
  std::set<std::string> seen;
  for (const CLI::ConfigItem& item : items) {
    if (!item.parents.empty()) {
      return usage_error("--profile {}: expected no sections, found section {}", file,
                         in_quotes(fmt::format("{}", fmt::join(item.parents, "."))));
    }
    if (std::find(keys.begin(), keys.end(), item.name) == keys.end()) {
      return usage_error("--profile {}: expected keys of {}; found {}", file, fmt::join(keys, ", "),
                         in_quotes(item.name));
    }
    if (!seen.insert(item.name).second) {
      return usage_error("--profile {}: {} stands there twice", file, item.name);
    }
    CLI::Option* const option = verb.get_option_no_throw("--" + item.name);
    if (option != nullptr) VARVE_CHECKED(apply(file, item, *option));
  }
  return {};
}

}  // namespace varve::cli
