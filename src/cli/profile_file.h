// Profiles: settings in a TOML file of KEY = VALUE lines, whose keys are flags. `varve tune` writes
// them, every verb with an engine takes them.
#pragma once

#include <CLI/CLI.hpp>
#include <istream>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace varve::cli {

struct ProfileEntry {
  std::string key;  // a flag without its dashes
  std::string value;
  bool is_number = false;
};

/// The file's text, `comment` as lines of comment before it.
std::string profile_text(const std::string& comment, const std::vector<ProfileEntry>& entries);

/// Gives the options of `verb` that `keys` names the file's values, but for those that the command
/// line has given; a flag that this verb lacks is passed over. Errors (usage): no such file; not
/// such lines; a key that is no flag or stands there twice; a value that the flag does not take.
Result<void> apply_profile(const std::string& file, CLI::App& verb,
                           const std::vector<std::string>& keys);
/// The same of text that was read from `file`.
Result<void> apply_profile(std::istream& text, const std::string& file, CLI::App& verb,
                           const std::vector<std::string>& keys);

}  // namespace varve::cli
