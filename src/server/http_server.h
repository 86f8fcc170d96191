// HTTP/1.1 on a TCP port: requests in, replies out, one thread for each connection. What a request
// may cost is bounded: bytes of its head and its body, time to send them, connections, bytes of all
// bodies together. cpp-httplib parses and writes; http_server.cpp is the only file that knows it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace varve::server {

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: one that is free
  size_t max_connections = 128;
  size_t max_body_bytes = size_t{16} << 20;
  size_t max_bodies_bytes = size_t{64} << 20;  // of all requests whose body is held
  std::chrono::milliseconds head_time = std::chrono::seconds(10);
  std::chrono::milliseconds body_time = std::chrono::seconds(60);
  std::chrono::milliseconds write_time = std::chrono::seconds(30);  // without a byte taken
  std::chrono::milliseconds idle_time = std::chrono::seconds(60);   // between two requests
};

/// Lower-case names; of several headers of one name the first.
using HttpHeaders = std::map<std::string, std::string, std::less<>>;

struct HttpRequest {
  std::string method;
  std::string path;  // decoded, without the query
  HttpHeaders headers;
  std::string body;
  /// Where the body could not be taken: the status to answer with, and why. 0: it was.
  int problem_status = 0;
  std::string problem;
  /// Whether someone still waits for the answer. A client that closes its half of the connection
  /// counts as gone.
  std::function<bool()> has_client;
  /// Gives up the body's memory, and its share of max_bodies_bytes.
  std::function<void()> release_body;

  std::string_view header(std::string_view name) const;  // empty: none
};

/// What a streamed answer is written to.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  /// Sends it at once. False: nobody takes it any more.
  virtual bool write(std::string_view bytes) = 0;
  virtual bool has_client() const = 0;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  /// In place of `body`, where it is set: called once, after the head was sent.
  std::function<void(HttpStream&)> stream = {};
};

using HttpHandler = std::function<HttpReply(HttpRequest&)>;

class HttpServer {
 public:
  /// Begins to listen; connections wait until run(). `handler` is called by many threads.
  /// Error (usage): the address is none, or is taken.
  static Result<std::unique_ptr<HttpServer>> listen(const HttpOptions& options,
                                                    HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;

  /// Takes connections until stop().
  void run();
  /// From any thread: nobody is let in any more, and connections end with the request they are at.
  void stop();
  /// Ends connections where they are.
  void cut_off();
  /// Whether, by the deadline, every connection was over. After stop().
  bool wait(std::chrono::steady_clock::time_point deadline);

 private:
  struct Parts;
  explicit HttpServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace varve::server
