#include "store/value.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace varve {
namespace {

static_assert(std::endian::native == std::endian::little, "values are written as they lie");

constexpr std::array<char, 8> kMagic = {'v', 'a', 'r', 'v', 'e', '-', 'k', 'v'};

constexpr size_t kDigestBytes = sizeof(Digest);

// Of a value: where its fields lie.
constexpr size_t kVersionAt = 8;
constexpr size_t kKindAt = 10;
constexpr size_t kIdsCountAt = 12;
constexpr size_t kRowsBytesAt = 16;
constexpr size_t kOpenBytesAt = 24;
constexpr size_t kFingerprintAt = 32;
constexpr size_t kKeyAt = 64;
constexpr size_t kParentAt = 96;
constexpr size_t kHeaderBytes = 128;
static_assert(kHeaderBytes + kChecksumBytes == kValueOverheadBytes);

template <class T>
void put(std::span<std::byte> out, size_t at, const T& value) {
  std::memcpy(out.data() + at, &value, sizeof(value));
}

template <class T>
T get(std::span<const std::byte> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

void copy(std::span<const std::byte> from, std::byte* to) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

XXH128_canonical_t checksum_of(std::span<const std::byte> bytes) {
  XXH128_canonical_t out;
  XXH128_canonicalFromHash(&out, XXH3_128bits(bytes.data(), bytes.size()));
  return out;
}

bool is_kind(uint16_t kind) {
  return kind == static_cast<uint16_t>(StoredKind::block) ||
         kind == static_cast<uint16_t>(StoredKind::point);
}

// The counts of a header, whole values of which take at most `most` bytes; nothing: more.
std::optional<uint64_t> bytes_by_header(std::span<const std::byte> bytes, uint64_t most) {
  uint64_t left = most - kValueOverheadBytes;
  for (const uint64_t part :
       {uint64_t{get<uint32_t>(bytes, kIdsCountAt)} * sizeof(int32_t),
        get<uint64_t>(bytes, kRowsBytesAt), get<uint64_t>(bytes, kOpenBytesAt)}) {
    if (part > left) return std::nullopt;
    left -= part;
  }
  return most - left;
}

bool checksum_holds(std::span<const std::byte> value) {
  const size_t at = value.size() - kChecksumBytes;
  const XXH128_canonical_t found = get<XXH128_canonical_t>(value, at);
  const XXH128_canonical_t expected = checksum_of(value.first(at));
  return std::memcmp(&found, &expected, sizeof(found)) == 0;
}

}  // namespace

std::string_view kind_name(StoredKind kind) {
  return kind == StoredKind::block ? "block" : "point";
}

std::string_view miss_name(StoreMiss miss) {
  constexpr std::array<std::string_view, kStoreMisses> kNames = {
      "absent",        "unreadable",  "torn",           "another version", "bad checksum",
      "another model", "another key", "another parent", "other token ids", "another size"};
  return kNames[static_cast<size_t>(miss)];
}

size_t value_bytes(size_t n_ids, size_t payload_bytes) {
  return kValueOverheadBytes + n_ids * sizeof(int32_t) + payload_bytes;
}

void write_value(const ValueParts& parts, std::span<std::byte> out) {
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  put(out, kVersionAt, kStoreVersion);
  put(out, kKindAt, static_cast<uint16_t>(parts.kind));
  put(out, kIdsCountAt, static_cast<uint32_t>(parts.ids.size()));
  put(out, kRowsBytesAt, uint64_t{bytes_in(parts.ranges, parts.rows.size())});
  put(out, kOpenBytesAt, uint64_t{parts.open.size()});
  put(out, kFingerprintAt, parts.fingerprint);
  put(out, kKeyAt, parts.key);
  put(out, kParentAt, parts.parent);
  std::byte* at = out.data() + kHeaderBytes;
  const auto append = [&](std::span<const std::byte> part) {
    copy(part, at);
    at += part.size();
  };
  append(std::as_bytes(parts.ids));
  if (parts.ranges.empty()) append(parts.rows);
  for (const ByteRange& range : parts.ranges) append(parts.rows.subspan(range.at, range.n_bytes));
  append(parts.open);
}

void seal_value(std::span<std::byte> value) {
  const size_t at = value.size() - kChecksumBytes;
  put(value, at, checksum_of(value.first(at)));
}

tl::expected<StoredValue, StoreMiss> parse_value(std::span<const std::byte> bytes,
                                                 Checksum checksum) {
  if (bytes.size() < kValueOverheadBytes ||
      std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    return tl::unexpected(StoreMiss::torn);
  }
  if (get<uint16_t>(bytes, kVersionAt) != kStoreVersion) {
    return tl::unexpected(StoreMiss::version);
  }
  const auto kind = get<uint16_t>(bytes, kKindAt);
  if (!is_kind(kind) || bytes_by_header(bytes, bytes.size()) != bytes.size()) {
    return tl::unexpected(StoreMiss::torn);
  }
  if (checksum == Checksum::check && !checksum_holds(bytes)) {
    return tl::unexpected(StoreMiss::checksum);
  }
  StoredValue value{.kind = static_cast<StoredKind>(kind),
                    .fingerprint = get<Digest>(bytes, kFingerprintAt),
                    .key = get<Digest>(bytes, kKeyAt),
                    .parent = get<Digest>(bytes, kParentAt),
                    .ids = {},
                    .rows = {},
                    .open = {}};
  const size_t ids_bytes = size_t{get<uint32_t>(bytes, kIdsCountAt)} * sizeof(int32_t);
  const auto rows_bytes = static_cast<size_t>(get<uint64_t>(bytes, kRowsBytesAt));
  const auto open_bytes = static_cast<size_t>(get<uint64_t>(bytes, kOpenBytesAt));
  value.ids = bytes.subspan(kHeaderBytes, ids_bytes);
  value.rows = bytes.subspan(kHeaderBytes + ids_bytes, rows_bytes);
  value.open = bytes.subspan(kHeaderBytes + ids_bytes + rows_bytes, open_bytes);
  return value;
}

std::optional<std::span<const std::byte>> find_value(std::span<const std::byte> bytes) {
  for (;;) {
    const void* const found =
        bytes.size() < kValueOverheadBytes
            ? nullptr
            : memmem(bytes.data(), bytes.size(), kMagic.data(), kMagic.size());
    if (found == nullptr) return std::nullopt;
    bytes = bytes.subspan(static_cast<size_t>(static_cast<const std::byte*>(found) - bytes.data()));
    if (bytes.size() < kValueOverheadBytes) return std::nullopt;
    const auto n_bytes = bytes_by_header(bytes, bytes.size());
    if (n_bytes && parse_value(bytes.first(static_cast<size_t>(*n_bytes)))) {
      return bytes.first(static_cast<size_t>(*n_bytes));
    }
    bytes = bytes.subspan(1);
  }
}

tl::expected<void, StoreMiss> copy_value(const StoredValue& value, const ExpectedValue& expected,
                                         std::span<std::byte> rows, std::span<std::byte> open) {
  const auto ids = std::as_bytes(expected.ids);
  if (value.fingerprint != expected.fingerprint) return tl::unexpected(StoreMiss::other_model);
  if (value.kind != expected.kind || value.key != expected.key) {
    return tl::unexpected(StoreMiss::other_key);
  }
  if (value.parent != expected.parent) return tl::unexpected(StoreMiss::other_parent);
  if (value.ids.size() != ids.size() ||
      (!ids.empty() && std::memcmp(value.ids.data(), ids.data(), ids.size()) != 0)) {
    return tl::unexpected(StoreMiss::other_ids);
  }
  if (value.rows.size() != bytes_in(expected.ranges, rows.size()) ||
      value.open.size() != open.size()) {
    return tl::unexpected(StoreMiss::other_size);
  }
  if (expected.ranges.empty()) copy(value.rows, rows.data());
  auto left = value.rows;
  for (const ByteRange& range : expected.ranges) {
    copy(left.first(range.n_bytes), rows.data() + range.at);
    left = left.subspan(range.n_bytes);
  }
  copy(value.open, open.data());
  return {};
}

// ---- records ----

namespace {

constexpr size_t kRecordKindAt = 2;
constexpr size_t kRecordIdsAt = 4;
constexpr size_t kRecordTokensAt = 8;
constexpr size_t kRecordReuseAt = 12;
constexpr size_t kRecordValueBytesAt = 16;
constexpr size_t kRecordLastUseAt = 24;
constexpr size_t kRecordAgeAt = 32;
constexpr size_t kRecordFingerprintAt = 40;
constexpr size_t kRecordParentAt = kRecordFingerprintAt + kDigestBytes;
constexpr size_t kRecordChecksumAt = kRecordParentAt + kDigestBytes;
static_assert(kRecordChecksumAt + sizeof(uint64_t) == kRecordBytes);

// Over the key, too: a record that lies under another key does not hold.
uint64_t record_checksum(std::span<const std::byte> record, const Digest& key) {
  std::array<std::byte, kRecordChecksumAt + kDigestBytes> all;
  std::memcpy(all.data(), record.data(), kRecordChecksumAt);
  std::memcpy(all.data() + kRecordChecksumAt, key.data(), kDigestBytes);
  return XXH3_64bits(all.data(), all.size());
}

}  // namespace

void write_record(const ValueRecord& record, const Digest& key, std::span<std::byte> out) {
  put(out, 0, record.version);
  put(out, kRecordKindAt, static_cast<uint16_t>(record.kind));
  put(out, kRecordIdsAt, record.n_ids);
  put(out, kRecordTokensAt, record.n_tokens);
  put(out, kRecordReuseAt, record.reuse);
  put(out, kRecordValueBytesAt, record.value_bytes);
  put(out, kRecordLastUseAt, record.last_use_us);
  put(out, kRecordAgeAt, record.age);
  put(out, kRecordFingerprintAt, record.fingerprint);
  put(out, kRecordParentAt, record.parent);
  put(out, kRecordChecksumAt, record_checksum(out, key));
}

tl::expected<ValueRecord, StoreMiss> parse_record(std::span<const std::byte> bytes,
                                                  const Digest& key) {
  if (bytes.size() != kRecordBytes) return tl::unexpected(StoreMiss::torn);
  if (get<uint64_t>(bytes, kRecordChecksumAt) != record_checksum(bytes, key)) {
    return tl::unexpected(StoreMiss::checksum);
  }
  const auto kind = get<uint16_t>(bytes, kRecordKindAt);
  ValueRecord record{.version = get<uint16_t>(bytes, 0),
                     .kind = static_cast<StoredKind>(kind),
                     .n_ids = get<uint32_t>(bytes, kRecordIdsAt),
                     .n_tokens = get<uint32_t>(bytes, kRecordTokensAt),
                     .value_bytes = get<uint64_t>(bytes, kRecordValueBytesAt),
                     .reuse = get<uint32_t>(bytes, kRecordReuseAt),
                     .last_use_us = get<uint64_t>(bytes, kRecordLastUseAt),
                     .age = get<double>(bytes, kRecordAgeAt),
                     .fingerprint = get<Digest>(bytes, kRecordFingerprintAt),
                     .parent = get<Digest>(bytes, kRecordParentAt)};
  if (!is_kind(kind) || !std::isfinite(record.age) || record.age < 0) {
    return tl::unexpected(StoreMiss::torn);
  }
  return record;
}

}  // namespace varve
