#include "chat/said_turn.h"

#include <cmath>
#include <optional>
#include <utility>

#include "chat/jinja/json.h"
#include "chat/jinja/text.h"
#include "tokenizer/tokenizer.h"

namespace varve {
namespace {

using jinja::Value;

std::string trimmed(const Value* value) {
  if (value == nullptr || value->text() == nullptr) return {};
  const std::string text = without_marks(*value->text());
  return std::string(jinja::strip(text, std::nullopt, jinja::Side::both));
}

// JavaScript knows no difference between 1 and 1.0.
Result<Value> in_one_spelling(const Value& value) {
  if (const double* const real = value.as<double>()) {
    constexpr double kExact = 9007199254740992.0;  // 2^53
    const bool is_integer = std::abs(*real) <= kExact && std::trunc(*real) == *real;
    return is_integer ? Value(static_cast<int64_t>(*real)) : value;
  }
  if (const jinja::List* const list = value.list()) {
    std::vector<Value> items;
    for (const Value& item : list->items) {
      VARVE_TRY(Value one, in_one_spelling(item));
      items.push_back(std::move(one));
    }
    return jinja::make_list(std::move(items));
  }
  if (const jinja::Dict* const dict = value.dict()) {
    std::vector<std::pair<Value, Value>> entries;
    for (const auto& [key, item] : dict->entries) {
      VARVE_TRY(Value one, in_one_spelling(item));
      entries.emplace_back(key, std::move(one));
    }
    return jinja::make_dict(std::move(entries));
  }
  return value;
}

// JSON with keys in order; arguments may be JSON already, or a text that should have been.
std::optional<std::string> arguments_text(const Value& arguments) {
  Value value = arguments;
  if (value.text() != nullptr) {
    const std::string text = without_marks(*value.text());
    Result<Value> parsed = jinja::from_json(text, "arguments");
    value = parsed ? std::move(*parsed) : Value::text(text);
  }
  const Result<Value> spelt = in_one_spelling(value);
  if (!spelt) return std::nullopt;
  jinja::Budget budget((jinja::Limits()));
  jinja::JsonStyle style;
  style.sort_keys = true;
  const Result<std::string> json = jinja::to_json(*spelt, style, budget);
  return json ? std::optional(without_marks(*json)) : std::nullopt;
}

const Value* field(const Value& value, std::string_view name) {
  return value.dict() == nullptr ? nullptr : value.dict()->find(name);
}

}  // namespace

std::string without_marks(std::string_view text) {
  std::string out;
  while (true) {
    const size_t mark = text.find(kPlainTextMark);
    out += text.substr(0, mark);
    if (mark == text.npos) return out;
    text.remove_prefix(mark + kPlainTextMark.size());
  }
}

size_t SaidTurn::n_bytes() const {
  size_t n = calls.size() + content.size() + reasoning.size();
  for (const std::string& id : ids) n += id.size() + sizeof(std::string);
  return n;
}

SaidTurn said_turn(const Value& message) {
  const Value* const role = field(message, "role");
  const Value* const calls = field(message, "tool_calls");
  if (role == nullptr || role->text() == nullptr || *role->text() != "assistant") return {};
  if (calls == nullptr || calls->list() == nullptr) return {};
  SaidTurn turn;
  for (const Value& call : calls->list()->items) {
    const Value* const id = field(call, "id");
    const Value* const function = field(call, "function");
    if (id == nullptr || id->text() == nullptr || id->text()->empty()) return {};
    if (function == nullptr || field(*function, "arguments") == nullptr) return {};
    const std::optional<std::string> arguments = arguments_text(*field(*function, "arguments"));
    if (!arguments) return {};
    turn.ids.push_back(*id->text());
    turn.calls += trimmed(field(*function, "name"));
    turn.calls += '\n';
    turn.calls += *arguments;
    turn.calls += '\n';
  }
  turn.content = trimmed(field(message, "content"));
  turn.reasoning = trimmed(field(message, "reasoning_content"));
  return turn;
}

}  // namespace varve
