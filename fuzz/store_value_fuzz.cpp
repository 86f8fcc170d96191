// A value of the store and a record of one, from any bytes: a reason, or parts that lie in the
// bytes and give the same bytes when they are written again. Checksums are made to hold now and
// then, so that what stands behind them is reached.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "store/value.h"

namespace {

using namespace varve;

void require(bool holds) {
  if (!holds) std::abort();
}

std::vector<int32_t> ids_of(const StoredValue& value) {
  std::vector<int32_t> ids(value.ids.size() / sizeof(int32_t));
  if (!ids.empty()) std::memcpy(ids.data(), value.ids.data(), value.ids.size());
  return ids;
}

void read_value(std::span<const std::byte> bytes) {
  const auto value = parse_value(bytes);
  if (!value) {
    require(!miss_name(value.error()).empty());
    return;
  }
  const std::vector<int32_t> ids = ids_of(*value);
  require(value_bytes(ids.size(), value->rows.size() + value->open.size()) == bytes.size());
  std::vector<std::byte> again(bytes.size());
  write_value(
      {value->kind, value->fingerprint, value->key, value->parent, ids, value->rows, value->open},
      again);
  seal_value(again);
  require(std::equal(again.begin(), again.end(), bytes.begin()));

  std::vector<std::byte> rows(value->rows.size());
  std::vector<std::byte> open(value->open.size());
  const ExpectedValue expected{value->kind, value->fingerprint, value->key, value->parent, ids};
  require(copy_value(*value, expected, rows, open).has_value());
  require(std::equal(rows.begin(), rows.end(), value->rows.begin()));
  rows.emplace_back();
  require(!copy_value(*value, expected, rows, open));
}

// Whole values among other bytes.
void search(std::span<const std::byte> bytes) {
  while (const auto found = find_value(bytes)) {
    require(found->data() >= bytes.data() &&
            found->data() + found->size() <= bytes.data() + bytes.size());
    require(parse_value(*found).has_value());
    bytes = bytes.subspan(static_cast<size_t>(found->data() + found->size() - bytes.data()));
  }
}

void read_record(std::span<const std::byte> bytes) {
  const Digest key = {};
  const auto record = parse_record(bytes, key);
  if (!record) return;
  std::vector<std::byte> again(kRecordBytes);
  write_record(*record, key, again);
  require(parse_record(again, key).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read_value(bytes);
  search(bytes);
  read_record(bytes);
  if (size < kValueOverheadBytes) return 0;
  std::vector<std::byte> sealed(bytes.begin(), bytes.end());
  seal_value(sealed);
  read_value(sealed);
  sealed.insert(sealed.begin(), bytes.begin(), bytes.begin() + 3);
  search(sealed);
  return 0;
}
