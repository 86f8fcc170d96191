// A TCP port that is listened to.
#pragma once

#include <string>

#include "base/result.h"

namespace varve::server {

/// A file descriptor that is closed with it.
class OwnedFile {
 public:
  explicit OwnedFile(int file = -1) : file_(file) {}
  OwnedFile(OwnedFile&& other) noexcept;
  OwnedFile& operator=(OwnedFile&& other) noexcept;
  ~OwnedFile();

  int get() const { return file_; }

 private:
  int file_;
};

struct Listener {
  OwnedFile socket;
  int port = 0;
};

/// `port` 0 takes one that is free. Error (usage): the host is not known, the port is taken.
Result<Listener> listen_at(const std::string& host, int port);

/// Becomes readable by signal_file(), for all who poll it, and stays so.
Result<OwnedFile> make_signal_file();
void signal_file(const OwnedFile& file);

}  // namespace varve::server
