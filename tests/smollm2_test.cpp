// A real model, SmolLM2-135M-Instruct in Q4_1, from its GGUF file: tokenizer, likelihoods and
// greedy texts against outside implementations (README.md). Skipped unless VARVE_SMOLLM2 names the
// file.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "engine/generate.h"
#include "support/golden.h"
#include "support/reference_run.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/test_vectors.h"

namespace varve {
namespace {

using testing_support::Golden;
using testing_support::GoldenTensor;

// Of the 1024 in `ppl.ids`, for the plain kernels, which are not meant to be fast.
constexpr size_t kTokensOfPlainKernels = 96;

// Of the mean absolute difference, nats a token. Where inputs are rounded to bf16 alone, as the
// plain kernels do, it is 0.017 to 0.028; the kernels with linear_blocks keep 16 bits of them.
constexpr double kToleranceOfF32 = 1e-4;
constexpr double kToleranceOfGroups = 0.01;
constexpr double kToleranceOfBf16 = 0.04;

class Smollm2 : public testing::Test {
 protected:
  void SetUp() override {
    const char* const path = std::getenv("VARVE_SMOLLM2");
    if (path == nullptr) {
      GTEST_SKIP() << "VARVE_SMOLLM2 names no file: tools/get-smollm2.sh fetches it";
    }
    path_ = path;
  }

  const Golden golden_{testing_support::golden_dir("smollm2") + "/golden.safetensors"};
  std::string path_;
};

TEST_F(Smollm2, TokenizerVectors) {
  const auto model = testing_support::load_or_fail(path_);
  const auto vocabulary = read_vocabulary(*model->checkpoint().gguf());
  ASSERT_TRUE(vocabulary) << vocabulary.error().message;
  EXPECT_FALSE(begins_with_bos(*vocabulary));
  const auto tokenizer = Tokenizer::from_gguf(*vocabulary, path_);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->vocab_size(), model->vocab_size());
  EXPECT_EQ(tokenizer->id_of("<|im_end|>"), 2);
  EXPECT_TRUE(tokenizer->is_special(2));
  check_vectors(*tokenizer, vectors("smollm2-gguf.jsonl"));
  // The vocabulary has no piece for some control characters.
  EXPECT_FALSE(tokenizer->encode("\x04"));
}

// -log p of each of `ids` but the first, given those before it.
std::vector<double> nlls(const std::shared_ptr<const Model>& model, const std::vector<int32_t>& ids,
                         EngineOptions options) {
  options.ctx_tokens = static_cast<int>(ids.size());
  const auto engine = testing_support::engine_or_fail(model, options);
  Session session = testing_support::session_or_fail(*engine);
  const auto vocab = static_cast<size_t>(model->vocab_size());
  constexpr size_t kAtOnce = 128;  // tokens whose logits are held
  std::vector<double> out;
  for (size_t begin = 0; begin + 1 < ids.size(); begin += kAtOnce) {
    const size_t n = std::min(kAtOnce, ids.size() - 1 - begin);
    if (!session.enqueue(std::span(ids).subspan(begin, n))) throw std::runtime_error("no room");
    std::vector<float> logits;
    testing_support::step_all_logits(*engine, session, logits);
    for (size_t i = 0; i < n; ++i) {
      const std::span row = std::span(logits).subspan(i * vocab, vocab);
      const double largest = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (const float x : row) sum += std::exp(x - largest);
      out.push_back(largest + std::log(sum) - row[static_cast<size_t>(ids[begin + i + 1])]);
    }
  }
  return out;
}

TEST_F(Smollm2, LikelihoodsOfAText) {
  const auto model = testing_support::load_or_fail(path_);
  const std::vector<int32_t> ids = golden_["ppl.ids"].ints;
  const std::vector<float> want = golden_["ppl.nll"].floats;
  ASSERT_EQ(ids.size(), want.size() + 1);
  const Kernels* const fastest = available_kernels().back();
  struct Numerics {
    const char* text;
    Products products;
    RowFormat rows;
  };
  constexpr Numerics kNumerics[] = {{"f32 products", Products::f32, RowFormat::f32},
                                    {"bf16 products", Products::bf16, RowFormat::f32},
                                    {"bf16 products and rows", Products::bf16, RowFormat::bf16}};
  for (const Kernels* const kernels : {&ref_kernels(), fastest}) {
    for (const Numerics& numerics : kNumerics) {
      const size_t n = kernels == fastest ? ids.size() : kTokensOfPlainKernels;
      const std::vector<double> mine = nlls(model, {ids.begin(), ids.begin() + static_cast<int>(n)},
                                            {.kernels = kernels,
                                             .products = numerics.products,
                                             .formats = PoolFormats::all(numerics.rows)});
      double difference = 0;
      double drift = 0;  // signed: what a perplexity sees
      for (size_t i = 0; i < mine.size(); ++i) {
        difference += std::fabs(mine[i] - want[i]);
        drift += mine[i] - want[i];
      }
      difference /= static_cast<double>(mine.size());
      drift /= static_cast<double>(mine.size());
      std::printf("%s, %s: mean difference %.1e nats (signed %.1e) over %zu tokens\n",
                  std::string(kernels->name).c_str(), numerics.text, difference, drift,
                  mine.size());
      const double tolerance = numerics.products == Products::f32  ? kToleranceOfF32
                               : kernels->linear_blocks != nullptr ? kToleranceOfGroups
                                                                   : kToleranceOfBf16;
      EXPECT_LE(difference, tolerance);
    }
  }
}

class Smollm2Reference : public Smollm2 {
 protected:
  void SetUp() override {
    Smollm2::SetUp();
    if (IsSkipped()) return;
    model_ = testing_support::load_or_fail(path_);
    engine_ = testing_support::engine_or_fail(
        model_, {.ctx_tokens = 128, .kernels = &ref_kernels(), .products = Products::f32});
  }
  Session after(const std::vector<int32_t>& ids) const {
    Session session = testing_support::session_or_fail(*engine_);
    EXPECT_TRUE(session.append(ids));
    return session;
  }

