// The server's routes: who may ask, what is asked, who answers.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_format.h"
#include "grammar/grammar_compiler.h"
#include "server/answer.h"
#include "server/answering.h"
#include "server/generation_loop.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/page.h"
#include "server/text_call.h"
#include "server/transcript_memory.h"
#include "tokenizer/tokenizer.h"

namespace varve::server {

/// What is served. All that it points at outlives the Api.
struct ServedModel {
  std::string name;
  const Tokenizer* tokenizer = nullptr;
  const ChatFormat* format = nullptr;  // null: the model continues text alone
  std::vector<int32_t> end_ids = {};   // of a chat's answers, besides the model's EOS
  int ctx_tokens = 0;
  int vocab_size = 0;  // of the logits
  /// Ids of a text that is continued, with what the model wants in front of it.
  std::function<Result<std::vector<int32_t>>(const std::string&)> encode_text = {};
};

struct ApiOptions {
  std::vector<std::string> keys = {};  // one of them has to come with a request; none: no need
  bool is_local = true;  // listens to this machine alone: other names for it are not believed
  CallDefaults defaults = {};
  AnswerTimes times = {};
  std::function<void(std::string_view)> log = {};       // a line for each request
  std::function<void(MetricsText&)> more_metrics = {};  // behind those of the loop
};

class Api {
 public:
  /// Of turns that called tools.
  static constexpr AnswerMemory::Limits kAnswers = {.n_answers = 1024, .n_bytes = size_t{8} << 20};

  Api(ServedModel model, GenerationLoop& loop, ApiOptions options);

  /// Called by many threads. An error is in the form of the API that the path belongs to.
  HttpReply handle(HttpRequest& request);

 private:
  using Reply = tl::expected<HttpReply, Problem>;
  using Handler = Reply (Api::*)(HttpRequest&);
  struct Route {
    std::string_view method;
    std::string_view path;  // with all that begins with it, where it ends with a slash
    Handler handler;
  };
  static const std::vector<Route>& routes();

  Reply route(HttpRequest& request);
  std::optional<Problem> refusal(const HttpRequest& request) const;

  // ---- api.cpp
  Reply health(HttpRequest& request);
  Reply metrics(HttpRequest& request);
  Reply models(HttpRequest& request);
  Reply model(HttpRequest& request);
  Reply tokenize(HttpRequest& request);
  Reply detokenize(HttpRequest& request);
  nlohmann::ordered_json model_json() const;

  // ---- api_answers.cpp
  Reply chat_completions(HttpRequest& request);
  Reply completions(HttpRequest& request);
  Reply responses(HttpRequest& request);
  Reply messages(HttpRequest& request);
  Reply count_tokens(HttpRequest& request);

  // ---- api_cache.cpp
  Reply cache(HttpRequest& request);
  static HttpReply page(const PageFile& file);

  // ---- api_sessions.cpp
  static constexpr std::string_view kSessions = "/v1/sessions/";
  /// "/v1/sessions/7/fork"
  struct SessionPath {
    uint64_t id = 0;
    std::string_view verb;
  };
  static Result<SessionPath> session_path(std::string_view path);
  Reply sessions(HttpRequest& request);
  Reply session(HttpRequest& request);
  Reply change_session(HttpRequest& request);
  Reply delete_session(HttpRequest& request);
  Result<std::vector<int32_t>> session_ids(uint64_t id);

  struct Prompt {
    std::vector<int32_t> ids;
    std::optional<Transcript> transcript;
  };
  Result<Prompt> prompt_of(const TextCall& call);
  Result<Transcript> chat_transcript(const ChatRequest& chat);
  /// Puts what the answer has to follow into the call.
  std::optional<Problem> constrain(TextCall& call, const std::function<bool()>& has_client);
  /// The grammar, compiled where it has to be: one at a time, for clients that still wait.
  tl::expected<CompiledGrammar, Problem> compiled(const JsonFormat& json,
                                                  const std::function<bool()>& has_client);
  Result<GrammarCompiler*> grammars();
  Reply answer(HttpRequest& request, TextCall call, std::unique_ptr<AnswerWriter> writer);

  const ServedModel model_;
  GenerationLoop* loop_;
  const ApiOptions options_;
  TranscriptMemory memory_;
  AnswerMemory answers_;
  std::mutex cache_view_mutex_;
  std::timed_mutex compiling_;
  std::atomic<int> n_to_compile_ = 0;          // who waits for it, or has it
  std::mutex grammars_mutex_;                  // while they are made
  std::unique_ptr<GrammarCompiler> grammars_;  // from the first request for JSON on
};

/// 400 with the sentence of an error that a request is to blame for, 500 for others.
Problem problem_of(const Error& error);
/// 503: GenerationLoop::visit() did not.
Problem busy();

}  // namespace varve::server
