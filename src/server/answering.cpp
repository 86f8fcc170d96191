#include "server/answering.h"

#include <algorithm>
#include <utility>

namespace varve::server {
namespace {

using Clock = Generation::Clock;

// How often a request whose answer is silent looks whether someone still waits.
constexpr std::chrono::milliseconds kLook(100);

constexpr int kClientGone = 499;

void add(const AnswerPiece& piece, Answer& answer) {
  answer.tokens.insert(answer.tokens.end(), piece.tokens.begin(), piece.tokens.end());
  switch (piece.event.kind) {
    case AnswerEvent::Kind::reasoning:
      answer.reasoning += piece.event.text;
      break;
    case AnswerEvent::Kind::content:
      answer.content += piece.event.text;
      break;
    case AnswerEvent::Kind::call_part:
      break;
    case AnswerEvent::Kind::tool_call:
      answer.tool_calls.push_back(piece.event.call);
      break;
  }
}

// Follows one generation to its end.
class AnswerRun {
 public:
  explicit AnswerRun(AnswerJob job) : job_(std::move(job)) {
    // Text that is continued is content.
    if (job_.parser == nullptr) job_.parser = make_answer_parser({});
    answer_.usage.n_prompt = static_cast<int>(job_.generation->request().prompt.size());
  }

  /// `write` takes text of a stream, or nothing where the answer is wanted whole; false: nobody
  /// reads it.
  tl::expected<Answer, Problem> run(const std::function<bool()>& has_client,
                                    const std::function<bool(const std::string&)>& write);
  AnswerWriter& writer() { return *job_.writer; }

 private:
  bool take(Event event);
  bool take_piece(const Piece& piece);
  bool take_end(Finished finished);
  bool hand_on(std::vector<AnswerEvent> events, bool is_end);
  void give_up(Problem problem, std::string_view what);
  bool is_late(Clock::time_point now) const {
    return job_.times.at_most.count() > 0 &&
           now - job_.generation->submitted_at > job_.times.at_most;
  }
  Problem too_late() const;
  void remember(std::vector<int32_t> ids, std::string text);
  void remember_calls();
  void log(std::string_view what);
  /// Of what only a stream says. False: nobody reads it.
  template <class Text>
  bool say(Text text) {
    if (!write_) return true;
    const std::string said = text();
    return said.empty() || write_(said);
  }

