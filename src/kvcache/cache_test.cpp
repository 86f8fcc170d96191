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
  EXPECT_EQ(f.cache.known_blocks(), 3);
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
  EXPECT_EQ(f.cache.blocks_in_use(), 2);  // the same tokens: the same blocks
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
    // To the resume point; without a window, to any token but the last one before it; with a short
    // one, so far back that it is there again at the end of the last whole block.
    EXPECT_EQ(b.rewind_to_resume_point(430), window == 0 ? 429 : window == 5 ? 379 : 300);
    if (window != 5) expect_kv(b, window);
    append_kv(b, 100);
    expect_kv(b, window);
    expect_kv(a, window);
    EXPECT_EQ(a.rewind_to_resume_point(300), 300);
    expect_kv(a, window);
    EXPECT_EQ(a.rewind_to_resume_point(1), 0);
  }
}

// ---- what is known

std::vector<int32_t> ids_of(int n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int pos = 0; pos < n; ++pos) ids[static_cast<size_t>(pos)] = pos * 7;
  return ids;
}

TEST(KnownPrefix, ASequenceGoesOnWhereAnotherEnded) {
  Fixture f({.formats = {}, .ctx_tokens = 1000, .n_sequences = 1, .resume_points = 2});
  {
    Sequence a = f.cache.new_sequence().value();
    append(a, 300);
  }
  // All of it is there, the open block and the details too.
  {
    Sequence b = f.cache.new_sequence(ids_of(300)).value();
    EXPECT_EQ(b.n_tokens(), 300);
    expect_marks(b);
    append(b, 100);
    expect_marks(b);
  }
  // What the second one wrote behind it changes nothing.
  Sequence c = f.cache.new_sequence(ids_of(310)).value();
  EXPECT_EQ(c.n_tokens(), 300);
  expect_marks(c);
}

TEST(KnownPrefix, OtherTokensAreNotTakenForTheSame) {
  Fixture f({.formats = {}, .ctx_tokens = 1000, .n_sequences = 2, .resume_points = 2});
  Sequence a = f.cache.new_sequence().value();
  append(a, 256);
  a.save_resume_point();
  append(a, 50);
  a = Sequence();
  for (const int at : {0, 127, 128, 255}) {
    std::vector<int32_t> ids = ids_of(306);
    ids[static_cast<size_t>(at)] = 1;
    Sequence b = f.cache.new_sequence(ids).value();
    EXPECT_EQ(b.n_tokens(), 0) << at;  // no point is so far down
    EXPECT_EQ(b.restored_tokens(), at / kBlockTokens * kBlockTokens);
  }
  std::vector<int32_t> ids = ids_of(306);
  ids[300] = 1;
  EXPECT_EQ(f.cache.new_sequence(ids).value().n_tokens(), 256);
}

TEST(KnownPrefix, WhatIsUsedLeastGoesFirstAndNeverWhatASequenceHas) {
  Fixture f({.formats = {}, .ctx_tokens = 512, .n_sequences = 2, .resume_points = 1});
  const auto fill = [&](Sequence& s, int salt) {
    std::vector<int32_t> ids(512, salt);
    ASSERT_TRUE(s.reserve(512));
    s.commit(ids);
  };
  const auto known = [&](int salt) {
    return f.cache.known_tokens(std::vector<int32_t>(512, salt));
  };
  Sequence live = f.cache.new_sequence().value();
  fill(live, 1);
  for (int salt = 2; salt < 12; ++salt) {
    Sequence passing = f.cache.new_sequence().value();
    fill(passing, salt);
    EXPECT_EQ(known(1), 512);
    EXPECT_EQ(known(salt), 512);
    if (salt > 2) {
      EXPECT_EQ(known(salt - 1), 0);  // there is room for two
    }
  }
  EXPECT_EQ(f.cache.blocks_in_use(), 4);
  EXPECT_EQ(f.cache.known_blocks(), 8);
}

