#include "server/http_server.h"

#include <httplib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <thread>

#include "server/connection.h"
#include "server/listener.h"

namespace varve::server {
namespace {

// Answers one that cannot even have a thread.
constexpr std::string_view kTooMany =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    "Content-Type: application/json\r\nContent-Length: 68\r\n\r\n"
    R"({"error":{"message":"too many connections","type":"server_error"}})"
    "\r\n";

constexpr std::string_view kBadHead =
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

// Memory that bodies take, shared by all connections.
class BodyRoom {
 public:
  explicit BodyRoom(size_t bytes) : left_(bytes) {}
  bool take(size_t bytes) {
    size_t left = left_.load();
    do {
      if (left < bytes) return false;
    } while (!left_.compare_exchange_weak(left, left - bytes));
    return true;
  }
  void give_back(size_t bytes) { left_ += bytes; }

 private:
  std::atomic<size_t> left_;
};

// What one body takes of it.
class BodyShare {
 public:
  explicit BodyShare(BodyRoom& room) : room_(&room) {}
  ~BodyShare() { release(); }
  BodyShare(const BodyShare&) = delete;
  BodyShare& operator=(const BodyShare&) = delete;
  bool grow(size_t bytes) {
    if (!room_->take(bytes)) return false;
    taken_ += bytes;
    return true;
  }
  void release() { room_->give_back(std::exchange(taken_, 0)); }

 private:
  BodyRoom* room_;
  size_t taken_ = 0;
};

// What cpp-httplib reads from and writes to.
class ConnectionStream : public httplib::Stream {
 public:
  explicit ConnectionStream(Connection& connection) : connection_(&connection) {}
  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* out, size_t n) override { return connection_->read(out, n); }
  ssize_t write(const char* bytes, size_t n) override {
    return connection_->write({bytes, n}) ? static_cast<ssize_t>(n) : -1;
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  // Never asked for reading or writing; cpp-httplib refuses numbers that select() does not take.
  socket_t socket() const override { return 0; }

 private:
  Connection* connection_;
};

class SinkStream : public HttpStream {
 public:
  SinkStream(httplib::DataSink& sink, const Connection& connection)
      : sink_(&sink), connection_(&connection) {}
  bool write(std::string_view bytes) override {
    // An empty chunk would end the answer.
    if (!bytes.empty()) is_open_ = is_open_ && sink_->write(bytes.data(), bytes.size());
    return is_open_;
  }
  bool has_client() const override { return is_open_ && connection_->has_client(); }
  bool is_open() const { return is_open_; }

 private:
  httplib::DataSink* sink_;
  const Connection* connection_;
  bool is_open_ = true;
};

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return out;
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string_view() : found->second;
}

struct HttpServer::Parts : private httplib::Server {
  Parts(HttpOptions wanted, HttpHandler answer, Listener at, OwnedFile stops)
      : options(std::move(wanted)),
        handler(std::move(answer)),
        listener(std::move(at)),
        stop_file(std::move(stops)),
        room(options.max_bodies_bytes) {
    svr_sock_ = listener.socket.get();  // cpp-httplib takes a server without one for stopped
    set_keep_alive_timeout(std::chrono::ceil<std::chrono::seconds>(options.idle_time).count());
    set_keep_alive_max_count(1'000'000);
    set_payload_max_length(options.max_body_bytes + 1);
    // All requests go one way; the path is looked at in `handler`.
    Get("/", [this](const auto& in, auto& out) { answer_to(in, out, nullptr); });
    Options("/", [this](const auto& in, auto& out) { answer_to(in, out, nullptr); });
    const auto with_body = [this](const auto& in, auto& out, const auto& reader) {
      answer_to(in, out, &reader);
    };
    Post("/", with_body);
    Put("/", with_body);
    Patch("/", with_body);
    Delete("/", with_body);
  }

  // A connection, its thread, and the request that it is at.
  struct Client {
    Client(int socket, int stop) : connection(socket, stop) {}
    Connection connection;
    std::string path;         // of the request; cpp-httplib sees "/" for all
    bool ends = false;        // after this request
    bool has_unread = false;  // of its body
    std::atomic<bool> is_over = false;
    std::thread thread;
  };

