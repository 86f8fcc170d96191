// varve serve: a model over HTTP.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/memory.h"
#include "chat/chat_format.h"
#include "cli/chat_model.h"
#include "cli/engine_flags.h"
#include "cli/interrupts.h"
#include "cli/model_path.h"
#include "cli/prompt.h"
#include "cli/sampler_flags.h"
#include "cli/store_flags.h"
#include "cli/verbs.h"
#include "server/server.h"

namespace varve::cli {
namespace {

// Of conversations whose length nobody knows yet, where it fits.
constexpr int kDefaultContext = 32768;

// Kept in a session: the beginning and the end of recent turns.
constexpr int kResumePoints = 8;
// Of conversations that no request is at, so that the next one goes on there.
constexpr int kKeptPoints = 16;

// Connections beside those of requests that run or wait: idle ones, and those that ask for other
// things.
constexpr size_t kSpareConnections = 64;

// Of the largest bodies, held at a time.
constexpr size_t kBodiesAtOnce = 2;

struct ServeFlags {
  EngineFlags engine;
  SamplerFlags sampler;
  StoreFlags store;
  std::string chat_template;
  std::string think;
  std::string name;
  std::string host = "127.0.0.1";
  int port = 8080;
  int n_sessions = 4;
  size_t max_waiting = 32;
  std::vector<std::string> keys;
  std::string max_body = "8M";
  double timeout_s = 0;
  double keep_alive_s = 5;
  double grace_s = 10;
  bool verbose = false;
};

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

void log_line(std::string_view line) {
  fmt::print(stderr, "varve: {}\n", line);
}

// Whether only this machine can come to such an address.
bool is_local(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

Result<server::ServerOptions> server_options(const ServeFlags& flags) {
  server::ServerOptions options;
  options.http.host = flags.host;
  options.http.port = flags.port;
  VARVE_TRY(options.http.max_body_bytes, parse_bytes("--max-body", flags.max_body));
  options.http.max_bodies_bytes = kBodiesAtOnce * options.http.max_body_bytes;
  options.http.max_connections =
      static_cast<size_t>(flags.n_sessions) + flags.max_waiting + kSpareConnections;
  options.loop.max_waiting = flags.max_waiting;
  options.api.keys = flags.keys;
  if (const char* const key = std::getenv("VARVE_API_KEY"); key != nullptr && *key != '\0') {
    options.api.keys.emplace_back(key);
  }
  options.api.is_local = is_local(flags.host);
  VARVE_TRY(options.api.defaults.sampling, flags.sampler.options());
  VARVE_TRY(options.api.defaults.variables, think_variables(flags.think));
  options.api.times = {milliseconds(flags.timeout_s), milliseconds(flags.keep_alive_s)};
  if (flags.verbose) options.api.log = log_line;
  return options;
}

// The context where none was asked for: what fits, within what is usual.
Result<EngineOptions> fit(const EngineFlags& flags, const Model& shapes, EngineOptions options,
                          const Tokenizer& tokenizer) {
  if (options.ctx_tokens == 0) {
    options.ctx_tokens = std::min(kDefaultContext, shapes.max_position());
    const int n = Engine::largest_context(options, [&](const EngineOptions& one) {
      return flags.fit(shapes, one, &tokenizer, 1).has_value();
    });
    if (n > 0) options.ctx_tokens = n;
  }
  return flags.fit(shapes, options, &tokenizer, 1);
}

void write_cache_metrics(const Engine& engine, server::MetricsText& out) {
  const MemoryPlan& memory = engine.memory();
  out.begin("varve_cache_bytes", "gauge", "Bytes of the cache, by what they hold.");
  for (const PoolInfo& info : pools()) {
    if (!engine.cache().layout().has(info.pool)) continue;
    out.value(static_cast<double>(memory.cache.pools[info.pool]),
              fmt::format("pool=\"{}\"", info.name));
  }
  out.value(static_cast<double>(memory.cache.state), "pool=\"state\"");
  out.gauge("varve_arena_bytes", static_cast<double>(memory.arena_bytes),
            "Bytes of cache, scratch and logits.");
  out.gauge("varve_weight_bytes", static_cast<double>(memory.weight_bytes + memory.vector_bytes),
            "Bytes of the model's weights.");
  out.gauge("varve_context_tokens", engine.options().ctx_tokens, "Tokens that a session holds.");
  out.gauge("varve_sessions", engine.options().n_sessions, "Sessions at most.");
}

void write_store_metrics(const Store& store, server::MetricsText& out) {
  const StoreStats stats = store.stats();
  const auto number = [](uint64_t n) { return static_cast<double>(n); };
  out.begin("varve_store_values", "gauge", "Values of all models that are queued or on disk.");
  out.value(number(stats.blocks), "kind=\"block\"");
  out.value(number(stats.points), "kind=\"point\"");
  out.gauge("varve_store_value_bytes", number(stats.value_bytes),
            "Bytes of values, of all models.");
  out.gauge("varve_store_bytes", number(stats.disk_bytes), "Bytes of files.");
  out.gauge("varve_store_budget_bytes", number(stats.budget_bytes), "Bytes on disk at most.");
  out.gauge("varve_store_queued", number(stats.queued), "Values that wait to be written.");
  out.counter("varve_store_written_bytes_total", stats.written_bytes, "Bytes of values written.");
  out.begin("varve_store_puts_total", "counter", "Values, by what became of them.");
  out.value(number(stats.acknowledged), "end=\"written\"");
  out.value(number(stats.already_there), "end=\"already there\"");
  out.value(number(stats.dropped), "end=\"dropped\"");
  out.value(number(stats.orphans), "end=\"orphan\"");
  out.value(number(stats.failed), "end=\"failed\"");
  out.counter("varve_store_evicted_total", stats.evicted, "Values that made room for others.");
  out.counter("varve_store_hits_total", stats.hits, "Values that were read back.");
  out.begin("varve_store_misses_total", "counter", "Values that were not, by the reason.");
  for (size_t i = 0; i < kStoreMisses; ++i) {
    out.value(number(stats.misses[i]),
              fmt::format("reason=\"{}\"", miss_name(static_cast<StoreMiss>(i))));
  }
}

std::string url_of(const ServeFlags& flags, int port) {
  const bool is_v6 = flags.host.find(':') != std::string::npos;
  return fmt::format("http://{}:{}", is_v6 ? fmt::format("[{}]", flags.host) : flags.host, port);
}

// Until Ctrl-C, kill, or the end of the engine's thread.
void wait_for_the_end(const server::Server& server) {
  constexpr int kLookMilliseconds = 500;
  pollfd file = {interrupt_file(), POLLIN, 0};
  while (!was_interrupted() && !server.has_failed()) poll(&file, 1, kLookMilliseconds);
}

Result<void> serve_until_interrupted(const ServeFlags& flags, server::Server& server) {
  wait_for_the_end(server);
  if (server.has_failed()) {
    return fail(ErrorKind::internal, "the engine's thread has failed: memory has run out");
  }
  forget_interrupts();
  fmt::print(stderr, "varve: shutting down; again to do so at once\n");
  if (!server.stop(milliseconds(flags.grace_s), was_interrupted)) {
    fmt::print(stderr, "varve: requests that were under way have been cut off\n");
  }
  return {};
}

Result<void> serve(ServeFlags& flags) {
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(server::ServerOptions server, server_options(flags));
  VARVE_TRY(const auto format, format_of_model(path, flags.chat_template));
  VARVE_TRY(std::unique_ptr<Model> shapes, flags.engine.open_shapes(path));
  VARVE_TRY(const Tokenizer tokenizer, load_tokenizer(path, *shapes));
  VARVE_CHECKED(Sampler::create(server.api.defaults.sampling, shapes->vocab_size()));
  options.n_sessions = flags.n_sessions;
  options.resume_points = kResumePoints;
  options.kept_points = kKeptPoints;
  VARVE_CHECKED(flags.store.apply(*shapes, options));
  flags.engine.beside_bytes = server_bytes(server, options.n_sessions, *shapes);
  VARVE_TRY(const size_t store_bytes, flags.store.memory_bytes(*shapes, options));
  flags.engine.beside_bytes += store_bytes;
  VARVE_TRY(options, fit(flags.engine, *shapes, options, tokenizer));
  VARVE_TRY(const std::shared_ptr<Model> model, load_in_place_of(std::move(shapes), path));
  VARVE_TRY(const std::unique_ptr<Store> store, flags.store.open(*model, path, options));
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(model, options));
  if (store) engine->set_store(*store);
  VARVE_TRY(const std::string placed,
            flags.engine.place_weights(*model, engine->memory().arena_bytes));
  server.api.more_metrics = [&](server::MetricsText& out) {
    write_cache_metrics(*engine, out);
    if (store) write_store_metrics(*store, out);
  };
  server::ServedModel served = {.name = flags.name.empty() ? model_name(path) : flags.name,
                                .tokenizer = &tokenizer,
                                .format = format.get(),
                                .ctx_tokens = options.ctx_tokens,
                                .vocab_size = model->vocab_size()};
  served.encode_text = [&](const std::string& text) {
    return encode_prompt(tokenizer, *model, text, "auto");
  };
  if (format != nullptr) {
    if (const auto id = end_of_turn_id(*format, tokenizer)) served.end_ids.push_back(*id);
  }
  VARVE_CHECKED(catch_interrupts(Interrupts::ctrl_c_and_terminate));
  VARVE_TRY(const auto running, server::Server::start(*engine, std::move(served), server));
  fmt::print("varve: {} at {}: {} sessions of {} tokens, cache {}, {}, weights {}\n",
             flags.name.empty() ? model_name(path) : flags.name, url_of(flags, running->port()),
             options.n_sessions, options.ctx_tokens,
             human_bytes(static_cast<double>(engine->memory().cache_bytes())),
             describe_formats(engine->cache().layout()), placed);
  std::fflush(stdout);
  return serve_until_interrupted(flags, *running);
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  CLI::App* const verb = app.add_subcommand("serve", "Serve a model over HTTP");
  const auto flags = std::make_shared<ServeFlags>();
  flags->engine.add_to(*verb);
  verb->add_option("--host", flags->host, "Address to listen at")->capture_default_str();
  verb->add_option("--port", flags->port, "Port; 0: one that is free")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  verb->add_option("--name", flags->name, "What the model is called; default: as its file");
  verb->add_option("--api-key", flags->keys,
                   "Key that requests have to bring, may be given several times;\n"
                   "VARVE_API_KEY is one too; default: none is needed")
      ->take_all();
  verb->add_option("--sessions", flags->n_sessions,
                   "Requests that run at once, and conversations that are kept")
      ->check(CLI::Range(1, kMaxLogitRows))
      ->capture_default_str();
  verb->add_option("--queue", flags->max_waiting, "Requests that wait; one more is refused (429)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_option("--max-body", flags->max_body, "Bytes of a request at most, or with K M G")
      ->capture_default_str();
  verb->add_option("--timeout", flags->timeout_s, "Seconds that a request may take; 0: any")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  verb->add_option("--keep-alive", flags->keep_alive_s,
                   "Seconds of silence in a stream before a sign of life")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  verb->add_option("--grace", flags->grace_s,
                   "Seconds that requests have to end in when the server is stopped")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  verb->add_option("--chat-template", flags->chat_template,
                   "File with a Jinja template, in place of the model's own");
  verb->add_option("--think", flags->think,
                   "'yes' or 'no': asks a model that can for reasoning first, where a\n"
                   "request does not say");
  flags->sampler.add_to(*verb);
  flags->store.add_to(*verb);
  verb->add_flag("--verbose", flags->verbose, "A line on stderr for each request");
  verb->footer(
      "Serves /v1/chat/completions /v1/completions /v1/responses /v1/models (OpenAI),\n"
      "/v1/messages (Anthropic), /tokenize /detokenize /v1/sessions /v1/cache /metrics\n"
      "/health, and a page at /; see docs/SERVER.md. Sampling flags are defaults for requests that "
      "do not say.\n"
      "Examples:\n"
      "  varve serve MODEL --ctx 32768 --sessions 2 --memory 8G\n"
      "  curl http://127.0.0.1:8080/v1/chat/completions \\\n"
      "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'");
  verb->callback([flags, &action] { action = [flags] { return serve(*flags); }; });
}

}  // namespace varve::cli
