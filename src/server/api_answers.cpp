// Requests for text: from their JSON to the engine's queue.
#include <chrono>
#include <mutex>

#include "server/answering.h"
#include "server/anthropic_request.h"
#include "server/anthropic_response.h"
#include "server/api.h"
#include "server/chat_messages.h"
#include "server/openai_request.h"
#include "server/openai_response.h"
#include "server/responses_request.h"
#include "server/responses_response.h"

namespace varve::server {
namespace {

constexpr int kRetryAfterSeconds = 1;
// Of schemas that are not kept: those that wait to be compiled, and the one that is.
constexpr int kMostToCompile = 8;
constexpr std::chrono::milliseconds kLookForClient(50);

}  // namespace

Result<Transcript> Api::chat_transcript(const ChatRequest& chat) {
  if (model_.format == nullptr) {
    return usage_error("{} has no chat template: it continues text (/v1/completions)", model_.name);
  }
  ChatRequest plain;
  plain.add_generation_prompt = chat.add_generation_prompt;
  plain.variables = chat.variables;
  VARVE_TRY(plain.tools, as_plain_text(*model_.tokenizer, chat.tools));
  for (const jinja::Value& message : chat.messages) {
    VARVE_TRY(jinja::Value value, as_plain_text(*model_.tokenizer, message));
    plain.messages.push_back(std::move(value));
  }
  answers_.recall(plain);
  VARVE_TRY(const std::string rendered, model_.format->render(plain));
  return memory_.recall(rendered);
}

Result<Api::Prompt> Api::prompt_of(const TextCall& call) {
  Prompt prompt;
  if (call.chat) {
    VARVE_TRY(prompt.transcript, chat_transcript(*call.chat));
    prompt.ids = prompt.transcript->ids();
    return prompt;
  }
  if (call.session) {
    VARVE_TRY(prompt.ids, session_ids(*call.session));
  }
  std::vector<int32_t> more;
  if (call.ids) {
    more = *call.ids;
  } else {
    VARVE_TRY(more,
              call.session ? model_.tokenizer->encode(call.text) : model_.encode_text(call.text));
  }
  prompt.ids.insert(prompt.ids.end(), more.begin(), more.end());
  return prompt;
}

Result<GrammarCompiler*> Api::grammars() {
  const std::lock_guard lock(grammars_mutex_);
  if (grammars_ == nullptr) {
    VARVE_TRY(grammars_,
              GrammarCompiler::create(*model_.tokenizer, model_.vocab_size, model_.end_ids));
  }
  return grammars_.get();
}

tl::expected<CompiledGrammar, Problem> Api::compiled(const JsonFormat& json,
                                                     const std::function<bool()>& has_client) {
  const Result<GrammarCompiler*> compiler = grammars();
  if (!compiler) return tl::unexpected(problem_of(compiler.error()));
  if (const auto kept = (*compiler)->kept(json.schema.value_or(""))) return *kept;
  struct Waiting {
    explicit Waiting(std::atomic<int>& count) : n(count), is_welcome(++n <= kMostToCompile) {}
    ~Waiting() { --n; }
    std::atomic<int>& n;
    const bool is_welcome;
  };
  const Waiting waiting(n_to_compile_);
  const Problem later{.status = 503,
                      .message = "other schemas are being compiled; try again in a moment",
                      .retry_after_s = kRetryAfterSeconds};
  if (!waiting.is_welcome) return tl::unexpected(later);
  std::unique_lock turn(compiling_, std::defer_lock);
  while (!turn.try_lock_for(kLookForClient)) {
    if (!has_client() || loop_->is_stopping()) return tl::unexpected(later);
  }
  auto grammar = json.schema ? (*compiler)->compile_json_schema(*json.schema)
                             : (*compiler)->compile_any_object();
  if (grammar) return std::move(*grammar);
  Problem problem = problem_of(grammar.error());
  if (grammar.error().kind == ErrorKind::usage) {
    problem.status = 503;
    problem.retry_after_s = kRetryAfterSeconds;
  } else {
    problem.message = fmt::format("field `{}`: {}", json.path, problem.message);
  }
  return tl::unexpected(std::move(problem));
}

std::optional<Problem> Api::constrain(TextCall& call, const std::function<bool()>& has_client) {
  if (!call.json) return std::nullopt;
  auto grammar = compiled(*call.json, has_client);
  if (!grammar) return std::move(grammar.error());
  call.generation.grammar = std::move(*grammar);
  if (!call.chat || !model_.format->answer_parser(*call.chat)->begins_in_reasoning()) {
    return std::nullopt;
  }
  call.generation.grammar_behind = model_.tokenizer->id_of(kEndOfThinking);
  if (call.generation.grammar_behind) return std::nullopt;
  return Problem{.message = fmt::format("field `{}`: the model's reasoning does not end with a "
                                        "token: ask for none",
                                        call.json->path)};
}

Api::Reply Api::answer(HttpRequest& request, TextCall call, std::unique_ptr<AnswerWriter> writer) {
  request.release_body();
  Result<Prompt> prompt = prompt_of(call);
  if (!prompt) return tl::unexpected(problem_of(prompt.error()));
  const size_t n_prompt = prompt->ids.size();
  if (n_prompt > static_cast<size_t>(model_.ctx_tokens)) {
    return tl::unexpected(Problem{
        .status = 400,
        .message =
            fmt::format("prompt is too long: {} tokens > {} maximum", n_prompt, model_.ctx_tokens),
        .code = "context_length_exceeded"});
  }
  if (auto problem = constrain(call, request.has_client)) {
    return tl::unexpected(std::move(*problem));
  }
  call.generation.prompt = std::move(prompt->ids);
  if (call.chat) call.generation.end_ids = model_.end_ids;
  if (const auto checked = loop_->check(call.generation); !checked) {
    return tl::unexpected(problem_of(checked.error()));
  }
  const bool wants_logprobs = call.generation.n_top_logprobs.has_value();
  auto generation = loop_->submit(std::move(call.generation));
  if (generation == nullptr && loop_->is_stopping()) {
    return tl::unexpected(Problem{.status = 503, .message = "the server is shutting down"});
  }
  if (generation == nullptr) {
    return tl::unexpected(Problem{.status = 429,
                                  .message = "the queue is full; try again in a moment",
                                  .code = "queue_full",
                                  .retry_after_s = kRetryAfterSeconds});
  }
  AnswerJob job(generation, std::move(writer));
  job.wants_logprobs = wants_logprobs;
  if (call.chat) {
    job.parser = model_.format->answer_parser(*call.chat);
    job.answers = &answers_;
  }
  job.transcript = std::move(prompt->transcript);
  job.memory = &memory_;
  job.tokenizer = model_.tokenizer;
  job.times = options_.times;
  if (options_.log) {
    job.log = [log = options_.log, path = request.path, generation](const Usage& usage,
                                                                    std::string_view end) {
      const auto took = Generation::Clock::now() - generation->submitted_at;
      log(fmt::format("POST {}: {} tokens, {} of them cached; {} sampled, {}; {:.3f} s", path,
                      usage.n_prompt, usage.n_cached, usage.n_sampled, end,
                      std::chrono::duration<double>(took).count()));
    };
  }
  if (call.streams) {
    // std::function copies what it holds.
    auto shared = std::make_shared<AnswerJob>(std::move(job));
    return HttpReply{
        .content_type = "text/event-stream",
        .headers = {{"Cache-Control", "no-cache"}},
        .stream = [shared](HttpStream& stream) { stream_answer(std::move(*shared), stream); }};
  }
  auto whole = whole_answer(std::move(job), request.has_client);
  if (!whole) return tl::unexpected(std::move(whole.error()));
  return HttpReply{.body = std::move(*whole)};
}

Api::Reply Api::chat_completions(HttpRequest& request) {
  auto call = [&]() -> Result<TextCall> {
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    return read_chat_completion(body, options_.defaults);
  }();
  if (!call) return tl::unexpected(problem_of(call.error()));
  auto writer = make_chat_completion_writer(
      *model_.tokenizer, {.model = model_.name,
                          .wants_usage = call->wants_usage,
                          .wants_logprobs = call->generation.n_top_logprobs.has_value()});
  return answer(request, std::move(*call), std::move(writer));
}

Api::Reply Api::completions(HttpRequest& request) {
  auto call = [&]() -> Result<TextCall> {
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    return read_completion(body, options_.defaults);
  }();
  if (!call) return tl::unexpected(problem_of(call.error()));
  auto writer = make_completion_writer(
      *model_.tokenizer, {.model = model_.name,
                          .wants_usage = call->wants_usage,
                          .wants_logprobs = call->generation.n_top_logprobs.has_value()});
  return answer(request, std::move(*call), std::move(writer));
}

Api::Reply Api::responses(HttpRequest& request) {
  auto read = [&]() -> Result<ResponsesCall> {
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    return read_responses(body, options_.defaults);
  }();
  if (!read) return tl::unexpected(problem_of(read.error()));
  const GenerationRequest& generation = read->call.generation;
  auto writer = make_responses_writer(*model_.tokenizer,
                                      {.model = model_.name,
                                       .body = read->body,
                                       .temperature = generation.sampling.temperature,
                                       .top_p = generation.sampling.top_p,
                                       .wants_logprobs = generation.n_top_logprobs.has_value()});
  return answer(request, std::move(read->call), std::move(writer));
}

Api::Reply Api::messages(HttpRequest& request) {
  auto call = [&]() -> Result<TextCall> {
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    return read_messages(body, options_.defaults);
  }();
  if (!call) return tl::unexpected(problem_of(call.error()));
  return answer(request, std::move(*call), make_messages_writer(model_.name));
}

Api::Reply Api::count_tokens(HttpRequest& request) {
  const auto n = [&]() -> Result<size_t> {
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    VARVE_TRY(const ChatRequest chat, read_anthropic_chat(body, options_.defaults));
    VARVE_TRY(const Transcript transcript, chat_transcript(chat));
    return transcript.ids().size();
  }();
  if (!n) return tl::unexpected(problem_of(n.error()));
  return HttpReply{.body = fmt::format("{{\"input_tokens\":{}}}", *n)};
}

}  // namespace varve::server
