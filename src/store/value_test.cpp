#include "store/value.h"

#include <gtest/gtest.h>

#include <vector>

#include "store/test_values.h"

namespace varve {
namespace {

const Digest kModel = test_digest(1, 1);

std::vector<std::byte> encoded(const TestValue& value) {
  std::vector<std::byte> bytes(
      value_bytes(value.ids.size(), value.rows.size() + value.open.size()));
  write_value({value.kind, kModel, value.key, value.parent, value.ids, value.rows, value.open},
              bytes);
  seal_value(bytes);
  return bytes;
}

TEST(Value, ComesBackAsItWas) {
  for (const uint64_t i : {uint64_t{0}, uint64_t{6}, uint64_t{127}, kPointEvery * 128 - 1}) {
    const TestValue value = test_value(i, 333);
    const std::vector<std::byte> bytes = encoded(value);
    const auto parsed = parse_value(bytes);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->kind, value.kind);
    std::vector<std::byte> rows(value.rows.size());
    std::vector<std::byte> open(value.open.size());
    ASSERT_TRUE(
        copy_value(*parsed, {value.kind, kModel, value.key, value.parent, value.ids}, rows, open));
    EXPECT_EQ(rows, value.rows);
    EXPECT_EQ(open, value.open);
  }
}

TEST(Value, SomeOfItsRowsComeBackToTheirPlaces) {
  const TestValue value = test_value(6, 100);
  const std::vector<ByteRange> ranges = {{3, 10}, {20, 1}, {90, 10}};
  std::vector<std::byte> bytes(value_bytes(value.ids.size(), 21 + value.open.size()));
  write_value(
      {value.kind, kModel, value.key, value.parent, value.ids, value.rows, value.open, ranges},
      bytes);
  seal_value(bytes);
  const auto parsed = parse_value(bytes);
  ASSERT_TRUE(parsed);
  std::vector<std::byte> rows(100, std::byte{0x5a});
  std::vector<std::byte> open(value.open.size());
  ExpectedValue expected{value.kind, kModel, value.key, value.parent, value.ids, ranges};
  ASSERT_TRUE(copy_value(*parsed, expected, rows, open));
  EXPECT_EQ(open, value.open);
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool is_kept = (i >= 3 && i < 13) || i == 20 || i >= 90;
    EXPECT_EQ(rows[i], is_kept ? value.rows[i] : std::byte{0x5a}) << i;
  }
  const std::vector<ByteRange> others = {{3, 10}, {20, 2}, {90, 10}};
  expected.ranges = others;
  EXPECT_EQ(copy_value(*parsed, expected, rows, open).error(), StoreMiss::other_size);
}

TEST(Value, TakesWhatItSays) {
  const TestValue block = test_value(0, 1000);
  EXPECT_EQ(encoded(block).size(), 1000 + 128 * 4 + kValueOverheadBytes);
}

TEST(Value, EveryBitCounts) {
  const TestValue value = test_value(6, 40);
  std::vector<std::byte> bytes = encoded(value);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    EXPECT_FALSE(parse_value(bytes)) << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
  EXPECT_TRUE(parse_value(bytes));
}

TEST(Value, EveryLengthCounts) {
  const std::vector<std::byte> bytes = encoded(test_value(6, 40));
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto parsed = parse_value(std::span(bytes).first(n));
    ASSERT_FALSE(parsed) << n;
    EXPECT_EQ(parsed.error(), StoreMiss::torn) << n;
  }
  std::vector<std::byte> longer = bytes;
  longer.emplace_back();
  EXPECT_EQ(parse_value(longer).error(), StoreMiss::torn);
}

TEST(Value, AnotherVersionIsSaidToBeOne) {
  std::vector<std::byte> bytes = encoded(test_value(0, 40));
  bytes[8] = std::byte{kStoreVersion + 1};
  seal_value(bytes);
  EXPECT_EQ(parse_value(bytes).error(), StoreMiss::version);
}

