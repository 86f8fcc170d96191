#include "tune/space.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

using testing::Test;
using Levels = std::vector<int>;

TEST(Space, ThreadsArePhysicalAndLogicalCoresAndPowersOfTwo) {
  EXPECT_EQ(thread_levels(1, 1), (Levels{1}));
  EXPECT_EQ(thread_levels(2, 2), (Levels{1, 2}));
  EXPECT_EQ(thread_levels(6, 12), (Levels{1, 2, 4, 6, 8, 12}));
  // A quota of three of eight cores.
  EXPECT_EQ(thread_levels(8, 3), (Levels{1, 2, 3}));
}

TEST(Space, ChunksArePowersOfTwoAndTheChosenOne) {
  EXPECT_EQ(chunk_levels(100, 256), (Levels{32, 64, 100, 128, 256}));
  EXPECT_EQ(chunk_levels(16, 20), (Levels{16}));
}

Space small_space() {
  Space space;
  space.threads = {1, 2};
  space.chunks = {32, 64, 128};
  space.formats = {{"", {}, {}}, {"--kv k=q8_0,v=q8_0", {}, 3.6e-4}};
  space.formats[1].formats.k = RowFormat::q8_0;
  space.start[Knob::threads] = 1;
  space.start[Knob::chunk] = 2;
  return space;
}

TEST(Space, AroundTheStartOneKnobIsTurned) {
  const Space space = small_space();
  const std::vector<Setting> around = space.around_start();
  ASSERT_EQ(around.size(), 1U + 1 + 2 + 1);
  EXPECT_EQ(around.front(), space.start);
  for (size_t i = 1; i < around.size(); ++i) {
    int turned = 0;
    for (const Knob knob : kKnobs) turned += around[i][knob] != space.start[knob] ? 1 : 0;
    EXPECT_EQ(turned, 1);
  }
  EXPECT_EQ(space.all().size(), 2U * 3 * 2);
}

TEST(Space, OptionsOfASetting) {
  const Space space = small_space();
  EngineOptions base;
  base.ctx_tokens = 777;
  const EngineOptions options = space.options(Setting{{0, 1, 1}}, base);
  EXPECT_EQ(options.ctx_tokens, 777);
  EXPECT_EQ(options.n_threads, 1);
  EXPECT_EQ(options.chunk_tokens, 64);
  EXPECT_EQ(options.formats.k, RowFormat::q8_0);
}

class Formats : public Test {
 protected:
  void SetUp() override {
    auto model = load_shapes(std::string(VARVE_SOURCE_DIR) + "/models/configs/qwen3-8b.json");
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
  }
  std::unique_ptr<Model> model_;
};

TEST_F(Formats, OverTheBoundAreRefused) {
  const FormatChoice choice = format_levels(*model_, PoolFormats::all(RowFormat::native), 1e-3);
  ASSERT_EQ(choice.levels.size(), 3U);  // as asked, q8_0 twice, q8_0 with q4_0
  EXPECT_TRUE(choice.levels[0].flags.empty());
  for (size_t i = 1; i < choice.levels.size(); ++i) {
    ASSERT_TRUE(choice.levels[i].mean_kld);
    EXPECT_LE(*choice.levels[i].mean_kld, 1e-3);
  }
  ASSERT_FALSE(choice.refused.empty());
  for (const RefusedFormat& refused : choice.refused) {
    EXPECT_GT(refused.mean_kld.value_or(1), 1e-3) << refused.flags;
  }
}

TEST_F(Formats, OfUnknownDivergenceOnlyWithoutABound) {
  // Nobody has measured them without recent tokens kept whole.
  PoolFormats formats = PoolFormats::all(RowFormat::native);
  formats.recent_tokens = 0;
  const FormatChoice bounded = format_levels(*model_, formats, 1.0);
  EXPECT_EQ(bounded.levels.size(), 1U);
  const FormatChoice unbounded = format_levels(*model_, formats, std::nullopt);
  EXPECT_EQ(unbounded.levels.size(), 1 + bounded.refused.size());
  EXPECT_TRUE(unbounded.refused.empty());
}

}  // namespace
}  // namespace varve
