// Shapes to xgrammar's EBNF. What is regular goes there as one regular expression, which becomes an
// automaton: rules of several alternatives under a repetition take its parser milliseconds a token.
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "formats/json_reader.h"
#include "grammar/code_points.h"
#include "grammar/json_schema.h"
#include "grammar/number_text.h"
#include "grammar/schema_keywords.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

// Above it xgrammar counts repetitions instead of writing them out; then the text between the
// quotes is one class, without escapes, which it does well.
constexpr int64_t kMaxWrittenOut = 128;
// Places that a string takes which is counted: their masks take longer to make.
constexpr int64_t kCountedPositions = 200;
// Items of a bounded array, at most 128 of them written out, that take the memory of one place.
constexpr int64_t kItemsPerPosition = 64;

// All but plain_in_json().
constexpr std::string_view kNotPlain = R"(\u0000-\u001f\u0022\\\u07ff\ud800-\udfff\uffff)";

// A text as the grammar quotes it.
std::string grammar_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(byte));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string regex_rule(const std::string& regex) {
  return "Regex(" + grammar_text(regex) + ")";
}

// An expression that matches the text alone, which is UTF-8.
std::string literal_regex(std::string_view text) {
  std::string regex;
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    regex += regex_character(step.code_point);
    text.remove_prefix(step.n_bytes);
  }
  return regex;
}

// A text as JSON spells it, with its quotes.
std::string json_string(const std::string& text) {
  return SchemaJson(text).dump();
}

// White space is what models write: none, a space, or a new line and its indentation. `key` and
// `tail` are strings whose spelling is unique.
constexpr std::string_view kRules = R"x(
string ::= "\"" tail
tail ::= "\"" | [^\u0000-\u001f\u0022\\\u07ff\ud800-\udfff\uffff] tail | "\\" escape tail
escape ::= [\u0022\\/bfnrt] | "u" ([0-9a-cA-CeEfF] [0-9a-fA-F] | [dD] [0-7]) [0-9a-fA-F] [0-9a-fA-F]
space ::= "" | " " | "\n" indent
indent ::= Regex("\\x20{0,32}")
colon ::= ":" | ": "
)x";
constexpr std::string_view kAnyRules = R"x(
any ::= string | number | object | array | "true" | "false" | "null"
object ::= "{" space "}" | "{" space member more_members space "}"
more_members ::= "" | "," space member more_members
member ::= string colon any
array ::= "[" space "]" | "[" space any more_items space "]"
more_items ::= "" | "," space any more_items
)x";

std::string any_rules() {
  return std::string(kAnyRules) + "number ::= " + regex_rule(**number_regex({})) + "\n";
}

// Which shapes have a value that ends.
class EndingShapes {
 public:
  explicit EndingShapes(const JsonSchema& schema)
      : schema_(schema), ends_(schema.shapes.size(), 0) {
    bool changes = true;
    while (changes) {
      changes = false;
      // What refers to others mostly stands before them.
      for (size_t i = ends_.size(); i-- > 0;) {
        if (ends_[i] != 0 ||
            !std::visit([&](const auto& what) { return ends(what); }, schema_.shapes[i].what)) {
          continue;
        }
        ends_[i] = 1;
        changes = true;
      }
    }
  }

  bool operator[](ShapeId id) const { return ends_[static_cast<size_t>(id)] != 0; }
  /// How many items an array can have, as far as its prefix decides.
  bool has(const ArrayShape& array, int64_t n_items) const {
    const auto n_prefix = static_cast<int64_t>(array.prefix.size());
    for (int64_t i = 0; i < std::min(n_items, n_prefix); ++i) {
      if (!(*this)[array.prefix[static_cast<size_t>(i)]]) return false;
    }
    return n_items <= n_prefix || (array.items && (*this)[*array.items]);
  }

 private:
  bool ends(const AnyShape&) const { return true; }
  bool ends(const LiteralShape&) const { return true; }
  bool ends(const RegexShape&) const { return true; }
  bool ends(const StringShape&) const { return true; }
  bool ends(const ArrayShape& array) const { return has(array, array.min); }
  bool ends(const ObjectShape& object) const {
    return std::all_of(object.properties.begin(), object.properties.end(),
                       [&](const auto& one) { return !one.is_required || (*this)[one.value]; });
  }
  bool ends(const EitherShape& either) const {
    return std::any_of(either.options.begin(), either.options.end(),
                       [&](ShapeId id) { return (*this)[id]; });
  }

  const JsonSchema& schema_;
  std::vector<char> ends_;
};

