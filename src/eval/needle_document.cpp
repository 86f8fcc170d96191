#include "eval/needle_document.h"

#include <algorithm>
#include <array>

#include "base/rng.h"

namespace varve {
namespace {

constexpr std::array<std::string_view, 12> kAdjectives = {"amber",  "silver", "golden", "crimson",
                                                          "copper", "ivory",  "violet", "scarlet",
                                                          "hollow", "quiet",  "broken", "ancient"};
constexpr std::array<std::string_view, 12> kNouns = {"falcon", "harbor", "lantern", "river",
                                                     "meadow", "castle", "anchor",  "garden",
                                                     "tower",  "bridge", "forest",  "candle"};

constexpr std::string_view kFiller =
    "The lake lay still under the morning fog. A heron stood in the reeds and did not move. Every "
    "spring the melting snow carried sand and clay down from the hills. The coarse grains sank "
    "first, and the fine ones followed when the ice had closed. So each year left two thin bands "
    "on the floor of the lake, one light and one dark. Nobody counted them while the water was "
    "deep. Later the river changed its course, and the lake ran dry. Grass grew over the old "
    "shore, and sheep grazed where boats had been. One autumn a farmer dug a well and saw the "
    "bands in the wall of the pit. He thought of the rings of a tree and began to count. Some "
    "years were thick with mud from a great flood. Others were so thin that a knife could hardly "
    "part them. He told the teacher of the village, who came with a notebook and a lamp. They "
    "worked until it was too dark to see. In the end they had counted more winters than any book "
    "in the village could remember.";

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

struct Fact {
  std::string name, code;

  std::string up_to_code() const { return "The code of the " + name + " is "; }
  std::string line() const { return up_to_code() + code + ".\n"; }
};

// Codes are two digits, the first of them not 0.
Fact draw_fact(Rng& rng) {
  const std::string_view adjective = kAdjectives[rng.below(kAdjectives.size())];
  const std::string_view noun = kNouns[rng.below(kNouns.size())];
  return {fmt::format("{} {}", adjective, noun), std::to_string(10 + rng.below(90))};
}

// The filler's first n sentences, the fact on a line of its own behind its share of them.
std::string compose(const Haystack& haystack, size_t first_sentence, size_t n, const Fact& fact,
                    int depth_percent) {
  std::string text;
  const size_t n_before = (static_cast<size_t>(depth_percent) * n + 50) / 100;
  for (size_t s = 0; s <= n; ++s) {
    if (s == n_before) {
      if (!text.empty()) text += '\n';
      text += fact.line();
    }
    if (s == n) break;
    if (!text.empty() && text.back() != '\n') text += ' ';
    text += haystack.sentence(first_sentence + s);
  }
  if (text.back() != '\n') text += '\n';
  return text;
}

struct Question {
  std::string text;
  std::vector<int32_t> ids;  // of question and answer
  int n_answer = 0;
};

// The answer is every token that holds a byte of the code: with some tokenizers the space before it
// is part of that token, and must not be given away by the question.
Result<Question> ask(const Tokenizer& tokenizer, const Fact& fact) {
  const std::string up_to_code = fact.up_to_code();
  Question out{.text = up_to_code + fact.code, .ids = {}, .n_answer = 0};
  VARVE_TRY(out.ids, tokenizer.encode(out.text));
  size_t end = 0;  // of the token, in bytes
  for (const int32_t id : out.ids) {
    end += tokenizer.piece(id).size();
    out.n_answer += end > up_to_code.size() ? 1 : 0;
  }
  if (end != out.text.size() || out.n_answer == static_cast<int>(out.ids.size())) {
    return bad_input("the tokenizer: the tokens of '{}' do not spell it byte by byte", out.text);
  }
  return out;
}

// Sentences whose tokens, each sentence by itself, are not fewer than `n_tokens`: near enough what
// they are in a text.
Result<size_t> sentences_for(const Tokenizer& tokenizer, const Haystack& haystack, size_t first,
                             size_t n_tokens) {
  size_t n = 0;
  for (size_t sum = 0; sum < n_tokens; ++n) {
    VARVE_TRY(const std::vector<int32_t> ids, tokenizer.encode(" " + haystack.sentence(first + n)));
    sum += std::max<size_t>(ids.size(), 1);
  }
  return n;
}

}  // namespace

Result<Haystack> Haystack::from_text(std::string_view text, const std::string& name_for_messages) {
  Haystack out;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && text[end] != '\n') {
      ++end;
      const std::string_view marks = ".!?";
      const bool ends = marks.find(text[end - 1]) != std::string_view::npos;
      if (ends && (end == text.size() || is_space(text[end]))) break;
    }
    std::string_view sentence = text.substr(begin, end - begin);
    while (!sentence.empty() && is_space(sentence.front())) sentence.remove_prefix(1);
    while (!sentence.empty() && is_space(sentence.back())) sentence.remove_suffix(1);
    if (!sentence.empty()) out.sentences_.emplace_back(sentence);
    begin = end + (end < text.size() && is_space(text[end]) ? 1 : 0);
  }
  if (out.sentences_.empty()) {
    return bad_input("{}: expected filler text, found no sentence", name_for_messages);
  }
  return out;
}

Haystack Haystack::built_in() {
  return *from_text(kFiller, "built-in filler");
}

Result<NeedleDocument> make_needle_document(const Tokenizer& tokenizer, const Haystack& haystack,
                                            const NeedleDocumentOptions& options) {
  Rng rng(options.seed);
  const Fact fact = draw_fact(rng);
  const size_t first_sentence = rng.below(haystack.n_sentences());
  VARVE_TRY(const Question question, ask(tokenizer, fact));
  const auto length = static_cast<size_t>(options.length);
  VARVE_TRY(size_t n, sentences_for(tokenizer, haystack, first_sentence, length));
  NeedleDocument out{.length = options.length,
                     .depth_percent = options.depth_percent,
                     .seed = options.seed,
                     .name = fact.name,
                     .code = fact.code,
                     .text = {},
                     .ids = {},
                     .n_answer = question.n_answer};
  while (true) {
    out.text = compose(haystack, first_sentence, n, fact, options.depth_percent);
    VARVE_TRY(out.ids, tokenizer.encode(out.text));
    if (options.bos_id >= 0) out.ids.insert(out.ids.begin(), options.bos_id);
    out.ids.insert(out.ids.end(), question.ids.begin(), question.ids.end());
    if (out.ids.size() <= length) break;
    if (n == 0) {
      return usage_error("--lengths {}: a fact and its question alone take {} tokens",
                         options.length, out.ids.size());
    }
    --n;
  }
  out.text += question.text;
  return out;
}

}  // namespace varve
