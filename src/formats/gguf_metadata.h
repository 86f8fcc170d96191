// The metadata of a GGUF file: keys with typed values, and arrays of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/json_reader.h"

namespace varve {

/// As numbered in the file.
enum class GgufType : uint32_t {
  uint8 = 0,
  int8 = 1,
  uint16 = 2,
  int16 = 3,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  uint64 = 10,
  int64 = 11,
  float64 = 12,
};

/// Nothing for a number that no type has.
std::optional<GgufType> gguf_type(uint32_t id);
/// "UINT8", "STRING", ...
std::string_view gguf_type_name(GgufType type);
/// Bytes of one value; 0 of strings and arrays, which have lengths of their own.
size_t gguf_type_bytes(GgufType type);

/// One value, or an array of n. It looks into the bytes that it was parsed from.
struct GgufValue {
  GgufType type = GgufType::uint8;  // of the elements; never `array`
  bool is_array = false;
  size_t n = 1;                           // elements
  std::span<const std::byte> bytes;       // n * gguf_type_bytes(type), little-endian
  std::vector<std::string_view> strings;  // of type `string`: n of them

  // Element i as what is asked for; nothing where the type is another or the value does not fit.
  std::optional<int64_t> integer(size_t i = 0) const;
  /// Integers too. An f32 stands for the shortest decimal that rounds to it, since it mostly comes
  /// from one in a config.json: 0.1f is 0.1, not 0.10000000149.
  std::optional<double> number(size_t i = 0) const;
  std::optional<bool> boolean(size_t i = 0) const;
  std::optional<std::string_view> string(size_t i = 0) const;

  /// As messages show it: short, on one line.
  std::string shown() const;
};

/// Keys are unique. Views live as long as the mapping of the file.
class GgufMetadata {
 public:
  struct Entry {
    std::string_view key;
    GgufValue value;
  };

  GgufMetadata() = default;
  /// `entries` in any order; a key that stands twice is an error.
  static Result<GgufMetadata> create(std::string file, int version, std::vector<Entry> entries);

  const std::string& file() const { return file_; }
  /// Of the format.
  int version() const { return version_; }
  /// Sorted by key.
  std::span<const Entry> entries() const { return entries_; }
  /// Null for a key that is not there. O(log n).
  const GgufValue* find(std::string_view key) const;

  // A missing key is an error here, as is a value of another type. Integers may have any width.
  Result<int64_t> integer(std::string_view key, IntRange range = {}) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string_view> string(std::string_view key) const;
  Result<std::vector<int64_t>> integers(std::string_view key, IntRange range = {}) const;
  Result<std::span<const std::string_view>> strings(std::string_view key) const;

  // A missing key has the value `missing` here; a wrong one is still an error.
  Result<int64_t> integer_or(std::string_view key, int64_t missing, IntRange range = {}) const;
  Result<bool> boolean_or(std::string_view key, bool missing) const;
  Result<std::string_view> string_or(std::string_view key, std::string_view missing) const;

  /// "FILE: key `a.b`: expected X, found Y", or "... expected X, it is missing".
  tl::unexpected<Error> wrong(std::string_view key, std::string_view expected) const;

 private:
  std::string file_;
  int version_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace varve