  void run();
  void take(int socket);
  void serve(Client& client);
  void answer_to(const httplib::Request& in, httplib::Response& out,
                 const httplib::ContentReader* reader);
  HttpReply reply_to(HttpRequest& request) const;
  void read_body(const httplib::Request& in, const httplib::ContentReader& reader,
                 HttpRequest& request, BodyShare& share);
  void forget_those_over(bool all);

  const HttpOptions options;
  const HttpHandler handler;
  const Listener listener;
  const OwnedFile stop_file;
  BodyRoom room;

  std::mutex mutex;
  std::condition_variable one_is_over;
  std::list<std::unique_ptr<Client>> clients;
  std::atomic<bool> is_stopping = false;

  static thread_local Client* current;  // of this thread
};

thread_local HttpServer::Parts::Client* HttpServer::Parts::current = nullptr;

void HttpServer::Parts::run() {
  std::array<pollfd, 2> files = {pollfd{listener.socket.get(), POLLIN, 0},
                                 pollfd{stop_file.get(), POLLIN, 0}};
  while (!is_stopping) {
    if (poll(files.data(), files.size(), -1) < 0 && errno != EINTR) break;
    if (is_stopping) break;
    const int socket =
        accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    forget_those_over(false);
    if (socket >= 0) {
      take(socket);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // Those who are connected have to leave first.
      std::unique_lock lock(mutex);
      one_is_over.wait_for(lock, std::chrono::milliseconds(100));
    }
  }
}

void HttpServer::Parts::take(int socket) {
  const int yes = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  auto client = std::make_unique<Client>(socket, stop_file.get());
  client->connection.set_write_time(options.write_time);
  const std::lock_guard lock(mutex);
  if (clients.size() >= options.max_connections) {
    client->connection.write(kTooMany);
    return;
  }
  Client& taken = *clients.emplace_back(std::move(client));
  try {
    taken.thread = std::thread([this, &taken] { serve(taken); });
  } catch (const std::system_error&) {  // no thread is to be had
    taken.connection.write(kTooMany);
    clients.pop_back();
  }
}

void HttpServer::Parts::serve(Client& client) {
  current = &client;
  ConnectionStream stream(client.connection);
  while (!client.ends && !is_stopping) {
    const auto head = client.connection.wait_for_head(options.idle_time, options.head_time);
    if (head == Connection::Head::bad) client.connection.write(kBadHead);
    if (head != Connection::Head::complete) break;
    client.connection.set_read_deadline(Connection::Clock::now() + options.body_time);
    bool is_closed = false;
    const bool is_fine =
        process_request(stream, is_stopping, is_closed, [&](httplib::Request& request) {
          client.path = std::exchange(request.path, "/");
          request.ranges.clear();
        });
    if (!is_fine || is_closed) break;
  }
  if (client.has_unread) client.connection.linger();
  client.connection.cut_off();
  {
    const std::lock_guard lock(mutex);
    client.is_over = true;
  }
  one_is_over.notify_all();
}

void HttpServer::Parts::forget_those_over(bool all) {
  std::list<std::unique_ptr<Client>> gone;
  {
    const std::lock_guard lock(mutex);
    for (auto it = clients.begin(); it != clients.end();) {
      const auto next = std::next(it);
      if (all || (*it)->is_over) gone.splice(gone.end(), clients, it);
      it = next;
    }
  }
  for (const auto& client : gone) client->thread.join();
}

void HttpServer::Parts::read_body(const httplib::Request& in, const httplib::ContentReader& reader,
                                  HttpRequest& request, BodyShare& share) {
  Client& client = *current;
  const auto refuse = [&](int status, std::string problem) {
    request.problem_status = status;
    request.problem = std::move(problem);
    client.ends = client.has_unread = true;
    request.body = {};
    share.release();
  };
  const auto refuse_size = [&] {
    refuse(413, fmt::format("the body has more than {} bytes", options.max_body_bytes));
  };
  const auto take = [&](const char* bytes, size_t n) {
    if (request.body.size() + n > options.max_body_bytes) {
      refuse_size();
      return false;
    }
    if (!share.grow(n)) {
      refuse(503, "bodies of other requests take all the room that there is");
      return false;
    }
    request.body.append(bytes, n);
    return true;
  };
  const std::string length = in.get_header_value("Content-Length");
  const bool is_chunked = !in.get_header_value("Transfer-Encoding").empty();
  if (length.empty() && !is_chunked) return;
  if (in.is_multipart_form_data()) {
    return refuse(415, "expected a body of type application/json, found multipart/form-data");
  }
  if (!in.get_header_value("Content-Encoding").empty()) {
    return refuse(415, "expected a body without Content-Encoding");
  }
  size_t n_bytes = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), n_bytes);
  if (!is_chunked && (error != std::errc() || end != length.data() + length.size())) {
    return refuse(400, "Content-Length: expected a number of bytes");
  }
  if (n_bytes > options.max_body_bytes) return refuse_size();
  if (reader(take) || request.problem_status != 0) return;
  refuse(400, "the body ended before it was complete, or took too long");
}

