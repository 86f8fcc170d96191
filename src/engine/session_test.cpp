#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "engine/engine.h"

namespace varve {
namespace {

std::shared_ptr<const Model> small_model() {
  auto model = load_model(std::string(VARVE_SOURCE_DIR) + "/models/varve-tiny");
  EXPECT_TRUE(model) << model.error().message;
  return std::move(*model);
}

std::vector<int32_t> ids(int n) {
  std::vector<int32_t> out;
  for (int i = 0; i < n; ++i) out.push_back(10 + i * 37 % 900);
  return out;
}

TEST(Session, AResumePointIsReachedWithoutReadingAToken) {
  auto engine = Engine::create(small_model(), {.ctx_tokens = 400}).value();
  Session session = engine->new_session().value();
  ASSERT_TRUE(session.append(ids(150)));
  const std::vector<float> logits(session.logits().begin(), session.logits().end());
  session.save_resume_point();
  ASSERT_TRUE(session.append(ids(40)));
  engine->times() = {};
  ASSERT_TRUE(session.rewind(150));
  EXPECT_EQ(engine->times()[Part::experts], 0.0);  // no forward pass
  EXPECT_EQ(session.resume_positions(), (std::vector<int>{150}));
  ASSERT_EQ(session.logits().size(), logits.size());
  EXPECT_EQ(std::memcmp(session.logits().data(), logits.data(), logits.size() * sizeof(float)), 0);
}

TEST(Session, RewindDropsWhatWaits) {
  auto engine = Engine::create(small_model(), {.ctx_tokens = 400}).value();
  Session session = engine->new_session().value();
  ASSERT_TRUE(session.append(ids(20)));
  const std::vector<float> logits(session.logits().begin(), session.logits().end());
  ASSERT_TRUE(session.enqueue(ids(5)));
  ASSERT_TRUE(session.rewind(20));
  EXPECT_EQ(session.n_pending(), 0);
  EXPECT_EQ(std::memcmp(session.logits().data(), logits.data(), logits.size() * sizeof(float)), 0);
  EXPECT_FALSE(session.rewind(21));
  EXPECT_FALSE(session.rewind(-1));
  ASSERT_TRUE(session.rewind(0));
  EXPECT_TRUE(session.logits().empty());
}

TEST(Session, WhatWaitsIsReadInOrderUpToTheContext) {
  auto engine = Engine::create(small_model(), {.ctx_tokens = 305, .chunk_tokens = 100}).value();
  Session session = engine->new_session().value();
  const std::vector<int32_t> all = ids(305);
  ASSERT_TRUE(session.enqueue(std::span(all).first(200)));
  EXPECT_EQ(engine->step(), 100);
  ASSERT_TRUE(session.enqueue(std::span(all).subspan(200)));
  EXPECT_EQ(session.n_tokens(), 100);
  EXPECT_EQ(session.n_pending(), 205);
  EXPECT_FALSE(session.enqueue(std::span(all).first(1)));
  while (session.n_pending() > 0) engine->step();
  EXPECT_TRUE(std::equal(all.begin(), all.end(), session.ids().begin(), session.ids().end()));
}

TEST(Session, IsOverWhenMovedFromOrLeftByItsEngine) {
  auto engine = Engine::create(small_model(), {.ctx_tokens = 100}).value();
  Session first = engine->new_session().value();
  ASSERT_TRUE(first.append(ids(10)));
  Session second = std::move(first);
  EXPECT_EQ(first.n_tokens(), 0);
  EXPECT_TRUE(first.logits().empty());
  EXPECT_FALSE(first.append(ids(1)));
  EXPECT_FALSE(first.fork());
  EXPECT_EQ(second.n_tokens(), 10);
  EXPECT_FALSE(second.logits().empty());
  engine.reset();
  EXPECT_EQ(second.n_tokens(), 0);
  EXPECT_TRUE(second.logits().empty());
  EXPECT_FALSE(second.enqueue(ids(1)));
}

TEST(Engine, RefusesOptionsOutOfRange) {
  const auto model = small_model();
  for (const EngineOptions& options :
       {EngineOptions{.resume_points = -1}, EngineOptions{.resume_interval_tokens = 0},
        EngineOptions{.n_sessions = 0}, EngineOptions{.chunk_tokens = -1},
        EngineOptions{.ctx_tokens = 0}, EngineOptions{.ctx_tokens = 1 << 30}}) {
    const auto engine = Engine::create(model, options);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().kind, ErrorKind::usage);
  }
}

}  // namespace
}  // namespace varve
