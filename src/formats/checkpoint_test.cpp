#include "formats/checkpoint.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "formats/gguf_test_bytes.h"
#include "formats/safetensors_test_bytes.h"

namespace varve {
namespace {

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "checkpoint_test";
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void put(const std::string& name, const std::string& text) {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << text;
  }
  // A shard with one I8 [2] tensor of each name.
  void put_shard(const std::string& name, const std::vector<std::string>& tensors,
                 const std::string& dtype = "I8") {
    std::string header = R"({"__metadata__":{"shard":")" + name + "\"}";
    size_t at = 0;
    for (const std::string& tensor : tensors) {
      header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[2],"data_offsets":[{},{}]}})", tensor,
                            dtype, at, at + 2);
      at += 2;
    }
    put(name, safetensors_bytes(header + "}", at));
  }
  void put_index(const std::string& weight_map) {
    put("model.safetensors.index.json", R"({"metadata":{},"weight_map":)" + weight_map + "}");
  }
  std::string error() {
    auto checkpoint = Checkpoint::open(directory_);
    return checkpoint ? "no error" : checkpoint.error().message;
  }
  void expect_error(const std::string& fragment) {
    const std::string message = error();
    EXPECT_NE(message.find(fragment), std::string::npos) << message;
    EXPECT_NE(message.find(directory_), std::string::npos) << message;
  }

  std::string directory_;
};

TEST_F(CheckpointTest, OneFileByItsPathOrItsDirectory) {
  put_shard("model.safetensors", {"b", "a"});
  for (const std::string& path : {directory_, directory_ + "/model.safetensors"}) {
    auto opened = Checkpoint::open(path);
    ASSERT_TRUE(opened) << opened.error().message;
    const Checkpoint checkpoint = std::move(*opened);
    ASSERT_EQ(checkpoint.tensors().size(), 2u);
    EXPECT_EQ(checkpoint.tensors()[0].name, "a");
    EXPECT_EQ(static_cast<int>(checkpoint.find("a")->bytes[0]), 2);
    EXPECT_EQ(checkpoint.find("c"), nullptr);
    EXPECT_EQ(checkpoint.get("b").value(), checkpoint.find("b"));
    EXPECT_EQ(checkpoint.get("c").error().message, path + ": expected tensor \"c\", it is missing");
    EXPECT_EQ(checkpoint.metadata().at("shard"), "model.safetensors");
  }
}

TEST_F(CheckpointTest, ShardsAreOneCheckpoint) {
  put_shard("model.safetensors", {"other"});  // the index is preferred
  put_shard("1.safetensors", {"c", "a"});
  put_shard("2.safetensors", {"b", "unlisted"});
  put_shard("3.safetensors", {"u"}, "U8");
  put_index(R"({"a":"1.safetensors","b":"2.safetensors","c":"1.safetensors","u":"3.safetensors"})");
  auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 4u);
  EXPECT_EQ(checkpoint->files().size(), 3u);
  EXPECT_EQ(checkpoint->find("a")->file, directory_ + "/1.safetensors");
  EXPECT_EQ(checkpoint->find("other"), nullptr);
  EXPECT_EQ(checkpoint->metadata().at("shard"), "1.safetensors");
  EXPECT_NE(checkpoint->get("u").error().message.find("found U8"), std::string::npos);
}

TEST_F(CheckpointTest, NothingThere) {
  expect_error("expected model.safetensors.index.json or model.safetensors in this directory");
  EXPECT_FALSE(Checkpoint::open(directory_ + "/none.safetensors"));
}

