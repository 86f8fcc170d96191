// Which keywords of JSON schemas constrain what, and which of them are supported.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve {

/// In the order in which a schema has its names.
using SchemaJson = nlohmann::ordered_json;

/// "schema at `PATH`: ..."
template <class... Args>
tl::unexpected<Error> schema_error(std::string_view path, fmt::format_string<Args...> format,
                                   Args&&... args) {
  return bad_input("schema at `{}`: {}", path, fmt::format(format, std::forward<Args>(args)...));
}
/// "schema at `PATH/KEY`: expected X, found Y".
tl::unexpected<Error> wrong_keyword(std::string_view path, std::string_view key,
                                    std::string_view expected, const SchemaJson& found);

/// Of a place in a schema, as messages show it: each shape keeps its own. Names that are longer are
/// cut, and nothing is added to a path that is longer.
inline constexpr size_t kMaxStepBytes = 64;
inline constexpr size_t kMaxPathBytes = 512;

/// `path` and one step more, as JSON pointers spell it.
std::string step_of(std::string_view path, std::string_view key);
/// The path of what a reference leads to: itself, cut in the same way.
std::string path_of_reference(std::string_view reference);

/// Types of JSON that a schema names, as bits.
enum JsonType : unsigned {
  kNullType = 1,
  kBooleanType = 2,
  kIntegerType = 4,
  kNumberType = 8,
  kStringType = 16,
  kArrayType = 32,
  kObjectType = 64,
  kAllTypes = 127,
};

/// `type`: a name or several; kAllTypes where it is missing. Error: a name that is none.
Result<unsigned> types_of(const SchemaJson& schema, std::string_view path);
/// Those that a schema without `type` is about, by its other keywords; 0: none.
unsigned types_by_keywords(const SchemaJson& schema);
bool is_of_types(const SchemaJson& value, unsigned types);

/// Error: a keyword that constrains values of one of `types` and is not supported.
Result<void> refuse_unsupported(const SchemaJson& schema, std::string_view path, unsigned types);
/// Error: another keyword beside `alone` (and `allowed`) that constrains values.
Result<void> refuse_beside(const SchemaJson& schema, std::string_view path, std::string_view alone,
                           std::string_view allowed = {});

}  // namespace varve