HttpReply HttpServer::Parts::reply_to(HttpRequest& request) const {
  try {
    return handler(request);
  } catch (const std::bad_alloc&) {
    return {.status = 503, .content_type = "text/plain", .body = "memory has run out\n"};
  } catch (const std::exception& error) {
    return {.status = 500, .content_type = "text/plain", .body = fmt::format("{}\n", error.what())};
  }
}

void HttpServer::Parts::answer_to(const httplib::Request& in, httplib::Response& out,
                                  const httplib::ContentReader* reader) {
  Client& client = *current;
  HttpRequest request;
  request.method = in.method;
  request.path = client.path;
  for (const auto& [name, value] : in.headers) request.headers.emplace(lower_case(name), value);
  BodyShare share(room);
  if (reader != nullptr) read_body(in, *reader, request, share);
  request.has_client = [&client] { return client.connection.has_client(); };
  request.release_body = [&request, &share] {
    request.body = {};
    share.release();
  };
  HttpReply reply = reply_to(request);
  out.status = reply.status;
  for (const auto& [name, value] : reply.headers) out.set_header(name, value);
  if (client.ends) out.set_header("Connection", "close");
  if (!reply.stream) {
    out.set_content(reply.body, reply.content_type);
    return;
  }
  out.set_chunked_content_provider(reply.content_type, [&client, stream = std::move(reply.stream)](
                                                           size_t, httplib::DataSink& sink) {
    SinkStream writer(sink, client.connection);
    try {
      stream(writer);
    } catch (const std::exception&) {  // the answer breaks off, which the client sees
      return false;
    }
    if (!writer.is_open()) return false;
    sink.done();
    return true;
  });
}

HttpServer::HttpServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

HttpServer::~HttpServer() {
  stop();
  cut_off();
  parts_->forget_those_over(true);
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpOptions& options,
                                                       HttpHandler handler) {
  VARVE_TRY(Listener listener, listen_at(options.host, options.port));
  VARVE_TRY(OwnedFile stop_file, make_signal_file());
  return std::unique_ptr<HttpServer>(new HttpServer(std::make_unique<Parts>(
      options, std::move(handler), std::move(listener), std::move(stop_file))));
}

int HttpServer::port() const {
  return parts_->listener.port;
}

void HttpServer::run() {
  parts_->run();
}

void HttpServer::stop() {
  parts_->is_stopping = true;
  signal_file(parts_->stop_file);
}

void HttpServer::cut_off() {
  const std::lock_guard lock(parts_->mutex);
  for (const auto& client : parts_->clients) client->connection.cut_off();
}

bool HttpServer::wait(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(parts_->mutex);
  return parts_->one_is_over.wait_until(lock, deadline, [&] {
    return std::all_of(parts_->clients.begin(), parts_->clients.end(),
                       [](const auto& client) { return client->is_over.load(); });
  });
}

}  // namespace varve::server