TEST_F(CheckpointTest, BadIndexes) {
  put_shard("1.safetensors", {"a"});
  put_shard("2.safetensors", {"b"});
  put_shard("3.safetensors", {"a"});
  put_shard("4.safetensors", {"a"}, "U8");
  put("broken.safetensors", "x");
  put("model.safetensors.index.json", "{");
  expect_error("not JSON");
  put("model.safetensors.index.json", "{}");
  expect_error("field `weight_map`: expected an object, it is missing");
  put_index("{}");
  expect_error("expected at least one tensor");
  put_index(R"({"a":7})");
  expect_error("field `weight_map.a`: expected a string, found 7");
  put_index(R"({"a":"5.safetensors"})");
  expect_error(R"(tensor "a": expected it in shard "5.safetensors", found no such file)");
  put_index(R"({"a":"2.safetensors"})");
  expect_error(R"(tensor "a": expected it in shard "2.safetensors", found it in none)");
  put_index(R"({"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"})");
  expect_error("\"b\": expected it in shard \"1.safetensors\", found it in " + directory_ + "/2");
  put_index(R"({"a":"1.safetensors","b":"3.safetensors"})");
  expect_error(R"(expected tensor "a" in one file, found it in )");
  put_index(R"({"a":"1.safetensors","b":"4.safetensors"})");
  expect_error(R"(expected tensor "a" in one file, found it in )");
  put_index(R"({"a":"broken.safetensors"})");
  expect_error("broken.safetensors: expected at least 8 bytes");
  for (const char* const shard : {"../1.safetensors", "sub/1.safetensors", "/etc/passwd", "..", ".",
                                  "", R"(sub\\1.safetensors)", R"(1.safetensors\u0000)"}) {
    put_index(fmt::format(R"({{"a":"{}"}})", shard));
    expect_error("field `weight_map.a`: expected the name of a file in the directory of the index");
  }
  std::filesystem::create_directory(directory_ + "/folder");
  put_index(R"({"a":"folder"})");
  expect_error("folder");
}

// ---- headers alone

TEST_F(CheckpointTest, HeadersAreEnoughForShapes) {
  put_shard("1.safetensors", {"a", "c"});
  put_shard("2.safetensors", {"b"});
  put_index(R"({"a":"1.safetensors","b":"2.safetensors","c":"1.safetensors"})");
  size_t whole_bytes = 0;
  for (const char* const name : {"1.safetensors", "2.safetensors"}) {
    const std::string path = directory_ + "/" + name;
    whole_bytes += std::filesystem::file_size(path);
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 2);
  }
  expect_error("expected an end within the");
  const auto checkpoint = Checkpoint::open(directory_, Read::headers);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_FALSE(checkpoint->has_values());
  EXPECT_EQ(checkpoint->mapped_bytes(), whole_bytes);
  EXPECT_EQ(checkpoint->find("c")->shape, (std::vector<int64_t>{2}));
  EXPECT_EQ(static_cast<int>(checkpoint->find("b")->bytes[1]), 0);
}

TEST_F(CheckpointTest, WhatIsThereOfADirectory) {
  const auto outline = [&] { return open_outline(directory_); };
  EXPECT_FALSE(has_checkpoint(directory_));
  EXPECT_FALSE(outline()->checkpoint || outline()->index);
  put_index(R"({"a":"1.safetensors","b":"2.safetensors"})");
  ASSERT_TRUE(outline()->index);
  EXPECT_TRUE(outline()->index->lists("b"));
  put_shard("2.safetensors", {"b"});  // no longer alone
  EXPECT_NE(outline().error().message.find(R"("a": expected it in shard "1.safetensors")"),
            std::string::npos);
  put_shard("1.safetensors", {"a"});
  EXPECT_TRUE(outline()->checkpoint && !outline()->index);
  put_index("7");
  EXPECT_NE(outline().error().message.find("expected an object, found 7"), std::string::npos);
  std::filesystem::remove(directory_ + "/model.safetensors.index.json");
  EXPECT_NE(outline().error().message.find("found neither"), std::string::npos);
}

TEST_F(CheckpointTest, HeadersThatNoFileCanFollow) {
  const auto message = [&](const std::string& header) {
    put("model.safetensors", safetensors_bytes(header, 0));
    const auto checkpoint = Checkpoint::open(directory_, Read::headers);
    return checkpoint ? "no error" : checkpoint.error().message;
  };
  EXPECT_NE(message(R"({"a":{"dtype":"I8","shape":[9223372036854775807],)"
                    R"("data_offsets":[0,9223372036854775807]}})")
                .find("model.safetensors as 922337203685477"),
            std::string::npos);
  EXPECT_NE(message(R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})")
                .find("found it at 2 behind a hole"),
            std::string::npos);
  EXPECT_NE(message(R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[0,4]}})")
                .find("expected 3 bytes for I8 [3], found 4"),
            std::string::npos);
  EXPECT_NE(message(R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[]}})")
                .find("`data_offsets`: expected 2 integers, found 0"),
            std::string::npos);
}

