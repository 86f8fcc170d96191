#include "formats/gguf.h"

#include <gtest/gtest.h>

#include "formats/gguf_test_bytes.h"
#include "formats/gguf_types.h"
#include "formats/safetensors_test_bytes.h"

namespace varve {
namespace {

constexpr uint32_t kF32 = 0, kQ4_0 = 2, kQ2_K = 10, kI8 = 24, kI32 = 26;

// Every kind of value, two tensors that are read, two that are not.
GgufBytes good() {
  GgufBytes g;
  g.entry("general.architecture", "llama")
      .entry("a.u8", GgufType::uint8, bytes_of<uint8_t>(200))
      .entry("a.i8", GgufType::int8, bytes_of<int8_t>(-3))
      .entry("a.u16", GgufType::uint16, bytes_of<uint16_t>(60000))
      .entry("a.i16", GgufType::int16, bytes_of<int16_t>(-300))
      .entry("a.u32", GgufType::uint32, bytes_of<uint32_t>(4000000000u))
      .entry("a.i32", GgufType::int32, bytes_of<int32_t>(-70000))
      .entry("a.u64", GgufType::uint64, bytes_of<uint64_t>(UINT64_MAX))
      .entry("a.i64", GgufType::int64, bytes_of<int64_t>(INT64_MIN))
      .entry("a.f32", GgufType::float32, bytes_of(0.1f))
      .entry("a.f64", GgufType::float64, bytes_of(0.1))
      .entry("a.yes", GgufType::boolean, bytes_of<uint8_t>(1))
      .array("l.numbers", GgufType::uint32, {bytes_of<uint32_t>(7), bytes_of<uint32_t>(8)})
      .array("l.texts", GgufType::string, {gguf_text("x"), gguf_text(""), gguf_text("\xff\n")})
      .array("l.none", GgufType::float32, {})
      .tensor("b", {3, 2}, kF32, 0)
      .tensor("a", {32, 1, 2}, kQ4_0, 32)
      .tensor("k", {256}, kQ2_K, 96)
      .tensor("i", {5}, kI8, 192);
  return g;
}
constexpr size_t kGoodData = 197;

GgufFile parse_or_fail(const std::string& bytes) {
  auto file = parse_gguf(as_bytes(bytes), "good.gguf");
  EXPECT_TRUE(file) << file.error().message;
  return file ? std::move(*file) : GgufFile{};
}

std::string error_of(const std::string& bytes) {
  // A copy of its own and of its size, so that a sanitizer sees a read past the end.
  const std::vector<char> copy(bytes.begin(), bytes.end());
  const auto file = parse_gguf(std::as_bytes(std::span(copy)), "bad.gguf");
  if (file) return "no error";
  EXPECT_EQ(file.error().kind, ErrorKind::bad_input);
  EXPECT_EQ(file.error().message.rfind("bad.gguf: ", 0), 0u) << file.error().message;
  EXPECT_EQ(file.error().message.find('\n'), std::string::npos);
  return file.error().message;
}

void expect_error(const std::string& bytes, const std::string& fragment) {
  const std::string message = error_of(bytes);
  EXPECT_NE(message.find(fragment), std::string::npos) << message;
}

TEST(Gguf, ReadsTensors) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBytes g = good();
    g.version = version;
    const std::string bytes = g.file(kGoodData);
    const GgufFile file = parse_or_fail(bytes);
    ASSERT_EQ(file.tensors.size(), 2u);
    EXPECT_EQ(file.metadata.version(), static_cast<int>(version));
    const TensorView& a = file.tensors[0];
    EXPECT_EQ(a.name, "a");
    EXPECT_EQ(a.file, "good.gguf");
    EXPECT_EQ(a.type, DType::q4_0);
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 1, 32}));
    ASSERT_EQ(a.bytes.size(), 36u);
    EXPECT_EQ(static_cast<int>(a.bytes[0]), 32);
    EXPECT_EQ(file.tensors[1].shape, (std::vector<int64_t>{2, 3}));
    ASSERT_EQ(file.unread.size(), 2u);
    EXPECT_EQ(file.unread[0].dtype, "I8");
    EXPECT_EQ(file.unread[1].dtype, "Q2_K");
  }
}

