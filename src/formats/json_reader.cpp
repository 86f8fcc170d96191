#include "formats/json_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/mapped_file.h"
#include "formats/json_text.h"

namespace varve {

using nlohmann::json;

struct JsonObject::Document {
  std::string file;
  json root;
  FieldNames names;
};

namespace {

// Leaves the parser of nlohmann::json at once; it does not leave JsonObject::parse.
struct TooDeep : std::exception {};

// What a message shows of a value.
std::string show(const json& value) {
  switch (value.type()) {
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return fmt::format("an array of {}", value.size());
    case json::value_t::string:
      return in_quotes(value.get_ref<const std::string&>());
    default:
      return value.dump();
  }
}

// The integer that a value spells, whatever its range.
std::optional<int64_t> as_integer(const json& value) {
  if (value.is_number_unsigned()) {
    const auto n = value.get<uint64_t>();
    if (n > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<int64_t>(n);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double n = value.get<double>();
    if (std::abs(n) <= 9007199254740992.0 && n == std::floor(n)) return static_cast<int64_t>(n);
  }
  return std::nullopt;
}

std::string name_of(FloatRange range) {
  const FloatRange any;
  const std::string_view least = range.above_min ? "above" : "of at least";
  if (range.max < any.max) {
    return fmt::format("a number {} {} and at most {}", least, range.min, range.max);
  }
  if (range.min > any.min) return fmt::format("a number {} {}", least, range.min);
  return "a number";
}

bool in_range(int64_t n, IntRange range) {
  return n >= range.min && n <= range.max;
}

bool in_range(double n, FloatRange range) {
  return n >= range.min && n <= range.max && !(range.above_min && n == range.min);
}

}  // namespace

std::string name_of(IntRange range) {
  if (range.min == 1 && range.max == INT32_MAX) return "a positive integer of 32 bits";
  if (range.min == 1 && range.max == INT64_MAX) return "a positive integer";
  return fmt::format("an integer from {} to {}", range.min, range.max);
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kShownBytes = 60;
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // A cut never falls inside a UTF-8 sequence.
    if (i >= kShownBytes && (byte & 0xc0) != 0x80) return out + "...\"";
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[i];
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += text[i];
    }
    if (i >= kShownBytes + 4) return out + "...\"";
  }
  return out + '"';
}

std::string json_problem(const std::exception& error, size_t at_byte) {
  // nlohmann's sentence is "[json.exception.parse_error.101] parse error at line 1, column 2:
  // syntax error while parsing value - invalid literal; last read: 'x'": the middle is kept, for
  // what was read last can be any bytes of any length.
  std::string_view what = error.what();
  if (const size_t colon = what.find(": "); colon != what.npos) what.remove_prefix(colon + 2);
  what = what.substr(0, what.find("; last read"));
  std::string clean;
  for (const char c : what.substr(0, 120)) clean += c >= 0x20 && c < 0x7f ? c : '?';
  return fmt::format("not JSON at byte {}: {}", at_byte, clean);
}

Result<JsonObject> JsonObject::parse(std::string_view text, const std::string& file,
                                     FieldNames names) {
  if (text.size() > kMaxJsonBytes) {
    return bad_input("{}: expected at most {} bytes of JSON, found {}", file, kMaxJsonBytes,
                     text.size());
  }
  auto document = std::make_shared<Document>();
  document->file = file;
  document->names = std::move(names);
  const auto watch = [](int depth, json::parse_event_t event, json&) {
    const bool opens =
        event == json::parse_event_t::object_start || event == json::parse_event_t::array_start;
    if (opens && depth >= kMaxJsonDepth) throw TooDeep();
    return true;
  };
  try {
    document->root = json::parse(text.begin(), text.end(), watch);
  } catch (const TooDeep&) {
    return bad_input("{}: expected JSON nested at most {} deep, found deeper", file, kMaxJsonDepth);
  } catch (const json::parse_error& error) {
    return bad_input("{}: {}", file, json_problem(error, error.byte));
  } catch (const json::exception& error) {
    return bad_input("{}: {}", file, json_problem(error, text.size()));
  } catch (const std::exception& error) {
    return fail(ErrorKind::internal, "{}: cannot parse it: {}", file, error.what());
  }
  if (!document->root.is_object()) {
    return bad_input("{}: expected a JSON object, found {}", file, show(document->root));
  }
  const json* const root = &document->root;
  return JsonObject(std::move(document), root, "");
}

Result<JsonObject> JsonObject::read(const std::string& path) {
  VARVE_TRY(const std::string text, read_text_file(path, kMaxJsonBytes));
  return parse(text, path);
}

const std::string& JsonObject::file() const {
  return document_->file;
}

const json* JsonObject::get(std::string_view key) const {
  const auto found = at_->find(key);
  return found == at_->end() || found->is_null() ? nullptr : &*found;
}

bool JsonObject::has(std::string_view key) const {
  return get(key) != nullptr;
}

