#include "cli/unfinished.h"

#include <unistd.h>

#include <csignal>
#include <utility>

namespace varve::cli {
namespace {

// Read by the handler, and never changed while it is set.
std::vector<std::string> unfinished_files;
std::string unfinished_directory;

void clean_up_and_end(int signal) {
  for (const std::string& file : unfinished_files) unlink(file.c_str());
  if (!unfinished_directory.empty()) rmdir(unfinished_directory.c_str());
  _exit(128 + signal);
}

}  // namespace

Unfinished::Unfinished(std::vector<std::string> files, std::string directory) {
  unfinished_files = std::move(files);
  unfinished_directory = std::move(directory);
  std::signal(SIGINT, clean_up_and_end);
  std::signal(SIGTERM, clean_up_and_end);
}

Unfinished::~Unfinished() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace varve::cli
