#include "tokenizer/tokenizer_fields.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "tokenizer/quote.h"
#include "tokenizer/vocabulary.h"

namespace varve {
namespace {

using nlohmann::json;

// Each stage of a pre-tokenizer is a level of calls when a text is cut.
constexpr size_t kMaxStages = 32;

const json kNull;

// The field, or null if it is not there.
const json& field(const json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() ? kNull : *at;
}

Result<std::string> type_of(const json& object, const std::string& where) {
  if (!object.is_object()) {
    return bad_input("{}: expected an object with a type, found {}", where, found(object));
  }
  const json& type = field(object, "type");
  if (!type.is_string()) {
    return bad_input("{}.type: expected a string, found {}", where, found(type));
  }
  return type.get<std::string>();
}

// A field that is not known could change the ids, so it is not passed over.
Result<void> check_keys(const json& object, std::initializer_list<std::string_view> known,
                        const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("{}: expected only fields that are supported, found {}", where,
                       in_quotes(key));
    }
  }
  return {};
}

Result<bool> bool_field(const json& object, const char* key, bool otherwise,
                        const std::string& where) {
  const json& value = field(object, key);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) {
    return bad_input("{}.{}: expected true or false, found {}", where, key, found(value));
  }
  return value.get<bool>();
}

Result<const json*> array_field(const json& object, const char* key, const std::string& where) {
  const json& value = field(object, key);
  if (!value.is_array()) {
    return bad_input("{}.{}: expected an array, found {}", where, key, found(value));
  }
  return &value;
}

Result<SplitBehavior> read_behavior(const json& object, const std::string& where) {
  static constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {{
      {"Isolated", SplitBehavior::isolated},
      {"Removed", SplitBehavior::removed},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous},
  }};
  const json& value = field(object, "behavior");
  if (value.is_string()) {
    const auto& name = value.get_ref<const std::string&>();
    for (const auto& [known, behavior] : kBehaviors) {
      if (name == known) return behavior;
    }
  }
  return bad_input(
      "{}.behavior: expected Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous, "
      "found {}",
      where, found(value));
}

Result<Pretokenizer::Split> read_split(const json& object, const std::string& where) {
  VARVE_CHECKED(check_keys(object, {"type", "pattern", "behavior", "invert"}, where));
  Pretokenizer::Split split;
  VARVE_TRY(split.behavior, read_behavior(object, where));
  VARVE_TRY(split.invert, bool_field(object, "invert", false, where));
  const json& pattern = field(object, "pattern");
  const std::string pattern_where = where + ".pattern";
  if (!pattern.is_object() || pattern.size() != 1) {
    return bad_input("{}: expected {{\"Regex\": ...}} or {{\"String\": ...}}, found {}",
                     pattern_where, found(pattern));
  }
  const std::string& kind = pattern.begin().key();
  const json& text = pattern.begin().value();
  if ((kind != "Regex" && kind != "String") || !text.is_string()) {
    return bad_input("{}: expected a Regex or a String with a text, found {} with {}",
                     pattern_where, in_quotes(kind), found(text));
  }
  const auto& value = text.get_ref<const std::string&>();
  if (kind == "String") {
    if (value.empty()) return bad_input("{}: expected a text, found an empty one", pattern_where);
    split.literal = value;
  } else {
    VARVE_TRY(split.regex, Regex::compile(value, pattern_where));
  }
  return split;
}

class PretokenizerReader {
 public:
  Result<Pretokenizer> read(const json& object, const std::string& where) {
    VARVE_CHECKED(stage(object, where));
    if (!has_byte_level_) {
      return bad_input(
          "{}: expected a ByteLevel at the end (only byte-level BPE is supported), "
          "found none",
          where);
    }
    return std::move(out_);
  }

 private:
  // Calls itself for a Sequence; the depth of the tree is bounded by its reader.
  Result<void> stage(const json& object, const std::string& where) {
    VARVE_TRY(const std::string type, type_of(object, where));
    if (type == "Sequence") {
      VARVE_CHECKED(check_keys(object, {"type", "pretokenizers"}, where));
      VARVE_TRY(const json* const parts, array_field(object, "pretokenizers", where));
      for (size_t i = 0; i < parts->size(); ++i) {
        VARVE_CHECKED(stage((*parts)[i], fmt::format("{}.pretokenizers[{}]", where, i)));
      }
      return {};
    }
    if (has_byte_level_) {
      return bad_input("{}: expected ByteLevel to be the last stage, found {} after it", where,
                       in_quotes(type));
    }
    if (out_.n_stages() == kMaxStages) {
      return bad_input("{}: expected at most {} stages, found more", where, kMaxStages);
    }
    if (type == "Split") {
      VARVE_TRY(Pretokenizer::Split split, read_split(object, where));
      out_.add(std::move(split));
      return {};
    }
    if (type == "Digits") return digits(object, where);
    if (type == "ByteLevel") return byte_level(object, where);
    return bad_input("{}.type: expected Sequence, Split, Digits or ByteLevel, found {}", where,
                     in_quotes(type));
  }

