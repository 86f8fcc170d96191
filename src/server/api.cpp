#include "server/api.h"

#include <arpa/inet.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>

#include "server/anthropic_response.h"
#include "server/json_text.h"
#include "server/openai_request.h"
#include "server/openai_response.h"

namespace varve::server {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::string_view kModels = "/v1/models/";

HttpReply json_reply(const Json& json) {
  return {.body = json_text(json)};
}

// In a time that does not tell where they differ.
bool are_equal(std::string_view a, std::string_view b) {
  unsigned char differs = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    differs = static_cast<unsigned char>(differs | (a[i] ^ (i < b.size() ? b[i] : 0)));
  }
  return differs == 0;
}

// Of "Host: localhost:8080" or an origin "http://[::1]:8080" the name alone.
std::string_view host_name(std::string_view host) {
  const size_t scheme = host.find("://");
  if (scheme != host.npos) host.remove_prefix(scheme + 3);
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

// Not "127.0.0.1.example.com", which may be anybody's.
bool is_this_machine(std::string_view name) {
  in_addr address;
  return name == "localhost" || name == "[::1]" ||
         (name.starts_with("127.") && inet_pton(AF_INET, std::string(name).c_str(), &address) == 1);
}

}  // namespace

Problem problem_of(const Error& error) {
  return {.status = error.kind == ErrorKind::internal ? 500 : 400, .message = error.message};
}

Problem busy() {
  return {.status = 503, .message = "the engine is busy with other things, or shutting down"};
}

Api::Api(ServedModel model, GenerationLoop& loop, ApiOptions options)
    : model_(std::move(model)),
      loop_(&loop),
      options_(std::move(options)),
      memory_(*model_.tokenizer, {}),
      answers_(kAnswers) {}

const std::vector<Api::Route>& Api::routes() {
  static const std::vector<Route> all = {
      {"GET", "/health", &Api::health},
      {"GET", "/metrics", &Api::metrics},
      {"GET", "/v1/cache", &Api::cache},
      {"GET", "/v1/models", &Api::models},
      {"GET", kModels, &Api::model},
      {"POST", "/v1/chat/completions", &Api::chat_completions},
      {"POST", "/v1/completions", &Api::completions},
      {"POST", "/v1/responses", &Api::responses},
      {"POST", "/v1/messages", &Api::messages},
      {"POST", "/v1/messages/count_tokens", &Api::count_tokens},
      {"GET", "/v1/sessions", &Api::sessions},
      {"GET", kSessions, &Api::session},
      {"POST", kSessions, &Api::change_session},
      {"DELETE", kSessions, &Api::delete_session},
      {"POST", "/tokenize", &Api::tokenize},
      {"POST", "/detokenize", &Api::detokenize},
  };
  return all;
}

HttpReply Api::handle(HttpRequest& request) {
  const bool is_anthropic = request.path.starts_with("/v1/messages");
  Reply reply;
  try {
    reply = route(request);
  } catch (const std::bad_alloc&) {
    reply = tl::unexpected(Problem{.status = 503, .message = "memory has run out"});
  } catch (const std::exception& error) {
    reply = tl::unexpected(Problem{.status = 500, .message = error.what()});
  }
  if (reply) return std::move(*reply);
  const Problem& problem = reply.error();
  if (options_.log) {
    options_.log(
        fmt::format("{} {} {}: {}", request.method, request.path, problem.status, problem.message));
  }
  HttpReply out{.status = problem.status,
                .body = is_anthropic ? anthropic_error(problem) : openai_error(problem)};
  if (problem.retry_after_s > 0) {
    out.headers.emplace_back("Retry-After", std::to_string(problem.retry_after_s));
  }
  return out;
}

// Why a request is not even looked at.
std::optional<Problem> Api::refusal(const HttpRequest& request) const {
  // A page from elsewhere in this machine's browser is not to speak for its user, neither by its
  // own name nor by one that it had pointed here.
  const std::string_view host = host_name(request.header("host"));
  const std::string_view origin = request.header("origin");
  if (!origin.empty() && host_name(origin) != host) {
    return Problem{.status = 403, .message = "requests from pages of other origins are refused"};
  }
  if (options_.is_local && options_.keys.empty() && !host.empty() && !is_this_machine(host)) {
    return Problem{.status = 403,
                   .message = "expected a Host that names this machine (localhost, 127.0.0.1)"};
  }
  // The page asks for the key; it says nothing of the model or of others.
  const bool is_page = request.method == "GET" && page_file(request.path) != nullptr;
  if (request.path == "/health" || is_page) return std::nullopt;
  std::string_view key = request.header("x-api-key");
  const std::string_view authorization = request.header("authorization");
  if (authorization.starts_with("Bearer ")) key = authorization.substr(7);
  bool is_known = options_.keys.empty();
  for (const std::string& one : options_.keys) is_known |= are_equal(one, key);
  if (is_known) return std::nullopt;
  return Problem{.status = 401,
                 .message = key.empty() ? "expected an API key (Authorization: Bearer KEY, or "
                                          "x-api-key: KEY), found none"
                                        : "the API key is none of the server's"};
}

