#include "formats/safetensors_writer.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "formats/checkpoint.h"
#include "formats/safetensors_test_bytes.h"

namespace varve {
namespace {

class SafetensorsWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "safetensors_writer_test";
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    path_ = directory_ + "/model.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  std::string path_;
};

std::string text_of(const TensorView& view) {
  return {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
}

TEST_F(SafetensorsWriterTest, RoundTripInChunks) {
  {
    auto writer = SafetensorsWriter::create(path_,
                                            {{"empty", "F32", {0}},
                                             {"z", "I8", {5}},
                                             {"a \"quoted\" \xc3\xa9", "BF16", {1, 2}},
                                             {"flag", "BOOL", {1}},
                                             {"end", "F32", {3, 0}}},
                                            {{"made", "for \"tests\""}});
    ASSERT_TRUE(writer) << writer.error().message;
    ASSERT_TRUE(writer->write("z", as_bytes("he")));
    ASSERT_TRUE(writer->write("z", as_bytes("llo")));
    ASSERT_TRUE(writer->write("a \"quoted\" \xc3\xa9", as_bytes("bf16")));
    ASSERT_TRUE(writer->write("flag", as_bytes("1")));
    auto finished = writer->finish();
    ASSERT_TRUE(finished) << finished.error().message;
    EXPECT_FALSE(writer->finish());
    EXPECT_FALSE(writer->write("z", as_bytes("x")));
  }
  auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 4u);
  EXPECT_EQ(checkpoint->metadata(), (Metadata{{"made", "for \"tests\""}}));
  EXPECT_EQ(checkpoint->mapped_bytes(), std::filesystem::file_size(path_));
  EXPECT_EQ(checkpoint->files(), std::vector{path_});
  const TensorView* const z = checkpoint->find("z");
  ASSERT_NE(z, nullptr);
  EXPECT_EQ(text_of(*z), "hello");
  EXPECT_EQ(z->type, DType::i8);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(z->bytes.data()) % 8, 0u);
  const TensorView* const a = checkpoint->find("a \"quoted\" \xc3\xa9");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(text_of(*a), "bf16");
  EXPECT_EQ(a->shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(checkpoint->find("flag"), nullptr);
  ASSERT_FALSE(checkpoint->get("flag"));
  EXPECT_NE(checkpoint->get("flag").error().message.find("found BOOL"), std::string::npos);
}

TEST_F(SafetensorsWriterTest, NothingIsLeftWithoutFinish) {
  {
    auto writer = SafetensorsWriter::create(path_, {{"a", "F32", {2}}});
    ASSERT_TRUE(writer);
    SafetensorsWriter moved = std::move(*writer);
    ASSERT_TRUE(moved.write("a", as_bytes("1234")));
    auto finished = moved.finish();
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().message, path_ + ": tensor \"a\": expected 8 bytes, found 4");
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(SafetensorsWriterTest, RefusesWhatItCannotDeclare) {
  const auto message = [&](const std::vector<DeclaredTensor>& tensors,
                           const Metadata& metadata = {}) {
    auto writer = SafetensorsWriter::create(path_, tensors, metadata);
    return writer ? std::string("no error") : writer.error().message;
  };
  EXPECT_EQ(message({{"a", "F32", {1}}, {"a", "F32", {1}}}),
            path_ + ": tensor \"a\": expected a name that is not taken");
  EXPECT_EQ(message({{"a", "f32", {1}}}),
            path_ + ": tensor \"a\": expected a safetensors dtype, found \"f32\"");
  EXPECT_NE(message({{"a", "F32", {-1}}}).find("found [-1]"), std::string::npos);
  EXPECT_NE(message({{"a", "F32", {INT64_MAX / 5}}, {"b", "F32", {INT64_MAX / 5}}}).find("\"b\""),
            std::string::npos);
  EXPECT_NE(message({{"\xff", "F32", {1}}}).find("UTF-8"), std::string::npos);
  EXPECT_NE(message({}, {{"k", "\xff"}}).find("UTF-8"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(SafetensorsWriterTest, RefusesDataOutOfTurn) {
  auto writer = SafetensorsWriter::create(path_, {{"a", "I8", {2}}, {"b", "I8", {2}}});
  ASSERT_TRUE(writer);
  EXPECT_FALSE(writer->write("b", as_bytes("12")));
  EXPECT_FALSE(writer->write("a", as_bytes("123")));
  EXPECT_TRUE(writer->write("a", as_bytes("12")));
  EXPECT_FALSE(writer->write("a", as_bytes("1")));
  EXPECT_TRUE(writer->write("b", as_bytes("12")));
  EXPECT_FALSE(writer->write("b", as_bytes("1")));
  EXPECT_TRUE(writer->finish());
}

TEST_F(SafetensorsWriterTest, ErrorsNameThePath) {
  auto writer = SafetensorsWriter::create("/nowhere/at/all.safetensors", {});
  ASSERT_FALSE(writer);
  EXPECT_NE(writer.error().message.find("/nowhere/at/all.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace varve
