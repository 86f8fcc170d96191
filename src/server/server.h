// The server: an engine on a thread of its own, and who may talk to it over HTTP.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "engine/engine.h"
#include "server/api.h"
#include "server/generation_loop.h"
#include "server/http_server.h"

namespace varve::server {

struct ServerOptions {
  HttpOptions http = {};
  LoopOptions loop = {};
  ApiOptions api = {};
};

/// What a server takes of memory beside engine, model and tokenizer: threads' stacks, bodies and
/// what is made of them, remembered conversations, samplers, a view of the cache,
/// grammars.
size_t server_bytes(const ServerOptions& options, int n_sessions, const Model& model);

class Server {
 public:
  /// Begins to serve; `engine` belongs to the server's thread until the Server is gone. Errors: as
  /// of HttpServer::listen.
  static Result<std::unique_ptr<Server>> start(Engine& engine, ServedModel model,
                                               const ServerOptions& options);
  /// As stop() without grace.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const { return http_->port(); }
  /// Whether the engine's thread has come to an end that nobody asked for, as where memory has run
  /// out.
  bool has_failed() const { return has_failed_; }

  /// Takes no more requests, and waits up to `grace` for those under way; those that are not done
  /// then, or when is_impatient says so, fail. Returns whether all were done.
  bool stop(std::chrono::milliseconds grace, const std::function<bool()>& is_impatient);

 private:
  Server(Engine& engine, ServedModel model, const ServerOptions& options);
  void start_threads();
  void run_loop();

  GenerationLoop loop_;
  Api api_;
  std::unique_ptr<HttpServer> http_;
  std::thread engine_thread_;
  std::thread accept_thread_;
  std::atomic<bool> has_failed_ = false;
  bool is_stopped_ = false;
};

}  // namespace varve::server
