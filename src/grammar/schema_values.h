// Shapes of single values: literals, numbers, strings.
#pragma once

#include <string_view>

#include "grammar/json_schema.h"
#include "grammar/schema_keywords.h"

namespace varve {

/// The values of `const` or `enum` that `type` allows. Error (bad_input): none.
Result<LiteralShape> read_literals(const SchemaJson& schema, std::string_view path);

/// Numbers within the bounds of `schema`. Error (bad_input): nothing fits, or what is not
/// supported.
Result<RegexShape> read_integer(const SchemaJson& schema, std::string_view path);
Result<RegexShape> read_number(const SchemaJson& schema, std::string_view path);

/// A StringShape, or a RegexShape where there is a pattern or a format that is held to.
Result<Shape> read_string(const SchemaJson& schema, std::string_view path);

/// A field with a number of things; `missing` where it is not there. Error (bad_input): no whole
/// number from 0 to kMaxSchemaCount.
Result<int64_t> read_count(const SchemaJson& schema, std::string_view path, std::string_view key,
                           int64_t missing);

}  // namespace varve