TEST(Value, SizesThatOverflowAreRefused) {
  std::vector<std::byte> bytes = encoded(test_value(6, 40));
  for (const size_t at : {16, 24}) {
    std::vector<std::byte> wrong = bytes;
    for (size_t i = 0; i < 8; ++i) wrong[at + i] = std::byte{0xff};
    seal_value(wrong);
    EXPECT_EQ(parse_value(wrong).error(), StoreMiss::torn);
  }
}

TEST(Value, SaysWhatIsNotAsExpected) {
  const TestValue value = test_value(0, 64);
  const TestValue other = test_value(1, 64);
  const std::vector<std::byte> bytes = encoded(value);
  const auto parsed = parse_value(bytes);
  ASSERT_TRUE(parsed);
  std::vector<std::byte> rows(64);
  const auto reason = [&](const ExpectedValue& expected, size_t rows_bytes = 64,
                          size_t open_bytes = 0) {
    std::vector<std::byte> open(open_bytes);
    rows.assign(rows_bytes, std::byte{7});
    const auto copied = copy_value(*parsed, expected, rows, open);
    EXPECT_FALSE(copied);
    EXPECT_EQ(rows, std::vector<std::byte>(rows_bytes, std::byte{7})) << "it wrote all the same";
    return copied ? StoreMiss::absent : copied.error();
  };
  const Digest another = test_digest(1, 2);
  const auto block = StoredKind::block;
  EXPECT_EQ(reason({block, another, value.key, value.parent, value.ids}), StoreMiss::other_model);
  EXPECT_EQ(reason({block, kModel, other.key, value.parent, value.ids}), StoreMiss::other_key);
  EXPECT_EQ(reason({StoredKind::point, kModel, value.key, value.parent, value.ids}),
            StoreMiss::other_key);
  EXPECT_EQ(reason({block, kModel, value.key, other.parent, value.ids}), StoreMiss::other_parent);
  EXPECT_EQ(reason({block, kModel, value.key, value.parent, other.ids}), StoreMiss::other_ids);
  EXPECT_EQ(reason({block, kModel, value.key, value.parent, std::span(value.ids).first(127)}),
            StoreMiss::other_ids);
  EXPECT_EQ(reason({block, kModel, value.key, value.parent, value.ids}, 63), StoreMiss::other_size);
  EXPECT_EQ(reason({block, kModel, value.key, value.parent, value.ids}, 64, 1),
            StoreMiss::other_size);
}

TEST(Record, ComesBackAsItWas) {
  const ValueRecord record{.version = 3,
                           .kind = StoredKind::point,
                           .n_ids = 17,
                           .n_tokens = 128,
                           .value_bytes = uint64_t{1} << 33,
                           .reuse = 5,
                           .last_use_us = 1'700'000'000'000'000,
                           .age = 0.375,
                           .fingerprint = test_digest(2, 2),
                           .parent = test_digest(2, 3)};
  const Digest key = test_digest(2, 4);
  std::vector<std::byte> bytes(kRecordBytes);
  write_record(record, key, bytes);
  const auto parsed = parse_record(bytes, key);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->version, 3);
  EXPECT_EQ(parsed->kind, StoredKind::point);
  EXPECT_EQ(parsed->n_ids, 17u);
  EXPECT_EQ(parsed->n_tokens, 128u);
  EXPECT_EQ(parsed->value_bytes, uint64_t{1} << 33);
  EXPECT_EQ(parsed->reuse, 5u);
  EXPECT_EQ(parsed->last_use_us, 1'700'000'000'000'000u);
  EXPECT_EQ(parsed->age, 0.375);
  EXPECT_EQ(parsed->fingerprint, record.fingerprint);
  EXPECT_EQ(parsed->parent, record.parent);

  EXPECT_FALSE(parse_record(bytes, test_digest(2, 5))) << "it lies under another key";
  EXPECT_FALSE(parse_record(std::span(bytes).first(kRecordBytes - 1), key));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    EXPECT_FALSE(parse_record(bytes, key)) << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
}

}  // namespace
}  // namespace varve
