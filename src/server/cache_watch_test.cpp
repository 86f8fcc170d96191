#include "server/cache_watch.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace varve::server {
namespace {

constexpr int kContext = 512;

std::shared_ptr<const Model> tiny() {
  static const std::shared_ptr<const Model> model =
      load_model(std::string(VARVE_SOURCE_DIR) + "/models/varve-tiny").value();
  return model;
}

std::vector<int32_t> ids_from(int first, int n) {
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back(first + i % 100);
  return ids;
}

class CacheWatchTest : public testing::Test {
 protected:
  // Reads what waits, as a server's rounds do.
  void read() {
    do {
      watch_.attend();
    } while (engine_->step() > 0);
  }
  static int count(const CacheView& view, CacheEvent::Kind kind) {
    return static_cast<int>(std::ranges::count(view.events, kind, &CacheEvent::kind));
  }

  const std::unique_ptr<Engine> engine_ =
      Engine::create(tiny(), {.ctx_tokens = kContext, .n_sessions = 3}).value();
  CacheWatch watch_{*engine_, std::chrono::hours(1)};
};

TEST_F(CacheWatchTest, PicksAreThoseOfTheNewestRunsLastToken) {
  Session other = engine_->new_session(ids_from(7, 300)).value();
  watch_.admit(other, 300, 0);
  Session session = engine_->new_session(ids_from(50, 300)).value();
  const uint64_t run = watch_.admit(session, 300, 0);
  EXPECT_EQ(run, 2U);
  EXPECT_EQ(watch_.look().runs.front().state, RunView::State::reading);
  read();  // both in one batch
  watch_.see(run, session);
  const CacheView view = watch_.look();
  ASSERT_EQ(view.runs.size(), 2U);
  EXPECT_EQ(view.runs.front().run, run);
  EXPECT_EQ(view.runs.front().state, RunView::State::answering);
  EXPECT_EQ(view.runs.front().n_tokens, 300);

  // Alone the same tokens pick the same.
  const auto alone = Engine::create(tiny(), {.ctx_tokens = kContext}).value();
  CacheWatch watch(*alone, std::chrono::hours(1));
  watch.look();
  Session again = alone->new_session(ids_from(50, 300)).value();
  const uint64_t second = watch.admit(again, 300, 0);
  do {
    watch.attend();
  } while (alone->step() > 0);
  watch.see(second, again);
  const CacheView expected = watch.look();
  ASSERT_EQ(view.layers.size(), expected.layers.size());
  int n_picking = 0;
  for (size_t l = 0; l < view.layers.size(); ++l) {
    const LayerView& layer = view.layers[l];
    EXPECT_EQ(layer.picks, expected.layers[l].picks);
    EXPECT_EQ(layer.picks.empty(), layer.kind != LayerKind::csa);
    EXPECT_EQ(layer.n_entries, layer.ratio > 0 ? 300 / layer.ratio : 0);
    n_picking += layer.picks.empty() ? 0 : 1;
  }
  EXPECT_GT(n_picking, 0);
}

TEST_F(CacheWatchTest, NothingIsCopiedWhileNobodyLooks) {
  Session session = engine_->new_session(ids_from(7, 200)).value();
  const uint64_t run = watch_.admit(session, 200, 0);
  read();
  watch_.see(run, session);
  for (const LayerView& layer : watch_.look().layers) EXPECT_TRUE(layer.picks.empty());
}

// What was seen is not the last token's once others were read.
TEST_F(CacheWatchTest, PicksGoWithThoseWhoLooked) {
  CacheWatch watch(*engine_, std::chrono::milliseconds(0));
  Session session = engine_->new_session(ids_from(7, 200)).value();
  const uint64_t run = watch.admit(session, 200, 0);
  watch_.admit(session, 200, 0);
  watch_.look();
  read();
  watch_.see(1, session);
  const auto n_picking = [](const CacheView& view) {
    return std::ranges::count_if(view.layers, [](const LayerView& l) { return !l.picks.empty(); });
  };
  EXPECT_GT(n_picking(watch_.look()), 0);

  watch.look();
  watch.attend();  // and nobody looks any more
  ASSERT_TRUE(session.append(ids_from(9, 5)));
  watch.see(run, session);
  EXPECT_EQ(n_picking(watch.look()), 0);
}

TEST_F(CacheWatchTest, EventsAndBytesAreThoseOfTheCache) {
  const CacheView empty = watch_.look();
  EXPECT_EQ(empty.filled_blocks, 0);
  {
    Session session = engine_->new_session(ids_from(7, 300)).value();
    const uint64_t run = watch_.admit(session, 300, 0);
    read();
    session.save_resume_point();
    watch_.see(run, session);
    watch_.see(run, session);  // no news
    EXPECT_EQ(count(watch_.look(), CacheEvent::Kind::resume_point), 1);
    watch_.see(run, session, true);
  }
  Session session = engine_->new_session(ids_from(7, 310)).value();
  watch_.admit(session, 310, 256);
  const CacheView view = watch_.look();
  EXPECT_EQ(count(view, CacheEvent::Kind::admitted), 2);
  EXPECT_EQ(count(view, CacheEvent::Kind::over), 1);
  EXPECT_EQ(count(view, CacheEvent::Kind::resume_point), 1);  // the second run found it
  const CacheEvent& admitted = view.events.back();
  EXPECT_EQ(admitted.kind, CacheEvent::Kind::admitted);
  EXPECT_EQ(admitted.n_cached, session.n_reused());
  EXPECT_EQ(admitted.n_stored, 256);
  EXPECT_EQ(view.runs.front().resume_points, session.resume_positions());
  EXPECT_EQ(view.runs.back().state, RunView::State::over);
  EXPECT_GE(view.filled_blocks, 3);
  for (const PoolView& pool : view.pools) {
    EXPECT_GT(pool.filled_bytes, 0U) << pool.name;
    EXPECT_LE(pool.filled_bytes, pool.planned_bytes) << pool.name;
  }
}

TEST_F(CacheWatchTest, WhatIsKeptOfThePastIsBounded) {
  const Session first = engine_->new_session(ids_from(1, 5)).value();
  watch_.admit(first, 5, 0);
  for (int i = 0; i < 100; ++i) {
    Session session = engine_->new_session(ids_from(10 + i, 3)).value();
    const uint64_t run = watch_.admit(session, 3, 0);
    read();
    watch_.see(run, session, true);
  }
  const CacheView view = watch_.look();
  EXPECT_EQ(view.runs.size(), CacheWatch::kMaxRuns + 1);
  EXPECT_EQ(view.runs.back().run, 1U);  // it still runs
  EXPECT_EQ(view.events.size(), CacheWatch::kMaxEvents);
  EXPECT_EQ(view.events.back().kind, CacheEvent::Kind::over);
}

}  // namespace
}  // namespace varve::server
