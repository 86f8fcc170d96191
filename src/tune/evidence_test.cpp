#include "tune/evidence.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

std::vector<SweepPoint> decode_rates(const std::vector<std::pair<int, double>>& rates) {
  std::vector<SweepPoint> out;
  out.reserve(rates.size());
  for (const auto& [value, rate] : rates) out.push_back({value, 10 * rate, rate});
  return out;
}

TEST(Evidence, AThreadSweepScalesFlattensOrFalls) {
  EXPECT_EQ(thread_trend(decode_rates({{1, 10}, {2, 19}})).decode, Trend::scales);
  EXPECT_EQ(thread_trend(decode_rates({{1, 10}, {2, 11}})).decode, Trend::flattens);
  EXPECT_EQ(thread_trend(decode_rates({{1, 10}, {2, 9}})).decode, Trend::falls);
  // What counts is the last doubling, or the least step beyond it.
  const ThreadTrend many =
      thread_trend(decode_rates({{1, 10}, {2, 20}, {4, 38}, {6, 40}, {8, 41}, {12, 42}}));
  EXPECT_EQ(many.from, 6);
  EXPECT_EQ(many.to, 12);
  EXPECT_EQ(many.decode, Trend::flattens);
  EXPECT_DOUBLE_EQ(many.decode_gain, 42.0 / 40);
  EXPECT_EQ(thread_trend(decode_rates({{1, 10}})).decode, Trend::unknown);
  EXPECT_EQ(thread_trend({}).decode, Trend::unknown);
}

TEST(Evidence, AChunkSweepClimbsToWhereItIsEnough) {
  const ChunkTrend trend =
      chunk_trend(decode_rates({{32, 100}, {64, 150}, {128, 196}, {256, 200}, {512, 198}}));
  EXPECT_TRUE(trend.climbs());
  EXPECT_EQ(trend.smallest, 32);
  EXPECT_EQ(trend.best, 256);
  EXPECT_EQ(trend.enough, 128);
  EXPECT_FALSE(chunk_trend(decode_rates({{32, 100}, {64, 101}})).climbs());
  EXPECT_EQ(chunk_trend(decode_rates({{32, 100}})).best, 0);
}

TEST(Evidence, TheBoundIsThatOfTheGroupThatTakesLongest) {
  PartTimes token;
  token[Part::linears] = 2;
  token[Part::mlp] = 1;
  token[Part::attention] = 1;
  const std::vector<PartRoof> roofs = {
      {{.part = "weights", .bytes = 8, .macs = 1}, 1.5, "read bandwidth"},
      {{.part = "keys", .bytes = 1, .macs = 8}, 0.5, "bf16 dot"}};
  const Bound bound = bound_of(group_times(token, roofs));
  EXPECT_EQ(bound.group, "weights");
  EXPECT_EQ(bound.roof, "read bandwidth");
  EXPECT_DOUBLE_EQ(bound.share_of_time, 0.75);
  EXPECT_DOUBLE_EQ(bound.share_of_roof, 0.5);
  EXPECT_TRUE(bound_of({}).group.empty());
}

TEST(Evidence, SweepsAreReadOffTheOutcome) {
  Space space;
  space.threads = {1, 2};
  space.chunks = {32, 64};
  space.formats = {{"", {}, {}}};
  space.start = Setting{{1, 0, 0}};
  Outcome outcome;
  for (const Setting& setting : space.around_start()) {
    Sample sample;
    sample.prefill_seconds = 1 / (100.0 + setting[Knob::threads]);
    sample.decode_seconds = 1 / (10.0 + setting[Knob::chunk]);
    outcome.sweep.push_back({setting, {sample}, {}});
  }
  outcome.sweep.back().samples.clear();  // chunk 64: the time was over
  const auto threads = sweep_of(space, outcome, Knob::threads);
  ASSERT_EQ(threads.size(), 2U);
  EXPECT_EQ(threads[0].value, 1);
  EXPECT_NEAR(threads[1].prefill_tokens_per_s, 101, 1e-9);
  EXPECT_EQ(sweep_of(space, outcome, Knob::chunk).size(), 1U);
}

}  // namespace
}  // namespace varve
