// JSON schemas, read into what may be written: a tree of shapes, with everything that a schema
// leaves open decided (docs/SERVER.md, "JSON"). What is written then fits the schema, always; not
// everything that fits is written:
//   objects     properties in the order of the schema; others only where `additionalProperties`
//   says
//               so or no `properties` are given, after them, their names without escapes
//   arrays      items beyond `prefixItems` only where `items` is there
//   numbers     integers without a fraction or exponent, of up to 18 digits; 15 digits on each
//               side of the point; within bounds no exponent
//   strings     no \u escapes of surrogates; those that `pattern` or a format bounds: no \u escapes
// A keyword that constrains values and is not supported is refused by name; what JSON schema calls
// an annotation, an unknown keyword too, is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace varve {

/// Of a schema: bytes, nesting.
inline constexpr size_t kMaxSchemaBytes = size_t{64} << 10;
inline constexpr int kMaxSchemaDepth = 100;
/// Places of a schema where values are described, at most: each becomes a rule, with its path.
inline constexpr size_t kMaxShapes = 4096;
/// Options of a `oneOf`, at most: each is held against each other one.
inline constexpr size_t kMaxOneOf = 100;
/// Comparisons of values and names that tell options of all `oneOf` apart, at most: they take up to
/// half a second.
inline constexpr size_t kMaxComparisons = 5'000'000;
/// Lengths of strings and arrays, at most: larger bounds are refused.
inline constexpr int64_t kMaxSchemaCount = 100'000;

/// Where a value of the schema is described: an index into JsonSchema::shapes.
using ShapeId = int;

struct AnyShape {};

/// One of some JSON texts.
struct LiteralShape {
  std::vector<std::string> texts;
};

/// JSON text by a regular expression: numbers; with the quotes, strings of a pattern.
struct RegexShape {
  std::string regex;
  int64_t n_positions = 0;  // CostedRegex
};

/// A string by its length alone, in characters.
struct StringShape {
  int64_t min = 0;
  std::optional<int64_t> max = {};
};

struct ArrayShape {
  std::vector<ShapeId> prefix = {};
  std::optional<ShapeId> items = {};  // behind the prefix; nothing: no more
  int64_t min = 0;
  std::optional<int64_t> max = {};
};

struct ObjectShape {
  struct Property {
    std::string name;
    ShapeId value = 0;
    bool is_required = false;
  };
  std::vector<Property> properties = {};
  std::optional<ShapeId> others = {};  // values of other names; nothing: there are none
};

/// What one of several allows. Of none: nothing.
struct EitherShape {
  std::vector<ShapeId> options;
};

struct Shape {
  std::variant<AnyShape, LiteralShape, RegexShape, StringShape, ArrayShape, ObjectShape,
               EitherShape>
      what;
  std::string path;  // in the schema, as messages name it: "#/properties/age"
};

struct JsonSchema {
  std::vector<Shape> shapes;  // the first is the schema's own
};

/// Errors (bad_input): not JSON; not a schema; what is not supported; bounds that nothing fits;
/// more than kMaxShapes. They name the place in the schema.
Result<JsonSchema> read_json_schema(std::string_view text);

/// The grammar of a schema's values, in xgrammar's EBNF, or of any JSON object. Errors
/// (bad_input): no value that ends fits; it is larger than the
/// limits below.
Result<std::string> grammar_of_schema(const JsonSchema& schema);
std::string grammar_of_any_object();

/// Places in a grammar where a character of a class may stand, with bounded repetitions written
/// out: each is a mask over the vocabulary, which takes up to 25 ms and 112 KiB for 129,280 tokens.
/// What else a grammar has is counted as so many places as take that memory.
inline constexpr int64_t kMaxGrammarPositions = 512;
/// Bytes of a grammar's text that count as a place: names, literals, rules. The text of the largest
/// has 256 KiB.
inline constexpr size_t kGrammarBytesPerPosition = 512;
/// Options of `anyOf` and `oneOf` in a schema, all together: where a value begins, each is gone
/// into for each token, on the engine's thread; so many take it up to 2 ms.
inline constexpr size_t kMaxOptions = 200;
/// Values of `enum` and `const` in a schema, all together: they become one automaton each, of
/// 150 bytes a character.
inline constexpr size_t kMaxLiterals = 2000;
/// Properties of an object that may be left out, which each other one has to reckon with; and of
/// all objects of a schema.
inline constexpr size_t kMaxOptionalProperties = 200;
inline constexpr size_t kMaxOptionalInAll = 2000;

}  // namespace varve