  static constexpr std::array<const char*, 3> kPrompts = {"plain", "code", "chat"};
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(Smollm2Reference, LargestLogits) {
  for (const std::string prompt : kPrompts) {
    const Session session = after(golden_[prompt + ".ids"].ints);
    const GoldenTensor ids = golden_[prompt + ".top_ids"];
    const GoldenTensor logits = golden_[prompt + ".top_logits"];
    const int64_t last = ids.rows() - 1;
    for (int64_t i = 0; i < ids.width(); ++i) {
      const int32_t id = ids.ints[static_cast<size_t>(last * ids.width() + i)];
      EXPECT_NEAR(session.logits()[static_cast<size_t>(id)], logits.row(last)[i], 1e-3)
          << prompt << ", id " << id;
    }
  }
}

// As with the families' goldens (README.md) the oracle took id 2 for padding: a prompt's own
// `<|im_end|>` is neither seen nor counted by what it continued.
TEST_F(Smollm2Reference, GreedyTexts) {
  constexpr int32_t kPadding = 2;
  for (const std::string prompt : kPrompts) {
    std::vector<int32_t> ids = golden_[prompt + ".ids"].ints;
    std::erase(ids, kPadding);
    Session session = after(ids);
    const std::vector<int32_t> want = golden_[prompt + ".greedy"].ints;
    Sampler sampler = Sampler::create({.temperature = 0}, model_->vocab_size()).value();
    std::vector<int32_t> mine;
    ASSERT_TRUE(generate(session, *engine_, sampler,
                         {.max_tokens = static_cast<int>(want.size()), .ignore_eos = true},
                         [&](int32_t id) {
                           mine.push_back(id);
                           return true;
                         }));
    EXPECT_EQ(mine, want) << prompt;
  }
}

}  // namespace
}  // namespace varve
