// Messages as chat formats read them, made from what the APIs' requests say.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/value.h"
#include "server/request_fields.h"
#include "tokenizer/tokenizer.h"

namespace varve::server {

using Entries = std::vector<std::pair<jinja::Value, jinja::Value>>;

/// A dictionary from entries whose keys are texts.
Result<jinja::Value> dictionary(Entries entries);
void add_text(Entries& entries, std::string_view key, std::string text);

/// The text of a `content` field: a string, or an array of parts, joined. `text_types`: the types
/// of parts that are text, with the field that holds it. Missing: empty.
struct TextPart {
  std::string_view type;
  std::string_view field;
};
Result<std::string> content_text(const RequestFields& fields, std::string_view key,
                                 std::initializer_list<TextPart> text_types);
/// The same of a value that stands at `path`.
Result<std::string> text_of_parts(const jinja::Value& content, const std::string& path,
                                  std::initializer_list<TextPart> text_types);

/// {"id", "type": "function", "function": {"name", "arguments"}}.
Result<jinja::Value> tool_call(std::string id, std::string name, jinja::Value arguments);
/// The arguments of a call from their JSON text: an object where it is one, else the text itself,
/// since models that go wrong get it sent back.
jinja::Value tool_arguments(const std::string& json);
/// {"type": "function", "function": {"name", "description", "parameters"}}.
Result<jinja::Value> tool_definition(const RequestFields& tool, std::string_view schema_key);

/// `value` with all of its strings made plain text: no special token can be forged by them.
Result<jinja::Value> as_plain_text(const Tokenizer& tokenizer, const jinja::Value& value);

}  // namespace varve::server
