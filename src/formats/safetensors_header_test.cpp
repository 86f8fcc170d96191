#include "formats/safetensors_header.h"

#include <gtest/gtest.h>

#include "formats/safetensors_test_bytes.h"

namespace varve {
namespace {

constexpr std::string_view kGood =
    R"({"__metadata__":{"format":"pt"},)"
    R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
    R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
    R"("none":{"dtype":"I8","shape":[0,7],"data_offsets":[20,20]},)"
    R"("one":{"dtype":"I64","shape":[],"data_offsets":[20,28],"extra":[{"deep":[1,"x"]}]}} )";
constexpr size_t kGoodData = 28;

TEST(SafetensorsHeader, ReadsAGoodOne) {
  const std::string bytes = safetensors_bytes(kGood, kGoodData);
  auto file = parse_safetensors(as_bytes(bytes), "good.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors.size(), 4u);
  EXPECT_EQ(file->metadata, (Metadata{{"format", "pt"}}));
  const TensorView& b = file->tensors[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.file, "good.safetensors");
  EXPECT_EQ(b.type, DType::bf16);
  EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 3}));
  ASSERT_EQ(b.bytes.size(), 12u);
  EXPECT_EQ(static_cast<int>(b.bytes[0]), 8);
  EXPECT_TRUE(file->tensors[2].bytes.empty());
  EXPECT_EQ(file->tensors[3].n_elements(), 1);
}

TEST(SafetensorsHeader, AnEmptyMapIsAFileWithoutTensors) {
  const std::string bytes = safetensors_bytes("{}", 0);
  auto file = parse_safetensors(as_bytes(bytes), "f");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(file->tensors.empty());
}

TEST(SafetensorsHeader, ReadsEveryTypeAndSetsTheOthersAside) {
  const std::string bytes =
      safetensors_bytes(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]},)"
                        R"("b":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[1,2]},)"
                        R"("c":{"dtype":"F16","shape":[1],"data_offsets":[2,4]},)"
                        R"("d":{"dtype":"I32","shape":[1],"data_offsets":[4,8]},)"
                        R"("e":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},)"
                        R"("u":{"dtype":"U8","shape":[3],"data_offsets":[16,19]},)"
                        R"("f":{"dtype":"F4","shape":[2,3],"data_offsets":[19,22]}})",
                        22);
  auto file = parse_safetensors(as_bytes(bytes), "f");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->tensors.size(), 5u);
  ASSERT_EQ(file->unread.size(), 2u);
  EXPECT_EQ(file->unread[0].name, "f");
  EXPECT_EQ(file->unread[1].dtype, "U8");
}

TEST(SafetensorsHeader, TruncatedAnywhereIsASentence) {
  const std::string bytes = safetensors_bytes(kGood, kGoodData);
  for (size_t n = 0; n < bytes.size(); ++n) {
    // A copy of its own, so that a sanitizer sees a read past the end.
    const std::string cut = bytes.substr(0, n);
    auto file = parse_safetensors(as_bytes(cut), "cut.safetensors");
    ASSERT_FALSE(file) << n;
    EXPECT_EQ(file.error().kind, ErrorKind::bad_input);
    EXPECT_NE(file.error().message.find("cut.safetensors"), std::string::npos);
  }
}

TEST(SafetensorsHeader, SaysHowLongTheFileIs) {
  const std::string bytes = safetensors_bytes(kGood, kGoodData);
  const size_t header_end = 8 + kGood.size();
  for (size_t n = 0; n <= bytes.size(); ++n) {
    const std::string cut = bytes.substr(0, n);
    const auto whole = safetensors_file_bytes(as_bytes(cut), "cut.safetensors");
    EXPECT_EQ(whole.has_value(), n >= header_end) << n;
    if (whole) {
      EXPECT_EQ(*whole, bytes.size());
    }
  }
  const std::string empty = safetensors_bytes("{}", 0);
  EXPECT_EQ(safetensors_file_bytes(as_bytes(empty), "f").value(), empty.size());
  const std::string_view most =
      R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,9223372036854775807]}})";
  EXPECT_EQ(safetensors_file_bytes(as_bytes(safetensors_bytes(most, 0)), "f").value(),
            8 + most.size() + INT64_MAX);
}

TEST(SafetensorsHeader, AnyByteChangedNeverCrashes) {
  const std::string bytes = safetensors_bytes(kGood, kGoodData);
  for (size_t at = 0; at < bytes.size() - kGoodData; ++at) {
    for (const char value : {'\0', '"', '{', '}', '[', ',', '9', '\xff'}) {
      std::string changed = bytes;
      changed[at] = value;
      (void)parse_safetensors(as_bytes(changed), "f");
    }
  }
}

TEST(SafetensorsHeader, LengthsThatLie) {
  const auto message = [](std::string bytes) {
    auto file = parse_safetensors(as_bytes(bytes), "f");
    return file ? std::string("no error") : file.error().message;
  };
  EXPECT_EQ(message(""), "f: expected at least 8 bytes (the length of the header), found 0");
  EXPECT_EQ(message(std::string(8, '\0')),
            "f: expected a header that starts with {, found an empty one");
  EXPECT_EQ(message(std::string("\x09\0\0\0\0\0\0\0{}", 10)),
            "f: expected a header of 9 bytes, found only 2 bytes after its length");
  EXPECT_EQ(message(std::string(8, '\xff') + "{}"),
            "f: expected a header of at most 536870912 bytes, found a length of "
            "18446744073709551615");
}

