#include "server/chat_messages.h"

#include <algorithm>

#include "chat/jinja/json.h"

namespace varve::server {

using jinja::Value;

Result<Value> dictionary(Entries entries) {
  return jinja::make_dict(std::move(entries));
}

void add_text(Entries& entries, std::string_view key, std::string text) {
  entries.emplace_back(Value::text(std::string(key)), Value::text(std::move(text)));
}

Result<std::string> text_of_parts(const Value& content, const std::string& path,
                                  std::initializer_list<TextPart> text_types) {
  if (content.is_none()) return std::string();
  if (content.text() != nullptr) return *content.text();
  if (content.list() == nullptr) return wrong_value(path, "a string or an array of parts", content);
  std::string text;
  const std::vector<Value>& items = content.list()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    VARVE_TRY(const RequestFields part,
              RequestFields::of_value(items[i], fmt::format("{}[{}]", path, i)));
    VARVE_TRY(const std::string type, part.string("type"));
    const auto* const known = std::find_if(text_types.begin(), text_types.end(),
                                           [&](const TextPart& one) { return one.type == type; });
    if (known == text_types.end()) return part.wrong("type", "text: nothing else is supported");
    VARVE_TRY(const std::string piece, part.string(known->field));
    if (!text.empty() && !piece.empty()) text += '\n';
    text += piece;
  }
  return text;
}

Result<std::string> content_text(const RequestFields& fields, std::string_view key,
                                 std::initializer_list<TextPart> text_types) {
  const Value* const content = fields.find(key);
  if (content == nullptr) return std::string();
  return text_of_parts(*content, fields.path(key), text_types);
}

Result<Value> tool_call(std::string id, std::string name, Value arguments) {
  Entries function;
  add_text(function, "name", std::move(name));
  function.emplace_back(Value::text("arguments"), std::move(arguments));
  VARVE_TRY(Value inner, dictionary(std::move(function)));
  Entries call;
  add_text(call, "id", std::move(id));
  add_text(call, "type", "function");
  call.emplace_back(Value::text("function"), std::move(inner));
  return dictionary(std::move(call));
}

Value tool_arguments(const std::string& json) {
  Result<Value> parsed = jinja::from_json(json, "arguments");
  return parsed && parsed->dict() != nullptr ? std::move(*parsed) : Value::text(json);
}

Result<Value> tool_definition(const RequestFields& tool, std::string_view schema_key) {
  VARVE_TRY(const std::string name, tool.string("name"));
  Entries function;
  add_text(function, "name", name);
  if (tool.has("description")) {
    VARVE_TRY(std::string description, tool.string("description"));
    add_text(function, "description", std::move(description));
  }
  Value parameters;
  if (tool.has(schema_key)) {
    VARVE_TRY(const RequestFields schema, tool.object(schema_key));
    parameters = schema.value();
  } else {
    Entries none;
    add_text(none, "type", "object");
    VARVE_TRY(Value no_properties, dictionary({}));
    none.emplace_back(Value::text("properties"), std::move(no_properties));
    VARVE_TRY(parameters, dictionary(std::move(none)));
  }
  function.emplace_back(Value::text("parameters"), std::move(parameters));
  if (tool.has("strict")) {
    VARVE_TRY(const bool is_strict, tool.boolean_or("strict", false));
    if (is_strict) function.emplace_back(Value::text("strict"), Value(true));
  }
  VARVE_TRY(Value inner, dictionary(std::move(function)));
  Entries definition;
  add_text(definition, "type", "function");
  definition.emplace_back(Value::text("function"), std::move(inner));
  return dictionary(std::move(definition));
}

Result<Value> as_plain_text(const Tokenizer& tokenizer, const Value& value) {
  if (const std::string* const text = value.text()) {
    return Value::text(tokenizer.as_plain_text(*text));
  }
  if (const jinja::List* const list = value.list()) {
    std::vector<Value> items;
    for (const Value& item : list->items) {
      VARVE_TRY(Value plain, as_plain_text(tokenizer, item));
      items.push_back(std::move(plain));
    }
    return jinja::make_list(std::move(items));
  }
  if (const jinja::Dict* const dict = value.dict()) {
    Entries entries;
    for (const auto& [key, item] : dict->entries) {
      VARVE_TRY(Value plain_key, as_plain_text(tokenizer, key));
      VARVE_TRY(Value plain, as_plain_text(tokenizer, item));
      entries.emplace_back(std::move(plain_key), std::move(plain));
    }
    return dictionary(std::move(entries));
  }
  return value;
}

}  // namespace varve::server
