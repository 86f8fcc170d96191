#include "cli/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "cli/interrupts.h"

namespace varve::cli {

namespace {

// Until there is input, or its end. False: Ctrl-C came first.
bool wait_for_input() {
  std::array<pollfd, 2> files = {{{STDIN_FILENO, POLLIN, 0}, {interrupt_file(), POLLIN, 0}}};
  while (poll(files.data(), files.size(), -1) < 0 && errno == EINTR) continue;
  return files[1].revents == 0;
}

}  // namespace

LineReader::End LineReader::next(std::string& line) {
  while (true) {
    const size_t end = held_.find('\n');
    if (end != held_.npos || (is_over_ && !held_.empty())) {
      line = held_.substr(0, end);
      held_.erase(0, end == held_.npos ? held_.size() : end + 1);
      return End::line;
    }
    if (is_over_) return End::end_of_input;
    if (!wait_for_input()) return End::interrupted;
    char buffer[4096];
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) is_over_ = true;
    if (n > 0) held_.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace varve::cli
