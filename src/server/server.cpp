#include "server/server.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "engine/sampler.h"

namespace varve::server {
namespace {

// How often a server that stops looks whether it is to wait any longer.
constexpr std::chrono::milliseconds kLook(50);

// For those whose request has just failed to say so to their clients.
constexpr std::chrono::seconds kLastWords(1);

// Of a connection's thread: stack and buffers that it touches.
constexpr size_t kConnectionBytes = size_t{128} << 10;

// A body, the values that it parses to, the text that they render to.
constexpr size_t kBytesPerBodyByte = 4;

// Of a pick in a view of the cache: it is kept, copied, a value of JSON and text, which grows by
// half more than it is. One view is made at a time.
constexpr size_t kBytesPerPick = 48;

size_t cache_view_bytes(const CacheShape& shape) {
  const auto n = std::ranges::count_if(shape.layers, &LayerShape::is_picked);
  return static_cast<size_t>(n) * CacheWatch::kMaxPicks * kBytesPerPick;
}

}  // namespace

size_t server_bytes(const ServerOptions& options, int n_sessions, const Model& model) {
  return cache_view_bytes(model.cache_shape()) + GrammarCompiler::memory_bytes(model.vocab_size()) +
         static_cast<size_t>(n_sessions) * AnswerConstraint::kMaxTokens *
             AnswerConstraint::kBytesPerToken +
         options.http.max_connections * kConnectionBytes +
         options.http.max_bodies_bytes * kBytesPerBodyByte + TranscriptMemory::Limits{}.n_bytes +
         Api::kAnswers.n_bytes + SessionPool::kMaxKeptTokens * sizeof(int32_t) +
         static_cast<size_t>(n_sessions) * Sampler::table_bytes(model.vocab_size());
}

Server::Server(Engine& engine, ServedModel model, const ServerOptions& options)
    : loop_(engine, *model.tokenizer, options.loop), api_(std::move(model), loop_, options.api) {}

Result<std::unique_ptr<Server>> Server::start(Engine& engine, ServedModel model,
                                              const ServerOptions& options) {
  std::unique_ptr<Server> server(new Server(engine, std::move(model), options));
  VARVE_TRY(server->http_, HttpServer::listen(options.http, [api = &server->api_](auto& request) {
              return api->handle(request);
            }));
  server->start_threads();
  return server;
}

void Server::start_threads() {
  engine_thread_ = std::thread([this] { run_loop(); });
  accept_thread_ = std::thread([this] { http_->run(); });
}

void Server::run_loop() {
  try {
    loop_.run();
  } catch (const std::exception&) {
    has_failed_ = true;
  }
}

bool Server::stop(std::chrono::milliseconds grace, const std::function<bool()>& is_impatient) {
  if (std::exchange(is_stopped_, true)) return true;
  using Clock = std::chrono::steady_clock;
  http_->stop();
  const Clock::time_point deadline = Clock::now() + grace;
  bool are_done = http_->wait(Clock::now());
  while (!are_done && Clock::now() < deadline && !is_impatient()) {
    are_done = http_->wait(std::min(deadline, Clock::now() + kLook));
  }
  loop_.stop();
  if (engine_thread_.joinable()) engine_thread_.join();
  http_->wait(Clock::now() + kLastWords);
  http_->cut_off();
  if (accept_thread_.joinable()) accept_thread_.join();
  return are_done;
}

Server::~Server() {
  if (http_ != nullptr) stop(std::chrono::milliseconds::zero(), [] { return true; });
}

}  // namespace varve::server
