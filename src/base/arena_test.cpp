#include "base/arena.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace varve {
namespace {

struct Parts {
  float* a;
  int* b;
  char* c;
};

Parts lay_out(ArenaBuilder& builder) {
  Parts parts{};
  parts.a = builder.take<float>("floats", 3);
  parts.b = builder.take<int>("ints", 100);
  parts.c = builder.take<char>("floats", 65);
  return parts;
}

TEST(Arena, DryRunCountsWhatTheRealRunTakes) {
  ArenaBuilder dry;
  const Parts nothing = lay_out(dry);
  EXPECT_EQ(nothing.a, nullptr);
  EXPECT_EQ(dry.bytes(), 64u + 448u + 128u);
  ASSERT_EQ(dry.parts().size(), 2u);
  EXPECT_EQ(dry.parts()[0].name, "floats");
  EXPECT_EQ(dry.parts()[0].bytes, 64u + 128u);

  auto arena = Arena::create(dry.bytes());
  ASSERT_TRUE(arena) << arena.error().message;
  ArenaBuilder wet(arena->data());
  const Parts parts = lay_out(wet);
  EXPECT_EQ(wet.bytes(), dry.bytes());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(parts.b[i], 0);
  parts.c[64] = 'x';
  EXPECT_EQ(reinterpret_cast<uintptr_t>(parts.b) % ArenaBuilder::kAlignment, 0u);
  EXPECT_LE(reinterpret_cast<std::byte*>(parts.c) + 65, arena->data() + arena->bytes());
}

TEST(Arena, CountingStopsWhereNoMachineReaches) {
  constexpr size_t kMost = ArenaBuilder::kMostBytes;
  ArenaBuilder dry;
  dry.take<char>("first", 64);
  dry.take<double>("second", (SIZE_MAX / sizeof(double)) + 9);  // 64 bytes, were it to wrap
  dry.take<char>("first", SIZE_MAX);
  EXPECT_EQ(dry.bytes(), kMost);
  ASSERT_EQ(dry.parts().size(), 2u);
  EXPECT_EQ(dry.parts()[0].bytes, 64u);
  EXPECT_EQ(dry.parts()[1].bytes, kMost - 64);
}

TEST(Arena, RefusesWhatNoMachineHas) {
  auto arena = Arena::create(ArenaBuilder::kMostBytes);
  ASSERT_FALSE(arena);
  EXPECT_NE(arena.error().message.find("4611686018427387904"), std::string::npos);
}

}  // namespace
}  // namespace varve