// Error: references that lead back to themselves with nothing in between.
Result<void> refuse_circles(const JsonSchema& schema) {
  const size_t n = schema.shapes.size();
  std::vector<int> n_users(n, 0);
  const auto options_of = [&](size_t i) -> std::vector<ShapeId> {
    const auto* const either = std::get_if<EitherShape>(&schema.shapes[i].what);
    return either == nullptr ? std::vector<ShapeId>() : either->options;
  };
  for (size_t i = 0; i < n; ++i) {
    for (const ShapeId id : options_of(i)) ++n_users[static_cast<size_t>(id)];
  }
  std::vector<size_t> unused;
  for (size_t i = 0; i < n; ++i) {
    if (n_users[i] == 0) unused.push_back(i);
  }
  while (!unused.empty()) {
    const size_t i = unused.back();
    unused.pop_back();
    for (const ShapeId id : options_of(i)) {
      if (--n_users[static_cast<size_t>(id)] == 0) unused.push_back(static_cast<size_t>(id));
    }
  }
  for (size_t i = 0; i < n; ++i) {
    if (n_users[i] == 0) continue;
    return schema_error(schema.shapes[i].path,
                        "it refers to itself without an object or an array in between");
  }
  return {};
}

class GrammarWriter {
 public:
  explicit GrammarWriter(const JsonSchema& schema) : schema_(schema), ends_(schema) {}

  Result<std::string> write();

 private:
  // The body of a shape's rule; other rules that it needs are added.
  std::string body(ShapeId, const AnyShape&) {
    uses_any_ = true;
    return "any";
  }
  std::string body(ShapeId, const LiteralShape& literals);
  std::string body(ShapeId, const RegexShape& regex);
  std::string body(ShapeId, const StringShape& string);
  std::string body(ShapeId id, const ArrayShape& array);
  std::string body(ShapeId id, const ObjectShape& object);
  std::string body(ShapeId id, const EitherShape& either);

  Result<void> check_size() const;
  const Shape& shape(ShapeId id) const { return schema_.shapes[static_cast<size_t>(id)]; }
  ShapeId meant(ShapeId id) const;
  /// The rule of a shape, to be written too: of what it means.
  std::string rule_of(ShapeId id) {
    id = meant(id);
    if (asked_.insert(id).second) waiting_.push_back(id);
    return fmt::format("n{}", id);
  }
  void add_rule(const std::string& name, const std::string& rule) {
    rules_ += name;
    rules_ += " ::= ";
    rules_ += rule;
    rules_ += '\n';
  }
  std::string shared_rule(const std::string& text, int64_t n_positions);
  std::string more_items(const ArrayShape& array);
  std::string property(const ObjectShape::Property& property) {
    return grammar_text(json_string(property.name)) + " colon " + rule_of(property.value);
  }
  std::string other_keys(ShapeId id, const ObjectShape& object);
  using Properties = std::vector<const ObjectShape::Property*>;
  using RuleNames = std::function<std::string(size_t)>;
  std::string first_members(const Properties& properties, const std::string& other,
                            const RuleNames& rest);

  const JsonSchema& schema_;
  EndingShapes ends_;
  std::string rules_;
  std::set<ShapeId> asked_;
  std::vector<ShapeId> waiting_;
  std::map<std::string, std::string> shared_;  // rules that several shapes may have, by their text
  int64_t n_positions_ = 0;
  bool uses_any_ = false;
  bool uses_keys_ = false;
  size_t n_options_ = 0;
  size_t n_optional_ = 0;
  size_t n_literals_ = 0;
  std::optional<ShapeId> crowded_;  // an object with too many properties that may be left out
};

// As an expression: rules of texts alone are copied into each rule that begins with them, and those
// into others again.
std::string GrammarWriter::body(ShapeId, const LiteralShape& literals) {
  n_literals_ += literals.texts.size();
  std::string all;
  for (const std::string& text : literals.texts) {
    if (!all.empty()) all += '|';
    all += literal_regex(text);
  }
  return shared_rule(regex_rule("(?:" + all + ")"), 0);
}

std::string GrammarWriter::shared_rule(const std::string& text, int64_t n_positions) {
  const auto [found, is_new] = shared_.try_emplace(text, fmt::format("s{}", shared_.size()));
  if (is_new) {
    n_positions_ += n_positions;
    add_rule(found->second, text);
  }
  return found->second;
}

std::string GrammarWriter::body(ShapeId, const RegexShape& regex) {
  return shared_rule(regex_rule(regex.regex), regex.n_positions);
}

std::string GrammarWriter::body(ShapeId, const StringShape& string) {
  if (string.min == 0 && !string.max) return "string";
  const int64_t most = string.max.value_or(string.min);
  std::string text;
  if (string.max == 0) {
    text = regex_rule(literal_regex("\"\""));
  } else if (most <= kMaxWrittenOut) {
    const std::string times = fmt::format("{{{},{}}}", string.min, most);
    text = "\"\\\"\" " + regex_rule(any_json_character() + times) +
           (string.max ? " \"\\\"\"" : " tail");
  } else {
    const std::string times =
        string.max ? fmt::format("{{{},{}}}", string.min, most) : fmt::format("{{{}}}", most);
    text = fmt::format("\"\\\"\" [^{}]{}", kNotPlain, times) + (string.max ? " \"\\\"\"" : " tail");
  }
  return shared_rule(text, most <= kMaxWrittenOut ? most : kCountedPositions);
}