TEST(Gguf, ReadsEveryKindOfValue) {
  const std::string bytes = good().file(kGoodData);
  const GgufFile file = parse_or_fail(bytes);
  const GgufMetadata& m = file.metadata;
  ASSERT_EQ(m.entries().size(), 15u);
  EXPECT_EQ(m.string("general.architecture").value(), "llama");
  const IntRange any = {INT64_MIN, INT64_MAX};
  for (const auto& [key, value] :
       std::initializer_list<std::pair<const char*, int64_t>>{{"a.u8", 200},
                                                              {"a.i8", -3},
                                                              {"a.u16", 60000},
                                                              {"a.i16", -300},
                                                              {"a.u32", 4000000000},
                                                              {"a.i32", -70000},
                                                              {"a.i64", INT64_MIN}}) {
    EXPECT_EQ(m.integer(key, any).value(), value) << key;
  }
  EXPECT_EQ(m.integer("a.u64", any).error().message,
            "good.gguf: key `a.u64`: expected an integer from -9223372036854775808 to "
            "9223372036854775807, found 18446744073709551615");
  EXPECT_EQ(m.find("a.f32")->number(), 0.1);  // not the 0.100000001490116 that 0.1f is
  EXPECT_EQ(m.find("a.f64")->number(), 0.1);
  EXPECT_EQ(m.find("a.u8")->number(), 200.0);
  EXPECT_TRUE(m.boolean("a.yes").value());
  EXPECT_EQ(m.integers("l.numbers").value(), (std::vector<int64_t>{7, 8}));
  EXPECT_EQ(m.strings("l.texts").value()[2], "\xff\n");
  EXPECT_EQ(m.find("l.none")->n, 0u);
  EXPECT_EQ(m.integer_or("none", 3).value(), 3);
  EXPECT_TRUE(m.boolean_or("none", true).value());
  EXPECT_EQ(m.string_or("none", "x").value(), "x");
}

TEST(Gguf, WrongMetadataIsASentence) {
  const std::string bytes = good().file(kGoodData);
  const GgufFile file = parse_or_fail(bytes);
  const GgufMetadata& m = file.metadata;
  const auto message = [](const auto& result) {
    return result ? std::string("no error") : result.error().message;
  };
  EXPECT_EQ(message(m.string("none")), "good.gguf: key `none`: expected a string, it is missing");
  EXPECT_EQ(message(m.integer("general.architecture", {1, 8})),
            "good.gguf: key `general.architecture`: expected an integer from 1 to 8, found "
            "\"llama\"");
  EXPECT_EQ(message(m.boolean("a.u8")), "good.gguf: key `a.u8`: expected true or false, found 200");
  EXPECT_EQ(message(m.integer("l.numbers", {1, 8})),
            "good.gguf: key `l.numbers`: expected an integer from 1 to 8, found [7, 8]");
  EXPECT_EQ(message(m.integers("l.numbers", {1, 7})),
            "good.gguf: key `l.numbers[1]`: expected an integer from 1 to 7, found 8");
  EXPECT_EQ(message(m.integers("l.texts")),
            "good.gguf: key `l.texts[0]`: expected a positive integer of 32 bits, found \"x\"");
  EXPECT_EQ(message(m.strings("a.f32")),
            "good.gguf: key `a.f32`: expected an array of strings, found 0.1");
  EXPECT_EQ(message(m.string("l.texts")),
            "good.gguf: key `l.texts`: expected a string, found an array of 3 STRING");
}

TEST(Gguf, NothingInIt) {
  const std::string bytes = GgufBytes().file(0);
  const GgufFile file = parse_or_fail(bytes);
  EXPECT_TRUE(file.tensors.empty());
  EXPECT_TRUE(file.metadata.entries().empty());
}