  Result<void> digits(const json& object, const std::string& where) {
    VARVE_CHECKED(check_keys(object, {"type", "individual_digits"}, where));
    VARVE_TRY(const bool individual, bool_field(object, "individual_digits", false, where));
    Pretokenizer::Split split;
    split.behavior = individual ? SplitBehavior::isolated : SplitBehavior::contiguous;
    VARVE_TRY(split.regex, Regex::compile("\\p{N}", where));
    out_.add(std::move(split));
    return {};
  }

  Result<void> byte_level(const json& object, const std::string& where) {
    VARVE_CHECKED(
        check_keys(object, {"type", "add_prefix_space", "use_regex", "trim_offsets"}, where));
    VARVE_TRY(const bool prefix, bool_field(object, "add_prefix_space", true, where));
    VARVE_TRY(const bool use_regex, bool_field(object, "use_regex", true, where));
    std::optional<Regex> words;
    if (use_regex) {
      VARVE_TRY(words, Regex::compile(kGpt2Words, where));
    }
    out_.end_with_byte_level(prefix, std::move(words));
    has_byte_level_ = true;
    return {};
  }

  Pretokenizer out_;
  bool has_byte_level_ = false;
};

}  // namespace

std::string found(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::string:
      return in_quotes(value.get_ref<const std::string&>());
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "an array";
    case json::value_t::discarded:
    case json::value_t::binary:
      return "something else";
    case json::value_t::boolean:
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      break;
  }
  return value.dump();
}

Result<void> check_normalizer(const json& value, const std::string& where) {
  if (value.is_null()) return {};
  VARVE_TRY(const std::string type, type_of(value, where));
  if (type == "Sequence") {
    VARVE_TRY(const json* const parts, array_field(value, "normalizers", where));
    for (size_t i = 0; i < parts->size(); ++i) {
      VARVE_CHECKED(check_normalizer((*parts)[i], fmt::format("{}.normalizers[{}]", where, i)));
    }
    return {};
  }
  return bad_input("{}: expected no normalizer (none is supported), found {}", where,
                   in_quotes(type));
}

Result<void> check_decoder(const json& value, const std::string& where) {
  VARVE_TRY(const std::string type, type_of(value, where));
  if (type == "ByteLevel") return {};
  if (type != "Sequence") {
    return bad_input("{}: expected ByteLevel, found {}", where, in_quotes(type));
  }
  VARVE_TRY(const json* const parts, array_field(value, "decoders", where));
  if (parts->size() != 1) {
    return bad_input("{}.decoders: expected ByteLevel alone, found {} decoders", where,
                     parts->size());
  }
  return check_decoder((*parts)[0], where + ".decoders[0]");
}

Result<Pretokenizer> read_pretokenizer(const json& value, const std::string& where) {
  return PretokenizerReader().read(value, where);
}

Result<AddedToken> read_added_token(const json& value, const std::string& where) {
  if (!value.is_object()) return bad_input("{}: expected an object, found {}", where, found(value));
  AddedToken token;
  const json& content = field(value, "content");
  if (!content.is_string() || content.get_ref<const std::string&>().empty()) {
    return bad_input("{}.content: expected a text, found {}", where, found(content));
  }
  token.content = content.get<std::string>();
  const json& id = field(value, "id");
  if (!id.is_number_integer() || id < 0 || id > kMaxId) {
    return bad_input("{}.id: expected a number from 0 to {}, found {}", where, kMaxId, found(id));
  }
  token.id = id.get<int32_t>();
  VARVE_TRY(token.special, bool_field(value, "special", false, where));
  VARVE_TRY(token.normalized, bool_field(value, "normalized", !token.special, where));
  VARVE_TRY(token.single_word, bool_field(value, "single_word", false, where));
  VARVE_TRY(token.lstrip, bool_field(value, "lstrip", false, where));
  VARVE_TRY(token.rstrip, bool_field(value, "rstrip", false, where));
  return token;
}

Result<void> read_model_field(const std::string& key, const json& value, const std::string& where,
                              bool& ignore_merges) {
  const auto expected = [&](std::string_view what) {
    return bad_input("{}.{}: expected {}, found {}", where, in_quotes(key), what, found(value));
  };
  if (key == "type") {
    if (value != "BPE") return expected("BPE");
  } else if (key == "ignore_merges") {
    if (!value.is_boolean()) return expected("true or false");
    ignore_merges = value.get<bool>();
  } else if (key == "dropout") {
    if (!value.is_null() && value != 0) return expected("null (dropout is not supported)");
  } else if (key == "byte_fallback") {
    if (!value.is_null() && value != false) return expected("false (it is not supported)");
  } else if (key == "continuing_subword_prefix" || key == "end_of_word_suffix") {
    if (!value.is_null() && value != "") return expected("null (it is not supported)");
  } else if (key == "unk_token") {
    // Nothing is unknown to a byte-level vocabulary; a byte that has no piece is an error later.
    if (!value.is_null() && !value.is_string()) return expected("null or a piece");
  } else if (key != "fuse_unk") {
    return bad_input("{}: expected only fields that are supported, found {}", where,
                     in_quotes(key));
  }
  return {};
}

}  // namespace varve