// Behind the first item of an array whose items are all alike.
std::string GrammarWriter::more_items(const ArrayShape& array) {
  const auto n_prefix = std::max<int64_t>(1, static_cast<int64_t>(array.prefix.size()));
  const int64_t least = std::max<int64_t>(0, array.min - n_prefix);
  const bool has_more =
      array.items && ends_[*array.items] && !(array.max && *array.max <= n_prefix);
  if (!has_more) return "\"\"";
  const int64_t n_bounded = std::max(least, array.max ? *array.max - n_prefix : 0);
  n_positions_ += (std::min(n_bounded, kMaxWrittenOut) + kItemsPerPosition - 1) / kItemsPerPosition;
  const std::string most = array.max ? std::to_string(*array.max - n_prefix) : "";
  return fmt::format("(\",\" space {}){{{},{}}}", rule_of(*array.items), least, most);
}

std::string GrammarWriter::body(ShapeId id, const ArrayShape& array) {
  std::vector<ShapeId> first = array.prefix;
  const bool repeats = array.items && ends_[*array.items];
  if (first.empty() && repeats) first.push_back(*array.items);
  if (array.max && *array.max < static_cast<int64_t>(first.size())) {
    first.resize(static_cast<size_t>(*array.max));
  }
  // What can never be there ends the array before it.
  const auto never =
      std::find_if(first.begin(), first.end(), [&](ShapeId one) { return !ends_[one]; });
  const bool is_whole =
      never == first.end() && first.size() >= std::max<size_t>(1, array.prefix.size());
  first.erase(never, first.end());
  std::string all;
  if (array.min == 0) all = "\"[\" space \"]\"";
  if (first.empty()) return all;
  // From the end: what may stand behind the items before.
  std::string rest = is_whole ? more_items(array) : "\"\"";
  for (size_t i = first.size(); i-- > 1;) {
    const std::string name = fmt::format("n{}-{}", id, i);
    const bool may_end = static_cast<int64_t>(i) >= array.min;
    add_rule(name, (may_end ? "\"\" | " : "") +
                       fmt::format("\",\" space {} {}", rule_of(first[i]), rest));
    rest = name;
  }
  if (!all.empty()) all += " | ";
  return all + fmt::format("\"[\" space {} {} space \"]\"", rule_of(first.front()), rest);
}

// A key that is none of the properties: their letters as a tree, and at each of its places the
// characters that leave it.
std::string GrammarWriter::other_keys(ShapeId id, const ObjectShape& object) {
  uses_keys_ = true;
  struct Node {
    std::map<uint32_t, size_t> next;
    bool is_name = false;
  };
  std::vector<Node> tree(1);
  for (const ObjectShape::Property& property : object.properties) {
    size_t at = 0;
    for (std::string_view rest = property.name; !rest.empty();) {
      const Utf8Step step = utf8_step(rest);
      rest.remove_prefix(step.n_bytes);
      const auto [found, is_new] = tree[at].next.try_emplace(step.code_point, tree.size());
      at = found->second;
      if (is_new) tree.emplace_back();
    }
    tree[at].is_name = true;
  }
  const std::string name = fmt::format("k{}", id);
  for (size_t i = 0; i < tree.size(); ++i) {
    std::string alternatives = tree[i].is_name ? "" : "\"\\\"\" | ";
    std::string others = fmt::format("[^{}", kNotPlain);
    for (const auto& [code_point, next] : tree[i].next) {
      // A name that needs escapes is written by no other key.
      if (!plain_in_json().has(code_point)) continue;
      others += fmt::format("\\U{:08x}", code_point);
      std::string letter;
      append_utf8(code_point, letter);
      alternatives += fmt::format("{} {}-{} | ", grammar_text(letter), name, next);
    }
    add_rule(fmt::format("{}-{}", name, i), alternatives + others + "] key_tail");
    ++n_positions_;
  }
  return "\"\\\"\" " + name + "-0";
}

// `rest` names what may follow when something is written and the property of that index is next.
std::string GrammarWriter::first_members(const Properties& properties, const std::string& other,
                                         const RuleNames& rest) {
  std::string all;
  for (size_t i = 0; i < properties.size(); ++i) {
    all += fmt::format("{}{} {}", i > 0 ? " | " : "", property(*properties[i]), rest(i + 1));
    if (properties[i]->is_required) return all;
  }
  if (other.empty()) return all;
  return fmt::format("{}{}{} {}", all, all.empty() ? "" : " | ", other, rest(properties.size()));
}

