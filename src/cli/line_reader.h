// Lines of standard input, from a terminal or a pipe; Ctrl-C ends the wait (interrupts.h).
#pragma once

#include <optional>
#include <string>

namespace varve::cli {

class LineReader {
 public:
  enum class End { line, end_of_input, interrupted };

  /// The next line, its end cut off, into `line`. The last one may have no line end.
  End next(std::string& line);

 private:
  std::string held_;  // read and not handed out
  bool is_over_ = false;
};

}  // namespace varve::cli
