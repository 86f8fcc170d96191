#include "kvcache/cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace varve {
namespace {

CacheShape small_shape() {
  CacheShape shape{.layers = {}, .window = 8};
  shape.layers.push_back({.kind = LayerKind::swa, .head_dim = 4, .rope_dim = 2});
  shape.layers.push_back(
      {.kind = LayerKind::csa, .ratio = 4, .head_dim = 4, .rope_dim = 2, .index_dim = 4});
  shape.layers.push_back({.kind = LayerKind::hca, .ratio = 128, .head_dim = 4, .rope_dim = 2});
  return shape;
}

struct Fixture {
  explicit Fixture(const CacheOptions& options, const CacheShape& shape = small_shape())
      : cache(shape, options) {
    ArenaBuilder dry;
    cache.lay_out(dry);
    arena = Arena::create(dry.bytes()).value();
    ArenaBuilder wet(arena.data());
    cache.lay_out(wet);
  }
  Cache cache;
  Arena arena;
};

// A row's value says which token and layer wrote it.
float mark(int layer, int pos) {
  return static_cast<float>(layer * 100000 + pos);
}

void append(Sequence& sequence, int n) {
  const int begin = sequence.n_tokens();
  ASSERT_TRUE(sequence.reserve(begin + n));
  std::vector<int32_t> ids;
  for (int pos = begin; pos < begin + n; ++pos) {
    ids.push_back(pos * 7);
    for (int layer = 0; layer < 3; ++layer) {
      *reinterpret_cast<float*>(sequence.window_row(layer, pos)) = mark(layer, pos);
      if (layer > 0) *sequence.state_row(layer, pos) = mark(layer, pos);
    }
    if ((pos + 1) % 4 == 0) {
      *reinterpret_cast<float*>(sequence.entry(1, pos / 4)) = mark(1, pos);
      *reinterpret_cast<float*>(sequence.index_key(1, pos / 4)) = mark(5, pos);
    }
    if ((pos + 1) % 128 == 0)
      *reinterpret_cast<float*>(sequence.entry(2, pos / 128)) = mark(2, pos);
  }
  sequence.commit(ids);
}

void expect_marks(const Sequence& sequence) {
  const int n = sequence.n_tokens();
  for (int pos = 0; pos < n; ++pos) ASSERT_EQ(sequence.ids()[static_cast<size_t>(pos)], pos * 7);
  for (int layer = 0; layer < 3; ++layer) {
    for (int pos = std::max(0, n - 8); pos < n; ++pos) {
      ASSERT_EQ(*reinterpret_cast<float*>(sequence.window_row(layer, pos)), mark(layer, pos));
    }
  }
  for (int pos = std::max(0, n - 8); pos < n; ++pos) {
    ASSERT_EQ(*sequence.state_row(1, pos), mark(1, pos));
  }
  for (int w = 0; w < n / 4; ++w) {
    ASSERT_EQ(*reinterpret_cast<float*>(sequence.entry(1, w)), mark(1, 4 * w + 3));
    ASSERT_EQ(*reinterpret_cast<float*>(sequence.index_key(1, w)), mark(5, 4 * w + 3));
  }
  for (int w = 0; w < n / 128; ++w) {
    ASSERT_EQ(*reinterpret_cast<float*>(sequence.entry(2, w)), mark(2, 128 * w + 127));
  }
}

TEST(Cache, AForkSharesSealedBlocksAndNothingThatChanges) {
  Fixture f({.formats = {}, .ctx_tokens = 1000, .n_sequences = 2, .resume_points = 2});
  Sequence a = f.cache.new_sequence().value();
  append(a, 300);
  EXPECT_EQ(f.cache.blocks_in_use(), 3);
  Sequence b = a.fork().value();
  EXPECT_EQ(f.cache.blocks_in_use(), 4);  // two shared, two open
  *reinterpret_cast<float*>(b.entry(1, 70)) = -1;
  *reinterpret_cast<float*>(b.window_row(0, 299)) = -1;
  expect_marks(a);
  append(a, 100);
  expect_marks(a);
  EXPECT_EQ(b.n_tokens(), 300);
  EXPECT_FALSE(a.fork());  // both sequences are taken
  b = Sequence();
  EXPECT_EQ(f.cache.blocks_in_use(), 4);
  a = Sequence();
  EXPECT_EQ(f.cache.blocks_in_use(), 0);
}

TEST(Cache, RewindGoesToTheNearestPointBelow) {
  Fixture f({.formats = {}, .ctx_tokens = 1000, .n_sequences = 2, .resume_points = 3});
  Sequence a = f.cache.new_sequence().value();
  append(a, 130);
  a.save_resume_point();
  append(a, 126);  // 256
  a.save_resume_point();
  append(a, 200);
  Sequence b = a.fork().value();
  EXPECT_EQ(a.rewind_to_resume_point(300), 256);
  expect_marks(a);
  EXPECT_EQ(a.rewind_to_resume_point(255), 130);
  expect_marks(a);
  // Block 1 is sealed in b and open again in a: a must write in a copy.
  *reinterpret_cast<float*>(a.entry(1, 40)) = -1;
  expect_marks(b);
  append(a, 50);
  expect_marks(a);
  EXPECT_EQ(a.rewind_to_resume_point(100), 0);
  EXPECT_EQ(a.n_tokens(), 0);
  EXPECT_TRUE(a.resume_positions().empty());
  append(a, 5);
  expect_marks(a);
  EXPECT_EQ(b.rewind_to_resume_point(256), 256);
  expect_marks(b);
}

TEST(Cache, ResumePointsThinOutTowardsTheBeginning) {
  Fixture f({.formats = {}, .ctx_tokens = 40000, .n_sequences = 1, .resume_points = 4});
  Sequence a = f.cache.new_sequence().value();
  for (int i = 0; i < 300; ++i) {
    append(a, 128);
    a.save_resume_point();
  }
  const std::vector<int> points = a.resume_positions();
  ASSERT_EQ(points.size(), 4u);
  EXPECT_EQ(points.back(), 300 * 128);
  EXPECT_GT(points.front(), 0);
  for (size_t i = 1; i + 1 < points.size(); ++i) {
    EXPECT_GE(points[i] - points[i - 1], points[i + 1] - points[i]);
  }
}

TEST(Cache, RefusesTokensBeyondTheContext) {
  Fixture f({.formats = {}, .ctx_tokens = 100, .n_sequences = 1, .resume_points = 0});
  Sequence a = f.cache.new_sequence().value();
  auto refused = a.reserve(101);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::usage);
  EXPECT_NE(refused.error().message.find("101"), std::string::npos);
  EXPECT_TRUE(a.reserve(100));
}

