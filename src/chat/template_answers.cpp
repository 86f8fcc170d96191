#include "chat/template_answers.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "chat/said_turn.h"

namespace varve {
namespace {

using RawAnswers = std::map<size_t, RawAnswer>;
using Parts = std::vector<std::string_view>;

// Of an answer that a template has no place for: then the others are tried without it.
constexpr int kMaxTries = 3;
// A noncharacter, as that of Tokenizer::as_plain_text: texts do not have it.
constexpr std::string_view kPlaceMark = "\xEF\xB7\x91";

std::string place_of(size_t i) {
  return fmt::format("{}{}{}", kPlaceMark, i, kPlaceMark);
}

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++n;
  return n;
}

// What stands around the places of answers; nothing where they are not all there, in order, once.
std::optional<Parts> around_places(std::string_view text, const RawAnswers& answers) {
  if (count(text, kPlaceMark) != 2 * answers.size()) return std::nullopt;
  Parts parts;
  for (const auto& entry : answers) {
    const std::string place = place_of(entry.first);
    const size_t at = text.find(place);
    if (at == text.npos) return std::nullopt;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + place.size());
  }
  parts.push_back(text);
  return parts;
}

// What stands between `parts`, all of which the text has to have: at its ends and in order.
std::optional<Parts> between(std::string_view text, const Parts& parts) {
  if (!text.starts_with(parts.front())) return std::nullopt;
  text.remove_prefix(parts.front().size());
  if (!text.ends_with(parts.back())) return std::nullopt;
  text.remove_suffix(parts.back().size());
  Parts bodies;
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    const size_t at = text.find(parts[i]);
    if (at == text.npos) return std::nullopt;
    bodies.push_back(text.substr(0, at));
    text.remove_prefix(at + parts[i].size());
  }
  bodies.push_back(text);
  return bodies;
}

// Whether a model that writes `body` says what `turn` does. Markers need not have been special
// tokens, and a template may have opened the reasoning.
bool says(std::string_view body, const SaidTurn& turn, AnswerSyntax syntax) {
  const bool may_think = syntax.reasoning != AnswerSyntax::Reasoning::none;
  for (const std::string& text : {std::string(body), without_marks(body)}) {
    for (const bool opened : {false, true}) {
      if (opened && !may_think) continue;
      if (may_think) {
        syntax.reasoning =
            opened ? AnswerSyntax::Reasoning::open : AnswerSyntax::Reasoning::optional;
      }
      const auto parser = make_answer_parser(syntax);
      std::vector<AnswerEvent> events = parser->push(text);
      for (AnswerEvent& event : parser->finish()) events.push_back(std::move(event));
      if (said_turn(answer_message(events)).has_words_of(turn)) return true;
    }
  }
  return false;
}

class Substitution {
 public:
  Substitution(const ChatRequest& request, std::string_view as_sent, const AnswerSyntax& syntax,
               const RenderMessages& render)
      : request_(request), as_sent_(as_sent), syntax_(syntax), render_(render) {
    for (const auto& [i, raw] : request.raw_answers) {
      if (i < request.messages.size()) answers_[i] = raw;
    }
  }

  /// The text; nothing where it is not to be had.
  std::optional<std::string> run();

 private:
  std::optional<std::string> rendered(bool has_places) const;
  /// Of the answers whose bodies say something else than their messages, the first.
  std::optional<size_t> changed(const Parts& sent, const Parts& raw) const;

  const ChatRequest& request_;
  std::string_view as_sent_;
  const AnswerSyntax& syntax_;
  const RenderMessages& render_;
  RawAnswers answers_;
};

std::optional<std::string> Substitution::rendered(bool has_places) const {
  std::vector<jinja::Value> messages = request_.messages;
  for (const auto& [i, raw] : answers_) {
    messages[i] = chat_message("assistant", has_places ? place_of(i) : raw.text);
  }
  Result<std::string> text = render_(std::move(messages));
  return text ? std::optional(std::move(*text)) : std::nullopt;
}

std::optional<size_t> Substitution::changed(const Parts& sent, const Parts& raw) const {
  size_t k = 0;
  for (const auto& entry : answers_) {
    const SaidTurn turn = said_turn(request_.messages[entry.first]);
    if (!says(sent[k], turn, syntax_) || !says(raw[k], turn, syntax_)) return entry.first;
    ++k;
  }
  return std::nullopt;
}

std::optional<std::string> Substitution::run() {
  for (int n = 0; n < kMaxTries && !answers_.empty(); ++n) {
    const std::optional<std::string> places = rendered(true);
    if (!places) return std::nullopt;
    const std::optional<Parts> around = around_places(*places, answers_);
    if (!around) return std::nullopt;
    const std::optional<Parts> sent = between(as_sent_, *around);
    if (!sent) return std::nullopt;
    std::optional<std::string> text = rendered(false);
    if (!text) return std::nullopt;
    const std::optional<Parts> raw = between(*text, *around);
    if (!raw) return std::nullopt;
    const std::optional<size_t> unfit = changed(*sent, *raw);
    if (!unfit) return text;
    answers_.erase(*unfit);
  }
  return std::nullopt;
}

}  // namespace

std::string with_raw_answers(const ChatRequest& request, std::string as_sent, AnswerSyntax syntax,
                             const RenderMessages& render) {
  std::optional<std::string> text = Substitution(request, as_sent, syntax, render).run();
  return text ? *std::move(text) : std::move(as_sent);
}

}  // namespace varve
