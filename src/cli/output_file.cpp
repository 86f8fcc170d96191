#include "cli/output_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace varve::cli {

Result<void> check_writable(std::string_view flag, const std::string& path) {
  if (path.empty()) return {};
  std::error_code ignored;
  const bool is_new = !std::filesystem::exists(path, ignored);
  if (std::ofstream(path, std::ios::app)) {
    if (is_new) std::filesystem::remove(path, ignored);
    return {};
  }
  return usage_error("{} {}: expected a file that can be written, found: {}", flag, path,
                     std::strerror(errno));
}

Result<void> write_output(std::string_view flag, const std::string& path, std::string_view text) {
  if (path.empty()) return {};
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (file) return {};
  return fail(ErrorKind::internal, "{} {}: cannot write it: {}", flag, path, std::strerror(errno));
}

}  // namespace varve::cli