TEST(KnownPrefix, TheEndOfASequenceGoesBeforeItsBeginning) {
  Fixture f({.formats = {}, .ctx_tokens = 512, .n_sequences = 1, .resume_points = 0});
  {
    Sequence a = f.cache.new_sequence().value();
    append(a, 512);
  }
  Sequence b = f.cache.new_sequence().value();
  const std::vector<int32_t> other(256, 5);
  ASSERT_TRUE(b.reserve(256));
  b.commit(other);
  EXPECT_EQ(f.cache.known_tokens(ids_of(512)), 256);
}

TEST(KnownPrefix, AFullPoolTakesOverWhatIsOnlyKnown) {
  Fixture f({.formats = {}, .ctx_tokens = 256, .n_sequences = 1, .resume_points = 1});
  {
    Sequence a = f.cache.new_sequence().value();
    append(a, 200);
    a.save_resume_point();
    append(a, 8);
    // Both blocks are taken, and the second is that of the point, too.
    EXPECT_EQ(a.rewind_to_resume_point(200), 200);
    append(a, 56);
    expect_marks(a);
    EXPECT_EQ(a.rewind_to_resume_point(220), 200);
    append(a, 40);
    expect_marks(a);
  }
  Sequence b = f.cache.new_sequence(ids_of(240)).value();
  EXPECT_EQ(b.n_tokens(), 240);
  append(b, 16);
  expect_marks(b);
}

TEST(KnownPrefix, KeysAndValuesAreKnownTokenByToken) {
  Fixture f({.formats = {}, .ctx_tokens = 700, .n_sequences = 2, .resume_points = 1}, kv_shape(0));
  {
    Sequence a = f.cache.new_sequence().value();
    append_kv(a, 450);
  }
  EXPECT_EQ(f.cache.new_sequence(ids_of(450)).value().n_tokens(), 450);  // its hidden state is kept
  for (const int n : {1, 2, 127, 128, 129, 200, 384, 385, 449, 450}) {
    std::vector<int32_t> ids = ids_of(n);
    ids.push_back(3);  // another one there
    Sequence b = f.cache.new_sequence(ids).value();
    EXPECT_EQ(b.n_tokens(), n);
    expect_kv(b, 0);
    append_kv(b, 150);
    expect_kv(b, 0);
  }
  EXPECT_EQ(f.cache.new_sequence(ids_of(400)).value().n_tokens(), 399);  // the last is read again
}

TEST(KnownPrefix, SeededRowsAreKnownToNobody) {
  Fixture f({.formats = {}, .ctx_tokens = 400, .n_sequences = 1, .resume_points = 1});
  Sequence a = f.cache.new_sequence().value();
  a.keep_private();
  append(a, 300);
  a.save_resume_point();
  a = Sequence();
  EXPECT_EQ(f.cache.known_blocks(), 0);
  EXPECT_EQ(f.cache.known_points(), 0);
}

TEST(KnownPrefix, RowsFromElsewhere) {
  const CacheOptions options{
      .formats = {}, .ctx_tokens = 400, .n_sequences = 1, .resume_points = 1};
  Fixture f(options), g(options);
  Sequence a = f.cache.new_sequence().value();
  append(a, 300);
  const std::vector<int32_t> ids = ids_of(300);
  const auto copy = [](std::span<const std::byte> from) {
    return [from](std::span<std::byte> to) {
      std::ranges::copy(from, to.begin());
      return true;
    };
  };
  EXPECT_FALSE(g.cache.restore_block({}, std::span(ids).first(128), [](auto) { return false; }));
  EXPECT_EQ(g.cache.known_blocks(), 0);
  for (const int b : {0, 1}) {
    EXPECT_TRUE(g.cache.restore_block(a.parent_key(b * 128),
                                      std::span(ids).subspan(static_cast<size_t>(b) * 128, 128),
                                      copy(a.block_rows(b))));
  }
  EXPECT_TRUE(g.cache.restore_point(
      a.parent_key(300), std::span(ids).subspan(256),
      [&](std::span<std::byte> detail, std::span<std::byte> open_block) {
        return copy(a.detail_rows())(detail) && copy(a.block_rows(2))(open_block);
      }));
  Sequence b = g.cache.new_sequence(ids).value();
  EXPECT_EQ(b.n_tokens(), 300);
  expect_marks(b);
}

}  // namespace
}  // namespace varve
