// The goldens' models with their files cut off behind the headers: their shapes cost what the whole
// models cost, and nothing runs them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "support/as_gguf.h"
#include "support/golden.h"

namespace varve {
namespace {

namespace fs = std::filesystem;

// Bytes before the first tensor of file `i`.
size_t header_bytes(const Checkpoint& checkpoint, size_t i) {
  const std::byte* const begin = checkpoint.mapped_ranges()[i].data();
  size_t least = checkpoint.mapped_ranges()[i].size();
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (tensor.file != checkpoint.files()[i]) continue;
    least = std::min(least, static_cast<size_t>(tensor.bytes.data() - begin));
  }
  return least;
}

// Puts the headers of a model's files, each with `n_more` bytes of data, into `directory`.
void cut_off(const std::string& path, const fs::path& directory, size_t n_more) {
  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  for (size_t i = 0; i < checkpoint->files().size(); ++i) {
    const fs::path file = checkpoint->files()[i], to = directory / file.filename();
    fs::copy_file(file, to, fs::copy_options::overwrite_existing);
    fs::resize_file(to, header_bytes(*checkpoint, i) + n_more);
  }
}

void expect_same_costs(const std::string& whole, const std::string& cut) {
  const auto model = testing_support::load_or_fail(whole);
  EXPECT_EQ(model->weight_source(), WeightSource::files);
  for (const std::string& path : {cut, whole}) {  // headers are enough where values are there, too
    const auto shapes = load_shapes(path);
    ASSERT_TRUE(shapes) << shapes.error().message;
    EXPECT_FALSE((*shapes)->checkpoint().has_values());
    EXPECT_EQ((*shapes)->weight_source(), WeightSource::files);
    EXPECT_EQ((*shapes)->weight_bytes(), model->weight_bytes());
    EXPECT_EQ((*shapes)->vector_bytes(), model->vector_bytes());
    EXPECT_EQ((*shapes)->decode_weight_bytes(), model->decode_weight_bytes());
    EXPECT_EQ((*shapes)->decode_weight_macs(), model->decode_weight_macs());
    EXPECT_EQ((*shapes)->max_position(), model->max_position());
  }
  const auto loaded = load_model(cut);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, ErrorKind::bad_input);
}

class Headers : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "headers_test_" + GetParam();
    fs::remove_all(directory_);
    fs::create_directories(directory_ / "cut");
  }
  void TearDown() override { fs::remove_all(directory_); }

  fs::path directory_;
};

TEST_P(Headers, OfSafetensors) {
  const fs::path whole = testing_support::golden_dir(GetParam());
  const fs::path cut = directory_ / "cut";
  for (const char* const name : {"config.json", "model.safetensors.index.json"}) {
    if (fs::exists(whole / name)) fs::copy_file(whole / name, cut / name);
  }
  for (const size_t n_more : {size_t{0}, size_t{1000}}) {
    cut_off(whole, cut, n_more);
    expect_same_costs(whole, cut);
  }
}

TEST_P(Headers, OfGguf) {
  const fs::path whole = directory_ / "model.gguf", cut = directory_ / "cut" / "model.gguf";
  const bool is_v3 = std::strcmp(GetParam(), "mla-deepseek-v3") == 0;
  testing_support::write_as_gguf(testing_support::golden_dir(GetParam()), whole,
                                 {.split_kv_b = is_v3});
  for (const size_t n_more : {size_t{0}, size_t{1000}}) {
    cut_off(whole, directory_ / "cut", n_more);
    expect_same_costs(whole, cut);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Headers,
                         testing::Values("mha-llama", "gqa-llama3", "gqa-qwen2", "mla-deepseek-v2",
                                         "mla-deepseek-v3", "v4-micro", "v4-pro-mini"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class HeadersOfShards : public Headers {};

TEST_P(HeadersOfShards, OrTheirIndex) {
  const fs::path whole = testing_support::golden_dir(GetParam());
  const fs::path cut = directory_ / "cut", index = "model.safetensors.index.json";
  fs::copy_file(whole / "config.json", cut / "config.json");
  fs::copy_file(whole / index, cut / index);
  const auto shapes = load_shapes(cut);
  ASSERT_TRUE(shapes) << shapes.error().message;
  const auto model = testing_support::load_or_fail(whole);
  EXPECT_EQ((*shapes)->weight_source(), WeightSource::index);
  EXPECT_EQ((*shapes)->vector_bytes(), model->vector_bytes());
  EXPECT_EQ((*shapes)->decode_weight_macs(), model->decode_weight_macs());
  EXPECT_FALSE(load_model(cut));

  cut_off(whole, cut, 0);
  expect_same_costs(whole, cut);
  fs::remove(cut / "model-00002-of-00002.safetensors");
  const auto half = load_shapes(cut);
  ASSERT_FALSE(half);
  EXPECT_NE(half.error().message.find("model-00002-of-00002.safetensors"), std::string::npos)
      << half.error().message;
}

INSTANTIATE_TEST_SUITE_P(All, HeadersOfShards, testing::Values("v4-flash-mini"),
                         [](const auto&) { return "v4_flash_mini"; });

}  // namespace
}  // namespace varve
