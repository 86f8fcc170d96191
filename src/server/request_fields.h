// Typed reading of a request's JSON. Every miss becomes one sentence:
//   field `messages[1].content`: expected a string, found 12
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/jinja/value.h"

namespace varve::server {

/// JSON values in a request's body, at most: each takes memory of its own.
inline constexpr size_t kMaxJsonValues = 2'000'000;

/// One object of a request. A field that holds null counts as missing. Copies share the document.
class RequestFields {
 public:
  /// Errors (bad_input): not JSON, no object, nested deeper than jinja::kMaxValueDepth, more than
  /// kMaxJsonValues values.
  static Result<RequestFields> of_body(std::string_view json);
  /// An object inside of another one; `path` is what messages call it.
  static Result<RequestFields> of_value(const jinja::Value& value, std::string path);

  /// Null where it is missing.
  const jinja::Value* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  const jinja::Value& value() const { return value_; }

  Result<std::string> string(std::string_view key) const;
  Result<RequestFields> object(std::string_view key) const;
  Result<std::vector<jinja::Value>> list(std::string_view key) const;
  /// The same as objects.
  Result<std::vector<RequestFields>> objects(std::string_view key) const;

  // A missing field has the value `missing` here; a wrong one is still an error.
  Result<std::string> string_or(std::string_view key, std::string missing) const;
  Result<bool> boolean_or(std::string_view key, bool missing) const;
  Result<int64_t> integer_or(std::string_view key, int64_t missing, int64_t min, int64_t max) const;
  Result<double> number_or(std::string_view key, double missing, double min, double max) const;
  /// A string, or a list of strings; none where it is missing.
  Result<std::vector<std::string>> strings(std::string_view key) const;

  /// "messages[1].content"
  std::string path(std::string_view key) const;
  std::string path(std::string_view key, size_t index) const;
  /// "field `KEY`: expected X, found Y", or "... expected X, it is missing".
  tl::unexpected<Error> wrong(std::string_view key, std::string_view expected) const;

 private:
  RequestFields(jinja::Value value, std::string path)
      : value_(std::move(value)), path_(std::move(path)) {}

  jinja::Value value_;  // a dictionary
  std::string path_;    // "", or "messages[1]"
};

/// A value as messages show it: short, on one line.
std::string shown(const jinja::Value& value);
/// "field `PATH`: expected X, found Y".
tl::unexpected<Error> wrong_value(std::string_view path, std::string_view expected,
                                  const jinja::Value& found);

}  // namespace varve::server
