#include "formats/gguf_metadata.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

namespace varve {
namespace {

struct TypeRow {
  std::string_view name;
  size_t bytes;
};

constexpr std::array<TypeRow, 13> kTypes = {{{"UINT8", 1},
                                             {"INT8", 1},
                                             {"UINT16", 2},
                                             {"INT16", 2},
                                             {"UINT32", 4},
                                             {"INT32", 4},
                                             {"FLOAT32", 4},
                                             {"BOOL", 1},
                                             {"STRING", 0},
                                             {"ARRAY", 0},
                                             {"UINT64", 8},
                                             {"INT64", 8},
                                             {"FLOAT64", 8}}};

template <class T>
T load(const GgufValue& value, size_t i) {
  T out;
  std::memcpy(&out, value.bytes.data() + i * sizeof(T), sizeof(T));
  return out;
}

// The double nearest to the shortest decimal that rounds to `value`.
double as_written(float value) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double out = value;
  std::from_chars(text.data(), end, out);
  return out;
}

std::string shown_element(const GgufValue& value, size_t i) {
  if (const auto text = value.string(i)) return in_quotes(*text);
  if (const auto flag = value.boolean(i)) return *flag ? "true" : "false";
  if (const auto n = value.integer(i)) return fmt::format("{}", *n);
  if (value.type == GgufType::uint64) return fmt::format("{}", load<uint64_t>(value, i));
  return fmt::format("{}", value.number(i).value_or(0));
}

}  // namespace

std::optional<GgufType> gguf_type(uint32_t id) {
  if (id >= kTypes.size()) return std::nullopt;
  return static_cast<GgufType>(id);
}

std::string_view gguf_type_name(GgufType type) {
  return kTypes[static_cast<size_t>(type)].name;
}

size_t gguf_type_bytes(GgufType type) {
  return kTypes[static_cast<size_t>(type)].bytes;
}

std::optional<int64_t> GgufValue::integer(size_t i) const {
  switch (type) {
    case GgufType::uint8:
      return load<uint8_t>(*this, i);
    case GgufType::int8:
      return load<int8_t>(*this, i);
    case GgufType::uint16:
      return load<uint16_t>(*this, i);
    case GgufType::int16:
      return load<int16_t>(*this, i);
    case GgufType::uint32:
      return load<uint32_t>(*this, i);
    case GgufType::int32:
      return load<int32_t>(*this, i);
    case GgufType::int64:
      return load<int64_t>(*this, i);
    case GgufType::uint64: {
      const auto found = load<uint64_t>(*this, i);
      if (found > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(found);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> GgufValue::number(size_t i) const {
  if (type == GgufType::float32) return as_written(load<float>(*this, i));
  if (type == GgufType::float64) return load<double>(*this, i);
  if (const auto whole = integer(i)) return static_cast<double>(*whole);
  return std::nullopt;
}

std::optional<bool> GgufValue::boolean(size_t i) const {
  if (type != GgufType::boolean) return std::nullopt;
  return load<uint8_t>(*this, i) != 0;
}

std::optional<std::string_view> GgufValue::string(size_t i) const {
  if (type != GgufType::string) return std::nullopt;
  return strings[i];
}

std::string GgufValue::shown() const {
  constexpr size_t kShownElements = 8;
  if (!is_array) return shown_element(*this, 0);
  if (type == GgufType::string || n > kShownElements) {
    return fmt::format("an array of {} {}", n, gguf_type_name(type));
  }
  std::string out = "[";
  for (size_t i = 0; i < n; ++i) {
    out += i == 0 ? "" : ", ";
    out += shown_element(*this, i);
  }
  return out + ']';
}

Result<GgufMetadata> GgufMetadata::create(std::string file, int version,
                                          std::vector<Entry> entries) {
  GgufMetadata out;
  out.version_ = version;
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.key < b.key; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].key == entries[i - 1].key) {
      return bad_input("{}: expected each metadata key once, found {} twice", file,
                       in_quotes(entries[i].key));
    }
  }
  out.file_ = std::move(file);
  out.entries_ = std::move(entries);
  return out;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), key,
                                   [](const Entry& e, std::string_view k) { return e.key < k; });
  return at == entries_.end() || at->key != key ? nullptr : &at->value;
}

tl::unexpected<Error> GgufMetadata::wrong(std::string_view key, std::string_view expected) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) {
    return bad_input("{}: key `{}`: expected {}, it is missing", file_, key, expected);
  }
  return bad_input("{}: key `{}`: expected {}, found {}", file_, key, expected, value->shown());
}

Result<int64_t> GgufMetadata::integer(std::string_view key, IntRange range) const {
  const GgufValue* const value = find(key);
  const auto n = value == nullptr || value->is_array ? std::nullopt : value->integer();
  if (!n || *n < range.min || *n > range.max) return wrong(key, name_of(range));
  return *n;
}

Result<bool> GgufMetadata::boolean(std::string_view key) const {
  const GgufValue* const value = find(key);
  const auto flag = value == nullptr || value->is_array ? std::nullopt : value->boolean();
  if (!flag) return wrong(key, "true or false");
  return *flag;
}

Result<std::string_view> GgufMetadata::string(std::string_view key) const {
  const GgufValue* const value = find(key);
  const auto text = value == nullptr || value->is_array ? std::nullopt : value->string();
  if (!text) return wrong(key, "a string");
  return *text;
}

Result<std::vector<int64_t>> GgufMetadata::integers(std::string_view key, IntRange range) const {
  const GgufValue* const value = find(key);
  if (value == nullptr || !value->is_array) return wrong(key, "an array of integers");
  std::vector<int64_t> out;
  out.reserve(value->n);
  for (size_t i = 0; i < value->n; ++i) {
    const auto n = value->integer(i);
    if (!n || *n < range.min || *n > range.max) {
      return bad_input("{}: key `{}[{}]`: expected {}, found {}", file_, key, i, name_of(range),
                       shown_element(*value, i));
    }
    out.push_back(*n);
  }
  return out;
}

Result<std::span<const std::string_view>> GgufMetadata::strings(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr || !value->is_array || value->type != GgufType::string) {
    return wrong(key, "an array of strings");
  }
  return value->strings;
}

Result<int64_t> GgufMetadata::integer_or(std::string_view key, int64_t missing,
                                         IntRange range) const {
  if (find(key) == nullptr) return missing;
  return integer(key, range);
}

Result<bool> GgufMetadata::boolean_or(std::string_view key, bool missing) const {
  if (find(key) == nullptr) return missing;
  return boolean(key);
}

Result<std::string_view> GgufMetadata::string_or(std::string_view key,
                                                 std::string_view missing) const {
  if (find(key) == nullptr) return missing;
  return string(key);
}

}  // namespace varve
