#include "chat/jinja/json.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "chat/jinja/text.h"
#include "formats/json_text.h"
#include "tokenizer/utf8.h"

namespace varve::jinja {
namespace {

using nlohmann::ordered_json;

// Leaves the parser of nlohmann::json at once; it does not leave from_json.
struct TooDeep : std::exception {};

Result<Value> from_node(const ordered_json& node) {
  switch (node.type()) {
    case ordered_json::value_t::null:
      return Value::none();
    case ordered_json::value_t::boolean:
      return Value(node.get<bool>());
    case ordered_json::value_t::number_unsigned:
      if (node.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        return bad_input("expected integers of at most 64 bits, found {}", node.get<uint64_t>());
      }
      return Value(node.get<int64_t>());
    case ordered_json::value_t::number_integer:
      return Value(node.get<int64_t>());
    case ordered_json::value_t::number_float:
      return Value(node.get<double>());
    case ordered_json::value_t::string:
      return Value::text(node.get<std::string>());
    case ordered_json::value_t::array: {
      std::vector<Value> items;
      for (const ordered_json& item : node) {
        VARVE_TRY(Value value, from_node(item));
        items.push_back(std::move(value));
      }
      return make_list(std::move(items));
    }
    default:
      break;
  }
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key, item] : node.items()) {
    VARVE_TRY(Value value, from_node(item));
    entries.emplace_back(Value::text(key), std::move(value));
  }
  return make_dict(std::move(entries));
}

class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  Result<void> write(const Value& value, int level);
  std::string text() && { return std::move(out_); }

 private:
  Result<void> write_list(const List& list, int level);
  Result<void> write_dict(const Dict& dict, int level);
  Result<void> begin_item(bool is_first, int level);
  Result<void> end_items(int level);
  void write_string(std::string_view text);

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

std::string float_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return float_repr(value);
}

// A key that is no string is spelt as the value would be.
Result<std::string> key_text(const Value& key) {
  if (const std::string* const text = key.text()) return *text;
  if (key.is_none()) return std::string("null");
  if (key.as<bool>() != nullptr) return std::string(key.truth() ? "true" : "false");
  if (const int64_t* const n = key.as<int64_t>()) return fmt::format("{}", *n);
  return float_text(*key.as<double>());
}

void Writer::write_string(std::string_view text) {
  out_ += '"';
  for (const std::string_view character : characters(text)) {
    const uint32_t c = utf8_step(character).code_point;
    const size_t named = std::string_view("\"\\\n\r\t\f\b").find(character);
    if (named != std::string_view::npos) {
      out_ += '\\';
      out_ += "\"\\nrtfb"[named];
    } else if (c >= 0x20 && (c < 0x7F || !style_.ensure_ascii)) {
      out_ += character;
    } else if (c < 0x10000) {
      fmt::format_to(std::back_inserter(out_), "\\u{:04x}", c);
    } else {
      fmt::format_to(std::back_inserter(out_), "\\u{:04x}\\u{:04x}", 0xD7C0 + (c >> 10),
                     0xDC00 + (c & 0x3FF));
    }
  }
  out_ += '"';
}

Result<void> Writer::begin_item(bool is_first, int level) {
  if (!is_first) out_ += style_.item_separator;
  if (style_.is_indented) {
    out_ += '\n';
    VARVE_CHECKED(budget_.make_bytes(style_.indent.size() * (static_cast<size_t>(level) + 1)));
    for (int i = 0; i <= level; ++i) out_ += style_.indent;
  }
  return {};
}

Result<void> Writer::end_items(int level) {
  if (style_.is_indented) {
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += style_.indent;
  }
  return {};
}

Result<void> Writer::write_list(const List& list, int level) {
  if (list.kind == ListKind::view || list.kind == ListKind::generator) {
    return bad_input("`tojson` does not take what a filter gives piece by piece; `list` first");
  }
  out_ += '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    VARVE_CHECKED(begin_item(i == 0, level));
    VARVE_CHECKED(write(list.items[i], level + 1));
  }
  if (!list.items.empty()) VARVE_CHECKED(end_items(level));
  out_ += ']';
  return {};
}

Result<void> Writer::write_dict(const Dict& dict, int level) {
  std::vector<const std::pair<Value, Value>*> order;
  for (const auto& entry : dict.entries) {
    if (style_.sort_keys && entry.first.text() == nullptr) {
      return bad_input("`tojson` with sort_keys: expected strings as keys, found {}",
                       entry.first.describe());
    }
    order.push_back(&entry);
  }
  if (style_.sort_keys) {
    std::sort(order.begin(), order.end(),
              [](const auto* a, const auto* b) { return *a->first.text() < *b->first.text(); });
  }
  out_ += '{';
  for (size_t i = 0; i < order.size(); ++i) {
    VARVE_CHECKED(begin_item(i == 0, level));
    VARVE_TRY(const std::string key, key_text(order[i]->first));
    VARVE_CHECKED(budget_.make_bytes(key.size()));
    write_string(key);
    out_ += style_.key_separator;
    VARVE_CHECKED(write(order[i]->second, level + 1));
  }
  if (!order.empty()) VARVE_CHECKED(end_items(level));
  out_ += '}';
  return {};
}

Result<void> Writer::write(const Value& value, int level) {
  VARVE_CHECKED(budget_.make_bytes(16));
  if (const std::string* const text = value.text()) {
    VARVE_CHECKED(budget_.make_bytes(text->size()));
    write_string(*text);
  } else if (value.is_none()) {
    out_ += "null";
  } else if (value.as<bool>() != nullptr) {
    out_ += value.truth() ? "true" : "false";
  } else if (const int64_t* const n = value.as<int64_t>()) {
    out_ += fmt::format("{}", *n);
  } else if (const double* const real = value.as<double>()) {
    out_ += float_text(*real);
  } else if (const List* const list = value.list()) {
    return write_list(*list, level);
  } else if (const Dict* const dict = value.dict()) {
    return write_dict(*dict, level);
  } else {
    return bad_input("`tojson` does not take {}", value.describe());
  }
  return {};
}

}  // namespace

Result<Value> from_json(std::string_view json, const std::string& name) {
  const auto watch = [](int depth, ordered_json::parse_event_t event, ordered_json&) {
    const bool opens = event == ordered_json::parse_event_t::object_start ||
                       event == ordered_json::parse_event_t::array_start;
    if (opens && depth >= kMaxValueDepth) throw TooDeep();
    return true;
  };
  ordered_json root;
  try {
    root = ordered_json::parse(json.begin(), json.end(), watch);
  } catch (const TooDeep&) {
    return bad_input("{}: expected JSON nested at most {} deep, found deeper", name,
                     kMaxValueDepth);
  } catch (const ordered_json::parse_error& error) {
    return bad_input("{}: {}", name, json_problem(error, error.byte));
  } catch (const std::exception& error) {
    return bad_input("{}: {}", name, json_problem(error, json.size()));
  }
  return from_node(root).map_error([&](Error error) {
    error.message = fmt::format("{}: {}", name, error.message);
    return error;
  });
}

Result<std::string> to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  VARVE_CHECKED(writer.write(value, 0));
  return std::move(writer).text();
}

}  // namespace varve::jinja