TEST(Cache, CopyOnWriteNeverRunsOutOfBlocks) {
  Fixture f({.formats = {}, .ctx_tokens = 256, .n_sequences = 3, .resume_points = 1});
  Sequence a = f.cache.new_sequence().value();
  append(a, 100);
  a.save_resume_point();
  append(a, 156);
  Sequence b = a.fork().value();
  Sequence c = a.fork().value();
  for (Sequence* s : {&a, &b, &c}) {
    EXPECT_EQ(s->rewind_to_resume_point(120), 100);
    append(*s, 156);
    expect_marks(*s);
  }
  EXPECT_EQ(f.cache.blocks_in_use(), 6);
}

// Layers of keys and values: of all tokens, and of a window.
CacheShape kv_shape(int window) {
  CacheShape shape{.layers = {}, .window = 0, .hidden_dim = 4};
  for (const int of_layer : {0, window}) {
    shape.layers.push_back(
        {.kind = LayerKind::kv, .head_dim = 2, .n_kv_heads = 3, .window = of_layer});
  }
  return shape;
}

float* kv_row(const Sequence& sequence, int layer, int pos, int head, bool value) {
  const KvBlock block = sequence.kv_block(layer, pos / kBlockTokens);
  const size_t row = static_cast<size_t>(head * kBlockTokens + pos % kBlockTokens);
  return reinterpret_cast<float*>(value ? block.values : block.keys) + row * 2;
}

void append_kv(Sequence& sequence, int n) {
  const int begin = sequence.n_tokens();
  ASSERT_TRUE(sequence.reserve(begin + n));
  for (int pos = begin; pos < begin + n; ++pos) {
    for (int layer = 0; layer < 2; ++layer) {
      for (int head = 0; head < 3; ++head) {
        *kv_row(sequence, layer, pos, head, false) =
            mark(layer, pos) + static_cast<float>(head) / 8;
        *kv_row(sequence, layer, pos, head, true) = -*kv_row(sequence, layer, pos, head, false);
      }
    }
    const int32_t id = pos * 7;
    sequence.commit({&id, 1});
  }
}

void expect_kv(const Sequence& sequence, int window) {
  const int n = sequence.n_tokens();
  for (int layer = 0; layer < 2; ++layer) {
    const int first = layer == 0 || window == 0 ? 0 : std::max(0, n - window);
    for (int pos = first; pos < n; ++pos) {
      for (int head = 0; head < 3; ++head) {
        const float want = mark(layer, pos) + static_cast<float>(head) / 8;
        ASSERT_EQ(*kv_row(sequence, layer, pos, head, false), want) << layer << " " << pos;
        ASSERT_EQ(*kv_row(sequence, layer, pos, head, true), -want) << layer << " " << pos;
      }
    }
  }
}

TEST(Cache, KeysAndValuesSurviveForksAndRewinds) {
  for (const int window : {0, 5, 200}) {
    Fixture fixture({.formats = {}, .ctx_tokens = 700, .n_sequences = 2, .resume_points = 2},
                    kv_shape(window));
    Sequence a = fixture.cache.new_sequence().value();
    append_kv(a, 300);
    a.save_resume_point();
    append_kv(a, 150);
    expect_kv(a, window);
    Sequence b = a.fork().value();
    append_kv(b, 60);
    expect_kv(b, window);
    expect_kv(a, window);
    // To the resume point; without a window, to any token but the last one before it.
    EXPECT_EQ(b.rewind_to_resume_point(430), window == 0 ? 429 : 300);
    expect_kv(b, window);
    append_kv(b, 100);
    expect_kv(b, window);
    expect_kv(a, window);
    EXPECT_EQ(a.rewind_to_resume_point(300), 300);
    expect_kv(a, window);
    EXPECT_EQ(a.rewind_to_resume_point(1), 0);
  }
}

}  // namespace
}  // namespace varve