struct Bad {
  const char* header;
  const char* fragment;
};

TEST(SafetensorsHeader, HostileHeadersAreSentences) {
  // Each has 8 bytes of data.
  const Bad cases[] = {
      {"[]", "starts with {, found \"[\""},
      {"\x80{}", "starts with {, found byte 0x80"},
      {R"({"a":})", "not JSON at byte 6"},
      {R"({"a":{})", "not JSON"},
      {R"({} x)", "not JSON"},
      {"{\"\xff\":1}", "not JSON"},
      {R"({"a":1})", R"(tensor "a": expected an object, found 1)"},
      {R"({"a":null})", R"(tensor "a": expected an object, found null)"},
      {R"({"a":[]})", R"(tensor "a": expected an object, found an array)"},
      {R"({"a":{}})", R"(tensor "a": expected `dtype`, it is missing)"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", R"("a": expected `shape`, it is missing)"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", R"("a": expected `data_offsets`, it is missing)"},
      {R"({"a":{"dtype":"Q3","shape":[2],"data_offsets":[0,8]}})",
       R"("a": `dtype`: expected one of F32, BF16, F16, F8_E4M3, F8_E8M0, I8, I32, I64, found "Q3")"},
      {R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", "`dtype`: expected a string"},
      {R"({"a":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})", "`dtype`: expected a string"},
      {R"({"a":{"dtype":{},"shape":[2],"data_offsets":[0,8]}})", "`dtype`: expected a string"},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", "`shape`: expected an array"},
      {R"({"a":{"dtype":"F32","shape":{},"data_offsets":[0,8]}})", "`shape`: expected an array"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "found -2"},
      {R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", "found \"2.5\""},
      {R"({"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", "found \"2\""},
      {R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", "found an array"},
      {R"({"a":{"dtype":"F32","shape":[null],"data_offsets":[0,8]}})", "found null"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})",
       "found 18446744073709551615"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999999],"data_offsets":[0,8]}})",
       "`shape`: expected integers"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
       "fewer than 2^63, found F32 [4294967296, 4294967296]"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,8]}})", "expected whole bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "found [8, 0]"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,16]}})",
       "an end within the 8 bytes of data, found 16"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})",
       "expected 2 integers, found 3"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[]}})", "expected 2 integers, found 0"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})",
       R"(tensor "a": expected 12 bytes for F32 [3], found 8)"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,8]}})", "expected 3 bytes for U8 [3]"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       R"(tensor "b": expected data at byte 8 or later, found it at 4 inside "a")"},
      {R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       R"(tensor "b": expected data at byte 0, found it at 4 behind a hole)"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       R"(to end with its last tensor "a", found 4 bytes more)"},
      {R"({})", "to end with its last tensor, found 8 bytes more"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       R"(expected each tensor name once, found "a" twice)"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "expected `dtype` once, found it twice"},
      {R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})",
       "expected `shape` once, found it twice"},
      {R"({"__metadata__":1})", "`__metadata__`: expected an object of strings, found 1"},
      {R"({"__metadata__":[]})", "`__metadata__`: expected an object of strings, found an array"},
      {R"({"__metadata__":{"k":1}})", R"(`__metadata__`: expected a string for key "k", found 1)"},
      {R"({"__metadata__":{"k":{}}})", "expected a string for key \"k\", found an object"},
      {R"({"__metadata__":{"k":"1","k":"2"}})", "expected each key once, found \"k\" twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", "expected `__metadata__` once"},
  };
  for (const Bad& bad : cases) {
    const std::string bytes = safetensors_bytes(bad.header, 8);
    auto file = parse_safetensors(as_bytes(bytes), "bad.safetensors");
    ASSERT_FALSE(file) << bad.header;
    EXPECT_EQ(file.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(file.error().message.rfind("bad.safetensors: ", 0), 0u) << file.error().message;
    EXPECT_NE(file.error().message.find(bad.fragment), std::string::npos)
        << bad.header << "\n  gave " << file.error().message;
    EXPECT_EQ(file.error().message.find('\n'), std::string::npos);
  }
}

TEST(SafetensorsHeader, DeepNestingIsRefused) {
  const std::string deep = R"({"a":{"x":)" + std::string(1000000, '[');
  auto file = parse_safetensors(as_bytes(safetensors_bytes(deep, 0)), "f");
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().message.find("nested at most 64 deep"), std::string::npos);
}

TEST(SafetensorsHeader, LongNamesAreCutInMessages) {
  const std::string bytes = safetensors_bytes("{\"" + std::string(100000, 'n') + "\":1}", 0);
  auto file = parse_safetensors(as_bytes(bytes), "f");
  ASSERT_FALSE(file);
  EXPECT_LT(file.error().message.size(), 200u);
}

TEST(TensorBytes, ChecksItsArithmetic) {
  const auto bytes_of = [](std::vector<int64_t> shape, int bits) {
    return tensor_bytes(shape, bits);
  };
  EXPECT_EQ(bytes_of({}, 32), 4);
  EXPECT_EQ(bytes_of({0, 5}, 8), 0);
  EXPECT_EQ(bytes_of({INT64_MAX}, 8), INT64_MAX);
  EXPECT_EQ(bytes_of({INT64_MAX}, 16), std::nullopt);
  EXPECT_EQ(bytes_of({INT64_MAX, 2}, 8), std::nullopt);
  EXPECT_EQ(bytes_of({-1}, 8), std::nullopt);
  EXPECT_EQ(bytes_of({1}, 4), std::nullopt);
}

}  // namespace
}  // namespace varve