TEST(Gguf, OwnAlignmentAndScalars) {
  GgufBytes g;
  g.alignment = 8;
  const std::string bytes = g.entry("general.alignment", GgufType::uint32, bytes_of<uint32_t>(8))
                                .tensor("one", {}, kF32, 0)
                                .tensor("none", {7, 0}, kF32, 8)
                                .tensor("two", {2}, kI32, 8)
                                .file(16);
  const GgufFile file = parse_or_fail(bytes);
  ASSERT_EQ(file.tensors.size(), 3u);
  EXPECT_TRUE(file.tensors[0].bytes.empty());
  EXPECT_EQ(file.tensors[1].n_elements(), 1);
  EXPECT_EQ(static_cast<int>(file.tensors[2].bytes[0]), 8);
}

TEST(Gguf, TruncatedAnywhereIsASentence) {
  const std::string bytes = good().file(kGoodData);
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_NE(error_of(bytes.substr(0, n)), "no error") << n;
}

TEST(Gguf, SaysHowLongTheFileIs) {
  const std::string bytes = good().file(kGoodData);
  const size_t header_end = good().file(0).size();
  for (size_t n = 0; n <= bytes.size(); ++n) {
    const std::string cut = bytes.substr(0, n);
    const auto whole = gguf_file_bytes(as_bytes(cut), "cut.gguf");
    EXPECT_EQ(whole.has_value(), n >= header_end) << n;
    if (whole) {
      EXPECT_EQ(*whole, (bytes.size() + 31) / 32 * 32);
    }
  }
  const std::string far = GgufBytes().tensor("a", {8}, kF32, UINT64_MAX - 31).file(0);
  const auto whole = gguf_file_bytes(as_bytes(far), "far.gguf");
  ASSERT_FALSE(whole);
  EXPECT_NE(whole.error().message.find("far.gguf: tensor \"a\": expected 32 bytes of data at"),
            std::string::npos)
      << whole.error().message;
}

TEST(Gguf, AnyByteChangedNeverCrashes) {
  const std::string bytes = good().file(kGoodData);
  for (size_t at = 0; at < bytes.size() - kGoodData; ++at) {
    for (const char value : {'\0', '\1', '\x09', '\x7f', '\x80', '\xff'}) {
      std::string changed = bytes;
      changed[at] = value;
      (void)parse_gguf(as_bytes(changed), "f");
    }
  }
}

TEST(Gguf, NotThisFormat) {
  expect_error("GGML" + good().file(0).substr(4), "starts with \"GGUF\", found \"GGML\"");
  GgufBytes g;
  for (const uint32_t version : {0u, 1u, 4u}) {
    g.version = version;
    expect_error(g.file(0), fmt::format("GGUF version 2 or 3, found {}", version));
  }
  g.version = 3u << 24;
  expect_error(g.file(0), "little-endian GGUF file, found a big-endian one");
}

TEST(Gguf, CountsThatNoFileCanHold) {
  const auto header = [](uint64_t n_tensors, uint64_t n_entries) {
    return "GGUF" + bytes_of<uint32_t>(3) + bytes_of(n_tensors) + bytes_of(n_entries);
  };
  expect_error(header(1, 0) + std::string(10, '\0'), "at most 0 as the number of tensors");
  expect_error(header(UINT64_MAX, 0), "found 18446744073709551615");
  expect_error(header(0, UINT64_MAX) + std::string(26, '\0'),
               "at most 2 as the number of metadata entries, for the file has 26 bytes more");
  for (const GgufType type : {GgufType::string, GgufType::uint8, GgufType::float64}) {
    GgufBytes g;
    g.entry("a", GgufType::array, bytes_of(static_cast<uint32_t>(type)) + bytes_of(UINT64_MAX / 8));
    expect_error(g.file(0), "as the number of elements in the value of key \"a\"");
  }
  expect_error(header(0, 1) + bytes_of(UINT64_MAX) + "abcdefgh",
               "expected 18446744073709551615 bytes for a metadata key");
}

