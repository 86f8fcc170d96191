// One connection of the server: bytes in and out of a socket, within limits of size and time.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace varve::server {

/// Closes the socket when it goes.
class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  /// `socket` does not block. `stop_file` can be read from once the server stops.
  Connection(int socket, int stop_file) : socket_(socket), stop_file_(stop_file) {}
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  enum class Head {
    complete,  // read() gives it, then what follows
    none,      // no request came: the client left, or was idle too long, or the server stops
    bad,       // too long, or too slow
  };
  /// Waits for the head of a request, up to its empty line. Lines that nothing here makes use of
  /// are left out of it: `Range`, `Accept-Encoding`.
  Head wait_for_head(Clock::duration idle_time, Clock::duration head_time);

  /// Until when read() waits.
  void set_read_deadline(Clock::time_point deadline) { read_deadline_ = deadline; }
  /// How long write() waits for a reader that takes nothing.
  void set_write_time(Clock::duration time) { write_time_ = time; }

  /// Bytes read, at least 1; 0 at the end; -1 on error or past the deadline.
  long read(char* out, size_t n);
  /// All of it, or false.
  bool write(std::string_view bytes);
  /// Whether the client has not closed its end.
  bool has_client() const;
  /// Makes reads and writes fail from now on, from any thread.
  void cut_off();
  /// Lets the client read what was sent although it still sends itself: reads on for a moment, and
  /// forgets it.
  void linger();

  int socket() const { return socket_; }

 private:
  /// Waits for data, the server's end or the deadline, and takes data into received_. False: none
  /// came.
  bool receive(Clock::time_point deadline, bool may_be_stopped);

  int socket_;
  int stop_file_;
  std::string received_;  // from at_ on it is still to be read
  size_t at_ = 0;
  Clock::time_point read_deadline_ = {};
  Clock::duration write_time_ = std::chrono::seconds(30);
};

}  // namespace varve::server
