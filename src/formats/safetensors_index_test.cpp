#include "formats/safetensors_index.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

Result<SafetensorsIndex> parse(const std::string& text) {
  return SafetensorsIndex::parse(JsonObject::parse(text, "index.json").value());
}

TEST(SafetensorsIndex, NamesShardsAndBytes) {
  const auto index = parse(
      R"({"metadata":{"total_size":16060522496.0},"weight_map":{"b":"2.safetensors","a":"1.x"}})");
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(index->names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(index->shards(), (std::vector<std::string>{"1.x", "2.safetensors"}));
  EXPECT_TRUE(index->lists("b"));
  EXPECT_FALSE(index->lists("c"));
  EXPECT_EQ(index->total_bytes().value(), std::optional<size_t>(16060522496));
}

TEST(SafetensorsIndex, BytesMayBeMissing) {
  for (const char* const start : {"{", R"({"metadata":null,)", R"({"metadata":{"format":"pt"},)"}) {
    const auto index = parse(std::string(start) + R"("weight_map":{"a":"1"}})");
    ASSERT_TRUE(index) << index.error().message;
    EXPECT_EQ(index->total_bytes().value(), std::nullopt);
  }
}

TEST(SafetensorsIndex, WrongBytesAreASentence) {
  for (const char* const size : {"0", "-1", "1.5", "\"7\"", "9223372036854775808", "[]"}) {
    const auto index =
        parse(fmt::format(R"({{"metadata":{{"total_size":{}}},"weight_map":{{"a":"1"}}}})", size));
    ASSERT_TRUE(index) << index.error().message;  // those who do not ask are not told
    const auto bytes = index->total_bytes();
    ASSERT_FALSE(bytes) << size;
    EXPECT_NE(bytes.error().message.find("index.json: field `metadata.total_size`: expected"),
              std::string::npos)
        << bytes.error().message;
  }
  EXPECT_FALSE(parse(R"({"metadata":7,"weight_map":{"a":"1"}})")->total_bytes());
}

}  // namespace
}  // namespace varve
