// Calibrations: what they hold, what is predicted from them, and how they are kept.
#include "plan/calibration.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "plan/calibration_cache.h"
#include "plan/prediction.h"

namespace varve {
namespace {

std::shared_ptr<const Model> shapes_of(const std::string& name) {
  auto model = load_shapes(std::string(VARVE_SOURCE_DIR) + "/" + name);
  EXPECT_TRUE(model) << model.error().message;
  return model ? std::shared_ptr<const Model>(std::move(*model)) : nullptr;
}

EngineOptions options_of(RowFormat format) {
  EngineOptions options;
  options.ctx_tokens = 1024;
  options.n_threads = 2;
  options.kernels = available_kernels().back();
  options.products = Products::bf16;
  options.formats = PoolFormats::all(format);
  options.chunk_tokens = 128;
  return options;
}

TEST(Line, GoesThroughBothWhereTheyTellASlope) {
  const Line line = Line::through(100, 3, 300, 5);
  EXPECT_DOUBLE_EQ(line.at(100), 3);
  EXPECT_DOUBLE_EQ(line.at(300), 5);
  EXPECT_DOUBLE_EQ(line.fixed, 2);
  // Noise: the deeper one took no longer, or so much that nothing would be left at no depth.
  EXPECT_DOUBLE_EQ(Line::through(100, 5, 300, 3).at(1e9), 4);
  EXPECT_DOUBLE_EQ(Line::through(100, 1, 300, 6).at(0), 0);
  EXPECT_DOUBLE_EQ(Line::through(100, 1, 300, 6).at(300), 6);
}

class Calibrating : public testing::TestWithParam<const char*> {};

TEST_P(Calibrating, MeasuresWhatIsPredictedFrom) {
  const auto shapes = shapes_of(GetParam());
  const EngineOptions options = options_of(RowFormat::native);
  int n_parts = 0;
  const auto done = calibrate(shapes, options, nullptr, [&] { ++n_parts; });
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(n_parts, kCalibrationParts);
  EXPECT_EQ(done->decode.n_tokens, 1);
  EXPECT_GT(done->decode.weights, 0);
  EXPECT_GT(done->chunk.n_tokens, 1);
  EXPECT_GT(done->chunk.weights, 0);
  for (const int depth : {0, 1000}) {
    const Prediction one = predict_decode(*shapes, options, *done, depth);
    double sum = 0;
    for (const PredictedPart& part : one.parts) {
      EXPECT_GE(part.seconds, 0) << part.name;
      EXPECT_FALSE(part.bound.empty()) << part.name;
      sum += part.seconds;
    }
    EXPECT_DOUBLE_EQ(one.tokens_per_s(), 1 / sum);
    EXPECT_GE(sum, done->decode.weights);
  }
  EXPECT_GT(predict_prefill(*shapes, options, *done, 0, 512, 128).tokens_per_s(), 0);
}

INSTANTIATE_TEST_SUITE_P(Models, Calibrating,
                         testing::Values("models/varve-tiny", "tests/data/goldens/gqa-llama3",
                                         "tests/data/goldens/dsa-deepseek-v32"));

TEST(Calibration, OtherFormatsTakeOverTheMatrices) {
  const auto shapes = shapes_of("tests/data/goldens/gqa-llama3");
  const auto first = calibrate(shapes, options_of(RowFormat::bf16));
  ASSERT_TRUE(first) << first.error().message;
  const auto second = calibrate(shapes, options_of(RowFormat::f32), &*first);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->decode.weights, first->decode.weights);
  EXPECT_EQ(second->roofs.read_bytes_per_s, first->roofs.read_bytes_per_s);
  EXPECT_EQ(second->chunk.n_tokens, 0);
}

TEST(CalibrationKey, TellsApartWhatAffectsSpeed) {
  const auto shapes = shapes_of("tests/data/goldens/gqa-llama3");
  const EngineOptions options = options_of(RowFormat::bf16);
  const std::string key = calibration_key(*shapes, options);
  EXPECT_EQ(calibration_key(*shapes, options), key);
  EngineOptions threads = options, products = options, chunk = options;
  threads.n_threads = 1;
  products.products = Products::f32;
  chunk.chunk_tokens = 64;
  EngineOptions longer = options;
  longer.ctx_tokens = 2048;
  EXPECT_NE(calibration_key(*shapes, threads), key);
  EXPECT_NE(calibration_key(*shapes, products), key);
  EXPECT_NE(calibration_key(*shapes, chunk), key);
  EXPECT_NE(calibration_key(*shapes, options_of(RowFormat::f32)), key);
  EXPECT_NE(calibration_key(*shapes_of("models/varve-tiny"), options), key);
  EXPECT_EQ(calibration_key(*shapes, longer), key);
}

TEST(CalibrationCache, KeepsWhatItWasGiven) {
  const std::string directory = testing::TempDir() + "calibration_cache/below";
  std::filesystem::remove_all(directory);
  Calibration one;
  one.roofs = {1e9, 2e9, 3e9, 0};
  one.decode = {1, 0.5, 0.25, {1e-3, 1e-12}, {0, 0}};
  one.chunk = {32, 0.125, 1, {2, 3}, {4, 5}};
  {
    CalibrationCache cache(directory);
    EXPECT_EQ(cache.find("key"), nullptr);
    cache.insert("key", one);
    cache.insert("other", {});
  }
  const CalibrationCache cache(directory);
  double age_days = -1;
  const Calibration* const found = cache.find("key", &age_days);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->roofs.f32_macs_per_s, 2e9);
  EXPECT_EQ(found->decode.attention.per_mac, 1e-12);
  EXPECT_EQ(found->chunk.n_tokens, 32);
  EXPECT_EQ(found->chunk.index.per_mac, 5);
  EXPECT_GE(age_days, 0);
  EXPECT_EQ(cache.find("another"), nullptr);

  for (const char* const broken :
       {"", "{", "[]", R"({"schema": "varve.calibrations/3", "entries": []})",
        R"({"schema": "varve.calibrations/2", "entries": 3})",
        R"({"schema": "varve.calibrations/2", "entries": [1, {"key": 2}, {"key": "key"},
            {"key": "key", "made": 1, "numbers": [1, 2]},
            {"key": "key", "made": 1, "numbers": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,-1]}]})"}) {
    std::ofstream(cache.file(), std::ios::trunc) << broken;
    EXPECT_EQ(CalibrationCache(directory).find("key"), nullptr) << broken;
  }
  CalibrationCache("").insert("key", one);  // nothing is kept, and nothing fails
}

}  // namespace
}  // namespace varve