  AnswerJob job_;
  std::function<bool(const std::string&)> write_;
  Answer answer_;
  std::vector<SampledToken> tokens_;  // whose text has not come out of the parser
  std::vector<int32_t> ids_;          // all that was sampled
  std::vector<AnswerEvent> events_;   // of a chat: all of them, and the text that made them
  std::string text_;
  std::optional<Problem> problem_;
  bool is_over_ = false;
};

Problem AnswerRun::too_late() const {
  return {.status = 504,
          .message = fmt::format("the request took longer than {} s (--timeout)",
                                 std::chrono::duration<double>(job_.times.at_most).count())};
}

void AnswerRun::remember(std::vector<int32_t> ids, std::string text) {
  if (!job_.transcript) return;
  job_.transcript->add_answer(std::move(ids), std::move(text));
  job_.memory->remember(std::move(*job_.transcript));
  job_.transcript.reset();
}

void AnswerRun::remember_calls() {
  // Behind the ids what lies before a stop string inside of a token.
  const std::string sampled = job_.tokenizer->decode(ids_);
  const bool has_ids = text_.starts_with(sampled);
  RawAnswer raw = {
      .text = has_ids ? job_.tokenizer->decode_marked(ids_) : std::string(),
      .is_thought = job_.parser->begins_in_reasoning(),
  };
  raw.text +=
      job_.tokenizer->as_plain_text(std::string_view(text_).substr(has_ids ? sampled.size() : 0));
  std::exchange(job_.answers, nullptr)->remember(events_, std::move(raw));
}

void AnswerRun::log(std::string_view what) {
  if (job_.log) std::exchange(job_.log, {})(answer_.usage, what);
}

void AnswerRun::give_up(Problem problem, std::string_view what) {
  job_.generation->cancel();
  problem_ = std::move(problem);
  is_over_ = true;
  answer_.usage.n_sampled = static_cast<int>(ids_.size());
  // What was answered so far may come back in the next request.
  if (!ids_.empty()) remember(ids_, job_.tokenizer->decode(ids_));
  log(what);
}

bool AnswerRun::hand_on(std::vector<AnswerEvent> events, bool is_end) {
  // Tokens whose text is still held back wait with it.
  if (events.empty() && is_end && !tokens_.empty()) events.emplace_back();
  if (job_.answers != nullptr) {
    std::copy_if(
        events.begin(), events.end(), std::back_inserter(events_),
        [](const AnswerEvent& event) { return event.kind != AnswerEvent::Kind::call_part; });
  }
  for (AnswerEvent& event : events) {
    const AnswerPiece piece{std::move(event), std::exchange(tokens_, {})};
    if (!say([&] { return job_.writer->piece(piece); })) return false;
    add(piece, answer_);
  }
  return true;
}

bool AnswerRun::take_piece(const Piece& piece) {
  for (const SampledToken& token : piece.tokens) {
    ids_.push_back(token.id);
    if (job_.wants_logprobs) tokens_.push_back(token);
  }
  if (job_.answers != nullptr) text_ += piece.text;
  return hand_on(job_.parser->push(piece.text), false);
}

bool AnswerRun::take_end(Finished finished) {
  is_over_ = true;
  // Both before the client can ask again.
  remember(std::move(finished.ids), std::move(finished.text));
  std::vector<AnswerEvent> rest = job_.parser->finish();
  if (job_.answers != nullptr) {
    events_.insert(events_.end(), rest.begin(), rest.end());
    remember_calls();
  }
  answer_.reason = finished.reason;
  answer_.stop_string = std::move(finished.stop_string);
  answer_.usage.n_sampled = finished.n_sampled;
  if (!hand_on(std::move(rest), true)) return false;
  if (!say([&] { return job_.writer->end(answer_); })) return false;
  std::string what = answer_.reason == FinishReason::length ? "length" : "stop";
  if (const auto& complaint = job_.parser->complaint()) what += "; " + *complaint;
  log(what);
  return true;
}

bool AnswerRun::take(Event event) {
  if (const auto* const admitted = std::get_if<Admitted>(&event)) {
    answer_.usage.n_cached = admitted->n_cached;
    return say([&] { return job_.writer->begin(answer_.usage); });
  }
  if (const auto* const piece = std::get_if<Piece>(&event)) return take_piece(*piece);
  if (auto* const finished = std::get_if<Finished>(&event)) return take_end(std::move(*finished));
  give_up({.status = 503, .message = std::get<Failed>(event).error.message}, "failed");
  return true;
}

tl::expected<Answer, Problem> AnswerRun::run(const std::function<bool()>& has_client,
                                             const std::function<bool(const std::string&)>& write) {
  write_ = write;
  Clock::time_point last_event = Clock::now();
  Clock::time_point last_look = last_event;
  const Problem gone = {.status = kClientGone, .message = "the client is gone"};
  while (!is_over_) {
    const auto patience = std::min(kLook, job_.times.keep_alive);
    std::optional<Event> event = job_.generation->next(Clock::now() + patience);
    const Clock::time_point now = Clock::now();
    if (event) {
      last_event = now;
      if (!take(std::move(*event))) give_up(gone, "cancelled");
    } else if (now - last_event >= job_.times.keep_alive) {
      last_event = now;
      if (!say([&] { return job_.writer->keep_alive(); })) give_up(gone, "cancelled");
    }
    if (is_over_ || now - last_look < kLook) continue;
    last_look = now;
    if (!has_client()) give_up(gone, "cancelled");
    if (is_late(now)) give_up(too_late(), "timed out");
  }
  if (problem_) return tl::unexpected(*problem_);
  return std::move(answer_);
}

}  // namespace

AnswerJob::AnswerJob(std::shared_ptr<Generation> asked, std::unique_ptr<AnswerWriter> written)
    : generation(std::move(asked)), writer(std::move(written)) {}

AnswerJob::~AnswerJob() {
  if (generation != nullptr) generation->cancel();
}

tl::expected<std::string, Problem> whole_answer(AnswerJob job,
                                                const std::function<bool()>& has_client) {
  AnswerRun run(std::move(job));
  auto answer = run.run(has_client, {});
  if (!answer) return tl::unexpected(std::move(answer.error()));
  return run.writer().whole(*answer);
}

void stream_answer(AnswerJob job, HttpStream& stream) {
  AnswerRun run(std::move(job));
  const auto answer = run.run([&] { return stream.has_client(); },
                              [&](const std::string& text) { return stream.write(text); });
  if (!answer && answer.error().status != kClientGone) {
    stream.write(run.writer().failure(answer.error()));
  }
}

}  // namespace varve::server
