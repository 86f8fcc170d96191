#include "cli/line_reader.h"

#include <unistd.h>

#include <cerrno>

namespace varve::cli {

LineReader::End LineReader::next(std::string& line) {
  while (true) {
    const size_t end = held_.find('\n');
    if (end != held_.npos || (is_over_ && !held_.empty())) {
      line = held_.substr(0, end);
      held_.erase(0, end == held_.npos ? held_.size() : end + 1);
      return End::line;
    }
    if (is_over_) return End::end_of_input;
    char buffer[4096];
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) return End::interrupted;
    if (n <= 0) is_over_ = true;
    if (n > 0) held_.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace varve::cli