// ---- GGUF

// Part `part` (from 0) of n_parts, with one F32 [2] tensor.
std::string gguf_part(int part, int n_parts, int n_tensors, const std::string& tensor) {
  GgufBytes g;
  return g.entry("split.no", GgufType::uint16, bytes_of(static_cast<uint16_t>(part)))
      .entry("split.count", GgufType::uint16, bytes_of(static_cast<uint16_t>(n_parts)))
      .entry("split.tensors.count", GgufType::int32, bytes_of(n_tensors))
      .entry("part", "number " + std::to_string(part))
      .tensor(tensor, {2}, 0, 0)
      .file(8);
}

TEST_F(CheckpointTest, OneGgufFile) {
  const std::string bytes =
      GgufBytes().entry("k", "v").tensor("b", {2, 1}, 0, 0).tensor("a", {3}, 10, 32).file(8);
  put("cut.gguf", bytes);
  EXPECT_FALSE(Checkpoint::open(directory_ + "/cut.gguf"));
  put("m.gguf",
      GgufBytes().entry("k", "v").tensor("b", {2, 1}, 0, 0).tensor("i", {3}, 24, 32).file(35));
  auto opened = Checkpoint::open(directory_ + "/m.gguf");
  ASSERT_TRUE(opened) << opened.error().message;
  Checkpoint checkpoint = std::move(*opened);
  ASSERT_NE(checkpoint.gguf(), nullptr);
  EXPECT_EQ(checkpoint.gguf()->string("k").value(), "v");
  EXPECT_EQ(checkpoint.find("b")->shape, (std::vector<int64_t>{1, 2}));
  EXPECT_NE(checkpoint.get("i").error().message.find("MXFP4, found I8"), std::string::npos);

  // A copy stands where the mapping stood, and so do views of tensors and metadata.
  ASSERT_EQ(checkpoint.mapped_ranges().size(), 1u);
  const std::byte* const first = checkpoint.mapped_ranges()[0].data();
  size_t copied = 0;
  ASSERT_TRUE(checkpoint.replace_by_copy([&](size_t n) { copied += n; }));
  EXPECT_EQ(copied, checkpoint.mapped_bytes());
  EXPECT_EQ(checkpoint.copied_bytes(), checkpoint.mapped_bytes());
  EXPECT_EQ(checkpoint.mapped_ranges()[0].data(), first);
  EXPECT_EQ(checkpoint.gguf()->string("k").value(), "v");
  EXPECT_EQ(static_cast<int>(checkpoint.find("b")->bytes[7]), 7);
}

TEST_F(CheckpointTest, GgufIsKnownByItsFirstBytes) {
  put("blob", GgufBytes().tensor("b", {2}, 0, 0).file(8));
  const auto checkpoint = Checkpoint::open(directory_ + "/blob");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_NE(checkpoint->gguf(), nullptr);
  put("text.gguf", "hello");
  const auto text = Checkpoint::open(directory_ + "/text.gguf");
  EXPECT_NE(text.error().message.find("expected a file that starts with \"GGUF\""),
            std::string::npos);
}

TEST_F(CheckpointTest, GgufPartsAreOneCheckpoint) {
  put("m-00001-of-00003.gguf", gguf_part(0, 3, 3, "b"));
  put("m-00002-of-00003.gguf", gguf_part(1, 3, 3, "a"));
  put("m-00003-of-00003.gguf", gguf_part(2, 3, 3, "c"));
  const auto checkpoint = Checkpoint::open(directory_ + "/m-00001-of-00003.gguf");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  ASSERT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_EQ(checkpoint->tensors()[0].name, "a");
  EXPECT_EQ(checkpoint->find("a")->file, directory_ + "/m-00002-of-00003.gguf");
  EXPECT_EQ(checkpoint->files().size(), 3u);
  EXPECT_EQ(checkpoint->mapped_ranges().size(), 3u);
  EXPECT_EQ(checkpoint->gguf()->string("part").value(), "number 0");
}

