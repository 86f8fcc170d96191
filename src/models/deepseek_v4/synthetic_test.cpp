#include "models/deepseek_v4/synthetic.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "formats/checkpoint.h"
#include "models/deepseek_v4/config_json.h"
#include "models/deepseek_v4/model.h"
#include "models/model.h"

namespace varve::deepseek_v4 {
namespace {

namespace fs = std::filesystem;

class TempDir {
 public:
  explicit TempDir(const char* name)
      : path_(fs::temp_directory_path() /
              fmt::format("varve-synthetic-test-{}-{}", ::getpid(), name)) {
    fs::remove_all(path_);
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string str() const { return path_.string(); }
  std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

const SyntheticPreset& preset(std::string_view name) {
  return **find_synthetic_preset(name);
}

void write(const TempDir& dir, const SyntheticPreset& what, uint64_t seed) {
  const Result<void> done = write_synthetic(dir.str(), what, seed, {});
  ASSERT_TRUE(done) << done.error().message;
}

const DeepseekV4& as_v4(const Model& model) {
  return dynamic_cast<const DeepseekV4&>(model);
}

TEST(Synthetic, SameSeedSameBytes) {
  const TempDir a("a");
  const TempDir b("b");
  const TempDir other("other");
  write(a, preset("micro"), 7);
  write(b, preset("micro"), 7);
  write(other, preset("micro"), 8);
  for (const char* name :
       {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_EQ(read_file(a.file(name)), read_file(b.file(name))) << name;
  }
  EXPECT_NE(read_file(a.file("model.safetensors")), read_file(other.file("model.safetensors")));

  // Every drawn tensor is another one under another seed, and within a seed no two are the same.
  const auto first = Checkpoint::open(a.str());
  const auto second = Checkpoint::open(other.str());
  ASSERT_TRUE(first && second);
  std::set<std::string> contents;
  for (const TensorView& tensor : first->tensors()) {
    const TensorView* const same_name = second->find(tensor.name);
    ASSERT_NE(same_name, nullptr) << tensor.name;
    if (tensor.bytes.size() < 16) continue;  // a few scales may well agree
    EXPECT_FALSE(std::ranges::equal(tensor.bytes, same_name->bytes)) << tensor.name;
    const auto* const begin = reinterpret_cast<const char*>(tensor.bytes.data());
    EXPECT_TRUE(contents.emplace(begin, tensor.bytes.size()).second) << tensor.name;
  }
}

TEST(Synthetic, FirstBytesAreFixed) {
  // FNV-1a of micro's weights with seed 1: what "the same on every machine" means.
  const TempDir dir("fixed");
  write(dir, preset("micro"), 1);
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : read_file(dir.file("model.safetensors"))) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  }
  EXPECT_EQ(fmt::format("{:016x}", hash), "1f84ef88b271a5c0");
}

TEST(Synthetic, ATensorDoesNotDependOnOthers) {
  SyntheticPreset shorter = preset("micro");
  shorter.config.n_layers = 2;
  shorter.config.layers.resize(2);
  const TempDir whole("whole");
  const TempDir part("part");
  write(whole, preset("micro"), 3);
  write(part, shorter, 3);
  const auto all = Checkpoint::open(whole.str());
  const auto some = Checkpoint::open(part.str());
  ASSERT_TRUE(all && some);
  EXPECT_LT(some->tensors().size(), all->tensors().size());
  for (const TensorView& tensor : some->tensors()) {
    const TensorView* const same = all->find(tensor.name);
    ASSERT_NE(same, nullptr) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, same->bytes)) << tensor.name;
  }
}

TEST(Synthetic, ConfigsReadBack) {
  for (const SyntheticPreset& p : synthetic_presets()) {
    const std::string text = config_json(p.config, true);
    const auto back = parse_config(JsonObject::parse(text, "config.json").value());
    ASSERT_TRUE(back) << p.name << ": " << back.error().message;
    EXPECT_EQ(config_json(*back, true), text) << p.name;
    ASSERT_EQ(back->layers.size(), p.config.layers.size());
    for (size_t i = 0; i < back->layers.size(); ++i) {
      EXPECT_EQ(back->layers[i].attention, p.config.layers[i].attention) << p.name << ' ' << i;
      EXPECT_EQ(back->layers[i].ratio, p.config.layers[i].ratio) << p.name << ' ' << i;
      EXPECT_EQ(back->layers[i].hash_routed, p.config.layers[i].hash_routed) << p.name << ' ' << i;
    }
    EXPECT_EQ(back->compress_rope.yarn.factor, 16);
    EXPECT_EQ(back->window_rope.yarn.factor, 1);
    EXPECT_EQ(back->max_position, 1048576);
  }
}

TEST(Synthetic, LoadsAsAModel) {
  const TempDir dir("load");
  write(dir, preset("micro"), 1);
  const auto model = load_model(dir.str());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ((*model)->vocab_size(), 1024);
  EXPECT_EQ((*model)->bos_id(), 0);
  const auto checkpoint = Checkpoint::open(dir.str());
  ASSERT_TRUE(checkpoint);
  size_t n_bytes = 0;
  for (const TensorView& tensor : checkpoint->tensors()) n_bytes += tensor.bytes.size();
  EXPECT_EQ(n_bytes, synthetic_size(preset("micro").config).n_bytes);
}

struct Moments {
  double mean = 0;
  double deviation = 0;
};

Moments moments(const Weight& weight) {
  double sum = 0;
  double squares = 0;
  std::vector<float> row(static_cast<size_t>(weight.n_cols));
  for (int r = 0; r < weight.n_rows; ++r) {
    decode_row(weight, r, row);
    for (const float value : row) {
      sum += static_cast<double>(value);
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
  }
  const double n = static_cast<double>(weight.n_rows) * weight.n_cols;
  return {sum / n, std::sqrt(squares / n - sum / n * sum / n)};
}

// Of `weight`, times the square root of its fan-in: 0 and 1.
void expect_unit(const Weight& weight, const char* name, double tolerance) {
  const Moments found = moments(weight);
  const double root = std::sqrt(static_cast<double>(weight.n_cols));
  EXPECT_NEAR(found.mean * root, 0, 0.02) << name;
  EXPECT_NEAR(found.deviation * root, 1, tolerance) << name;
}

TEST(Synthetic, WeightsHaveTheirDeviation) {
  const TempDir dir("deviation");
  write(dir, preset("mini"), 1);
  const auto model = load_model(dir.str());
  ASSERT_TRUE(model) << model.error().message;
  const Weights& w = as_v4(**model).weights();
  const LayerWeights& csa = w.layers[2];
  ASSERT_EQ(as_v4(**model).config().layers[2].attention, LayerKind::csa);
  expect_unit(w.head, "head", 0.01);
  expect_unit(csa.router, "router", 0.03);
  expect_unit(csa.compressor.kv, "compressor", 0.01);
  expect_unit(csa.attn_hc.fn, "hc_attn_fn", 0.01);
  // 32 to 256 blocks of 128 x 128 with random scales.
  expect_unit(csa.wq_b, "wq_b", 0.15);
  expect_unit(csa.wo_b, "wo_b", 0.15);
  expect_unit(csa.index_wq_b, "index_wq_b", 0.15);
  // A scale per 32 columns: enough of them.
  for (const int e : {0, 7}) {
    expect_unit(csa.experts[static_cast<size_t>(e)].gate, "w1", 0.03);
    expect_unit(csa.experts[static_cast<size_t>(e)].down, "w2", 0.03);
  }
  EXPECT_NEAR(moments(w.embed).deviation, 1, 0.01);
  double sum = 0;
  for (const float value : w.norm) sum += static_cast<double>(value);
  EXPECT_NEAR(sum / static_cast<double>(w.norm.size()), 1, 0.02);
}

TEST(Synthetic, ScalesDifferAndNoCodeIsNan) {
  const TempDir dir("scales");
  write(dir, preset("micro"), 1);
  const auto checkpoint = Checkpoint::open(dir.str());
  ASSERT_TRUE(checkpoint);
  std::set<std::byte> scales;
  size_t n_fp8 = 0;
  for (const TensorView& tensor : checkpoint->tensors()) {
    if (tensor.type == DType::f8_e8m0) scales.insert(tensor.bytes.begin(), tensor.bytes.end());
    if (tensor.type != DType::f8_e4m3) continue;
    ++n_fp8;
    for (const std::byte code : tensor.bytes) {
      ASSERT_NE(std::to_integer<int>(code) & 0x7F, 0x7F) << tensor.name;
    }
  }
  EXPECT_GT(n_fp8, 0u);
  EXPECT_GE(scales.size(), 4u);
  EXPECT_FALSE(scales.contains(std::byte{255}));
}

TEST(Synthetic, HashRowsHoldDifferentExperts) {
  const TempDir dir("hash");
  write(dir, preset("micro"), 1);
  const auto model = load_model(dir.str());
  ASSERT_TRUE(model) << model.error().message;
  const Config& config = as_v4(**model).config();
  const std::vector<int32_t>& ids = as_v4(**model).weights().layers[0].experts_by_id;
  ASSERT_EQ(ids.size(), static_cast<size_t>(config.vocab_size * config.n_experts_used));
  std::vector<int> uses(static_cast<size_t>(config.n_experts));
  for (size_t row = 0; row < ids.size(); row += 2) {
    EXPECT_NE(ids[row], ids[row + 1]);
    ++uses[static_cast<size_t>(ids[row])];
  }
  // 1024 first picks over 8 experts: 128 each, give or take 11.
  for (const int n : uses) EXPECT_NEAR(n, 128, 45);
}

TEST(Synthetic, TokenizerHasEveryId) {
  for (const SyntheticPreset& p : synthetic_presets()) {
    const auto json = nlohmann::json::parse(synthetic_tokenizer_json(p.config.vocab_size));
    std::set<int> ids;
    for (const auto& [piece, id] : json["model"]["vocab"].items()) {
      EXPECT_FALSE(piece.empty());
      ids.insert(id.get<int>());
    }
    EXPECT_EQ(ids.size(), static_cast<size_t>(p.config.vocab_size)) << p.name;
    EXPECT_EQ(*ids.rbegin(), p.config.vocab_size - 1);
    EXPECT_EQ(json["model"]["vocab"]["Ġ"], 3 + ' ');
    EXPECT_EQ(json["added_tokens"].size(), 3u);
  }
}

TEST(Synthetic, RefusesWithASentence) {
  const auto unknown = find_synthetic_preset("nano");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::usage);
  EXPECT_EQ(unknown.error().message,
            "--preset nano: expected one of micro, mini, flash-cache, flash-1l, flash-6l, pro-4l");
  const auto nowhere = write_synthetic("/proc/self/no/such", preset("micro"), 1, {});
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message.find("/proc/self/no/such"), std::string::npos)
      << nowhere.error().message;
}

TEST(Synthetic, TellsProgress) {
  const TempDir dir("progress");
  size_t last = 0;
  size_t whole = 0;
  const auto done = write_synthetic(dir.str(), preset("micro"), 1, [&](size_t now, size_t total) {
    EXPECT_GT(now, last);
    last = now;
    whole = total;
  });
  ASSERT_TRUE(done);
  EXPECT_EQ(last, whole);
  EXPECT_EQ(whole, synthetic_size(preset("micro").config).n_bytes);
}

}  // namespace
}  // namespace varve::deepseek_v4
