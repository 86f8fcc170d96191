#include "cli/conversation.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cli/progress.h"

namespace varve::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

Result<Conversation> Conversation::create(Setup setup) {
  Conversation conversation(std::move(setup));
  VARVE_TRY(Session session, conversation.setup_.engine->new_session());
  conversation.branches_.emplace(conversation.current_,
                                 Branch{std::move(session),
                                        Transcript(*conversation.setup_.tokenizer),
                                        conversation.setup_.system,
                                        {}});
  return conversation;
}

jinja::Value Conversation::message_of(std::string_view role, std::string_view written) const {
  return chat_message(role, setup_.tokenizer->as_plain_text(written));
}

ChatRequest Conversation::request(const std::string& question) const {
  ChatRequest request;
  if (!branch().system.empty()) {
    request.messages.push_back(message_of("system", branch().system));
  }
  request.messages.insert(request.messages.end(), branch().messages.begin(),
                          branch().messages.end());
  request.messages.push_back(message_of("user", question));
  request.variables = setup_.variables;
  return request;
}

Result<void> Conversation::begin_anew(const std::vector<int32_t>& ids, TurnReport& report) {
  Engine& engine = *setup_.engine;
  Session& session = branch().session;
  // All may be in use: its place is the one that is taken.
  {
    const Session over = std::move(session);
  }
  const uint64_t stored_before = engine.reuse().stored_tokens;
  Result<Session> anew = engine.new_session(ids);
  if (!anew) {
    VARVE_TRY(session, engine.new_session());
    return tl::unexpected(anew.error());
  }
  session = std::move(*anew);
  report.kept_tokens = session.n_reused();
  report.stored_tokens = static_cast<int>(engine.reuse().stored_tokens - stored_before);
  return {};
}

Result<bool> Conversation::read(const std::vector<int32_t>& ids, const TurnHooks& hooks,
                                TurnReport& report) {
  Session& session = branch().session;
  const auto there = session.ids();
  const auto differs = std::mismatch(there.begin(), there.end(), ids.begin(), ids.end());
  report.kept_tokens = static_cast<int>(differs.first - there.begin());
  const auto n_ids = static_cast<int>(ids.size());
  const auto begin = Clock::now();
  if (setup_.has_store && report.kept_tokens < kBlockTokens &&
      n_ids - report.kept_tokens >= kBlockTokens) {
    VARVE_CHECKED(begin_anew(ids, report));
  } else {
    VARVE_CHECKED(session.rewind(report.kept_tokens));
    VARVE_CHECKED(session.enqueue(std::span(ids).subspan(static_cast<size_t>(report.kept_tokens))));
  }
  report.read_tokens = n_ids - report.kept_tokens;
  Progress progress("reading", report.read_tokens, "tokens");
  while (session.n_pending() > 0) {
    if (hooks.is_cancelled()) return false;
    setup_.engine->step();
    progress.update(session.n_tokens() - report.kept_tokens);
  }
  report.read_seconds = seconds_since(begin);
  session.save_resume_point();
  return true;
}

Result<std::vector<int32_t>> Conversation::answer(Sampler& sampler, const TurnHooks& hooks,
                                                  TurnReport& report, std::string& text) {
  Session& session = branch().session;
  const int room = setup_.engine->options().ctx_tokens - session.n_tokens() + 1;
  const int max_tokens = setup_.max_tokens > 0 ? std::min(setup_.max_tokens, room) : room;
  std::vector<int32_t> ids;
  StreamDecoder decoder(*setup_.tokenizer);
  const auto emit = [&](const std::string& piece) {
    text += piece;
    hooks.on_text(piece);
  };
  const auto begin = Clock::now();
  VARVE_TRY(const GenerateResult generated,
            generate(session, *setup_.engine, sampler,
                     {.max_tokens = max_tokens, .stop_ids = setup_.stop_ids}, [&](int32_t id) {
                       ids.push_back(id);
                       emit(decoder.push(id));
                       return !hooks.is_cancelled();
                     }));
  emit(decoder.finish());
  report.decode_seconds = seconds_since(begin);
  report.new_tokens = generated.n_tokens;
  report.reason = generated.reason;
  session.save_resume_point();
  return ids;
}

Result<TurnReport> Conversation::turn(const std::string& text, Sampler& sampler,
                                      const TurnHooks& hooks) {
  ChatRequest asked = request(text);
  VARVE_TRY(const std::string rendered, setup_.format->render(asked));
  Transcript transcript = branch().transcript;
  VARVE_CHECKED(transcript.continue_to(rendered));
  if (transcript.ids().empty()) return usage_error("the conversation renders to no tokens");
  const auto ctx_tokens = static_cast<size_t>(setup_.engine->options().ctx_tokens);
  if (transcript.ids().size() > ctx_tokens) {
    return usage_error("the conversation takes {} tokens; the context holds {} (--ctx)",
                       transcript.ids().size(), ctx_tokens);
  }
  TurnReport report;
  VARVE_TRY(const bool was_read, read(transcript.ids(), hooks, report));
  if (!was_read) return report;
  std::string answer_text;
  VARVE_TRY(std::vector<int32_t> ids, answer(sampler, hooks, report, answer_text));
  branch().messages.push_back(asked.messages.back());
  // With marks: where its ids are forgotten it is read anew, and has no special token more.
  branch().messages.push_back(setup_.format->answer(asked, setup_.tokenizer->decode_marked(ids)));
  transcript.add_answer(std::move(ids), std::move(answer_text));
  branch().transcript = std::move(transcript);
  branch().last = report;
  return report;
}

Result<void> Conversation::rewind(int n) {
  if (n < 1 || n > n_turns()) {
    return usage_error("cannot go back {} turns: there are {}", n, n_turns());
  }
  // The session follows at the next turn, to where the conversations part.
  branch().messages.resize(branch().messages.size() - 2 * static_cast<size_t>(n));
  return {};
}

Result<void> Conversation::fork(const std::string& name) {
  if (name.empty()) return usage_error("a branch needs a name");
  if (branches_.contains(name)) return usage_error("there is a branch `{}` already", name);
  auto twin = branch().session.fork();
  if (!twin) {
    return usage_error("{}; --branches makes room for more", twin.error().message);
  }
  Branch copy{std::move(*twin), branch().transcript, branch().system, branch().messages,
              branch().last};
  branches_.emplace(name, std::move(copy));
  current_ = name;
  return {};
}

Result<void> Conversation::switch_to(const std::string& name) {
  if (!branches_.contains(name)) return usage_error("there is no branch `{}`", name);
  current_ = name;
  return {};
}

void Conversation::clear() {
  branch().messages.clear();
  branch().last = {};
}

void Conversation::set_system(const std::string& text) {
  branch().system = text;
}

void Conversation::resume(SavedConversation saved) {
  branch().system = std::move(saved.system);
  branch().messages = std::move(saved.messages);
  branch().transcript = std::move(saved.transcript);
  branch().last = {};
}

std::vector<std::string> Conversation::names() const {
  std::vector<std::string> names;
  names.reserve(branches_.size());
  for (const auto& entry : branches_) names.push_back(entry.first);
  return names;
}

}  // namespace varve::cli