Api::Reply Api::route(HttpRequest& request) {
  if (const auto problem = refusal(request)) return tl::unexpected(*problem);
  if (request.problem_status != 0) {
    return tl::unexpected(Problem{.status = request.problem_status, .message = request.problem});
  }
  if (const PageFile* const file = page_file(request.path); file && request.method == "GET") {
    return page(*file);
  }
  const Route* other = nullptr;
  for (const Route& one : routes()) {
    const bool is_folder = one.path.ends_with('/');
    if (is_folder ? !request.path.starts_with(one.path) : request.path != one.path) continue;
    if (one.method == request.method) return (this->*one.handler)(request);
    other = &one;
  }
  if (other != nullptr) {
    return tl::unexpected(
        Problem{.status = 405,
                .message = fmt::format("{}: expected the method {}, found {}", request.path,
                                       other->method, request.method)});
  }
  return tl::unexpected(
      Problem{.status = 404, .message = fmt::format("there is nothing at {}", request.path)});
}

Api::Reply Api::health(HttpRequest&) {
  return json_reply({{"status", "ok"}});
}

Api::Reply Api::metrics(HttpRequest&) {
  MetricsText text;
  write_stats(loop_->stats(), text);
  if (options_.more_metrics) options_.more_metrics(text);
  return HttpReply{.content_type = "text/plain; version=0.0.4", .body = std::move(text).text()};
}

// What either API says of a model.
Json Api::model_json() const {
  return {{"id", model_.name},   {"object", "model"},
          {"type", "model"},     {"display_name", model_.name},
          {"created", 0},        {"created_at", "1970-01-01T00:00:00Z"},
          {"owned_by", "varve"}, {"max_model_len", model_.ctx_tokens}};
}

Api::Reply Api::models(HttpRequest&) {
  return json_reply({{"object", "list"},
                     {"data", Json::array({model_json()})},
                     {"has_more", false},
                     {"first_id", model_.name},
                     {"last_id", model_.name}});
}

Api::Reply Api::model(HttpRequest& request) {
  const std::string_view name = std::string_view(request.path).substr(kModels.size());
  if (name == model_.name) return json_reply(model_json());
  return tl::unexpected(
      Problem{.status = 404,
              .message = fmt::format("there is no model `{}`: expected `{}`", name, model_.name),
              .code = "model_not_found"});
}

// The body is that of vLLM (`prompt` or `messages`) or of llama.cpp (`content`).
Api::Reply Api::tokenize(HttpRequest& request) {
  const auto ids = [&]() -> Result<std::vector<int32_t>> {
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    if (body.has("messages")) {
      VARVE_TRY(ChatRequest chat, read_chat_messages(body, options_.defaults));
      VARVE_TRY(chat.add_generation_prompt, body.boolean_or("add_generation_prompt", true));
      VARVE_TRY(const Transcript transcript, chat_transcript(chat));
      return transcript.ids();
    }
    const std::string_view key = body.has("content") ? "content" : "prompt";
    VARVE_TRY(const std::string text, body.string(key));
    // The two differ in what they do where it is not said.
    VARVE_TRY(bool adds_special, body.boolean_or("add_special", false));
    VARVE_TRY(adds_special, body.boolean_or("add_special_tokens", adds_special || key == "prompt"));
    return adds_special ? model_.encode_text(text) : model_.tokenizer->encode(text);
  }();
  if (!ids) return tl::unexpected(problem_of(ids.error()));
  return json_reply(
      {{"tokens", *ids}, {"count", ids->size()}, {"max_model_len", model_.ctx_tokens}});
}

Api::Reply Api::detokenize(HttpRequest& request) {
  const auto ids = [&]() -> Result<std::vector<int32_t>> {
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    TextCall call;
    VARVE_CHECKED(read_prompt(body, "tokens", call));
    if (!call.ids) return body.wrong("tokens", "an array of token ids");
    return std::move(*call.ids);
  }();
  if (!ids) return tl::unexpected(problem_of(ids.error()));
  const std::string text = model_.tokenizer->decode(*ids);
  return json_reply({{"prompt", text}, {"content", text}});
}

}  // namespace varve::server
