#include "tokenizer/pretokenizer.h"

#include <utility>

#include "tokenizer/utf8.h"

namespace varve {
namespace {

struct Span {
  size_t begin = 0;
  size_t end = 0;
};

// Turns the alternation of matches and the text between them into the spans of a behavior.
// `emit(begin, end)` takes the spans and returns false to stop, as the members here do.
template <class Emit>
class Joiner {
 public:
  Joiner(SplitBehavior behavior, Emit emit) : behavior_(behavior), emit_(emit) {}

  bool take(Span span, bool is_match) {
    const bool after_match = std::exchange(after_match_, is_match);
    switch (behavior_) {
      case SplitBehavior::isolated:
        return emit_(span);
      case SplitBehavior::removed:
        return is_match || emit_(span);
      case SplitBehavior::merged_with_previous:
        if (held_ && is_match && !after_match) return extend(span);
        return replace(span);
      case SplitBehavior::merged_with_next:
        if (is_match) return replace(span);
        if (!held_) return emit_(span);
        span.begin = std::exchange(held_, std::nullopt)->begin;
        return emit_(span);
      case SplitBehavior::contiguous:
        if (held_ && is_match == after_match) return extend(span);
        return replace(span);
    }
    return false;
  }

  bool finish() { return !held_ || emit_(*held_); }

 private:
  bool extend(Span span) {
    held_->end = span.end;
    return true;
  }
  bool replace(Span span) {
    const std::optional<Span> before = std::exchange(held_, span);
    return !before || emit_(*before);
  }

  SplitBehavior behavior_;
  Emit emit_;
  std::optional<Span> held_;  // may still grow
  bool after_match_ = false;
};

}  // namespace

void Pretokenizer::end_with_byte_level(bool add_prefix_space, std::optional<Regex> words) {
  first_byte_level_stage_ = stages_.size();
  add_prefix_space_ = add_prefix_space;
  if (words) {
    Split split;
    split.regex = std::move(words);
    add(std::move(split));
  }
}

// One call of split(). A span goes through all stages before the next one is cut, so that nothing
// has to be kept.
struct Pretokenizer::Run {
  const Pretokenizer& stages;
  RegexScratch& scratch;
  WordSink& sink;
  const Regex* failed = nullptr;

  bool span(size_t stage, std::string_view text, bool lasting) {
    if (text.empty()) return true;
    if (stage == stages.first_byte_level_stage_ && stages.add_prefix_space_ &&
        text.front() != ' ') {
      std::string prefixed = " ";
      prefixed.append(text);
      return cut(stage, prefixed, false);
    }
    return cut(stage, text, lasting);
  }

  bool cut(size_t stage, std::string_view text, bool lasting) {
    if (stage == stages.stages_.size()) return sink.word(text, lasting);
    const Split& split = stages.stages_[stage];
    const auto emit = [&](Span s) {
      return span(stage + 1, text.substr(s.begin, s.end - s.begin), lasting);
    };
    Joiner joiner(split.behavior, emit);
    const auto between = [&](size_t begin, size_t end) {
      return begin == end || joiner.take({begin, end}, split.invert);
    };
    size_t done = 0;
    size_t from = 0;
    bool any = false;
    while (from <= text.size()) {
      const Regex::Found found = find(split, text, from);
      if (found.outcome == Regex::Outcome::failed) {
        failed = &*split.regex;
        return false;
      }
      if (found.outcome == Regex::Outcome::no_match) break;
      if (found.begin == found.end && any && found.end == done) {
        // An empty match right after a match is passed over.
        if (from == text.size()) break;
        from += utf8_step(text.substr(from)).n_bytes;
        continue;
      }
      if (!between(done, found.begin)) return false;
      if (!joiner.take({found.begin, found.end}, !split.invert)) return false;
      done = from = found.end;
      any = true;
    }
    return between(done, text.size()) && joiner.finish();
  }

  Regex::Found find(const Split& split, std::string_view text, size_t from) {
    if (split.regex) return split.regex->search(text, from, scratch);
    const size_t at = text.find(split.literal, from);
    if (at == std::string_view::npos) return {Regex::Outcome::no_match, 0, 0};
    return {Regex::Outcome::match, at, at + split.literal.size()};
  }
};

Result<void> Pretokenizer::split(std::string_view text, RegexScratch& scratch,
                                 WordSink& sink) const {
  Run run{*this, scratch, sink};
  run.span(0, text, true);
  if (run.failed != nullptr) return bad_input("{}", run.failed->failure());
  return {};
}

}  // namespace varve
