#include "server/connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>

namespace varve::server {
namespace {

constexpr size_t kMaxHeadBytes = size_t{64} << 10;
constexpr size_t kReadBytes = size_t{16} << 10;
constexpr std::chrono::seconds kLinger(2);

int milliseconds_until(Connection::Clock::time_point deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - Connection::Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3'600'000));
}

bool begins_with(std::string_view line, std::string_view lower_case_name) {
  if (line.size() < lower_case_name.size()) return false;
  return std::equal(lower_case_name.begin(), lower_case_name.end(), line.begin(),
                    [](char a, char b) {
                      return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
                    });
}

// The head without the lines that are for nobody. A line that begins with white space belongs to
// the one before it.
std::string without_unused_lines(std::string_view head) {
  std::string out;
  bool is_dropped = false;
  for (size_t at = 0; at < head.size();) {
    const size_t end = std::min(head.find('\n', at), head.size() - 1) + 1;
    const std::string_view line = head.substr(at, end - at);
    at = end;
    const bool continues = line.front() == ' ' || line.front() == '\t';
    if (!continues) {
      is_dropped = begins_with(line, "range:") || begins_with(line, "accept-encoding:");
    }
    if (!is_dropped) out += line;
  }
  return out;
}

// Where the head ends, behind its empty line; npos: not yet. Looked for from `from` on.
size_t end_of_head(std::string_view bytes, size_t from) {
  const size_t at = bytes.find("\r\n\r\n", from < 3 ? 0 : from - 3);
  return at == std::string_view::npos ? at : at + 4;
}

}  // namespace

Connection::~Connection() {
  close(socket_);
}

bool Connection::receive(Clock::time_point deadline, bool may_be_stopped) {
  std::array<pollfd, 2> files = {pollfd{socket_, POLLIN, 0}, pollfd{stop_file_, POLLIN, 0}};
  while (true) {
    const int n = poll(files.data(), may_be_stopped ? 2 : 1, milliseconds_until(deadline));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    if (files[0].revents == 0) return false;  // the server stops
    const size_t before = received_.size();
    received_.resize(before + kReadBytes);
    const ssize_t got = recv(socket_, received_.data() + before, kReadBytes, 0);
    received_.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got > 0) return true;
    if (got == 0 || (errno != EINTR && errno != EAGAIN)) return false;
  }
}

Connection::Head Connection::wait_for_head(Clock::duration idle_time, Clock::duration head_time) {
  received_.erase(0, at_);
  at_ = 0;
  if (received_.empty() && !receive(Clock::now() + idle_time, true)) return Head::none;
  const Clock::time_point deadline = Clock::now() + head_time;
  size_t seen = 0;
  while (true) {
    const size_t end = end_of_head(received_, seen);
    if (end <= kMaxHeadBytes) {
      received_.replace(0, end, without_unused_lines(std::string_view(received_).substr(0, end)));
      return Head::complete;
    }
    seen = received_.size();
    if (end != std::string::npos || seen > kMaxHeadBytes) return Head::bad;
    if (!receive(deadline, false)) return Head::bad;
  }
}

long Connection::read(char* out, size_t n) {
  if (at_ == received_.size()) {
    received_.clear();
    at_ = 0;
    if (!receive(read_deadline_, false)) return -1;
  }
  const size_t taken = std::min(n, received_.size() - at_);
  std::memcpy(out, received_.data() + at_, taken);
  at_ += taken;
  return static_cast<long>(taken);
}

bool Connection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    pollfd file = {socket_, POLLOUT, 0};
    const int n = poll(&file, 1, milliseconds_until(Clock::now() + write_time_));
    if (n == 0 || (n < 0 && errno != EINTR)) return false;
  }
  return true;
}

bool Connection::has_client() const {
  char byte = 0;
  const ssize_t n = recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

void Connection::cut_off() {
  shutdown(socket_, SHUT_RDWR);
}

void Connection::linger() {
  shutdown(socket_, SHUT_WR);
  const Clock::time_point deadline = Clock::now() + kLinger;
  do {
    received_.clear();
    at_ = 0;
  } while (receive(deadline, true));
}

}  // namespace varve::server