TEST(Gguf, HostileMetadata) {
  const auto value = [](uint32_t type, const std::string& bytes) {
    return GgufBytes().raw_entry(gguf_text("k") + bytes_of(type) + bytes).file(64);
  };
  expect_error(value(13, ""), "the value of key \"k\" of a type from 0 to 12, found type 13");
  expect_error(value(7, "\2"), "as a BOOL of 0 or 1, found 2");
  expect_error(value(9, bytes_of<uint32_t>(9)), "found an array of arrays");
  expect_error(value(9, bytes_of<uint32_t>(77)), "found type 77");
  expect_error(value(8, bytes_of<uint64_t>(1000)), "expected 1000 bytes for the value of key");
  expect_error(GgufBytes().entry("k", "1").entry("k", "2").file(0),
               "expected each metadata key once, found \"k\" twice");
  for (const uint32_t alignment : {0u, 24u, 1u << 30}) {
    expect_error(
        GgufBytes().entry("general.alignment", GgufType::uint32, bytes_of(alignment)).file(0),
        fmt::format("a power of two up to 1048576, found {}", alignment));
  }
  expect_error(GgufBytes().entry("general.alignment", "32").file(0), "found \"32\"");
}

TEST(Gguf, HostileTensors) {
  const auto one = [](const std::vector<uint64_t>& extents, uint32_t type, uint64_t offset) {
    return GgufBytes().tensor("t", extents, type, offset).file(64);
  };
  constexpr uint64_t kHuge = uint64_t{1} << 62;
  expect_error(one({1, 1, 1, 1, 1}, kF32, 0), "expected at most 4 extents, found 5");
  expect_error(one({UINT64_MAX}, kF32, 0), "fewer than 2^63 values");
  expect_error(one({kHuge, 2}, kI8, 0), "fewer than 2^63 values");
  expect_error(one({0, kHuge, 2}, kI8, 0), "fewer than 2^63 values");
  expect_error(one({kHuge}, kF32, 0), "fewer than 2^63 bytes");
  expect_error(one({4}, 5, 0),
               "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL, "
               "I32, BF16, MXFP4, found type number 5");
  expect_error(one({33}, kQ4_0, 0), "whole blocks of 32 values (Q4_0), found rows of 33");
  expect_error(one({16, 2}, kQ4_0, 0), "found rows of 16");
  expect_error(one({}, kQ4_0, 0), "found rows of 1");
  expect_error(one({4}, kF32, 4), "an offset that is a multiple of 32, found 4");
  expect_error(one({17}, kF32, 0),
               "expected 68 bytes of data at offset 0, found a file that has 64 bytes of data");
  expect_error(one({1}, kF32, 96), "at offset 96");
  expect_error(one({1}, kF32, UINT64_MAX - 31), "at offset 18446744073709551584");
  expect_error(GgufBytes().tensor("t", {1}, kF32, 0).tensor("t", {1}, kF32, 32).file(64),
               "expected each tensor name once, found \"t\" twice");
  expect_error(GgufBytes().tensor("a", {9}, kF32, 0).tensor("b", {1}, kF32, 32).file(64),
               "tensor \"b\": expected data at offset 36 or later, found it at 32 inside \"a\"");
}

TEST(Gguf, TypesAgreeWithTheirElements) {
  int n_read = 0;
  for (uint32_t id = 0; id < 64; ++id) {
    const GgufTensorType* const type = gguf_tensor_type(id);
    if (type == nullptr || !type->read_as) continue;
    ++n_read;
    EXPECT_EQ(type->name, dtype_name(*type->read_as));
    EXPECT_EQ(static_cast<size_t>(type->values), dtype_values(*type->read_as)) << type->name;
    EXPECT_EQ(static_cast<size_t>(type->bytes), dtype_bytes(*type->read_as)) << type->name;
    EXPECT_EQ(gguf_tensor_type(*type->read_as), type);
  }
  EXPECT_EQ(n_read, 14);
  EXPECT_EQ(gguf_tensor_type(DType::f8_e4m3), nullptr);
}

}  // namespace
}  // namespace varve
