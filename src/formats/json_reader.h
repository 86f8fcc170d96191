// Typed reading of small JSON files (config.json, index files). Every miss becomes one sentence:
//   config.json: field `rope_scaling.factor`: expected a number, found "x"
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve {

/// Largest text and deepest nesting that parse_json takes.
inline constexpr size_t kMaxJsonBytes = size_t{64} << 20;
inline constexpr int kMaxJsonDepth = 64;

/// A number in [min, max]; the ends belong to it.
struct IntRange {
  int64_t min = 1;
  int64_t max = INT32_MAX;
};
/// "an integer from 1 to 8": as messages name it.
std::string name_of(IntRange range);

struct FloatRange {
  double min = -1e30;
  double max = 1e30;
  bool above_min = false;  // min itself is refused
};

/// What messages call fields that stand under other names in the file: by dotted path.
using FieldNames = std::map<std::string, std::string, std::less<>>;

/// One object of a parsed document. Copies are cheap and keep the document alive. A field that
/// holds null counts as missing, as it does for the Python readers of these files. Where a name is
/// given twice the last one holds, as there. Integers may be spelled 4096.0.
class JsonObject {
 public:
  /// Parses a text that must be one JSON object. `file` names it in messages, `names` its fields.
  static Result<JsonObject> parse(std::string_view text, const std::string& file,
                                  FieldNames names = {});
  /// Reads and parses the file at `path`.
  static Result<JsonObject> read(const std::string& path);

  bool has(std::string_view key) const;
  /// Whether the field is there and holds null: for readers to whom that is not the same as
  /// missing.
  bool is_null(std::string_view key) const;
  /// The keys, in byte order, null ones left out.
  std::vector<std::string> keys() const;
  bool is_object(std::string_view key) const;
  bool is_array(std::string_view key) const;

  // A missing field is an error here.
  Result<JsonObject> object(std::string_view key) const;
  Result<int64_t> integer(std::string_view key, IntRange range = {}) const;
  Result<double> number(std::string_view key, FloatRange range = {}) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string> string(std::string_view key) const;
  Result<std::vector<int64_t>> integers(std::string_view key, IntRange range = {}) const;
  Result<std::vector<double>> numbers(std::string_view key, FloatRange range = {}) const;
  Result<std::vector<std::string>> strings(std::string_view key) const;

  // A missing field has the value `missing` here; a wrong one is still an error.
  Result<int64_t> integer_or(std::string_view key, int64_t missing, IntRange range = {}) const;
  Result<double> number_or(std::string_view key, double missing, FloatRange range = {}) const;
  Result<bool> boolean_or(std::string_view key, bool missing) const;
  Result<std::string> string_or(std::string_view key, std::string missing) const;

  /// The key as messages spell it: the dotted path from the root, or its name in the file.
  std::string path(std::string_view key) const;
  /// The value of `key` as messages show it: short, on one line.
  std::string shown(std::string_view key) const;
  /// "FILE: field `a.b`: expected X, found Y", or "... expected X, it is missing".
  tl::unexpected<Error> wrong(std::string_view key, std::string_view expected) const;
  const std::string& file() const;

 private:
  struct Document;
  JsonObject(std::shared_ptr<const Document> document, const nlohmann::json* at, std::string prefix)
      : document_(std::move(document)), at_(at), prefix_(std::move(prefix)) {}
  const nlohmann::json* get(std::string_view key) const;  // null: missing

  std::shared_ptr<const Document> document_;
  const nlohmann::json* at_ = nullptr;  // an object
  std::string prefix_;                  // "", or "a.b."
};

/// Text from a file as a message can carry it: quoted, escaped, cut after about 60 bytes.
std::string in_quotes(std::string_view text);

}  // namespace varve
