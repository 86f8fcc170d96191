#include "models/deepseek_v4/model.h"

#include <gtest/gtest.h>

#include <map>

namespace varve::deepseek_v4 {
namespace {

TEST(PartCosts, CountRowsAsAttentionReadsThem) {
  // varve-tiny: SWA, CSA, HCA, CSA; window 64, top 32, 4 heads of 128 (64 rotated), 2 index heads
  // of 128. Native rows: 200 bytes, index keys 68.
  const auto model = load_model(std::string(VARVE_SOURCE_DIR) + "/models/varve-tiny");
  ASSERT_TRUE(model) << model.error().message;
  std::map<std::string_view, PartCost> at;
  const PoolFormats native = PoolFormats::all(RowFormat::native);
  for (const PartCost& cost : (*model)->decode_costs(native, 5000)) at[cost.part] = cost;
  EXPECT_EQ(at["window rows"].bytes, 4 * 64 * 200);
  EXPECT_EQ(at["window rows"].macs, 4 * 64 * 2 * 4 * 128);
  EXPECT_EQ(at["CSA entries"].bytes, 2 * 32 * 200);
  EXPECT_EQ(at["index keys"].bytes, 2 * 1250 * 68);
  EXPECT_EQ(at["index keys"].macs, 2.0 * 1250 * 2 * 128);
  EXPECT_EQ(at["index keys"].unit, PartCost::Unit::int8);
  EXPECT_EQ(at["HCA entries"].bytes, 39 * 200);
  EXPECT_EQ(at["weights"].bytes, static_cast<double>((*model)->decode_weight_bytes()));

  // At the beginning the window is short, and an indexer that picks all scores none.
  for (const PartCost& cost : (*model)->decode_costs({}, 9)) at[cost.part] = cost;
  EXPECT_EQ(at["window rows"].bytes, 4 * 10 * 512);
  EXPECT_EQ(at["CSA entries"].bytes, 2 * 2 * 512);
  EXPECT_EQ(at["index keys"].bytes, 0);
  EXPECT_EQ(at["HCA entries"].bytes, 0);
}

}  // namespace
}  // namespace varve::deepseek_v4