std::string GrammarWriter::body(ShapeId id, const ObjectShape& object) {
  Properties properties;
  for (const ObjectShape::Property& one : object.properties) {
    if (ends_[one.value]) properties.push_back(&one);
  }
  const auto n_optional = static_cast<size_t>(std::count_if(
      properties.begin(), properties.end(), [](const auto* one) { return !one->is_required; }));
  if (n_optional > kMaxOptionalProperties) crowded_ = id;
  n_optional_ += n_optional;
  const size_t n = properties.size();
  const RuleNames rest = [&](size_t i) { return fmt::format("n{}-{}", id, i); };
  std::string other;
  if (object.others && ends_[*object.others]) {
    const std::string key = object.properties.empty() ? "string" : other_keys(id, object);
    other = fmt::format("{} colon {}", key, rule_of(*object.others));
  }
  add_rule(rest(n),
           other.empty() ? "\"\"" : fmt::format("\"\" | \",\" space {} {}", other, rest(n)));
  for (size_t i = 1; i < n; ++i) {
    const std::string skipped = properties[i]->is_required ? "" : rest(i + 1) + " | ";
    add_rule(rest(i),
             fmt::format("{}\",\" space {} {}", skipped, property(*properties[i]), rest(i + 1)));
  }
  const std::string empty = n_optional == n ? "\"{\" space \"}\"" : "";
  const std::string first = first_members(properties, other, rest);
  if (first.empty()) return empty;
  const std::string name = fmt::format("n{}-first", id);
  add_rule(name, first);
  return fmt::format("{}{}\"{{\" space {} space \"}}\"", empty, empty.empty() ? "" : " | ", name);
}

// What an option is, behind those that are another one alone.
ShapeId GrammarWriter::meant(ShapeId id) const {
  const auto* either = std::get_if<EitherShape>(&shape(id).what);
  while (either != nullptr && either->options.size() == 1) {
    id = either->options.front();
    either = std::get_if<EitherShape>(&shape(id).what);
  }
  return id;
}

std::string GrammarWriter::body(ShapeId id, const EitherShape& either) {
  std::set<ShapeId> seen;
  std::string all;
  for (const ShapeId option : either.options) {
    const ShapeId one = meant(option);
    if (!ends_[one] || !seen.insert(one).second) continue;
    // With it, the others add nothing.
    if (const auto* const any = std::get_if<AnyShape>(&shape(one).what)) return body(id, *any);
    all += (all.empty() ? "" : " | ") + rule_of(one);
  }
  if (seen.size() > 1) n_options_ += seen.size();
  return all;
}

Result<void> GrammarWriter::check_size() const {
  const auto n_of_text = static_cast<int64_t>(rules_.size() / kGrammarBytesPerPosition);
  if (n_positions_ + n_of_text > kMaxGrammarPositions) {
    return schema_error("#",
                        "it is too large: lengths, patterns, bounds, names and values make more "
                        "than {} places",
                        kMaxGrammarPositions);
  }
  if (n_options_ > kMaxOptions) {
    return schema_error("#", "expected at most {} options in all its `anyOf` and `oneOf`",
                        kMaxOptions);
  }
  if (n_literals_ > kMaxLiterals) {
    return schema_error("#", "expected at most {} values in all its `enum` and `const`",
                        kMaxLiterals);
  }
  if (n_optional_ > kMaxOptionalInAll) {
    return schema_error("#", "expected at most {} properties that are not required in all",
                        kMaxOptionalInAll);
  }
  if (crowded_) {
    return schema_error(shape(*crowded_).path,
                        "expected at most {} properties that are not required",
                        kMaxOptionalProperties);
  }
  return {};
}

Result<std::string> GrammarWriter::write() {
  if (!ends_[0]) return schema_error("#", "no value that ends fits");
  VARVE_CHECKED(refuse_circles(schema_));
  add_rule("root", rule_of(0));
  while (!waiting_.empty()) {
    const ShapeId id = waiting_.back();
    waiting_.pop_back();
    const std::string rule =
        std::visit([&](const auto& what) { return body(id, what); }, shape(id).what);
    add_rule(fmt::format("n{}", id), rule);
    VARVE_CHECKED(check_size());
  }
  rules_ += kRules;
  if (uses_keys_) {
    add_rule("key_tail", fmt::format("\"\\\"\" | [^{}] key_tail", kNotPlain));
  }
  if (uses_any_) rules_ += any_rules();
  return std::move(rules_);
}

}  // namespace

Result<std::string> grammar_of_schema(const JsonSchema& schema) {
  return GrammarWriter(schema).write();
}

std::string grammar_of_any_object() {
  return "root ::= object\n" + std::string(kRules) + any_rules();
}

}  // namespace varve
