// What a verb that writes files has to take away when it is broken off.
#pragma once

#include <string>
#include <vector>

namespace varve::cli {

/// While it lives, Ctrl-C and SIGTERM take away `files`, those that are there, then `directories`,
/// in order, those that are empty then, and end the program. One at a time.
class Unfinished {
 public:
  Unfinished(std::vector<std::string> files, std::vector<std::string> directories);
  ~Unfinished();
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
};

}  // namespace varve::cli