bool JsonObject::is_null(std::string_view key) const {
  const auto found = at_->find(key);
  return found != at_->end() && found->is_null();
}

std::vector<std::string> JsonObject::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : at_->items()) {
    if (!value.is_null()) keys.push_back(key);
  }
  return keys;
}

bool JsonObject::is_object(std::string_view key) const {
  const json* const value = get(key);
  return value != nullptr && value->is_object();
}

bool JsonObject::is_array(std::string_view key) const {
  const json* const value = get(key);
  return value != nullptr && value->is_array();
}

std::string JsonObject::path(std::string_view key) const {
  // Keys come from files too (weight maps): they are shown like any other text.
  const std::string shown_key = in_quotes(key);
  std::string path = prefix_ + shown_key.substr(1, shown_key.size() - 2);
  const auto named = document_->names.find(path);
  return named == document_->names.end() ? path : named->second;
}

std::string JsonObject::shown(std::string_view key) const {
  const json* const value = get(key);
  return value == nullptr ? "nothing" : show(*value);
}

tl::unexpected<Error> JsonObject::wrong(std::string_view key, std::string_view expected) const {
  if (!has(key)) {
    return bad_input("{}: field `{}`: expected {}, it is missing", file(), path(key), expected);
  }
  return bad_input("{}: field `{}`: expected {}, found {}", file(), path(key), expected,
                   shown(key));
}

Result<JsonObject> JsonObject::object(std::string_view key) const {
  const json* const value = get(key);
  if (value == nullptr || !value->is_object()) return wrong(key, "an object");
  return JsonObject(document_, value, path(key) + ".");
}

Result<int64_t> JsonObject::integer(std::string_view key, IntRange range) const {
  const json* const value = get(key);
  const auto n = value == nullptr ? std::nullopt : as_integer(*value);
  if (!n || !in_range(*n, range)) return wrong(key, name_of(range));
  return *n;
}

Result<double> JsonObject::number(std::string_view key, FloatRange range) const {
  const json* const value = get(key);
  if (value == nullptr || !value->is_number() || !in_range(value->get<double>(), range)) {
    return wrong(key, name_of(range));
  }
  return value->get<double>();
}

Result<bool> JsonObject::boolean(std::string_view key) const {
  const json* const value = get(key);
  if (value == nullptr || !value->is_boolean()) return wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::string> JsonObject::string(std::string_view key) const {
  const json* const value = get(key);
  if (value == nullptr || !value->is_string()) return wrong(key, "a string");
  return value->get<std::string>();
}

Result<std::vector<int64_t>> JsonObject::integers(std::string_view key, IntRange range) const {
  const json* const value = get(key);
  if (value == nullptr || !value->is_array()) return wrong(key, "an array of integers");
  std::vector<int64_t> out;
  out.reserve(value->size());
  for (const json& element : *value) {
    const auto n = as_integer(element);
    if (!n || !in_range(*n, range)) {
      return bad_input("{}: field `{}[{}]`: expected {}, found {}", file(), path(key), out.size(),
                       name_of(range), show(element));
    }
    out.push_back(*n);
  }
  return out;
}

Result<std::vector<double>> JsonObject::numbers(std::string_view key, FloatRange range) const {
  const json* const value = get(key);
  if (value == nullptr || !value->is_array()) return wrong(key, "an array of numbers");
  std::vector<double> out;
  out.reserve(value->size());
  for (const json& element : *value) {
    if (!element.is_number() || !in_range(element.get<double>(), range)) {
      return bad_input("{}: field `{}[{}]`: expected {}, found {}", file(), path(key), out.size(),
                       name_of(range), show(element));
    }
    out.push_back(element.get<double>());
  }
  return out;
}

Result<std::vector<std::string>> JsonObject::strings(std::string_view key) const {
  const json* const value = get(key);
  if (value == nullptr || !value->is_array()) return wrong(key, "an array of strings");
  std::vector<std::string> out;
  out.reserve(value->size());
  for (const json& element : *value) {
    if (!element.is_string()) {
      return bad_input("{}: field `{}[{}]`: expected a string, found {}", file(), path(key),
                       out.size(), show(element));
    }
    out.push_back(element.get<std::string>());
  }
  return out;
}

Result<int64_t> JsonObject::integer_or(std::string_view key, int64_t missing,
                                       IntRange range) const {
  if (!has(key)) return missing;
  return integer(key, range);
}

Result<double> JsonObject::number_or(std::string_view key, double missing, FloatRange range) const {
  if (!has(key)) return missing;
  return number(key, range);
}

Result<bool> JsonObject::boolean_or(std::string_view key, bool missing) const {
  if (!has(key)) return missing;
  return boolean(key);
}

Result<std::string> JsonObject::string_or(std::string_view key, std::string missing) const {
  if (!has(key)) return missing;
  return string(key);
}

}  // namespace varve
