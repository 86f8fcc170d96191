#include "formats/gguf_writer.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "formats/checkpoint.h"
#include "formats/safetensors_test_bytes.h"

namespace varve {
namespace {

class GgufWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "gguf_writer_test";
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    path_ = directory_ + "/m.gguf";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string message(const std::vector<DeclaredGgufTensor>& tensors) {
    const auto writer = GgufWriter::create(path_, {}, tensors);
    return writer ? "no error" : writer.error().message;
  }

  std::string directory_, path_;
};

std::string text_of(const TensorView& view) {
  return {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
}

TEST_F(GgufWriterTest, WhatIsWrittenIsRead) {
  GgufEntries metadata;
  metadata.add("u", 7u);
  metadata.add("f", 0.1f);
  metadata.add("b", true);
  metadata.add("t", "text");
  metadata.add("lu", std::vector<uint32_t>{1, 2});
  metadata.add("li", std::vector<int32_t>{-1});
  metadata.add("lf", std::vector<float>{0.5f, 0.25f});
  metadata.add("lt", std::vector<std::string>{"x", ""});
  {
    auto writer = GgufWriter::create(path_, metadata,
                                     {{"empty", DType::f32, {0, 3}},
                                      {"q", DType::q8_0, {2, 32}},
                                      {"one", DType::f16, {}},
                                      {"last", DType::bf16, {1, 1, 1, 2}}});
    ASSERT_TRUE(writer) << writer.error().message;
    ASSERT_TRUE(writer->write("q", as_bytes(std::string(60, 'a'))));
    ASSERT_TRUE(writer->write("q", as_bytes(std::string(8, 'b'))));
    EXPECT_FALSE(writer->write("last", as_bytes("1234")));
    ASSERT_TRUE(writer->write("one", as_bytes("12")));
    EXPECT_FALSE(writer->finish());
    ASSERT_TRUE(writer->write("last", as_bytes("1234")));
    const auto finished = writer->finish();
    ASSERT_TRUE(finished) << finished.error().message;
  }
  const auto checkpoint = Checkpoint::open(path_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  ASSERT_EQ(checkpoint->tensors().size(), 4u);
  EXPECT_EQ(checkpoint->find("q")->shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(text_of(*checkpoint->find("q")), std::string(60, 'a') + std::string(8, 'b'));
  EXPECT_EQ(text_of(*checkpoint->find("one")), "12");
  EXPECT_EQ(text_of(*checkpoint->find("last")), "1234");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(checkpoint->find("last")->bytes.data()) % 32, 0u);
  const GgufMetadata& m = *checkpoint->gguf();
  EXPECT_EQ(m.integer("u").value(), 7);
  EXPECT_EQ(m.find("f")->number(), 0.1);
  EXPECT_TRUE(m.boolean("b").value());
  EXPECT_EQ(m.string("t").value(), "text");
  EXPECT_EQ(m.integers("lu").value(), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(m.integers("li", {-1, 1}).value(), (std::vector<int64_t>{-1}));
  EXPECT_EQ(m.find("lf")->number(1), 0.25);
  EXPECT_EQ(m.strings("lt").value()[0], "x");
}

TEST_F(GgufWriterTest, NothingIsLeftWithoutFinish) {
  {
    auto writer = GgufWriter::create(path_, {}, {{"a", DType::f32, {2}}});
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write("a", as_bytes("1234")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(GgufWriterTest, RefusesWhatTheFormatDoesNotHave) {
  EXPECT_NE(message({{"a", DType::f8_e4m3, {1}}}).find("MXFP4, found F8_E4M3"), std::string::npos);
  EXPECT_NE(message({{"a", DType::q4_k, {2, 128}}}).find("whole blocks of 256 values"),
            std::string::npos);
  EXPECT_NE(message({{"a", DType::f32, {1, 1, 1, 1, 1}}}).find("at most 4 extents"),
            std::string::npos);
  EXPECT_NE(message({{"a", DType::f32, {INT64_MAX / 2}}}).find("fewer than 2^63 bytes"),
            std::string::npos);
  EXPECT_NE(message({{"a", DType::f32, {1}}, {"a", DType::f32, {1}}}).find("not taken"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

}  // namespace
}  // namespace varve
