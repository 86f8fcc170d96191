#include "cli/unfinished.h"

#include <unistd.h>

#include <csignal>
#include <utility>

namespace varve::cli {
namespace {

// Read by the handler, and never changed while it is set.
std::vector<std::string> unfinished_files;
std::vector<std::string> unfinished_directories;

void clean_up_and_end(int signal) {
  for (const std::string& file : unfinished_files) unlink(file.c_str());
  for (const std::string& directory : unfinished_directories) rmdir(directory.c_str());
  _exit(128 + signal);
}

}  // namespace

Unfinished::Unfinished(std::vector<std::string> files, std::vector<std::string> directories) {
  unfinished_files = std::move(files);
  unfinished_directories = std::move(directories);
  std::signal(SIGINT, clean_up_and_end);
  std::signal(SIGTERM, clean_up_and_end);
}

Unfinished::~Unfinished() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace varve::cli