TEST_F(CheckpointTest, GgufHeadersAreEnoughForShapes) {
  const std::string first = gguf_part(0, 2, 2, "a"), second = gguf_part(1, 2, 2, "b");
  const std::string path = directory_ + "/m-00001-of-00002.gguf";
  put("m-00001-of-00002.gguf", first.substr(0, first.size() - 8));
  const auto alone = Checkpoint::open(path, Read::headers);
  ASSERT_FALSE(alone);
  EXPECT_NE(alone.error().message.find("expected part 2 of 2 (or its header) beside it"),
            std::string::npos);
  put("m-00002-of-00002.gguf", second.substr(0, second.size() - 8));
  EXPECT_FALSE(Checkpoint::open(path));
  const auto checkpoint = Checkpoint::open(path, Read::headers);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->find("b")->bytes.size(), 8u);
  // Writers fill the last tensor up to 32 bytes.
  EXPECT_EQ(checkpoint->mapped_bytes(), first.size() + second.size() + 2 * 24);
  EXPECT_EQ(checkpoint->gguf()->string("part").value(), "number 0");
}

TEST_F(CheckpointTest, BadGgufParts) {
  const std::string first = "m-00001-of-00002.gguf", second = "m-00002-of-00002.gguf";
  const auto message = [&](const std::string& name) {
    const auto checkpoint = Checkpoint::open(directory_ + "/" + name);
    return checkpoint ? std::string("no error") : checkpoint.error().message;
  };
  const auto expect = [&](const std::string& name, const std::string& fragment) {
    EXPECT_NE(message(name).find(fragment), std::string::npos) << message(name);
  };
  put(first, gguf_part(0, 2, 2, "a"));
  expect(first, "expected part 2 of 2 beside it, found no " + directory_ + "/" + second);
  put(second, gguf_part(1, 2, 2, "a"));
  expect(first, "expected tensor \"a\" in one file, found it in ");
  put(second, gguf_part(1, 2, 2, "b"));
  EXPECT_EQ(message(first), "no error");
  expect(second, "expected the first of 2 parts, a file whose name ends with -00001-of-00002.gguf");
  put(second, gguf_part(0, 2, 2, "b"));
  expect(first, second + ": expected part 2 of 2, found part 1 of 2");
  put(second, gguf_part(1, 3, 2, "b"));
  expect(first, second + ": expected part 2 of 2, found part 2 of 3");
  put(second, GgufBytes().tensor("b", {2}, 0, 0).file(8));
  expect(first, second + ": expected part 2 of 2, found part 1 of 1");
  put(second, gguf_part(1, 2, 2, "b").substr(0, 120));
  expect(first, second + ": expected ");
  put(second, gguf_part(1, 2, 2, "b"));
  put(first, gguf_part(0, 2, 5, "a"));
  expect(first,
         "key `split.tensors.count`: expected 2, as many as all parts have together, found 5");
  put(first, gguf_part(1, 2, 2, "a"));
  expect(first, first + ": expected part 1 of 2, found part 2 of 2");
  put("other.gguf", gguf_part(0, 2, 2, "a"));
  expect("other.gguf", "expected the first of 2 parts, a file whose name ends with");
  put(first, gguf_part(7, 2, 2, "a"));
  expect(first, "key `split.no`: expected an integer from 0 to 1, found 7");
}

TEST_F(CheckpointTest, ManyTensorsOpenFast) {
  // As many as the largest published checkpoint has; a quadratic step would take minutes.
  constexpr size_t kTensors = 145116;
  constexpr size_t kShards = 8;
  std::vector<std::vector<std::string>> names(kShards);
  std::string weight_map = "{";
  for (size_t i = 0; i < kTensors; ++i) {
    const size_t shard = i % kShards;
    names[shard].push_back(fmt::format("layers.{}.ffn.experts.{}.weight", i % 61, i));
    weight_map +=
        fmt::format(R"({}"{}":"{}.safetensors")", i == 0 ? "" : ",", names[shard].back(), shard);
  }
  for (size_t shard = 0; shard < kShards; ++shard) {
    put_shard(fmt::format("{}.safetensors", shard), names[shard]);
  }
  put_index(weight_map + "}");
  const auto start = std::chrono::steady_clock::now();
  auto checkpoint = Checkpoint::open(directory_);
  const auto taken = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), kTensors);
  EXPECT_NE(checkpoint->find(names[3][5]), nullptr);
  EXPECT_LT(taken, std::chrono::seconds(20));
  RecordProperty(
      "open_ms",
      static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(taken).count()));
}

}  // namespace
}  // namespace varve
