// The bytes that the store keeps: values (a block or a resume point) and the records that describe
// them. docs/formats/store.md has the layouts.
//
// Nothing here trusts its input: what is not exactly a value of this version with a checksum that
// holds is refused with the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <tl/expected.hpp>

#include "base/byte_range.h"
#include "base/sha256.h"

namespace varve {

enum class StoredKind : uint8_t {
  block = 1,  // rows of 128 tokens
  point = 2,  // what a session goes on from: detail rows and the open block
};

std::string_view kind_name(StoredKind kind);

/// Why a value could not be used.
enum class StoreMiss : uint8_t {
  absent,       // it is not there
  unreadable,   // the database cannot read it
  torn,         // shorter or longer than it says, or no value at all
  version,      // of another version of the format
  checksum,     // a bit is not what was written
  other_model,  // of another model or of other row formats
  other_key,    // another value lies under the key
  other_parent,
  other_ids,
  other_size,  // rows of another size
};
inline constexpr size_t kStoreMisses = 10;

/// "another model": a few words, for reports.
std::string_view miss_name(StoreMiss miss);

/// Of values that this version writes and reads.
inline constexpr uint16_t kStoreVersion = 2;

/// A value before it is written. `open` is empty but for points.
struct ValueParts {
  StoredKind kind = StoredKind::block;
  Digest fingerprint = {};
  Digest key = {};
  Digest parent = {};
  std::span<const int32_t> ids;
  std::span<const std::byte> rows;
  std::span<const std::byte> open;
  std::span<const ByteRange> ranges = {};  // of rows, what is kept; none: all
};

/// Bytes that a value takes beside its ids, rows and open block.
inline constexpr size_t kValueOverheadBytes = 144;
inline constexpr size_t kChecksumBytes = 16;

size_t value_bytes(size_t n_ids, size_t payload_bytes);

/// Writes all but the checksum, value_bytes(...) - kChecksumBytes, to `out`, a whole value's room.
void write_value(const ValueParts& parts, std::span<std::byte> out);
/// Writes the checksum behind it.
void seal_value(std::span<std::byte> value);

/// A value as it was read; the spans lie in its bytes.
struct StoredValue {
  StoredKind kind = StoredKind::block;
  Digest fingerprint = {};
  Digest key = {};
  Digest parent = {};
  std::span<const std::byte> ids;  // int32_t, in any alignment
  std::span<const std::byte> rows;
  std::span<const std::byte> open;
};

enum class Checksum { check, none_yet };

/// Reasons: torn, version, checksum.
tl::expected<StoredValue, StoreMiss> parse_value(std::span<const std::byte> bytes,
                                                 Checksum checksum = Checksum::check);

/// The first whole value in any bytes; nothing: there is none.
std::optional<std::span<const std::byte>> find_value(std::span<const std::byte> bytes);

/// What a caller expects to find under a key.
struct ExpectedValue {
  StoredKind kind = StoredKind::block;
  const Digest& fingerprint;
  const Digest& key;
  const Digest& parent;
  std::span<const int32_t> ids;
  std::span<const ByteRange> ranges = {};  // where the rows belong; none: one behind the other
};

/// Copies rows and open block where all is as expected; else says what is not.
tl::expected<void, StoreMiss> copy_value(const StoredValue& value, const ExpectedValue& expected,
                                         std::span<std::byte> rows, std::span<std::byte> open);

// ---- what is known of a value without reading it ----

struct ValueRecord {
  uint16_t version = kStoreVersion;  // of the value
  StoredKind kind = StoredKind::block;
  uint32_t n_ids = 0;
  uint32_t n_tokens = 0;  // that it saves computing
  uint64_t value_bytes = 0;
  uint32_t reuse = 0;        // times that it was read, or put again
  uint64_t last_use_us = 0;  // since 1970
  double age = 0;            // the index's clock at the last use (store/index.h)
  Digest fingerprint = {};
  Digest parent = {};
};

inline constexpr size_t kRecordBytes = 112;

void write_record(const ValueRecord& record, const Digest& key, std::span<std::byte> out);
/// Reasons: torn, checksum.
tl::expected<ValueRecord, StoreMiss> parse_record(std::span<const std::byte> bytes,
                                                  const Digest& key);

}  // namespace varve
